//! Results that rest on a lock: in their places, and in the store.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Check, VerifyError, What};
use crate::lock::Lock;
use crate::run::{Known, Project, Reach, StageState, StageStore, result_digest, sim_step};
use crate::store::{Digest, FetchError, FileDigest};

/// Re-hashes every result that the lock reaches.
pub(super) fn checks(project: &Project, lock: &Lock) -> Result<Vec<Check>, VerifyError> {
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

    let reached = records.iter().filter(|record| reach.reaches(&of_record(record)));
    let outputs = reached.collect::<Vec<_>>().into_par_iter().filter_map(|record| {
        match stages.problem(record) {
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
    let stored = contents.into_par_iter().map(|(object, (file, stage))| {
        let name = object.to_string();
        match objects.check(file) {
            Ok(()) => Check::same(What::Stored, name),
            Err(error @ FetchError::Io { .. }) => Check::differs(What::Stored, name, error.to_string()),
            Err(error) => Check::differs(What::Stored, name, format!("{error} (of a {stage} result)")),
        }
    });
    checks.extend(stored.collect::<Vec<_>>());

    // A stored simulation is the pinned one.
    for run in &lock.runs {
        let Some((pin, step)) = run.sim.as_ref().zip(sim_step(lock, run)) else { continue };
        if let Ok(Some(result)) = objects.result(step.stage.name(), &step.key())
            && result_digest(&result.files) != pin.sha256
        {
            let detail = format!("the store's simulation of {} is not the pinned one", run.id);
            checks.push(Check::differs(What::Stored, step.key().to_string(), detail));
        }
    }
    Ok(checks)
}
