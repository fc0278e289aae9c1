use crate::model::{Tokenizer, TokenizerError};

/// A request's tokens, prompt and output, and the text of the output so far.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    tokens: Vec<u32>,
    prompt_len: usize,
    text: String,
    /// Tokens before `shown` are in `text`; those from `window` on decide how the next ones read.
    window: usize,
    shown: usize,
}

impl Sequence {
    /// A prompt that will be continued by `outputs` tokens.
    pub fn new(prompt: Vec<u32>, outputs: usize) -> Self {
        let mut tokens = prompt;
        let prompt_len = tokens.len();
        tokens.reserve_exact(outputs);
        Self { tokens, prompt_len, text: String::new(), window: prompt_len, shown: prompt_len }
    }

    /// All tokens, prompt first.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Output tokens.
    pub fn outputs(&self) -> &[u32] {
        &self.tokens[self.prompt_len..]
    }

    /// Text of the output, as far as its characters are complete.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends an output token and the text it completes. A token may end inside a character, and
    /// the text of a token may depend on the one before: so the last few tokens are decoded with and
    /// without the new ones, and the difference is what is new.
    pub fn push(&mut self, token: u32, tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
        self.tokens.push(token);
        let before = tokenizer.decode(&self.tokens[self.window..self.shown])?;
        let after = tokenizer.decode(&self.tokens[self.window..])?;
        if after.len() > before.len() && !after.ends_with('\u{fffd}') {
            self.text.push_str(after.get(before.len()..).unwrap_or(&after));
            self.window = self.shown;
            self.shown = self.tokens.len();
        }
        Ok(())
    }
}
