//! Lock facts as KDL and back. One rule per shape: a scalar is `name value`,
//! an object is `name { … }`, a list of keyed things repeats a singular node
//! (`file "config.json" bytes=… sha256=…`). No schema is needed to write.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use kdl::{KdlDocument, KdlIdentifier, KdlNode, KdlValue};
use serde_json::{Map, Number, Value};

/// A list field whose elements are nodes of their own, named by their key.
pub(super) struct ListRule {
    /// Field that holds the list.
    pub field: &'static str,
    /// Node written for each element.
    pub node: &'static str,
    /// The element's field that becomes the node's argument.
    pub key: &'static str,
    /// Other fields are properties on the same line: one element is one fact.
    inline: bool,
}

const LISTS: &[ListRule] = &[
    ListRule { field: "backends", node: "backend", key: "name", inline: false },
    ListRule { field: "matrix", node: "axis", key: "path", inline: false },
    ListRule { field: "runs", node: "run", key: "id", inline: false },
    ListRule { field: "set", node: "set", key: "path", inline: true },
    ListRule { field: "files", node: "file", key: "file", inline: true },
    ListRule { field: "hardware", node: "fact", key: "name", inline: true },
];

/// Fields that are lists of scalars, written as several arguments.
const SCALAR_LISTS: &[&str] = &["values", "presets", "overrides", "packages"];

/// The key field of a list's elements, for naming facts.
pub(super) fn key_of(field: &str) -> Option<&'static str> {
    LISTS.iter().find(|rule| rule.field == field).map(|rule| rule.key)
}

/// The list whose elements are written as nodes of this name.
pub(super) fn list_of(node: &str) -> Option<&'static ListRule> {
    LISTS.iter().find(|rule| rule.node == node)
}

/// Whether a field is a list of scalars, several arguments of one node.
pub(super) fn is_scalar_list(field: &str) -> bool {
    SCALAR_LISTS.contains(&field)
}

/// Appends the canonical text of an object.
pub(crate) fn write(out: &mut String, value: &Value) {
    if let Value::Object(map) = value {
        write_object(out, map, 0);
    }
}

fn write_object(out: &mut String, map: &Map<String, Value>, depth: usize) {
    for (name, value) in map {
        match value {
            Value::Null => {}
            Value::Object(inner) if inner.is_empty() => {}
            Value::Object(inner) => {
                indent(out, depth);
                let _ = writeln!(out, "{name} {{");
                write_object(out, inner, depth + 1);
                indent(out, depth);
                out.push_str("}\n");
            }
            Value::Array(items) => write_list(out, name, items, depth),
            scalar => {
                indent(out, depth);
                let _ = write!(out, "{name} ");
                write_scalar(out, scalar);
                out.push('\n');
            }
        }
    }
}

