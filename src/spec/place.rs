//! Where each value of an instance was written, by JSON pointer, and findings
//! about the instance on their way to becoming mistakes of a text.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{Mistake, SourceText, Span};

/// Where a value was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Index into [`Places::sources`].
    pub source: usize,
    /// Its name: a node's, a property's, a path.
    pub name: Span,
    /// The value itself; a node's head for an object.
    pub value: Span,
}

/// Places of an instance's values.
#[derive(Debug)]
pub(super) struct Places {
    /// The file, then each `--set`.
    pub sources: Vec<SourceText>,
    places: BTreeMap<String, Place>,
    /// Values that were refused already: what else is wrong with them is a consequence.
    refused: BTreeSet<String>,
}

/// Which part of a place is underlined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Name,
    Value,
}

/// Something is wrong with a value of an instance.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub pointer: String,
    pub part: Part,
    pub code: &'static str,
    pub message: String,
    pub label: String,
    pub help: String,
    /// A second value that has to do with it, and its label.
    pub also: Option<(String, String)>,
}

impl Finding {
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            part: Part::Value,
            code,
            message: message.into(),
            label: "here".to_owned(),
            help: String::new(),
            also: None,
        }
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    pub fn also(mut self, pointer: impl Into<String>, label: impl Into<String>) -> Self {
        self.also = Some((pointer.into(), label.into()));
        self
    }

    pub fn on_name(mut self) -> Self {
        self.part = Part::Name;
        self
    }
}

impl Places {
    pub fn new(file: SourceText) -> Self {
        Self { sources: vec![file], places: BTreeMap::new(), refused: BTreeSet::new() }
    }

    /// Remembers where a value stands; an earlier place of it is replaced.
    pub fn insert(&mut self, pointer: impl Into<String>, place: Place) {
        self.places.insert(pointer.into(), place);
    }

    pub fn get(&self, pointer: &str) -> Option<&Place> {
        self.places.get(pointer)
    }

    /// A value was refused; later findings about it are left out.
    pub fn refuse(&mut self, pointer: impl Into<String>) {
        self.refused.insert(pointer.into());
    }

    /// The value was replaced by another.
    pub fn accept(&mut self, pointer: &str) {
        self.refused.remove(pointer);
    }

    /// Whether the value, or one around it, was refused.
    pub fn is_refused(&self, pointer: &str) -> bool {
        self.refused.iter().any(|refused| {
            pointer
                .strip_prefix(refused.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The place of a value, or of the closest one around it that was written.
    pub fn nearest(&self, pointer: &str) -> Option<(&Place, bool)> {
        let mut at = pointer;
        loop {
            if let Some(place) = self.places.get(at) {
                return Some((place, at.len() == pointer.len()));
            }
            at = &at[..at.rfind('/')?];
        }
    }

    /// The finding as a mistake of the text.
    pub fn mistake(&self, finding: &Finding) -> Mistake {
        self.mistake_at(finding, self.nearest(&finding.pointer))
    }

    /// The same at a place that is known.
    pub fn mistake_at(&self, finding: &Finding, place: Option<(&Place, bool)>) -> Mistake {
        let Some((place, exact)) = place else {
            return Mistake::new(finding.code, &finding.message).help(&finding.help);
        };
        let source = &self.sources[place.source];
        let span = if finding.part == Part::Name && exact { place.name } else { place.value };
        let mistake = Mistake::at(source, span, finding.code, &finding.message, &finding.label);
        let also =
            finding.also.as_ref().and_then(|(pointer, label)| Some((self.places.get(pointer)?, label)));
        let mistake = match also {
            Some((other, label)) if other.source == place.source => mistake.and(source, other.value, label),
            _ => mistake,
        };
        mistake.help(&finding.help)
    }
}
