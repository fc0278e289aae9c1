//! Candle models, paged KV cache, tokenizer, sampler.

mod tokenizer;

pub use tokenizer::{Tokenizer, TokenizerError, train_synthetic};
