//! A `tokenizer.json`, loaded and made safe, and a synthetic one.

mod corpus;
mod guard;
mod train;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::chat::ChatTemplate;
pub use corpus::{Pick, sentence};
pub use train::train_synthetic;

/// A tokenizer could not be loaded or used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum TokenizerError {
    /// The file is larger than any honest tokenizer.
    #[error("{name} has {bytes} bytes, more than {limit}")]
    #[diagnostic(code(xp::tokenizer::too_large))]
    TooLarge { name: String, bytes: usize, limit: usize },
    /// The file is nested deeper than any honest tokenizer.
    #[error("{name} is nested deeper than {limit} levels")]
    #[diagnostic(code(xp::tokenizer::too_deep))]
    TooDeep { name: String, limit: usize },
    /// The file is not JSON.
    #[error("{name}:{line}:{column}: {message}")]
    #[diagnostic(
        code(xp::tokenizer::json),
        help("a `tokenizer.json` of Hugging Face's tokenizers is expected")
    )]
    Json { name: String, line: usize, column: usize, message: String },
    /// A section holds what xp refuses to run.
    #[error("{name}: `{section}` {why}")]
    #[diagnostic(code(xp::tokenizer::refused))]
    Refused { name: String, section: String, why: String },
    /// The tokenizers library does not accept the file.
    #[error("{name} is not a tokenizer: {why}")]
    #[diagnostic(code(xp::tokenizer::invalid))]
    Invalid { name: String, why: String },
    /// The tokenizer fails on a text or on ids.
    #[error("{name} cannot {what}: {why}")]
    #[diagnostic(code(xp::tokenizer::failed))]
    Failed { name: String, what: &'static str, why: String },
    /// The vocabulary asked for does not hold all bytes.
    #[error("a synthetic tokenizer needs {least} tokens at least, the model has {wanted}")]
    #[diagnostic(code(xp::tokenizer::vocabulary))]
    Vocabulary { wanted: u32, least: u32 },
}

impl TokenizerError {
    fn json(name: &str, error: &serde_json::Error) -> Self {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        Self::Json { name: name.to_owned(), line: error.line(), column: error.column().max(1), message }
    }

    fn refused(name: &str, section: &str, why: String) -> Self {
        Self::Refused { name: name.to_owned(), section: section.to_owned(), why }
    }
}

/// A `tokenizer.json`, loaded and made safe.
pub struct Tokenizer {
    name: String,
    inner: tokenizers::Tokenizer,
    vocab_size: u32,
    template: Option<ChatTemplate>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("name", &self.name).field("vocab_size", &self.vocab_size).finish()
    }
}

impl Tokenizer {
    /// Loads the bytes of a `tokenizer.json`; `name` is shown in errors.
    ///
    /// # Errors
    /// Files over 64 MiB or nested over 32 levels, `padding` or `truncation`, dropout, a
    /// Precompiled character map, a template that names a special token it lacks, and all that
    /// the tokenizers library refuses or panics on.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self, TokenizerError> {
        guard::check(bytes, name)?;
        let invalid = |why: String| TokenizerError::Invalid { name: name.to_owned(), why };
        let inner = contained(|| tokenizers::Tokenizer::from_bytes(bytes))
            .and_then(|loaded| loaded.map_err(|error| error.to_string()))
            .map_err(invalid)?;
        let largest = inner.get_vocab(true).into_values().max();
        let vocab_size = largest
            .and_then(|largest| largest.checked_add(1))
            .ok_or_else(|| invalid("it has no tokens, or an id beyond 4294967294".to_owned()))?;
        Ok(Self { name: name.to_owned(), inner, vocab_size, template: None })
    }

    /// The same, with the chat template of its model.
    #[must_use]
    pub fn with_template(mut self, template: ChatTemplate) -> Self {
        self.template = Some(template);
        self
    }

    /// The model's chat template, where it was asked for.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Token ids of a text. None is added: a text that a chat template rendered begins with the special token that
    /// the model expects, and special tokens in it are taken as such.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        contained(|| self.inner.encode_fast(text, false))
            .and_then(|encoded| encoded.map_err(|error| error.to_string()))
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|why| self.failed("encode a text", why))
    }

    /// Text of token ids, special tokens skipped. Ids that are no token are skipped too: a model's
    /// vocabulary may be larger than its tokenizer's.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        contained(|| self.inner.decode(ids, true))
            .and_then(|decoded| decoded.map_err(|error| error.to_string()))
            .map_err(|why| self.failed("decode tokens", why))
    }

    /// Number of ids, added tokens included: the largest id and one.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    fn failed(&self, what: &'static str, why: String) -> TokenizerError {
        TokenizerError::Failed { name: self.name.clone(), what, why }
    }
}