fn write_list(out: &mut String, name: &str, items: &[Value], depth: usize) {
    let Some(rule) = LISTS.iter().find(|rule| rule.field == name) else {
        if !items.is_empty() {
            indent(out, depth);
            out.push_str(name);
            for item in items {
                out.push(' ');
                write_scalar(out, item);
            }
            out.push('\n');
        }
        return;
    };
    for item in items {
        let Value::Object(fields) = item else { continue };
        indent(out, depth);
        let _ = write!(out, "{} ", rule.node);
        write_scalar(out, fields.get(rule.key).unwrap_or(&Value::Null));
        let others = fields.iter().filter(|(name, value)| *name != rule.key && !value.is_null());
        if rule.inline {
            for (name, value) in others {
                let _ = write!(out, " {name}=");
                write_scalar(out, value);
            }
            out.push('\n');
        } else {
            out.push_str(" {\n");
            let others = others.map(|(name, value)| (name.clone(), value.clone())).collect();
            write_object(out, &others, depth + 1);
            indent(out, depth);
            out.push_str("}\n");
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("    ");
    }
}

fn write_scalar(out: &mut String, value: &Value) {
    match value {
        Value::Bool(true) => out.push_str("#true"),
        Value::Bool(false) => out.push_str("#false"),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(text) => {
            out.push('"');
            for c in text.chars() {
                match c {
                    '"' => out.push_str("\\\""),
                    '\\' => out.push_str("\\\\"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    c if c.is_control()
                        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                    {
                        let _ = write!(out, "\\u{{{:x}}}", c as u32);
                    }
                    c => out.push(c),
                }
            }
            out.push('"');
        }
        Value::Null | Value::Array(_) | Value::Object(_) => out.push_str("#null"),
    }
}

/// Byte range in the source text.
pub(crate) type Span = (usize, usize);

/// Why a document is not a lock's shape, and where.
#[derive(Debug)]
pub(crate) struct ShapeError {
    pub message: String,
    pub span: Span,
}

/// Where each value stands, by JSON pointer.
pub(crate) type Spans = BTreeMap<String, Span>;

/// Reads a document into an object, remembering where each value stands.
pub(crate) fn read(document: &KdlDocument) -> Result<(Map<String, Value>, Spans), ShapeError> {
    let mut spans = Spans::new();
    let value = read_object(document.nodes(), "", &mut spans)?;
    Ok((value, spans))
}

fn span_of(node: &KdlNode) -> Span {
    let span = node.name().span();
    (span.offset(), span.len())
}

/// Longest name of a fact, in bytes. A pointer holds the names of all that is around a value.
const MAX_NAME: usize = 64;

/// The name of a node or a property, if a fact can have it.
fn named(name: &KdlIdentifier) -> Result<&str, ShapeError> {
    let text = name.value();
    if text.len() <= MAX_NAME {
        return Ok(text);
    }
    let start: String = text.chars().take(40).collect();
    let message = format!("`{start}…` is no fact of a lock");
    Err(ShapeError { message, span: (name.span().offset(), name.span().len()) })
}

fn read_object(
    nodes: &[KdlNode],
    pointer: &str,
    spans: &mut Spans,
) -> Result<Map<String, Value>, ShapeError> {
    let mut out = Map::new();
    let mut keys = BTreeSet::new();
    for node in nodes {
        let name = named(node.name())?;
        if let Some(rule) = LISTS.iter().find(|rule| rule.node == name && is_element(node, rule)) {
            let list = out.entry(rule.field).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = list else { return Err(twice(node)) };
            let at = format!("{pointer}/{}/{}", rule.field, items.len());
            spans.entry(format!("{pointer}/{}", rule.field)).or_insert(span_of(node));
            let element = read_element(node, rule, &at, spans)?;
            if let Some(Value::String(key)) = element.get(rule.key)
                && !keys.insert((rule.node, key.clone()))
            {
                let shown: String = key.chars().take(MAX_NAME).collect();
                let cut = if shown.len() < key.len() { "…" } else { "" };
                let message = format!("`{} {:?}` is given twice", rule.node, shown + cut);
                let span = spans.get(&format!("{at}/{}", rule.key)).copied().unwrap_or(span_of(node));
                return Err(ShapeError { message, span });
            }
            items.push(Value::Object(element));
            continue;
        }
        let at = format!("{pointer}/{name}");
        spans.insert(at.clone(), span_of(node));
        let value = read_value(node, &at, spans)?;
        if out.insert(name.to_owned(), value).is_some() {
            return Err(twice(node));
        }
    }
    Ok(out)
}

/// `hardware { device … }` of the experiment is an object, `fact` nodes are a list;
/// a list's element always has its key as the first argument.
fn is_element(node: &KdlNode, rule: &ListRule) -> bool {
    rule.node != rule.field || matches!(node.get(0), Some(KdlValue::String(_)))
}

fn read_element(
    node: &KdlNode,
    rule: &ListRule,
    at: &str,
    spans: &mut Spans,
) -> Result<Map<String, Value>, ShapeError> {
    let mut fields = match node.children() {
        Some(children) => read_object(children.nodes(), at, spans)?,
        None => Map::new(),
    };
    spans.insert(at.to_owned(), span_of(node));
    let mut keyed = false;
    for entry in node.entries() {
        let span = (entry.span().offset(), entry.span().len());
        let name = match entry.name() {
            Some(name) => named(name)?,
            None if keyed => {
                return Err(ShapeError { message: format!("`{}` takes one argument", rule.node), span });
            }
            None => {
                keyed = true;
                rule.key
            }
        };
        spans.insert(format!("{at}/{name}"), span);
        if fields.insert(name.to_owned(), scalar(entry.value(), span)?).is_some() {
            return Err(ShapeError { message: format!("`{name}` is given twice"), span });
        }
    }
    Ok(fields)
}

fn read_value(node: &KdlNode, at: &str, spans: &mut Spans) -> Result<Value, ShapeError> {
    let name = node.name().value();
    if let Some(children) = node.children() {
        if let Some(entry) = node.entries().first() {
            let span = (entry.span().offset(), entry.span().len());
            return Err(ShapeError { message: format!("`{name}` takes a block, not a value"), span });
        }
        return Ok(Value::Object(read_object(children.nodes(), at, spans)?));
    }
    let mut values = Vec::new();
    for entry in node.entries() {
        let span = (entry.span().offset(), entry.span().len());
        if entry.name().is_some() {
            return Err(ShapeError { message: format!("`{name}` takes no properties"), span });
        }
        spans.insert(at.to_owned(), span);
        values.push(scalar(entry.value(), span)?);
    }
    if SCALAR_LISTS.contains(&name) {
        return Ok(Value::Array(values));
    }
    match values.len() {
        1 => Ok(values.remove(0)),
        n => Err(ShapeError { message: format!("`{name}` takes one value, not {n}"), span: span_of(node) }),
    }
}

fn twice(node: &KdlNode) -> ShapeError {
    ShapeError { message: format!("`{}` is given twice", node.name().value()), span: span_of(node) }
}

fn scalar(value: &KdlValue, span: Span) -> Result<Value, ShapeError> {
    let refuse = |message: &str| ShapeError { message: message.to_owned(), span };
    Ok(match value {
        KdlValue::String(text) => Value::String(text.clone()),
        KdlValue::Bool(flag) => Value::Bool(*flag),
        KdlValue::Null => return Err(refuse("a lock has no nulls")),
        KdlValue::Float(float) => {
            Value::Number(Number::from_f64(*float).ok_or_else(|| refuse("a lock has finite numbers only"))?)
        }
        KdlValue::Integer(integer) => match (u64::try_from(*integer), i64::try_from(*integer)) {
            (Ok(unsigned), _) => Value::from(unsigned),
            (_, Ok(signed)) => Value::from(signed),
            _ => return Err(refuse("this number is too large")),
        },
    })
}
