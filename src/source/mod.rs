//! Where a model's bytes come from: a folder, the Hugging Face hub, or the
//! lock's seed.

mod config;
mod error;
mod export;
mod folder;
mod gguf;
mod hub;
mod shape;
mod template;
mod tensors;
mod weights;

use std::path::{Path, PathBuf};

pub(crate) use config::parse as parse_config;
use config::parse_shape;
pub use error::SourceError;
pub use export::model_folder;
pub use hub::HubError;
pub use shape::shape;
pub use template::TemplateFiles;
pub use tensors::{TensorShape, tensor_table};
pub(crate) use weights::{parse_header, shards};

use crate::catalog::{self, ModelConfig};
use crate::model::{ChatTemplate, Moment, Tokenizer, Weights, train_synthetic};
use crate::progress::Progress;
use crate::spec::Source;
use crate::store::{self, Digest, DigestCache, FileDigest, Memo, read_bounded};

/// What resolving a source may use.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// The folder that paths of input files are relative to: the data folder, else the project's.
    pub inputs: &'a Path,
    /// Digests of files that did not change.
    pub digests: &'a DigestCache,
    /// What was found out before.
    pub memo: &'a Memo,
    pub network: Network,
    /// Listens to downloads.
    pub progress: &'a dyn Progress,
}

/// A resolved model: its shape, its files, and where its tokenizer and its weights are.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    pub config: ModelConfig,
    /// Commit a moving revision resolved to.
    pub commit: Option<String>,
    /// Every file that decides what is computed, sorted by name, with digests; for a synthetic
    /// model only the generated `tokenizer.json`.
    pub files: Vec<FileDigest>,
    pub tokenizer: TokenizerFile,
    /// The chat template's, if it was asked for.
    pub template: Option<TemplateFiles>,
    pub weights: Weights,
}

/// Where a tokenizer comes from. Loading one takes long, so it is loaded by those who need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerFile {
    /// Trained on the spot.
    Synthetic { vocab_size: u32 },
    /// A `tokenizer.json`; `shown` names it in errors.
    File { path: PathBuf, shown: String },
}

/// Whether files may come over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Online,
    /// Only what is on this machine counts.
    Offline,
}

impl Network {
    /// Offline when the user asks for it, here or in `HF_HUB_OFFLINE`.
    pub fn unless(offline: bool) -> Self {
        if offline || hub::is_offline() { Self::Offline } else { Self::Online }
    }
}

/// What a lock pins of the same source; it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Pinned<'a> {
    /// Commit of a repository.
    pub commit: &'a str,
    pub files: &'a [FileDigest],
}

const CONFIG: &str = "config.json";

/// Name of the tokenizer's file, in a folder and among the pins.
const TOKENIZER: &str = "tokenizer.json";

impl ModelFiles {
    /// The pin of `tokenizer.json`.
    pub fn tokenizer_pin(&self) -> Option<&FileDigest> {
        self.files.iter().find(|file| file.file == TOKENIZER)
    }

    /// The pins of the chat template's files, if it was asked for.
    pub fn template_pins(&self) -> Vec<&FileDigest> {
        let is_of_template = |file: &&FileDigest| {
            self.template.as_ref().is_some_and(|template| template.names().contains(&file.file))
        };
        self.files.iter().filter(is_of_template).collect()
    }

    /// Loads the tokenizer, with the chat template if it was asked for.
    ///
    /// # Errors
    /// It is none, or has other bytes than those that were hashed; there is no template, or one with a mistake.
    pub fn load_tokenizer(&self) -> Result<Tokenizer, SourceError> {
        let (bytes, shown) = match &self.tokenizer {
            TokenizerFile::Synthetic { vocab_size } => (train_synthetic(*vocab_size)?, TOKENIZER),
            TokenizerFile::File { path, shown } => {
                (read_bounded(path, folder::MAX_TOKENIZER)?, shown.as_str())
            }
        };
        if self.tokenizer_pin().is_none_or(|pin| pin.sha256 != Digest::of(&bytes)) {
            return Err(SourceError::Changed { file: shown.to_owned() });
        }
        let tokenizer = Tokenizer::from_bytes(&bytes, shown)?;
        Ok(match &self.template {
            Some(files) => tokenizer.with_template(self.load_template(files)?),
            None => tokenizer,
        })
    }

