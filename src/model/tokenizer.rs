//! SKELETON: signatures agreed with other rooms.
#![allow(unused_variables)]

/// A `tokenizer.json`, loaded and made safe.
#[derive(Debug)]
pub struct Tokenizer {}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct TokenizerError {}

impl Tokenizer {
    /// Loads the bytes of a `tokenizer.json`; `name` is shown in errors.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self, TokenizerError> {
        todo!()
    }

    /// Token ids of a text, without special tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        todo!()
    }

    /// Text of token ids, special tokens skipped.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        todo!()
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> u32 {
        todo!()
    }
}

/// Trains a byte-level BPE of at most `vocab_size` tokens on text of the project's own;
/// the bytes of its `tokenizer.json`, the same on every machine.
pub fn train_synthetic(vocab_size: u32) -> Result<Vec<u8>, TokenizerError> {
    todo!()
}
