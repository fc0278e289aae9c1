//! Results that rest on a lock: in their places, and in the store.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::{Check, VerifyError, What};
use crate::lock::Lock;
use crate::run::{Known, Project, Reach, StageState, StageStore, profile_step, result_digest, sim_step};
use crate::spec::Cell;
use crate::store::{Digest, FetchError, FileDigest, StoredResult};

/// Re-hashes every result that the lock reaches. `cells` are the experiments of its runs.
pub(super) fn checks(project: &Project, lock: &Lock, cells: &[Cell]) -> Result<Vec<Check>, VerifyError> {
    let stages = StageStore::new(project.root());
    let objects = stages.objects();
    let io = |source| VerifyError::Io { path: objects.root().to_owned(), source };
    let mut reach = Reach::default();
    reach.add_lock(lock)?;
    let records: Vec<_> = StageStore::records(project.root())
        .map_err(io)?
        .into_iter()
        .filter(|(path, _)| !path.to_string_lossy().ends_with(".latest.json"))
        .map(|(_, record)| record)
        .collect();
    let mut checks = Vec::new();
    let mut results = Vec::new();
    for result in objects.results().map_err(io)? {
        match result {
            Ok(result) => results.push(result),
            Err(error) => {
                checks.push(Check::differs(
                    What::Stored,
                    objects.root().display().to_string(),
                    error.to_string(),
                ));
            }
        }
    }
    let of_record =
        |record: &crate::run::StageRecord| Known::new(record.stage, &record.inputs, &record.files);
    let known: Vec<Known> =
        results.iter().filter_map(Known::of).chain(records.iter().map(of_record)).collect();
    reach.close(&known);

    let reached: Vec<_> = records.iter().filter(|record| reach.reaches(&of_record(record))).collect();
    let problems: Vec<_> = reached.par_iter().map(|record| stages.problem(record)).collect();
    // What is whole in its place is at hand, and hashed, whether or not the store has a copy.
    let whole = reached.iter().zip(&problems).filter(|(_, problem)| problem.is_none());
    let mut in_place: BTreeSet<Digest> =
        whole.flat_map(|(record, _)| &record.files).map(|file| file.sha256).collect();
    in_place.extend(bundles_in_place(&stages, lock, &results));
    let outputs = reached.iter().zip(problems).filter_map(|(record, problem)| {
        match problem {
            None => Some(Check::same(What::Output, &record.output)),
            Some(StageState::Damaged { file }) => {
                Some(Check::differs(What::Output, &record.output, format!("{file} was changed or damaged")))
            }
            // It comes back from there.
            _ if objects.holds(&record.files) => None,
            Some(problem) => Some(Check::absent(
                What::Output,
                &record.output,
                format!("{}, and the store does not have it", problem.reason()),
            )),
        }
    });
    checks.extend(outputs.collect::<Vec<_>>());

    let mut contents: BTreeMap<Digest, (&FileDigest, &str)> = BTreeMap::new();
    for result in &results {
        if Known::of(result).is_some_and(|known| reach.reaches(&known)) {
            for file in &result.files {
                contents.entry(file.sha256).or_insert((file, &result.stage));
            }
        }
    }
    let stored = contents.into_par_iter().filter_map(|(object, (file, stage))| {
        let name = object.to_string();
        let of_result = |error: FetchError| format!("{error} (of a {stage} result)");
        match objects.check(file) {
            Ok(()) => Some(Check::same(What::Stored, name)),
            Err(error @ FetchError::Io { .. }) => Some(Check::differs(What::Stored, name, error.to_string())),
            Err(FetchError::Absent { .. }) if in_place.contains(&object) => None,
            Err(error @ FetchError::Absent { .. }) => {
                Some(Check::absent(What::Stored, name, of_result(error)))
            }
            Err(error) => Some(Check::differs(What::Stored, name, of_result(error))),
        }
    });
    checks.extend(stored.collect::<Vec<_>>());

    // A stored simulation is the pinned one.
    for (run, cell) in lock.runs.iter().zip(cells) {
        let Some((pin, step)) = run.sim.as_ref().zip(sim_step(lock, &cell.experiment, run)) else { continue };
        if let Ok(Some(result)) = objects.result(step.stage.name(), &step.key())
            && result_digest(&result.files) != pin.sha256
        {
            let detail = format!("the store's simulation of {} is not the pinned one", run.id);
            checks.push(Check::differs(What::Stored, step.key().to_string(), detail));
        }
    }
    Ok(checks)
}

/// Contents of the pinned bundles that are whole in their places.
fn bundles_in_place(stages: &StageStore, lock: &Lock, results: &[StoredResult]) -> Vec<Digest> {
    let mut out = Vec::new();
    for step in lock.bundles().map(|(_, pin)| profile_step(pin)) {
        let is_it = |result: &&StoredResult| result.stage == step.stage.name() && result.key() == step.key();
        let Some(result) = results.iter().find(is_it) else { continue };
        let record = step.record(result.files.clone());
        if stages.problem(&record).is_none() {
            out.extend(record.files.iter().map(|file| file.sha256));
        }
    }
    out
}
