//! What the JSON form of a lock has against being one, and where.

use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::pins::{FORMAT, Lock};
use super::read::lock_schema;
use crate::spec;

/// Longest message, in characters: a value of a hostile file may be megabytes.
const MAX_MESSAGE: usize = 200;

/// The first thing that is wrong.
#[derive(Debug)]
pub(super) struct Violation {
    /// JSON pointer of the value.
    pub pointer: String,
    pub message: String,
}

impl Violation {
    fn new(pointer: String, what: &str) -> Self {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        let message = if path.is_empty() { what.to_owned() } else { format!("{path}: {what}") };
        Self { pointer, message: bounded(&message) }
    }
}

/// Whether a lock that has the right types is right. Outside of its experiment, types are all there is.
pub(super) fn is_sound(lock: &Lock) -> bool {
    let experiment = serde_json::to_value(&lock.experiment).expect("an experiment is plain data");
    lock.lock == FORMAT && spec::faults(&experiment).is_empty()
}

/// The first mistake: of the experiment by the rules of `spec`, of all else by the schema and the types.
pub(super) fn violation(value: &Value) -> Option<Violation> {
    let experiment = value.get("experiment").filter(|experiment| experiment.is_object());
    if let Some(fault) = experiment.and_then(|experiment| spec::faults(experiment).into_iter().next()) {
        return Some(Violation::new(format!("/experiment{}", fault.pointer), &fault.message));
    }
    static VALIDATOR: LazyLock<Validator> =
        LazyLock::new(|| jsonschema::validator_for(&lock_schema()).expect("the lock's own schema is valid"));
    let found = VALIDATOR.iter_errors(value).next().map(|error| of_schema(&error));
    found.or_else(|| of_types(value))
}

fn of_schema(error: &ValidationError<'_>) -> Violation {
    let pointer = error.instance_path().as_str().to_owned();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } if !unexpected.is_empty() => {
            Violation::new(format!("{pointer}/{}", unexpected[0]), "a lock has no such fact")
        }
        ValidationErrorKind::Required { property } => {
            let what = format!("`{}` is missing", property.as_str().unwrap_or_default());
            Violation::new(pointer, &what)
        }
        // The message would hold all that the value holds.
        _ if error.instance().is_object() || error.instance().is_array() => {
            Violation::new(pointer, &error.masked().to_string())
        }
        _ => Violation::new(pointer, &error.to_string()),
    }
}

/// What the schema admits and the types do not, such as a number of more than 32 bits.
fn of_types(value: &Value) -> Option<Violation> {
    // Each value begins a line of this text, so the line of an error names the value.
    let text = serde_json::to_string_pretty(value).ok()?;
    let error = serde_json::from_str::<Lock>(&text).err()?;
    let mut lines = Vec::new();
    pointers(value, "", &mut lines);
    let pointer = lines.into_iter().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let message = error.to_string();
    Some(Violation::new(pointer, message.split(" at line ").next().unwrap_or_default()))
}

/// The pointer of the value that each line of the pretty text begins, or ends.
fn pointers(value: &Value, at: &str, lines: &mut Vec<String>) {
    lines.push(at.to_owned());
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), lines));
        }
        Value::Array(items) if !items.is_empty() => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), lines));
        }
        _ => return,
    }
    lines.push(at.to_owned());
}

fn bounded(message: &str) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}
