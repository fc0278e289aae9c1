//! Candle models, paged KV cache, tokenizer, sampler.

mod tokenizer;

pub use tokenizer::{Pick, Tokenizer, TokenizerError, sentence, train_synthetic};
