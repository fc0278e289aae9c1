//! A fast way into a lock that stands as xp wrote it.
//!
//! Most locks that are read are canonical: written by [`Lock::to_kdl`] and not edited since. Their
//! text is a small part of KDL, a line a fact, and takes no KDL parser to read. What this reader makes of
//! a text is believed only if it is written back to the very same bytes; all else (an edited
//! lock, a conflict, garbage) takes the long way, which has spans and diagnostics.

use serde_json::{Map, Value};

use super::codec::{self, ListRule};
use super::pins::Lock;
use super::violation;

/// Deepest nesting of a lock.
const MAX_DEPTH: usize = 16;

/// The lock that a text holds, if the text is the canonical one of a lock.
pub(crate) fn parse(text: &str) -> Option<Lock> {
    let value = facts(text)?;
    let lock: Lock = serde_json::from_value(value).ok()?;
    (lock.to_kdl() == text && violation::is_sound(&lock)).then_some(lock)
}

/// The facts of a text that looks canonical. Laxer than the format: the caller writes them back.
fn facts(text: &str) -> Option<Value> {
    let body = text.strip_prefix("//")?;
    let (_, body) = body.split_once('\n')?;
    let mut lines = body.lines();
    let map = block(&mut lines, 0)?;
    // The outermost block ends with the text, and nothing else does.
    lines.next().is_none().then_some(Value::Object(map))
}

/// Reads facts up to the closing brace (at depth 0: the end of the text).
fn block(lines: &mut std::str::Lines<'_>, depth: usize) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    if depth > MAX_DEPTH {
        return None;
    }
    loop {
        let Some(line) = lines.next() else { return (depth == 0).then_some(map) };
        let line = line.trim_start_matches(' ');
        if line == "}" {
            return (depth > 0).then_some(map);
        }
        let (name, rest) = line.split_once(' ')?;
        match codec::list_of(name).filter(|rule| rule.node != rule.field || rest.starts_with('"')) {
            Some(rule) => {
                let element = element(rule, rest, lines, depth)?;
                match map.entry(rule.field).or_insert_with(|| Value::Array(Vec::new())) {
                    Value::Array(items) => items.push(Value::Object(element)),
                    _ => return None,
                }
            }
            None => {
                let value = match rest {
                    "{" => Value::Object(block(lines, depth + 1)?),
                    _ if codec::is_scalar_list(name) => Value::Array(scalars(rest)?),
                    _ => whole_scalar(rest)?,
                };
                map.insert(name.to_owned(), value);
            }
        }
    }
}

/// `"key" {` and its block, or `"key" name=value …`.
fn element(
    rule: &ListRule,
    rest: &str,
    lines: &mut std::str::Lines<'_>,
    depth: usize,
) -> Option<Map<String, Value>> {
    let (key, mut rest) = scalar(rest)?;
    let mut fields = match rest {
        " {" => {
            rest = "";
            block(lines, depth + 1)?
        }
        _ => Map::new(),
    };
    while !rest.is_empty() {
        let (name, value) = rest.strip_prefix(' ')?.split_once('=')?;
        let (value, after) = scalar(value)?;
        fields.insert(name.to_owned(), value);
        rest = after;
    }
    fields.insert(rule.key.to_owned(), key);
    Some(fields)
}

fn scalars(mut rest: &str) -> Option<Vec<Value>> {
    let mut out = Vec::new();
    loop {
        let (value, after) = scalar(rest)?;
        out.push(value);
        match after {
            "" => return Some(out),
            after => rest = after.strip_prefix(' ')?,
        }
    }
}

fn whole_scalar(text: &str) -> Option<Value> {
    match scalar(text)? {
        (value, "") => Some(value),
        _ => None,
    }
}

/// The scalar at the head of `text`, and what follows it.
fn scalar(text: &str) -> Option<(Value, &str)> {
    if let Some(body) = text.strip_prefix('"') {
        return string(body);
    }
    let (word, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    let value = match word {
        "#true" => Value::Bool(true),
        "#false" => Value::Bool(false),
        number if number.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            number.parse().ok().map(Value::Number)?
        }
        _ => return None,
    };
    Some((value, rest))
}

/// A string after its opening quote.
fn string(body: &str) -> Option<(Value, &str)> {
    let end = body.find(['"', '\\'])?;
    if body.as_bytes()[end] == b'"' {
        return Some((Value::String(body[..end].to_owned()), &body[end + 1..]));
    }
    let mut out = String::new();
    let mut rest = body;
    loop {
        let at = rest.find(['"', '\\'])?;
        out.push_str(&rest[..at]);
        let escaped = &rest[at + 1..];
        if rest.as_bytes()[at] == b'"' {
            return Some((Value::String(out), escaped));
        }
        let (character, length) = match *escaped.as_bytes().first()? {
            b'"' => ('"', 1),
            b'\\' => ('\\', 1),
            b'n' => ('\n', 1),
            b'r' => ('\r', 1),
            b't' => ('\t', 1),
            b'u' => {
                let hex = escaped[1..].strip_prefix('{')?.split_once('}')?.0;
                (char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, hex.len() + 3)
            }
            _ => return None,
        };
        out.push(character);
        rest = &escaped[length..];
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::pins::FORMAT;
    use super::super::resolve::tests::tiny_lock;
    use super::*;

    #[test]
    fn a_canonical_text_takes_the_short_way_and_no_other_does() {
        let text = tiny_lock();
        let lock = parse(&text).expect("the tiny lock is canonical");
        assert_eq!(lock.to_kdl(), text);
        for edited in [
            text.replacen("root 7", "root  7", 1),
            text.replacen("root 7", "root 07", 1),
            text.replacen("root 7", "root 7 // seven", 1),
            text.replacen("root 7", "root 7\n    root 7", 1),
            text.replacen("    root 7", "        root 7", 1),
            text.replacen("lock 2\n", "", 1),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            format!("{text}}}\n"),
            text[..text.len() / 2].to_owned(),
            String::new(),
        ] {
            assert_eq!(parse(&edited), None, "{edited}");
        }
    }

    #[test]
    fn every_string_comes_back() {
        let mut lock = parse(&tiny_lock()).unwrap();
        let all: String = (0..0x2100).filter_map(char::from_u32).collect();
        for text in [all.as_str(), "", "\\", "\"", "a\\u{41}", "\u{2028}x", "}", "{", "a=\"b\" c"] {
            lock.experiment.description = Some(text.to_owned());
            lock.spec.overrides = vec![text.to_owned(), text.to_owned()];
            assert_eq!(parse(&lock.to_kdl()).as_ref(), Some(&lock), "{text:?}");
            // The long way agrees.
            assert_eq!(super::super::read::parse(Path::new("x"), &lock.to_kdl()).unwrap(), lock, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// What the short way takes, the long way reads as the same lock.
        #[test]
        fn the_short_way_takes_nothing_that_the_long_way_refuses(at: prop::sample::Index, byte in 0x20u8..0x7f) {
            let mut bytes = tiny_lock().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Some(lock) = String::from_utf8(bytes).ok().as_deref().and_then(parse) {
                prop_assert_eq!(super::super::read::parse_kdl_text(Path::new("x"), &lock.to_kdl()).ok(), Some((lock, FORMAT)));
            }
        }
    }
}