thread_local! {
    /// This thread runs code whose panics are expected and become errors.
    static CONTAINING: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of the tokenizers library; a panic in it becomes an error with its message.
///
/// The library panics on some malformed files. Nothing of ours is left half-changed by that: it
/// works on values of its own, which are dropped.
fn contained<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    // The default hook would print a panic that is reported as an error anyway. Other threads,
    // and this one outside of `run`, keep the hook that was there.
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CONTAINING.get() {
                before(info);
            }
        }));
    });
    CONTAINING.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    CONTAINING.set(false);
    result.map_err(|panic| {
        let text =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("the tokenizers library gave up").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::sync::LazyLock;

    static TINY: LazyLock<Vec<u8>> = LazyLock::new(|| train_synthetic(400).unwrap());

    fn tiny() -> Value {
        serde_json::from_slice(&TINY).unwrap()
    }

    fn load(value: &Value) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::from_bytes(&serde_json::to_vec(value).unwrap(), "tokenizer.json")
    }

    #[test]
    fn text_survives_encoding_and_decoding() {
        let tokenizer = Tokenizer::from_bytes(&TINY, "t").unwrap();
        for text in ["", "The engine waits.", "naïve  \n\t 日本語 🦀", "<|endoftext", "\u{0}\u{7f}"] {
            let ids = tokenizer.encode(text).unwrap();
            assert!(ids.iter().all(|&id| id < tokenizer.vocab_size()));
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
        assert_eq!(tokenizer.decode(&[0, 4_000_000_000]).unwrap(), "");
    }

    #[test]
    fn hostile_sections_are_refused_by_name() {
        let set = |path: &str, value: Value| {
            let mut file = tiny();
            *file.pointer_mut(path).unwrap() = value;
            load(&file).unwrap_err().to_string()
        };
        let padding = json!({"strategy": {"Fixed": 100_000_000}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "x"});
        insta::assert_snapshot!(set("/padding", padding), @"tokenizer.json: `padding` must be null: it changes the number of tokens");
        let truncation =
            json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0});
        insta::assert_snapshot!(set("/truncation", truncation), @"tokenizer.json: `truncation` must be null: it changes the number of tokens");
        insta::assert_snapshot!(set("/model/dropout", json!(0.5)), @"tokenizer.json: `model` has dropout 0.5: the same text would have other tokens each time");
        let precompiled = json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": "AAAA"}]});
        insta::assert_snapshot!(set("/normalizer", precompiled), @"tokenizer.json: `normalizer` has a Precompiled character map, which is not supported");
        let template = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}],
            "pair": [], "special_tokens": {}});
        insta::assert_snapshot!(set("/post_processor", template), @r#"tokenizer.json: `post_processor` names the special token "[CLS]", which it does not define"#);
        let replace = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(40)});
        insta::assert_snapshot!(set("/normalizer", json!({"type": "Sequence", "normalizers": [replace, replace]})), @"tokenizer.json: `normalizer` replaces characters by long texts: a short prompt could fill the memory");
        insta::assert_snapshot!(set("/normalizer", json!("x".repeat(2 << 20))), @"tokenizer.json: `normalizer` has 2097154 bytes, more than 1048576");
        insta::assert_snapshot!(set("/model/vocab", json!({"a": 0})), @"tokenizer.json is not a tokenizer: Token `e` out of vocabulary at line 1 column 2253");
    }

    #[test]
    fn broken_files_have_a_place() {
        let text = |bytes: &[u8]| Tokenizer::from_bytes(bytes, "tokenizer.json").unwrap_err().to_string();
        insta::assert_snapshot!(text(b""), @"tokenizer.json:1:1: EOF while parsing a value");
        insta::assert_snapshot!(text(b"{\n  \"version\": \"1.0\",\n  x"), @"tokenizer.json:3:3: key must be a string");
        insta::assert_snapshot!(text(&TINY[..TINY.len() / 2]), @"tokenizer.json:403:11: EOF while parsing a value");
        insta::assert_snapshot!(text(&b"[".repeat(1 << 20)), @"tokenizer.json is nested deeper than 32 levels");
        insta::assert_snapshot!(text(&vec![b' '; guard::MAX_BYTES + 1]), @"tokenizer.json has 67108865 bytes, more than 67108864");
        // Escapes in keys, and keys said twice, do not get around the checks.
        insta::assert_snapshot!(text(br#"{"padding": null, "p\u0061dding": {}}"#), @"tokenizer.json: `padding` must be null: it changes the number of tokens");
    }

    #[test]
    fn nested_sections_load_or_are_refused_in_no_time() {
        let nested = |depth: usize| {
            let mut file = tiny();
            let inner = json!({"type": "Lowercase"});
            file["normalizer"] =
                (0..depth).fold(inner, |inner, _| json!({"type": "Sequence", "normalizers": [inner]}));
            load(&file)
        };
        assert!(nested(14).is_ok());
        assert!(matches!(nested(20), Err(TokenizerError::TooDeep { .. })));
    }

    #[test]
    fn a_panic_is_an_error_and_others_are_still_printed() {
        assert_eq!(contained(|| -> u32 { panic!("boom {}", 7) }), Err("boom 7".to_owned()));
        assert!(!CONTAINING.get());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn mutated_files_never_panic(at in 0usize..100_000, byte: u8, cut: bool) {
            let mut bytes = TINY.clone();
            let at = at % bytes.len();
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            if let Ok(tokenizer) = Tokenizer::from_bytes(&bytes, "t") {
                let _ = tokenizer.encode("The engine waits for 7 tokens.").map(|ids| tokenizer.decode(&ids));
            }
        }
    }
}
