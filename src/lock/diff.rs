use serde::Serialize;

use super::fact::{self, Impact};
use super::pins::Lock;

/// One fact that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub path: String,
    /// None: the fact is new.
    pub old: Option<String>,
    /// None: the fact is gone.
    pub new: Option<String>,
    pub impact: Impact,
}

/// What differs between two locks, gravest first, then by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockDiff {
    pub changes: Vec<Change>,
    /// Runs of the new lock whose results a change invalidates.
    pub invalidated_runs: Vec<String>,
}

impl LockDiff {
    /// Whether the locks say the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The gravest impact.
    pub fn impact(&self) -> Option<Impact> {
        self.changes.first().map(|change| change.impact)
    }
}

/// Compares two locks fact by fact.
pub fn diff(old: &Lock, new: &Lock) -> LockDiff {
    let (old_facts, new_facts) = (fact::facts(old), fact::facts(new));
    let mut changes: Vec<Change> = old_facts
        .iter()
        .filter(|(path, value)| new_facts.get(*path) != Some(*value))
        .map(|(path, value)| (path, Some(value.clone()), new_facts.get(path).cloned()))
        .chain(
            new_facts
                .iter()
                .filter(|(path, _)| !old_facts.contains_key(*path))
                .map(|(path, value)| (path, None, Some(value.clone()))),
        )
        .map(|(path, old, new)| Change { path: path.clone(), old, new, impact: fact::impact(path) })
        .collect();
    changes.sort_by(|a, b| b.impact.cmp(&a.impact).then_with(|| a.path.cmp(&b.path)));
    let invalidated_runs =
        new.runs.iter().map(|run| run.id.clone()).filter(|id| touches(&changes, id)).collect();
    LockDiff { changes, invalidated_runs }
}

/// Whether a change of results concerns the run: a fact of its own, or one that all runs share.
fn touches(changes: &[Change], id: &str) -> bool {
    let (plain, quoted) = (format!("runs.{id}."), format!("runs.\"{id}\"."));
    changes.iter().filter(|change| change.impact >= Impact::Simulation).any(|change| {
        !change.path.starts_with("runs.")
            || change.path.starts_with(&plain)
            || change.path.starts_with(&quoted)
    })
}
