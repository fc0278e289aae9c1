//! Comparisons that a project has at hand of a lock, whichever lock is in its
//! `locks/` now.

use std::collections::{HashMap, HashSet};

use super::event::Stage;
use super::project::Project;
use super::record::{StageRecord, StageState, StageStore};
use crate::compare::{self, Comparison};
use crate::lock::Lock;

/// The comparison of each run of a lock, by the run's id; only those that were made from this lock
/// and are whole. Writes nothing.
pub fn comparisons(project: &Project, lock: &Lock) -> HashMap<String, Comparison> {
    let stages = StageStore::new(project.root());
    let digest = lock.input_digest().to_string();
    let ids: HashSet<&str> = lock.runs.iter().map(|run| run.id.as_str()).collect();
    let mut found = HashMap::new();
    for record in stages.records_of(Stage::Compare, &ids) {
        if record.inputs.get("lock") != Some(&digest) || found.contains_key(&record.label) {
            continue;
        }
        if let Some(comparison) = read(project, &stages, &record) {
            found.insert(record.label, comparison);
        }
    }
    found
}

/// The comparison of a record whose files are as they were written.
fn read(project: &Project, stages: &StageStore, record: &StageRecord) -> Option<Comparison> {
    let state = stages.state(record.stage, &record.label, &record.inputs, &record.output);
    let StageState::Fresh(_) = state else { return None };
    let folder = project.resolve(&record.output).ok()?;
    compare::read_comparison(&folder.join("comparison.json")).ok()
}
