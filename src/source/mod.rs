//! Where a model's bytes come from: a folder, the Hugging Face cache, or the
//! lock's seed.
//! SKELETON: signatures agreed with other rooms; split into files as fits.
#![allow(unused_variables)]

use std::path::{Path, PathBuf};

use crate::catalog::ModelConfig;
use crate::spec::Source;
use crate::store::FileDigest;

/// A resolved model: its shape, its tokenizer, and where its weights are.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    pub config: ModelConfig,
    /// Commit a moving revision resolved to.
    pub commit: Option<String>,
    /// Every file that decides what is computed, sorted by name, with digests; for a synthetic
    /// model only the generated `tokenizer.json`.
    pub files: Vec<FileDigest>,
    /// Bytes of `tokenizer.json`.
    pub tokenizer_json: Vec<u8>,
    pub weights: Weights,
}

/// Where weights come from.
#[derive(Debug, Clone)]
pub enum Weights {
    /// Drawn from a seed.
    Synthetic { seed: u64 },
    /// Safetensors files, absolute paths, sorted by name.
    Safetensors(Vec<PathBuf>),
}

/// A model could not be resolved.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct SourceError {}

/// Resolves a model's source. `root` is the project; `name` is the catalog name.
pub fn resolve(
    source: &Source,
    name: &str,
    root: &Path,
    weights_seed: u64,
) -> Result<ModelFiles, SourceError> {
    todo!()
}
