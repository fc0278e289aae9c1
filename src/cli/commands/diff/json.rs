//! A diff for programs.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Compared;
use super::results::RunResults;
use crate::lock::{Change, Impact, Invalidated, LockDiff, OtherRun, Runs, Stages};

/// What `xp diff --json` prints. `ok` is whether the locks say the same.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    version: u32,
    command: &'static str,
    ok: bool,
    old: &'a str,
    new: &'a str,
    /// The gravest.
    impact: Option<Impact>,
    summary: &'a str,
    changes: Vec<OneChange<'a>>,
    added_runs: Vec<OneRun<'a>>,
    removed_runs: Vec<OneRun<'a>>,
    /// How many runs both locks have.
    common_runs: usize,
    invalidated: Vec<Group<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<&'a [RunResults]>,
}

#[derive(Debug, Serialize)]
struct Group<'a> {
    stages: Stages,
    runs: &'a [String],
    /// Whether runs are simulated again that are not timed again.
    measurements_stand: bool,
}

#[derive(Debug, Serialize)]
struct OneChange<'a> {
    path: &'a str,
    old: Option<&'a str>,
    new: Option<&'a str>,
    impact: Impact,
    runs: &'a [String],
    stages: Stages,
}

#[derive(Debug, Serialize)]
struct OneRun<'a> {
    id: &'a str,
    set: Map<String, Value>,
}

/// The answer of a diff.
pub fn answer(compared: &Compared) -> Answer<'_> {
    let Compared { old, new, diff, sentence, results } = compared;
    let change = |change| one_change(diff, change);
    Answer {
        version: 1,
        command: "diff",
        ok: diff.is_empty(),
        old,
        new,
        impact: diff.impact(),
        summary: sentence,
        changes: diff.changes.iter().map(change).collect(),
        added_runs: diff.added_runs.iter().map(one_run).collect(),
        removed_runs: diff.removed_runs.iter().map(one_run).collect(),
        common_runs: diff.common_runs.len(),
        invalidated: diff.invalidated.iter().map(group).collect(),
        results: results.as_deref(),
    }
}

fn group(group: &Invalidated) -> Group<'_> {
    Group { stages: group.stages, runs: &group.runs, measurements_stand: group.measurements_stand() }
}

fn one_change<'a>(diff: &'a LockDiff, change: &'a Change) -> OneChange<'a> {
    OneChange {
        path: &change.path,
        old: change.old.as_deref(),
        new: change.new.as_deref(),
        impact: change.impact,
        runs: match &change.runs {
            Runs::All => &diff.common_runs,
            Runs::These(runs) => runs,
        },
        stages: change.stages,
    }
}

fn one_run(run: &OtherRun) -> OneRun<'_> {
    let set = run.set.iter().map(|pin| (pin.path.clone(), pin.value.clone())).collect();
    OneRun { id: &run.id, set }
}
