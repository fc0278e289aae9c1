//! The part of YAML that `meta.yaml` is written in, as a tree whose nodes know where they stand: maps,
//! lists and scalars. Aliases, anchors, tags and a second document are refused, so that what is read is
//! never larger than its text.

use std::borrow::Cow;
use std::path::Path;

use saphyr_parser::{Event, Parser, Span};

use super::KernelProfileError;

/// Deepest nesting that is read; profiles have four levels.
const MAX_DEPTH: usize = 32;

/// A value and the line and column (from 1) where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub at: (u64, u64),
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Scalar(String),
    List(Vec<Node>),
    /// In the order of the file; keys differ.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }
}

/// A map or list that has begun and not ended.
struct Open {
    node: Node,
    /// In a map: the key whose value is awaited.
    key: Option<String>,
}

/// Reads a text of one document.
pub(super) fn parse(path: &Path, text: &str) -> Result<Node, KernelProfileError> {
    let mut stack: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            KernelProfileError::invalid(
                path,
                place(error.marker().line(), error.marker().col()),
                format!("no YAML: {}", error.info()),
                "restore the file as its profiler wrote it",
            )
        })?;
        let at = start(&span);
        let refuse = |what: &str| {
            KernelProfileError::invalid(path, at, what, "write the value itself: maps, lists and scalars")
        };
        let done = match event {
            Event::Scalar(text, _, 0, None) => Some(scalar(text, at)),
            Event::MappingStart(0, None) => {
                stack.push(Open { node: Node { at, value: Value::Map(Vec::new()) }, key: None });
                None
            }
            Event::SequenceStart(0, None) => {
                stack.push(Open { node: Node { at, value: Value::List(Vec::new()) }, key: None });
                None
            }
            Event::MappingEnd | Event::SequenceEnd => stack.pop().map(|open| open.node),
            Event::Scalar(..) | Event::MappingStart(..) | Event::SequenceStart(..) | Event::Alias(_) => {
                return Err(refuse("an anchor, an alias or a tag"));
            }
            _ => None,
        };
        if stack.len() > MAX_DEPTH {
            return Err(refuse("more nesting than any profile has"));
        }
        let Some(node) = done else { continue };
        match stack.last_mut() {
            None if root.is_some() => return Err(refuse("a second document")),
            None => root = Some(node),
            Some(open) => open.take(node).map_err(|what| refuse(&what))?,
        }
    }
    root.ok_or_else(|| {
        KernelProfileError::invalid(
            path,
            (1, 1),
            "the file is empty",
            "restore the file as its profiler wrote it",
        )
    })
}

impl Open {
    /// Takes the next key or value.
    fn take(&mut self, node: Node) -> Result<(), String> {
        match (&mut self.node.value, self.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some(key)) => entries.push((key, node)),
            (Value::Map(entries), None) => match node.value {
                Value::Scalar(key) if entries.iter().any(|(name, _)| *name == key) => {
                    return Err(format!("the key {key:?} is given twice"));
                }
                Value::Scalar(key) => self.key = Some(key),
                _ => return Err("a key that is no scalar".to_owned()),
            },
            (Value::Scalar(_), _) => {}
        }
        Ok(())
    }
}

fn scalar(text: Cow<'_, str>, at: (u64, u64)) -> Node {
    Node { at, value: Value::Scalar(text.into_owned()) }
}

fn start(span: &Span) -> (u64, u64) {
    place(span.start.line(), span.start.col())
}

/// The parser counts columns from 0.
fn place(line: usize, column: usize) -> (u64, u64) {
    (line as u64, column as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        parse(Path::new("meta.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn values_know_where_they_stand() {
        let root = read("a: 1\nb:\n  c: [2, 3]\n  'd': \"x: y\"\n").unwrap();
        let b = root.get("b").unwrap();
        let Value::List(items) = &b.get("c").unwrap().value else { panic!("{b:?}") };
        assert_eq!(items[1], Node { at: (3, 10), value: Value::Scalar("3".to_owned()) });
        assert_eq!(b.get("d").unwrap().value, Value::Scalar("x: y".to_owned()));
        assert_eq!(root.get("c"), None);
    }

    #[test]
    fn what_grows_when_it_is_read_is_refused() {
        for (text, wanted) in [
            ("a: &x 1\nb: *x\n", "meta.yaml:1:"),
            ("a: !!str 1\n", "tag"),
            ("a: 1\na: 2\n", "meta.yaml:2:1: the key \"a\" is given twice"),
            ("a: 1\n---\nb: 2\n", "second document"),
            ("{[1]: 2}", "no scalar"),
            ("a: [1", "no YAML"),
            ("", "empty"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
        for deep in ["[", "{a: ", "- "] {
            // Refused here, or by the parser's own bound.
            let error = read(&deep.repeat(100_000)).unwrap_err();
            assert!(error.len() < 200, "{error}");
        }
    }
}
