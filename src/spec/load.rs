//! An experiment's file → a checked experiment and its cells.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::admission::{self, View};
use super::cells::{CellFinding, Expansion, cells};
use super::diagnostic::{Mistake, SpecErrors};
use super::experiment::{Experiment, Model, Source};
use super::layers::{Assembled, assemble};
use super::matrix::Cell;
use super::overrides::{Override, apply};
use super::place::{Finding, Places};
use super::world::{OneText, World};
use super::{check, implied, violations};
use crate::catalog::{self, ModelConfig};
use crate::store::{self, ReadError};

/// Largest file of an experiment that is read, in bytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// A checked experiment and its cells (at least one).
#[derive(Debug, Clone)]
pub struct Loaded {
    pub experiment: Experiment,
    pub cells: Vec<Cell>,
    /// What may be meant as it is, and is worth a second look.
    pub warnings: Vec<Mistake>,
}

/// What a command line changes of an experiment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Presets that are used after those of the file, in order.
    pub presets: Vec<String>,
    /// Settings that win over all else.
    pub overrides: Vec<Override>,
}

/// What is wrong with the JSON form of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer of the value.
    pub pointer: String,
    pub message: String,
}

/// Holds the JSON form of an experiment that comes from elsewhere, such as a lock, against the
/// schema and the rules between settings that [`load`] applies, but for those that need the model's shape.
pub fn faults(instance: &Value) -> Vec<Fault> {
    let found = violations::violations(instance, None).into_iter().chain(check::contradictions(instance));
    found.map(|Finding { pointer, message, .. }| Fault { pointer, message }).collect()
}

/// Reads and checks an experiment; `path` is relative to the world's project.
///
/// # Errors
/// The file cannot be read (the cause is an [`std::io::Error`]), or it or a file that it includes has
/// mistakes: all of them.
pub fn load(world: &dyn World, path: &str, changes: &Changes) -> Result<Loaded, SpecErrors> {
    let name = world.shown(path);
    let text = world.read(path, MAX_BYTES).map_err(|error| unreadable(&name, error))?;
    check_all(world, path, &text, changes)
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
    let said = cannot_read(name, &error).0;
    match error {
        ReadError::Io { source, .. } | ReadError::NotAFile { source, .. } => SpecErrors::io(name, source),
        ReadError::TooLarge { .. } => {
            Mistake::new("xp::spec::too_large", said).help("is this an experiment?").into()
        }
        ReadError::NotUtf8 { .. } => {
            Mistake::new("xp::spec::not_utf8", said).help("save it as UTF-8 text").into()
        }
    }
}

/// Checks an experiment's text without looking at any file: it can include none.
///
/// # Errors
/// Every mistake of the text and of the overrides.
pub fn load_text(name: &str, text: &str, overrides: &[Override]) -> Result<Loaded, SpecErrors> {
    let changes = Changes { presets: Vec::new(), overrides: overrides.to_vec() };
    check_all(&OneText { name, text }, name, text, &changes)
}

/// Why a file cannot be read, and what the system says of it.
pub(super) fn cannot_read<'e>(name: &str, error: &'e ReadError) -> (String, Option<&'e io::Error>) {
    match error {
        ReadError::Io { source, .. } | ReadError::NotAFile { source, .. } => {
            (format!("cannot read {name}"), Some(source))
        }
        ReadError::TooLarge { limit, .. } => (format!("{name} is larger than {limit} bytes"), None),
        ReadError::NotUtf8 { offset, .. } => {
            (format!("{name} is not UTF-8: byte {offset} does not belong to a character"), None)
        }
    }
}

fn check_all(world: &dyn World, path: &str, text: &str, changes: &Changes) -> Result<Loaded, SpecErrors> {
    let name = world.shown(path);
    let Assembled { mut value, mut places, mut mistakes, broken } =
        assemble(world, path, text, &changes.presets);
    if value.is_null() {
        return Err(SpecErrors::new(&name, mistakes));
    }
    mistakes.extend(apply(&mut value, &mut places, &changes.overrides));
    implied::fill(&mut value);
    let mut findings = violations::violations(&value, Some(&places));
    let shape = shape(world, &value);
    let mut warnings = Vec::new();
    if broken {
        // What is missing, and what does not fit to it, may be in what could not be read.
        findings.retain(|finding| finding.code != violations::MISSING);
    } else {
        let mut rules = check::contradictions(&value);
        if let Some(shape) = &shape {
            View::of_instance(&value).findings(shape, &mut rules);
        }
        for finding in rules {
            let known = findings.iter().any(|other| other.pointer == finding.pointer);
            if finding.warning {
                warnings.push(places.mistake(&finding));
            } else if !known && !places.is_refused(&finding.pointer) {
                findings.push(finding);
            }
        }
    }
    mistakes.extend(findings.iter().map(|finding| places.mistake(finding)));
    if !mistakes.is_empty() {
        return Err(SpecErrors::new(&name, mistakes));
    }
    let experiment = Experiment::deserialize(&value).map_err(|error| {
        let finding = Finding::new("", "xp::spec::value", format!("the experiment cannot be read: {error}"));
        SpecErrors::new(&name, vec![places.mistake(&finding)])
    })?;
    let say = |found: &[CellFinding], places: &Places| -> Vec<Mistake> {
        found.iter().map(|found| found.mistake(places)).collect()
    };
    let Expansion { cells, warnings: of_cells } =
        cells(&experiment, shape.as_ref()).map_err(|found| SpecErrors::new(&name, say(&found, &places)))?;
    warnings.extend(say(&of_cells, &places));
    Mistake::sort(&mut warnings);
    Ok(Loaded { experiment, cells, warnings })
}

/// The shape of the model that an instance names, if it is known or at hand.
fn shape(world: &dyn World, instance: &Value) -> Option<ModelConfig> {
    let model: Model = check::part(instance, "/model")?;
    match &model.source {
        Source::Synthetic => catalog::model(&model.name).cloned(),
        source => world.shape(source, instance.get("data").and_then(Value::as_str)),
    }
}

/// Rules of [`load`] that an experiment breaks for a model of this shape; warnings are left aside.
pub fn unfit(experiment: &Experiment, shape: &ModelConfig) -> Vec<String> {
    let mut findings = Vec::new();
    admission::View::of(experiment).findings(shape, &mut findings);
    findings.into_iter().filter(|finding| !finding.warning).map(|finding| finding.message).collect()
}
