//! An experiment's file → a checked experiment and its cells.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::diagnostic::{Mistake, SourceText, SpecErrors};
use super::experiment::Experiment;
use super::lower::{Lowered, lower};
use super::matrix::{Cell, cells};
use super::overrides::{Override, apply};
use super::parse::parse_kdl;
use super::place::Finding;
use super::{check, violations};
use crate::store::{self, ReadError};

/// Largest experiment that is read, in bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// A checked experiment and its cells (at least one).
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub experiment: Experiment,
    pub cells: Vec<Cell>,
}

/// What is wrong with the JSON form of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer of the value.
    pub pointer: String,
    pub message: String,
}

/// Holds the JSON form of an experiment that comes from elsewhere, such as a lock, against the
/// schema and the rules between settings that [`load`] applies.
pub fn faults(instance: &Value) -> Vec<Fault> {
    let found = violations::violations(instance, None).into_iter().chain(check::contradictions(instance));
    found.map(|Finding { pointer, message, .. }| Fault { pointer, message }).collect()
}

/// Reads and checks an experiment; `name` is what diagnostics call the file.
///
/// # Errors
/// The file cannot be read (the cause is an [`std::io::Error`]), or it has mistakes: all of them.
pub fn load(path: &Path, name: &str, overrides: &[Override]) -> Result<Loaded, SpecErrors> {
    let text = read_text(path, name)?;
    load_text(name, &text, overrides)
}

/// Reads an experiment's file; `name` is what diagnostics call it.
///
/// # Errors
/// The file cannot be read (the cause is an [`std::io::Error`]), is too large, or is not UTF-8.
pub fn read_text(path: &Path, name: &str) -> Result<String, SpecErrors> {
    store::read_text_bounded(path, MAX_BYTES).map_err(|error| unreadable(name, error))
}

/// Reads an experiment from a stream; otherwise like [`read_text`].
///
/// # Errors
/// Those of [`read_text`].
pub fn read_stream(stream: impl Read, name: &str) -> Result<String, SpecErrors> {
    let path = PathBuf::from(name);
    let mut bytes = Vec::new();
    if let Err(source) = stream.take(MAX_BYTES + 1).read_to_end(&mut bytes) {
        return Err(unreadable(name, ReadError::Io { path, source }));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unreadable(name, ReadError::TooLarge { path, limit: MAX_BYTES }));
    }
    String::from_utf8(bytes).map_err(|error| {
        unreadable(name, ReadError::NotUtf8 { path, offset: error.utf8_error().valid_up_to() })
    })
}

fn unreadable(name: &str, error: ReadError) -> SpecErrors {
    match error {
        ReadError::Io { source, .. } | ReadError::NotAFile { source, .. } => SpecErrors::io(name, source),
        ReadError::TooLarge { limit, .. } => {
            let message = format!("{name} is larger than {limit} bytes");
            Mistake::new("xp::spec::too_large", message).help("is this an experiment?").into()
        }
        ReadError::NotUtf8 { offset, .. } => {
            let message = format!("{name} is not UTF-8: byte {offset} does not belong to a character");
            Mistake::new("xp::spec::not_utf8", message).help("save it as UTF-8 text").into()
        }
    }
}

/// Checks an experiment's text without looking at any file.
///
/// # Errors
/// Every mistake of the text and of the overrides.
pub fn load_text(name: &str, text: &str, overrides: &[Override]) -> Result<Loaded, SpecErrors> {
    let document = parse_kdl(name, text, MAX_BYTES)?;
    let Lowered { mut value, mut places, mut mistakes } = lower(&document, SourceText::new(name, text));
    mistakes.extend(apply(&mut value, &mut places, overrides));
    let mut findings = violations::violations(&value, Some(&places));
    for finding in check::contradictions(&value) {
        let known = findings.iter().any(|other| other.pointer == finding.pointer);
        if !known && !places.is_refused(&finding.pointer) {
            findings.push(finding);
        }
    }
    mistakes.extend(findings.iter().map(|finding| places.mistake(finding)));
    if !mistakes.is_empty() {
        return Err(SpecErrors::new(name, mistakes));
    }
    let experiment = Experiment::deserialize(&value).map_err(|error| {
        let finding = Finding::new("", "xp::spec::value", format!("the experiment cannot be read: {error}"));
        SpecErrors::new(name, vec![places.mistake(&finding)])
    })?;
    let cells = cells(&experiment).map_err(|findings| {
        SpecErrors::new(name, findings.iter().map(|found| found.mistake(&places)).collect())
    })?;
    Ok(Loaded { experiment, cells })
}
