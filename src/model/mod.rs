//! Models, paged KV cache, tokenizer, chat template, sampler.

mod attention;
mod chat;
mod columns;
mod decoder;
mod exp;
mod gguf;
// Tests without CUDA run it on the CPU, but for what FlashAttention alone asks for.
#[cfg(any(test, feature = "cuda"))]
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
mod gpu;
mod kv_cache;
mod load;
mod mlp;
mod network;
mod norm;
mod ops;
#[cfg(test)]
mod reference;
mod rope;
mod sampler;
mod strand;
mod threads;
mod tokenizer;
mod weights;

pub use chat::{
    CHAT_TEMPLATE, ChatError, ChatMessage, ChatTemplate, Conversation, Moment, TOKENIZER_CONFIG, has_template,
};
pub use decoder::{Decoder, Share};
pub use gguf::GgufFile;
#[cfg(feature = "cuda")]
pub use gpu::{GpuDecoder, GpuKv};
pub use kv_cache::PagedKv;
pub use load::FAMILIES;
pub use ops::{NoTimer, Op, OpTimer};
pub use sampler::Sampler;
pub use strand::{Activations, Grouping};
pub use tokenizer::{Pick, Tokenizer, TokenizerError, sentence, train_synthetic};
pub use weights::{WeightReader, Weights};

/// A model could not be loaded or run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ModelError {
    /// Candle refused an operation or a file.
    #[error("the model cannot run: {0}")]
    #[diagnostic(code(xp::model::candle))]
    Candle(#[from] candle_core::Error),
    /// A tensor is not there, or has another shape than the config says.
    #[error("tensor {name}: {reason}")]
    #[diagnostic(code(xp::model::tensor), help("the weights do not belong to this config.json"))]
    Tensor { name: String, reason: String },
    /// A GGUF file is not what it should be.
    #[error("the GGUF file cannot be used: {reason}")]
    #[diagnostic(code(xp::model::gguf), help("convert the model again, or download it again"))]
    Gguf { reason: String },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    #[diagnostic(code(xp::model::io))]
    Io { path: std::path::PathBuf, source: std::io::Error },
    /// The configuration is of a family that has no code here.
    #[error("model type {found:?} is not supported")]
    #[diagnostic(code(xp::model::family), help("this version runs qwen3, qwen3_moe and llama models"))]
    Family { found: String },
    /// A token id lies outside the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocab_size}")]
    #[diagnostic(code(xp::model::token), help("tokenizer.json and config.json belong to different models"))]
    Token { token: u32, vocab_size: u32 },
}
