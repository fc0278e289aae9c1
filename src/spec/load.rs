//! SKELETON: signatures agreed with other rooms; split into files as fits.
#![allow(unused_variables)]
use std::path::Path;

use kdl::KdlDocument;
use serde_json::Value;

use super::Experiment;

/// One `--set path=value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    pub path: String,
    pub value: Value,
    pub text: String,
}

impl Override {
    pub fn parse(text: &str) -> Result<Self, SpecErrors> {
        todo!()
    }
}

/// One cell of the matrix: its settings, and the experiment with them applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub experiment: Experiment,
    pub overrides: Vec<(String, Value)>,
}

/// A checked experiment and its cells (at least one).
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub experiment: Experiment,
    pub cells: Vec<Cell>,
}

/// Every mistake of a file.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct SpecErrors {
    #[related]
    errors: Vec<miette::MietteDiagnostic>,
}

pub fn load(path: &Path, name: &str, overrides: &[Override]) -> Result<Loaded, SpecErrors> {
    todo!()
}

pub fn expand(experiment: &Experiment) -> Result<Vec<Cell>, SpecErrors> {
    todo!()
}

pub fn parse_kdl(name: &str, text: &str, limit: u64) -> Result<KdlDocument, SpecErrors> {
    todo!()
}

pub fn starter(name: &str) -> String {
    todo!()
}

pub fn experiment_schema() -> Value {
    todo!()
}
