//! Where a model's template stands: `chat_template.jinja`, else `chat_template` in `tokenizer_config.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::environment::MAX_TEMPLATE;
use super::{ChatError, ChatTemplate, Moment};

/// Name of the file that holds a template alone.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// Name of the file that holds special tokens, and a template where there is no file of its own.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Largest `tokenizer_config.json`, in bytes: some list a thousand added tokens.
const MAX_CONFIG: usize = 8 << 20;

/// The tokens that templates know by name.
const SPECIAL: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What of `tokenizer_config.json` has to do with templates; the rest is ignored.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    chat_template: Option<Templates>,
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

/// One template, or several by their names.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`chat_template` is a text, or a list of objects with `name` and `template`")]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl ChatTemplate {
    /// Reads the template of a model: the content of its [`CHAT_TEMPLATE`] and of its [`TOKENIZER_CONFIG`], as far as
    /// it has them. `shown` names its folder in errors. None where neither has a template.
    ///
    /// # Errors
    /// A file that is too large or is not what it should be, several templates without a `default`, and a template
    /// with a mistake.
    pub fn from_files(
        template: Option<&[u8]>,
        config: Option<&[u8]>,
        shown: &str,
        now: Moment,
    ) -> Result<Option<Self>, ChatError> {
        let config_name = format!("{shown}/{TOKENIZER_CONFIG}");
        let config = config.map(|bytes| parse(bytes, &config_name)).transpose()?;
        let special = config.as_ref().map(special_tokens).unwrap_or_default();
        if let Some(bytes) = template {
            let name = format!("{shown}/{CHAT_TEMPLATE}");
            check_size(bytes, &name, MAX_TEMPLATE)?;
            // Python reads it with universal newlines.
            let text = utf8(bytes, &name)?.replace("\r\n", "\n").replace('\r', "\n");
            return Self::new(&text, &name, special, now).map(Some);
        }
        let found = config.and_then(|config| config.chat_template);
        let text = found.map(|found| found.default(&config_name)).transpose()?;
        text.map(|text| Self::new(&text, &format!("chat_template of {config_name}"), special, now))
            .transpose()
    }
}

/// Whether a `tokenizer_config.json` holds a template; one that cannot be read is left to
/// [`ChatTemplate::from_files`] to refuse.
pub fn has_template(config: &[u8]) -> bool {
    parse(config, TOKENIZER_CONFIG).map_or(true, |config| config.chat_template.is_some())
}

impl Templates {
    /// The template that is taken where no other is asked for.
    fn default(self, file: &str) -> Result<String, ChatError> {
        let named = match self {
            Self::One(template) => return Ok(template),
            Self::Named(named) => named,
        };
        // Of a name that is there twice, the last counts.
        if let Some(found) = named.iter().rfind(|named| named.name == "default") {
            return Ok(found.template.clone());
        }
        let mut names = named.iter().take(8).map(|named| format!("{:?}", named.name)).collect::<Vec<_>>();
        if names.is_empty() {
            names.push("nothing".to_owned());
        }
        Err(ChatError::NoDefault { name: file.to_owned(), names: names.join(", ") })
    }
}

fn parse(bytes: &[u8], name: &str) -> Result<Config, ChatError> {
    check_size(bytes, name, MAX_CONFIG)?;
    let text = utf8(bytes, name)?;
    let file = |line, column, message| ChatError::File { name: name.to_owned(), line, column, message };
    if !text.trim_start().starts_with('{') {
        return Err(file(1, 1, "an object is expected".to_owned()));
    }
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        file(error.line().max(1), error.column().max(1), message)
    })
}

/// Special tokens: texts, or objects whose `content` is the text.
fn special_tokens(config: &Config) -> BTreeMap<String, String> {
    let token = |name: &&str| {
        let value = config.other.get(*name)?;
        let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
        Some(((*name).to_owned(), text.to_owned()))
    };
    SPECIAL.iter().filter_map(token).collect()
}

fn check_size(bytes: &[u8], name: &str, limit: usize) -> Result<(), ChatError> {
    match bytes.len() > limit {
        true => Err(ChatError::TooLarge { name: name.to_owned(), bytes: bytes.len(), limit }),
        false => Ok(()),
    }
}

fn utf8<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, ChatError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        ChatError::File { name: name.to_owned(), line, column, message: "it is not UTF-8".to_owned() }
    })
}
