//! What a `tokenizer.json` may not hold: checked before the tokenizers crate
//! reads it, because it would panic, fill the memory, or tokenize at random.

use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;

use super::TokenizerError;

/// Largest file that is read.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// Deepest nesting; honest files have some ten levels.
const MAX_DEPTH: usize = 32;

/// Largest section but for the model and the added tokens.
const MAX_SECTION: usize = 1 << 20;

/// How much normalizers may lengthen a text.
const MAX_GROWTH: usize = 1024;

/// Refuses a file that is no honest tokenizer. `name` is shown in errors.
pub(super) fn check(bytes: &[u8], name: &str) -> Result<(), TokenizerError> {
    if bytes.len() > MAX_BYTES {
        return Err(TokenizerError::TooLarge { name: name.to_owned(), bytes: bytes.len(), limit: MAX_BYTES });
    }
    let sections = sections(bytes, name)?;
    // A whole pass tells where the JSON is broken before its parts are looked at.
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes)
        .map_err(|error| TokenizerError::json(name, &error))?;
    for (key, range) in sections {
        let text = &bytes[range];
        let refuse = |why: String| TokenizerError::refused(name, &key, why);
        match key.as_str() {
            "padding" | "truncation" => {
                if text.trim_ascii() != b"null" {
                    return Err(refuse("must be null: it changes the number of tokens".to_owned()));
                }
            }
            "model" => model(text).map_err(refuse)?,
            "added_tokens" => {}
            _ => {
                if text.len() > MAX_SECTION {
                    return Err(refuse(format!("has {} bytes, more than {MAX_SECTION}", text.len())));
                }
                let value =
                    serde_json::from_slice(text).map_err(|error| TokenizerError::json(name, &error))?;
                let mut growth = 1;
                section(&value, &mut growth).map_err(refuse)?;
            }
        }
    }
    Ok(())
}

/// The top-level keys and where their values are, by one pass over the brackets.
fn sections(bytes: &[u8], name: &str) -> Result<Vec<(String, Range<usize>)>, TokenizerError> {
    let mut out: Vec<(String, Range<usize>)> = Vec::new();
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    // Where the last top-level string began, and the key whose value is open.
    let mut string_start = 0;
    let mut last_string = 0..0;
    let mut open: Option<(String, usize)> = None;
    for (at, &byte) in bytes.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    in_string = false;
                    last_string = string_start..at + 1;
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                string_start = at;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(TokenizerError::TooDeep { name: name.to_owned(), limit: MAX_DEPTH });
                }
            }
            b':' if depth == 1 && open.is_none() => {
                let key = serde_json::from_slice(&bytes[last_string.clone()]).unwrap_or_default();
                open = Some((key, at + 1));
            }
            b'}' | b']' | b',' => {
                if depth == 1
                    && let Some((key, start)) = open.take()
                {
                    out.push((key, start..at));
                }
                if byte != b',' {
                    depth = depth.saturating_sub(1);
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

/// Only what makes a model's output random; its vocabulary is read by the crate.
fn model(text: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        dropout: Option<f64>,
    }
    match serde_json::from_slice::<Head>(text) {
        Ok(Head { dropout: Some(dropout) }) if dropout != 0.0 => {
            Err(format!("has dropout {dropout}: the same text would have other tokens each time"))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Walks a normalizer, pre-tokenizer, post-processor or decoder.
fn section(value: &Value, growth: &mut usize) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| section(item, growth)),
        Value::Object(fields) => {
            // By keys, not by `type`: older files leave it out.
            if fields.contains_key("precompiled_charsmap")
                || fields.get("type") == Some(&"Precompiled".into())
            {
                return Err("has a Precompiled character map, which is not supported".to_owned());
            }
            if fields.contains_key("special_tokens")
                || fields.get("type") == Some(&"TemplateProcessing".into())
            {
                template(value)?;
            }
            if fields.contains_key("pattern") {
                grow(growth, &value["content"])?;
            }
            grow(growth, &value["prepend"])?;
            if fields.get("length") == Some(&0.into()) {
                return Err("cuts text into pieces of length 0".to_owned());
            }
            fields.values().try_for_each(|field| section(field, growth))
        }
        _ => Ok(()),
    }
}

fn grow(growth: &mut usize, content: &Value) -> Result<(), String> {
    let length = content.as_str().map_or(1, |text| text.chars().count().max(1));
    *growth = growth.saturating_mul(length);
    if *growth > MAX_GROWTH {
        return Err("replaces characters by long texts: a short prompt could fill the memory".to_owned());
    }
    Ok(())
}

/// Every special token that a template names must be among its special tokens.
fn template(value: &Value) -> Result<(), String> {
    let known = value["special_tokens"].as_object();
    for list in ["single", "pair"] {
        for piece in value[list].as_array().into_iter().flatten() {
            let named = &piece["SpecialToken"]["id"];
            if let Some(id) = named.as_str()
                && !known.is_some_and(|known| known.contains_key(id))
            {
                return Err(format!("names the special token {id:?}, which it does not define"));
            }
        }
    }
    Ok(())
}