    fn load_template(&self, files: &TemplateFiles) -> Result<ChatTemplate, SourceError> {
        files.load(Moment::PINNED, |name, bytes| {
            let pin = self.files.iter().find(|file| file.file == name);
            match pin.is_some_and(|pin| pin.sha256 == Digest::of(bytes)) {
                true => Ok(()),
                false => Err(SourceError::Changed { file: format!("{}/{name}", files.shown()) }),
            }
        })
    }
}

/// Resolves a model's source. `name` is the catalog name, which decides the shape of a synthetic model
/// only: a folder or a repository has a `config.json`.
///
/// All files are checked and hashed, unless they are known not to have changed, and no weight is
/// loaded. Files of a repository that are not in the cache are downloaded. With `chat` the files of the
/// model's chat template belong to it.
///
/// # Errors
/// An unknown name, missing files, and files that are not what they should be, with their place; a hub
/// that does not give them; a model without the chat template that is asked for.
pub fn resolve(
    source: &Source,
    name: &str,
    weights_seed: u64,
    chat: bool,
    access: &Access<'_>,
    pinned: Option<Pinned<'_>>,
) -> Result<ModelFiles, SourceError> {
    match source {
        Source::Synthetic | Source::Config { .. } if chat => {
            Err(SourceError::NoChatTemplate { model: name.to_owned() })
        }
        Source::Synthetic => synthetic(name, weights_seed, access.memo),
        Source::Path { path } => folder::resolve(&inside(access.inputs, path)?, path, None, chat, access),
        Source::Config { path } => {
            let text = store::read_text_bounded(&inside(access.inputs, path)?, config::MAX_CONFIG)?;
            made_up(&parse_shape(path, &text)?, weights_seed, access.memo)
        }
        Source::Hf { repo, revision } => hub::resolve(repo, revision, chat, access, pinned),
    }
}

fn synthetic(name: &str, seed: u64, memo: &Memo) -> Result<ModelFiles, SourceError> {
    made_up(catalog::model(name).ok_or_else(|| SourceError::unknown(name))?, seed, memo)
}

/// A model of this shape with a tokenizer and weights of xp's making.
fn made_up(config: &ModelConfig, seed: u64, memo: &Memo) -> Result<ModelFiles, SourceError> {
    let vocab_size = config.vocab_size;
    let pin = memo.recall("synthetic tokenizer", &vocab_size, || {
        let bytes = train_synthetic(vocab_size)?;
        let (length, sha256) = (bytes.len() as u64, Digest::of(&bytes));
        Ok::<_, SourceError>(FileDigest { file: TOKENIZER.to_owned(), bytes: length, sha256 })
    })?;
    Ok(ModelFiles {
        config: config.clone(),
        commit: None,
        files: vec![pin],
        tokenizer: TokenizerFile::Synthetic { vocab_size },
        template: None,
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
pub(crate) mod tests {
    use super::*;
    use crate::progress::Silent;

    /// Resolves with nothing known from before, and without a network.
    pub(crate) fn resolve_in(
        root: &Path,
        source: &Source,
        name: &str,
        seed: u64,
    ) -> Result<ModelFiles, SourceError> {
        let (digests, memo) = (DigestCache::default(), Memo::default());
        let access = Access {
            inputs: root,
            digests: &digests,
            memo: &memo,
            network: Network::Offline,
            progress: &Silent,
        };
        resolve(source, name, seed, false, &access, None)
    }

    #[test]
    fn a_synthetic_model_has_the_catalog_shape_and_a_pinned_tokenizer() {
        let made = resolve_in(Path::new("."), &Source::Synthetic, "qwen3-tiny", 9).unwrap();
        assert_eq!(Some(&made.config), catalog::model("qwen3-tiny"));
        assert_eq!(made.files.len(), 1);
        assert_eq!(made.load_tokenizer().unwrap().vocab_size(), made.config.vocab_size);
        assert!(matches!(made.weights, Weights::Synthetic { seed: 9 }));
        let unknown = resolve_in(Path::new("."), &Source::Synthetic, "qwen3-tinny", 9).unwrap_err();
        let help = miette::Diagnostic::help(&unknown).unwrap().to_string();
        assert!(help.contains("qwen3-tiny"), "{help}");
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in ["", "/etc", "../model", "a/../../b", "a\0b"] {
            let source = Source::Path { path: path.to_owned() };
            let found = resolve_in(Path::new("."), &source, "qwen3-tiny", 9);
            assert!(matches!(found, Err(SourceError::Outside { .. })), "{path:?}: {found:?}");
        }
    }
}
