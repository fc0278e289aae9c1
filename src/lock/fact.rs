//! Facts of a lock by dotted path, such as `runs.qwen.workload.sha256`, with
//! the value as written.

use serde::Serialize;
use serde_json::Value;

use super::codec;
use super::pins::{Lock, RunPin};

/// Facts in the lock's order.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Path and value.
    pub facts: Vec<(String, String)>,
    /// Lists of keyed things: path, and the keys in their order.
    pub lists: Vec<(String, Vec<String>)>,
}

/// Facts that all runs share.
pub(super) fn shared_facts(lock: &Lock) -> Facts {
    // Taken apart, so that no field of a lock is forgotten here.
    let Lock { lock: format, xp, versions, spec, experiment, seeds, resolved_model, bundle, runs: _ } = lock;
    let mut out = Facts::default();
    let mut add = |name: &str, value: Value| flatten(&value, name, &mut out);
    add("lock", json(format));
    add("xp", json(xp));
    add("versions", json(versions));
    add("spec", json(spec));
    add("experiment", json(experiment));
    add("seeds", json(seeds));
    add("resolved-model", json(resolved_model));
    add("bundle", json(bundle));
    out
}

/// Facts of a run, by their path below `runs.<id>`.
pub(super) fn run_facts(run: &RunPin) -> Facts {
    let mut value = json(run);
    if let Value::Object(fields) = &mut value {
        fields.shift_remove("id");
    }
    let mut out = Facts::default();
    flatten(&value, "", &mut out);
    out
}

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("a lock is plain data")
}

fn flatten(value: &Value, path: &str, out: &mut Facts) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            map.iter().for_each(|(name, value)| flatten(value, &join(path, name), out));
        }
        Value::Array(items) => {
            let field = path.rsplit('.').next().unwrap_or_default();
            match codec::key_of(field) {
                Some(key) => {
                    let mut keys = Vec::with_capacity(items.len());
                    for item in items {
                        let Value::Object(fields) = item else { continue };
                        let name = fields.get(key).and_then(Value::as_str).unwrap_or_default();
                        keys.push(segment(name));
                        let at = join(path, &segment(name));
                        for (field, value) in fields.iter().filter(|(field, _)| *field != key) {
                            flatten(value, &join(&at, field), out);
                        }
                    }
                    out.lists.push((path.to_owned(), keys));
                }
                None => {
                    // Quoted, since a text may hold spaces.
                    let items: Vec<String> = items.iter().map(Value::to_string).collect();
                    out.facts.push((path.to_owned(), items.join(" ")));
                }
            }
        }
        scalar_value => out.facts.push((path.to_owned(), scalar(scalar_value))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name as a part of a path: quoted where it would not be read as one name (file names, paths of axes).
pub(super) fn segment(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("{name:?}"),
    }
}

/// The names of a path, quoted ones with their quotes.
pub fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let mut escaped = false;
        let end = text.char_indices().find(|(_, c)| {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '.' => return !quoted,
                _ => {}
            }
            false
        });
        let (head, tail) = match end {
            Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        rest = tail;
        Some(head)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_dots_and_quotes_is_one_part_of_a_path() {
        for name in ["a", "a.b", "a\"b.c", "a\\", "", "logical cores", "\u{1b}[31m", "ä-1_x"] {
            let path = format!("bundle.files.{}.sha256", segment(name));
            let parts: Vec<&str> = segments(&path).collect();
            assert_eq!(parts.len(), 4, "{path}");
            assert_eq!((parts[0], parts[3]), ("bundle", "sha256"), "{path}");
        }
        assert_eq!(segment("compute/mlp.csv"), "\"compute/mlp.csv\"");
        assert_eq!(segments("xp").collect::<Vec<_>>(), ["xp"]);
    }
}
