//! The chat template in a GGUF file's metadata, as llama.cpp's conversion writes it there.

use super::{GgufFile, Metadata};
use crate::model::{ChatError, ChatTemplate, Moment};

const TEMPLATE: &str = "tokenizer.chat_template";

/// What templates call special tokens, and the keys that hold their ids.
const SPECIAL: [(&str, &str); 7] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    // The key is spelled so.
    ("sep_token", "tokenizer.ggml.seperator_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    ("cls_token", "tokenizer.ggml.cls_token_id"),
    ("mask_token", "tokenizer.ggml.mask_token_id"),
];

impl GgufFile {
    /// The chat template, with the special tokens that the file names; None where it has no template. `shown` names
    /// the file in errors.
    ///
    /// # Errors
    /// The template is too large, or has a mistake.
    pub fn chat_template(&self, shown: &str, now: Moment) -> Result<Option<ChatTemplate>, ChatError> {
        let metadata = Metadata::of(&self.content);
        let Some(template) = metadata.text(TEMPLATE) else { return Ok(None) };
        let token = |(name, key): (&str, &str)| Some((name.to_owned(), metadata.token(key)?.to_owned()));
        let special = SPECIAL.into_iter().filter_map(token).collect();
        ChatTemplate::new(template, &format!("{TEMPLATE} of {shown}"), special, now).map(Some)
    }

    /// Whether the file has a chat template.
    pub fn has_chat_template(&self) -> bool {
        Metadata::of(&self.content).text(TEMPLATE).is_some()
    }
}
