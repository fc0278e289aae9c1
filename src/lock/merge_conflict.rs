//! Conflicts that a merge has left in a lock's text: found, named, and taken
//! apart into its sides.

use std::ops::Range;

use miette::{LabeledSpan, NamedSource};

use super::merge_tree::{Node, Part, part, path};

pub(super) const OURS: &str = "<<<<<<< ";
pub(super) const BASE: &str = "||||||| ";
pub(super) const BETWEEN: &str = "=======";
pub(super) const THEIRS: &str = ">>>>>>> ";

/// A fact of which a text has two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextConflict {
    /// Path of the fact, or of the first of several.
    pub fact: String,
    /// What each side says, for people; None: nothing.
    pub ours: Option<String>,
    pub theirs: Option<String>,
    /// Bytes of the text, from the first marker to the last.
    pub span: Range<usize>,
}

/// A lock with conflicts is no lock until they are settled.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("unresolved {} in {facts}", if *count == 1 { "conflict" } else { "conflicts" })]
#[diagnostic(
    code(xp::lock::conflict),
    help("settle the experiment first; then `xp lock {spec}` writes the lock anew from it")
)]
pub struct ConflictError {
    count: usize,
    /// The first few, by their paths.
    facts: String,
    /// Path of the experiment.
    spec: String,
    #[source_code]
    source_code: NamedSource<String>,
    #[label(collection)]
    labels: Vec<LabeledSpan>,
}

/// Which version of a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Ours,
    Theirs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Ours,
    Base,
    Between,
    Theirs,
}

fn marker(line: &str) -> Option<Marker> {
    let line = line.trim_end_matches(['\n', '\r']);
    let is = |marker: &str| line.starts_with(marker) || line == marker.trim_end();
    match () {
        () if is(OURS) => Some(Marker::Ours),
        () if is(BASE) => Some(Marker::Base),
        () if line == BETWEEN => Some(Marker::Between),
        () if is(THEIRS) => Some(Marker::Theirs),
        () => None,
    }
}

/// The conflicts of a text, in its order; quick where there are none.
pub fn conflicts(text: &str) -> Vec<TextConflict> {
    let may_have = [OURS, BASE, THEIRS].iter().any(|marker| text.contains(marker.trim_end()));
    if !may_have && !text.contains(BETWEEN) {
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut found: Option<Open<'_>> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let span = at..at + line.trim_end().len();
        at += line.len();
        match (marker(line), &mut found) {
            (Some(Marker::Theirs), found) => {
                let ended = found.take().unwrap_or_else(|| Open::at(span.start));
                out.push(ended.conflict(&open, span.end));
            }
            (Some(side), Some(found)) => found.side = side,
            (Some(side), none) => *none = Some(Open { side, ..Open::at(span.start) }),
            (None, Some(found)) => match found.side {
                Marker::Ours => found.ours.push(line),
                Marker::Between => found.theirs.push(line),
                Marker::Base | Marker::Theirs => {}
            },
            (None, None) => match part(line) {
                Part::Opens(head) => open.push(head),
                Part::Closes => {
                    open.pop();
                }
                Part::Fact(_) | Part::Blank => {}
            },
        }
    }
    out.extend(found.map(|found| found.conflict(&open, text.trim_end().len())));
    out
}

/// A conflict whose end was not seen yet.
struct Open<'a> {
    start: usize,
    side: Marker,
    ours: Vec<&'a str>,
    theirs: Vec<&'a str>,
}

impl<'a> Open<'a> {
    fn at(start: usize) -> Self {
        Self { start, side: Marker::Ours, ours: Vec::new(), theirs: Vec::new() }
    }

    fn conflict(self, open: &[&'a str], end: usize) -> TextConflict {
        let first = self.ours.iter().chain(&self.theirs).find_map(|line| match part(line) {
            Part::Opens(head) => Some(head),
            Part::Fact(line) => Some(Node::Line(line).key()),
            Part::Closes | Part::Blank => None,
        });
        let fact = match path(open.iter().copied().chain(first)) {
            fact if fact.is_empty() => "the lock".to_owned(),
            fact => fact,
        };
        let span = self.start..end.max(self.start);
        TextConflict { fact, ours: shown(&self.ours), theirs: shown(&self.theirs), span }
    }
}

fn shown(lines: &[&str]) -> Option<String> {
    match lines {
        [] => None,
        [only] => Some(Node::Line(only.trim()).value()),
        several => Some(format!("{} lines", several.len())),
    }
}

/// The text with one version of each conflict.
pub fn take(text: &str, version: Version) -> String {
    let mut side = None;
    let kept = text.split_inclusive('\n').filter(|line| {
        match marker(line) {
            Some(Marker::Theirs) => side = None,
            Some(other) => side = Some(other),
            None => {
                return match side {
                    None => true,
                    Some(Marker::Ours) => version == Version::Ours,
                    Some(Marker::Between) => version == Version::Theirs,
                    Some(_) => false,
                };
            }
        }
        false
    });
    kept.collect()
}

/// Refuses a text with conflicts; `name` is what the diagnostic calls the file.
///
/// # Errors
/// There are conflicts: all of them are named.
pub fn refuse(name: &str, text: &str) -> Result<(), ConflictError> {
    const SHOWN: usize = 5;
    let found = conflicts(text);
    if found.is_empty() {
        return Ok(());
    }
    let mut facts: Vec<&str> = found.iter().take(SHOWN).map(|conflict| conflict.fact.as_str()).collect();
    if found.len() > SHOWN {
        facts.push("…");
    }
    let label = |conflict: &TextConflict| {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
        let words = format!("ours {}, theirs {}", side(&conflict.ours), side(&conflict.theirs));
        LabeledSpan::new(Some(words), conflict.span.start, conflict.span.len())
    };
    Err(ConflictError {
        count: found.len(),
        facts: facts.join(", "),
        spec: spec_of(text).unwrap_or("experiments/NAME.kdl").to_owned(),
        labels: found.iter().take(SHOWN).map(label).collect(),
        source_code: NamedSource::new(name, text.to_owned()),
    })
}

/// The experiment's path, as the lock writes it.
fn spec_of(text: &str) -> Option<&str> {
    let (_, spec) = text.split_once("\nspec {\n")?;
    let path = spec.lines().next()?.trim().strip_prefix("path \"")?.strip_suffix('"')?;
    path.chars().all(|c| c.is_alphanumeric() || "-_./ ".contains(c)).then_some(path)
}
