//! Where each value of an instance was written, by JSON pointer, and findings
//! about the instance on their way to becoming mistakes of a text.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{Mistake, SourceText, Span};

/// The layer of every `--set`.
pub(super) const OVERRIDES: usize = usize::MAX;

/// Where a value was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Index into [`Places::sources`].
    pub source: usize,
    /// What a later layer says wins; [`OVERRIDES`] is the last one.
    pub layer: usize,
    /// Its name: a node's, a property's, a path.
    pub name: Span,
    /// The value itself; a node's head for an object.
    pub value: Span,
}

/// Places of an instance's values.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// The file, those that it includes, and each `--set`.
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
    /// It may be meant: no mistake by itself.
    pub warning: bool,
    /// Other values that have to do with it.
    pub also: Vec<Also>,
}

/// A value that has to do with a finding about another.
#[derive(Debug, Clone)]
pub(super) struct Also {
    pub pointer: String,
    pub label: String,
    /// Show what stands around the value when its default holds.
    near: bool,
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
            warning: false,
            also: Vec::new(),
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

    /// Labels another value where it is written.
    pub fn also(mut self, pointer: impl Into<String>, label: impl Into<String>) -> Self {
        self.also.push(Also { pointer: pointer.into(), label: label.into(), near: false });
        self
    }

    /// Labels another value, or the node that could say it.
    pub fn near(mut self, pointer: impl Into<String>, label: impl Into<String>) -> Self {
        self.also.push(Also { pointer: pointer.into(), label: label.into(), near: true });
        self
    }

    pub fn into_warning(mut self) -> Self {
        self.warning = true;
        self
    }

    pub fn on_name(mut self) -> Self {
        self.part = Part::Name;
        self
    }
}

impl Places {
    /// Adds a text that places point into; its index.
    pub fn add_source(&mut self, source: SourceText) -> usize {
        self.sources.push(source);
        self.sources.len() - 1
    }

    /// Remembers where a value stands; an earlier place of it is replaced.
    pub fn insert(&mut self, pointer: impl Into<String>, place: Place) {
        self.places.insert(pointer.into(), place);
    }

    pub fn get(&self, pointer: &str) -> Option<&Place> {
        self.places.get(pointer)
    }

    /// How many values have a place.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Forgets a value and all that is in it; gives their places, by what follows `pointer`.
    pub fn take(&mut self, pointer: &str) -> Vec<(String, Place)> {
        let inside = |key: &str| {
            key.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // Between a value and what is in it stand those whose names go on with a `-`.
        let from = self.places.range(pointer.to_owned()..).map(|(key, _)| key);
        let keys: Vec<String> =
            from.take_while(|key| key.starts_with(pointer)).filter(|key| inside(key)).cloned().collect();
        self.refused.retain(|refused| !inside(refused));
        let taken = keys.into_iter().filter_map(|key| {
            let place = self.places.remove(&key)?;
            Some((key[pointer.len()..].to_owned(), place))
        });
        taken.collect()
    }

    /// Forgets the item of a list; those behind it move up.
    pub fn remove_item(&mut self, list: &str, index: usize, length: usize) {
        self.take(&format!("{list}/{index}"));
        for behind in index + 1..length {
            for (rest, place) in self.take(&format!("{list}/{behind}")) {
                self.insert(format!("{list}/{}{rest}", behind - 1), place);
            }
        }
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
        let mut mistake = if finding.warning { mistake.into_warning() } else { mistake };
        for Also { pointer, label, near } in &finding.also {
            let other = if *near { self.nearest(pointer).map(|(place, _)| place) } else { self.get(pointer) };
            let Some(other) = other.filter(|other| (other.source, other.value) != (place.source, span))
            else {
                continue;
            };
            let text = &self.sources[other.source];
            mistake = match other.source == place.source {
                true => mistake.and(text, other.value, label),
                false => mistake.elsewhere(text, other.value, format!("and in {}", text.name), label),
            };
        }
        mistake.help(&finding.help)
    }
}
