//! The changes of one impact as lines for people: what many runs or files have
//! alike is one line, and so is what was added or removed as a whole.

use std::collections::BTreeMap;

use super::words::{Note, counted, few, plain, value, which};
use crate::lock::{Change, Impact, LockDiff, Runs};

/// Changes of a kind from which on they are told as one.
const MANY: usize = 4;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub path: String,
    pub old: Option<String>,
    pub new: Option<String>,
    /// Where, when it is not one fact of one place: `in 4 runs: a, b, c and 1 more`.
    pub note: Note,
}

/// The lines of an impact, and how many facts they tell.
pub fn lines(diff: &LockDiff, impact: Impact, longest: usize) -> (Vec<Line>, usize) {
    let changes: Vec<&Change> = diff.changes.iter().filter(|change| change.impact == impact).collect();
    let mut kinds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut wholes: BTreeMap<(&str, bool), Vec<usize>> = BTreeMap::new();
    for (index, change) in changes.iter().enumerate() {
        kinds.entry(kind(&change.path)).or_default().push(index);
        if change.old.is_none() != change.new.is_none() {
            wholes.entry((whole(&change.path), change.old.is_none())).or_default().push(index);
        }
    }
    let mut told = vec![false; changes.len()];
    let mut out = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        if told[index] {
            continue;
        }
        let (whole, added) = (whole(&change.path), change.old.is_none());
        let together = wholes.get(&(whole, added)).filter(|all| all.len() >= MANY);
        if let Some(all) = together.filter(|all| all.contains(&index)) {
            all.iter().for_each(|other| told[*other] = true);
            let verb = if added { "added" } else { "removed" };
            let note = Note::words(format!("{verb} ({})", counted(all.len(), "fact")));
            out.push(Line { path: plain(whole, 100), old: None, new: None, note });
            continue;
        }
        let kind = kind(&change.path);
        let alike = &kinds[&kind];
        if alike.len() >= MANY {
            alike.iter().for_each(|other| told[*other] = true);
            let alike: Vec<&Change> = alike.iter().map(|other| changes[*other]).collect();
            out.push(Line { path: plain(&kind, 100), old: None, new: None, note: of_many(diff, &alike) });
            continue;
        }
        let shown = |fact: &Option<String>| fact.as_deref().map(|fact| value(fact, longest));
        let note = match &change.runs {
            Runs::These(runs) if change.path.starts_with("runs.*.") => {
                which(runs, diff.common_runs.len()).after("in")
            }
            _ => Note::default(),
        };
        out.push(Line {
            path: plain(&change.path, 100),
            old: shown(&change.old),
            new: shown(&change.new),
            note,
        });
    }
    (out, changes.len())
}

/// What is different in many places: where.
fn of_many(diff: &LockDiff, changes: &[&Change]) -> Note {
    const OTHER: &str = "other values in";
    if !changes[0].path.starts_with("runs.") {
        let names: Vec<String> =
            changes.iter().filter_map(|change| member(&change.path)).map(str::to_owned).collect();
        let noun = if changes[0].path.contains(".hardware.") { "fact" } else { "file" };
        return Note { words: format!("{OTHER} {}:", counted(names.len(), noun)), names: few(&names) };
    }
    let mut runs: Vec<&String> = Vec::new();
    for change in changes {
        if let Runs::These(ids) = &change.runs {
            runs.extend(ids);
        }
    }
    let all = diff.common_runs.len();
    if runs.len() < all {
        let listed: std::collections::HashSet<&String> = runs.into_iter().collect();
        let runs: Vec<String> = diff.common_runs.iter().filter(|id| listed.contains(id)).cloned().collect();
        return which(&runs, all).after(OTHER);
    }
    which(&diff.common_runs, all).after(OTHER)
}

/// A path with `*` for the name of a run, of a file, or of a fact of the machine.
fn kind(path: &str) -> String {
    let names = parts(path);
    let mut out: Vec<&str> = names.clone();
    for index in 1..names.len() {
        let of_list = matches!(names[index - 1], "files" | "hardware") && names[0] != "experiment";
        if of_list || (index == 1 && names[0] == "runs") {
            out[index] = "*";
        }
    }
    out.join(".")
}

/// The file or the fact of the machine that a path is about.
fn member(path: &str) -> Option<&str> {
    let names = parts(path);
    let at = names.iter().position(|name| matches!(*name, "files" | "hardware"))?;
    names.get(at + 1).map(|name| name.trim_matches('"'))
}

/// The part of a lock that is added or removed as a whole.
fn whole(path: &str) -> &str {
    let names = parts(path);
    let depth = match names.as_slice() {
        ["experiment", "backends" | "matrix", ..] | ["runs", ..] => 3,
        ["experiment", ..] => 2,
        _ => 1,
    };
    let length: usize = names.iter().take(depth).map(|name| name.len() + 1).sum();
    &path[..length.saturating_sub(1).min(path.len())]
}

fn parts(path: &str) -> Vec<&str> {
    crate::lock::names_of(path).collect()
}
