//! Where a model's bytes come from: a folder, the Hugging Face cache, or the
//! lock's seed.

mod config;
mod error;
mod folder;
mod hub;
mod shape;
mod tensors;
mod weights;

use std::path::{Path, PathBuf};

pub use error::SourceError;
pub use shape::shape;
pub use tensors::{TensorShape, tensor_table};

use crate::catalog::{self, ModelConfig};
use crate::model::{Weights, train_synthetic};
use crate::spec::Source;
use crate::store::{Digest, FileDigest};

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

/// Name of the tokenizer's file, in a folder and among the pins.
const TOKENIZER: &str = "tokenizer.json";

/// Resolves a model's source. `root` is the project; `name` is the catalog name, which decides the
/// shape of a synthetic model only: a folder or a repository has a `config.json`.
///
/// All files are checked and hashed, and no weight is loaded. Nothing is downloaded.
///
/// # Errors
/// An unknown name, missing files, and files that are not what they should be, with their place.
pub fn resolve(
    source: &Source,
    name: &str,
    root: &Path,
    weights_seed: u64,
) -> Result<ModelFiles, SourceError> {
    match source {
        Source::Synthetic => synthetic(name, weights_seed),
        Source::Path { path } => folder::resolve(&inside(root, path)?, path, None),
        Source::Hf { repo, revision } => {
            let cache = hub::cache_folder().ok_or(SourceError::NoCache)?;
            let snapshot = hub::snapshot(&cache, repo, revision)?;
            folder::resolve(&snapshot.folder, repo, Some(snapshot.commit))
        }
    }
}

fn synthetic(name: &str, seed: u64) -> Result<ModelFiles, SourceError> {
    let config = catalog::model(name).ok_or_else(|| SourceError::unknown(name))?;
    let tokenizer_json = train_synthetic(config.vocab_size)?;
    let pin = FileDigest {
        file: TOKENIZER.to_owned(),
        bytes: tokenizer_json.len() as u64,
        sha256: Digest::of(&tokenizer_json),
    };
    Ok(ModelFiles {
        config: config.clone(),
        commit: None,
        files: vec![pin],
        tokenizer_json,
        weights: Weights::Synthetic { seed },
    })
}

/// A folder of the project; the lock holds its path, so it may not lead out.
fn inside(root: &Path, path: &str) -> Result<PathBuf, SourceError> {
    use std::path::Component;
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.is_empty() || path.contains('\0') || !Path::new(path).components().all(plain) {
        return Err(SourceError::Outside { path: path.to_owned() });
    }
    Ok(root.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synthetic_model_has_the_catalog_shape_and_a_pinned_tokenizer() {
        let made = resolve(&Source::Synthetic, "qwen3-tiny", Path::new("."), 9).unwrap();
        assert_eq!(Some(&made.config), catalog::model("qwen3-tiny"));
        assert_eq!(made.files.len(), 1);
        assert_eq!(made.files[0].sha256, Digest::of(&made.tokenizer_json));
        assert!(matches!(made.weights, Weights::Synthetic { seed: 9 }));
        let unknown = resolve(&Source::Synthetic, "qwen3-tinny", Path::new("."), 9).unwrap_err();
        let help = miette::Diagnostic::help(&unknown).unwrap().to_string();
        assert!(help.contains("qwen3-tiny"), "{help}");
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in ["", "/etc", "../model", "a/../../b", "a\0b"] {
            let source = Source::Path { path: path.to_owned() };
            let found = resolve(&source, "qwen3-tiny", Path::new("."), 9);
            assert!(matches!(found, Err(SourceError::Outside { .. })), "{path:?}: {found:?}");
        }
    }
}
