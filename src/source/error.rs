use std::io;
use std::path::PathBuf;

use super::hub::HubError;
use crate::catalog::known_models;
use crate::model::{ChatError, ModelError, TokenizerError};
use crate::store::ReadError;

/// A model could not be resolved.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum SourceError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Chat(#[from] ChatError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] ModelError),
    /// A file could not be read for its digest or its header.
    #[error("cannot read {}", path.display())]
    #[diagnostic(code(xp::source::io))]
    Io { path: PathBuf, source: io::Error },
    /// The catalog has no such model.
    #[error("there is no model {name:?} in the catalog")]
    #[diagnostic(code(xp::source::unknown_model), help("{help}"))]
    UnknownModel { name: String, help: String },
    /// A path leads out of the project.
    #[error("{path:?} is not a folder of the project")]
    #[diagnostic(
        code(xp::source::outside),
        help(
            "write a path relative to the project, without `..`; a link in the project may point elsewhere"
        )
    )]
    Outside { path: String },
    /// `config.json` does not parse, or a value in it is not what xp runs.
    #[error("{file}:{line}:{column}: {message}")]
    #[diagnostic(
        code(xp::source::config),
        help("dense Qwen3 models in Hugging Face's layout are what this version runs")
    )]
    Config { file: String, line: usize, column: usize, message: String },
    /// `model.safetensors.index.json` does not parse, or names what it must not.
    #[error("{file}:{line}:{column}: {message}")]
    #[diagnostic(code(xp::source::index))]
    Index { file: String, line: usize, column: usize, message: String },
    /// The folder holds no weights, or more than one set.
    #[error("{folder} {message}")]
    #[diagnostic(
        code(xp::source::weights),
        help("one `model.safetensors`, or shards named by `model.safetensors.index.json`, are expected")
    )]
    Weights { folder: String, message: String },
    /// The header of a safetensors file is not believed.
    #[error("{file}, {place}: {message}")]
    #[diagnostic(code(xp::source::safetensors), help("the file is cut, damaged, or no safetensors file"))]
    Safetensors { file: String, place: &'static str, message: String },
    /// A tensor that the config calls for is missing or has another shape.
    #[error("{file}, tensor {tensor}: {message}")]
    #[diagnostic(code(xp::source::tensor), help("the weights are not those of this `config.json`"))]
    Tensor { file: String, tensor: String, message: String },
    /// The tokenizer makes ids that the model has no embedding for.
    #[error("{file} has {tokenizer} tokens, the model only {model}")]
    #[diagnostic(code(xp::source::vocabulary), help("the tokenizer belongs to another model"))]
    Vocabulary { file: String, tokenizer: u32, model: u32 },
    /// Prompts are to be messages, and nothing says how the model is shown messages.
    #[error("{model} has no chat template")]
    #[diagnostic(
        code(xp::source::no_chat_template),
        help(
            "it is looked for in `chat_template.jinja`, in `tokenizer_config.json` and in the metadata of a \
             GGUF file; without `chat-template #true` prompts are plain texts"
        )
    )]
    NoChatTemplate { model: String },
    /// Another engine than xp's own is to read a GGUF file.
    #[error("the weights are {file}, which the Python worker of transformers does not read")]
    #[diagnostic(
        code(xp::source::no_safetensors),
        help("take a model whose weights are safetensors, or measure this one with xp's own engine")
    )]
    NoSafetensors { file: String },
    /// A file has other bytes than when it was hashed.
    #[error("{file} changed while it was read")]
    #[diagnostic(code(xp::source::changed), help("run the command again when nothing writes to it"))]
    Changed { file: String },
}

impl SourceError {
    pub(super) fn unknown(name: &str) -> Self {
        let near = known_models()
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .min()
            .filter(|(distance, _)| *distance <= 3);
        let help = match near {
            Some((_, known)) => format!("did you mean {known:?}?"),
            None => format!("one of {}", known_models().collect::<Vec<_>>().join(", ")),
        };
        Self::UnknownModel { name: name.to_owned(), help }
    }

    pub(super) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

/// Line, column and words of a JSON error.
pub(super) fn json_place(error: &serde_json::Error) -> (usize, usize, String) {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    (error.line(), error.column().max(1), message)
}
