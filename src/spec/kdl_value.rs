//! KDL values as JSON, and where in the text they stand.

use kdl::{KdlEntry, KdlNode, KdlValue};
use serde_json::{Number, Value};

use super::diagnostic::Span;

/// Largest magnitude of a number that a setting may have: all of `u64`.
const LARGEST: f64 = 18_446_744_073_709_551_616.0;

/// A KDL value as JSON, or why JSON or a setting cannot hold it.
pub(super) fn scalar(value: &KdlValue) -> Result<Value, (&'static str, &'static str)> {
    match value {
        KdlValue::String(text) => Ok(Value::String(text.clone())),
        KdlValue::Bool(flag) => Ok(Value::Bool(*flag)),
        KdlValue::Null => {
            Err(("`#null` is no value of a setting", "leave the setting away to get its default"))
        }
        KdlValue::Integer(integer) => match (u64::try_from(*integer), i64::try_from(*integer)) {
            (Ok(unsigned), _) => Ok(Value::from(unsigned)),
            (_, Ok(signed)) => Ok(Value::from(signed)),
            _ => Err(("this number is too large", "no setting takes a number beyond 64 bits")),
        },
        KdlValue::Float(float) if !float.is_finite() || float.abs() >= LARGEST => Err((
            "this is not a finite number of a useful size",
            "settings take plain numbers such as 2 or 0.5",
        )),
        // 64.0 and 64 are the same number; JSON readers disagree on that.
        KdlValue::Float(float) if float.fract() == 0.0 && *float >= 0.0 => Ok(Value::from(*float as u64)),
        KdlValue::Float(float) => Ok(Number::from_f64(*float).map_or(Value::Null, Value::Number)),
    }
}

pub(super) fn span(span: miette::SourceSpan) -> Span {
    (span.offset(), span.len())
}

/// The value of an entry, without its name.
pub(super) fn value_span(entry: &KdlEntry) -> Span {
    let (offset, length) = span(entry.span());
    let written = entry.format().map_or(length, |format| format.value_repr.len()).min(length);
    (offset + length - written, written)
}

pub(super) fn name_span(entry: &KdlEntry) -> Span {
    entry.name().map_or_else(|| value_span(entry), |name| span(name.span()))
}

/// A node's name and entries, without its block.
pub(super) fn head_span(node: &KdlNode) -> Span {
    let (start, length) = span(node.name().span());
    let ends = node.entries().iter().map(|entry| entry.span().offset() + entry.span().len());
    let end = ends.fold(start + length, usize::max);
    (start, end - start)
}
