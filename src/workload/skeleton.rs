//! SKELETON: signatures agreed with other rooms; split into files as fits.
#![allow(unused_variables)]
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Workload;
use crate::model::Tokenizer;
use crate::spec::WorkloadSpec;
use crate::store::Digest;

/// One seed per stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seeds {
    pub prompts: u64,
    pub lengths: u64,
    pub arrivals: u64,
}

/// `workload_meta.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadMeta {
    pub format: u32,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct WorkloadError {}

pub fn generate(
    spec: &WorkloadSpec,
    seeds: &Seeds,
    tokenizer: Option<&Tokenizer>,
    root: &Path,
) -> Result<Workload, WorkloadError> {
    todo!()
}

/// The four files of the contract by name, in a fixed order.
pub fn workload_files(made: &Workload, spec: &WorkloadSpec, seeds: &Seeds) -> Vec<(&'static str, Vec<u8>)> {
    todo!()
}

/// Digest over the digests of the files.
pub fn digest(files: &[(&'static str, Vec<u8>)]) -> Digest {
    todo!()
}

/// Writes the four files into `folder`, which exists.
pub fn write_workload(
    folder: &Path,
    made: &Workload,
    spec: &WorkloadSpec,
    seeds: &Seeds,
) -> Result<(), WorkloadError> {
    todo!()
}

pub fn read_workload(folder: &Path) -> Result<(Workload, WorkloadMeta), WorkloadError> {
    todo!()
}
