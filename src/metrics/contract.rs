//! SKELETON: signatures agreed with other rooms; split into files as fits.
#![allow(unused_variables)]
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RunRecord;
use crate::scheduler::SchedulerConfig;
use crate::store::Digest;

/// Whether an engine was timed or simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    Measured,
    Simulated,
}

/// `run_meta.json`: what a run was, for whoever reads its CSV files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunMeta {
    /// Version of this format.
    pub format: u32,
    pub xp_version: String,
    pub metrics_version: u32,
    /// Run id of the lock.
    pub run: String,
    pub kind: RunKind,
    /// Name of the backend in the experiment.
    pub backend: String,
    /// Which repeat of a measurement, from 0; 0 for a simulation.
    pub repeat: u32,
    /// Catalog name of the model, its number format, and the digest of its shape and files.
    pub model: String,
    pub dtype: crate::spec::Dtype,
    pub model_digest: Digest,
    pub workload_digest: Digest,
    pub scheduler: SchedulerConfig,
    pub threads: u32,
    /// Facts about the machine for people: name, value. Of a simulation: where its bundle was measured.
    pub hardware: Vec<(String, String)>,
    /// Digest of those that decide speed.
    pub fingerprint: Option<Digest>,
    pub num_requests: u64,
    pub num_steps: u64,
    pub output_tokens: u64,
    /// End of the last step, ns from run start.
    pub duration_ns: u64,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct ContractError {}

/// Writes the run contract's files into `folder`, which exists.
pub fn write_run(folder: &Path, record: &RunRecord, meta: &RunMeta) -> Result<(), ContractError> {
    todo!()
}

/// Reads a run's folder and checks it.
pub fn read_run(folder: &Path) -> Result<(RunRecord, RunMeta), ContractError> {
    todo!()
}

/// Reads `run_meta.json` alone.
pub fn read_meta(folder: &Path) -> Result<RunMeta, ContractError> {
    todo!()
}
