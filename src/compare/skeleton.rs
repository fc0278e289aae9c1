//! SKELETON: signatures agreed with other rooms; split into files as fits.
#![allow(unused_variables)]
use std::path::Path;

use super::comparison::{Comparison, Pin};
use crate::metrics::{RunMeta, RunRecord};
use crate::store::{Digest, FileDigest};

/// Service-level objectives in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SloLimits {
    pub ttft_ns: Option<u64>,
    pub tpot_ns: Option<u64>,
    pub e2e_ns: Option<u64>,
}

/// What is compared.
#[derive(Debug)]
pub struct CompareInput {
    pub run: String,
    pub description: Option<String>,
    pub facts: Vec<(String, Vec<String>)>,
    pub pins: Vec<Pin>,
    pub files: Vec<FileDigest>,
    /// Measured repeats, at least one.
    pub real: Vec<(RunRecord, RunMeta)>,
    pub sim: (RunRecord, RunMeta),
    pub pass_percent: f64,
    pub warn_percent: f64,
    pub lock_digest: Digest,
    pub allow_foreign_bundle: bool,
    pub kv_blocks_total: u32,
    pub slo: SloLimits,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct CompareError {}

pub fn compare(input: &CompareInput) -> Result<Comparison, CompareError> {
    todo!()
}

/// Writes `summary.md`, `tables/*.csv` and `comparison.json` into `folder`, which exists.
pub fn write_comparison(folder: &Path, comparison: &Comparison) -> Result<(), CompareError> {
    todo!()
}

/// Reads and checks a `comparison.json`.
pub fn read_comparison(path: &Path) -> Result<Comparison, CompareError> {
    todo!()
}
