use std::path::PathBuf;

use super::RunError;
use super::event::Observer;
use super::record::StageRecord;
use super::session::{Request, Session};
use crate::compare::{Comparison, Verdict};

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    pub lock: PathBuf,
    pub report: PathBuf,
    pub comparisons: Vec<Comparison>,
}

impl Outcome {
    /// The worst verdict over all runs.
    pub fn verdict(&self) -> Option<Verdict> {
        self.comparisons.iter().map(|comparison| comparison.verdict).max()
    }
}

/// Brings every stage of an experiment up to date, in the order of the DAG.
pub fn execute(request: Request, observer: &dyn Observer) -> Result<Outcome, RunError> {
    let mut session = Session::open(request, observer)?;
    let _guard = session.project.guard()?;
    session.require_current()?;
    let comparisons = session.compare_all()?;
    let report = session.report_stage(&comparisons)?;
    let comparisons = comparisons.into_iter().map(|(_, comparison)| comparison).collect();
    Ok(Outcome { lock: session.lock_path.clone(), report, comparisons })
}

impl Session<'_> {
    /// Brings every run's comparison up to date, and all it rests on.
    pub fn compare_all(&mut self) -> Result<Vec<(StageRecord, Comparison)>, RunError> {
        self.pin()?;
        let compared = self.resolved.lock.experiment.compare.clone().ok_or(RunError::NoCompare)?;
        let mut comparisons = Vec::with_capacity(self.resolved.lock.runs.len());
        for index in 0..self.resolved.lock.runs.len() {
            self.workload_stage(index)?;
            let real = (0..compared.repeats)
                .map(|repeat| self.real_stage(index, repeat))
                .collect::<Result<Vec<_>, _>>()?;
            let sim = self.sim_record(index)?;
            comparisons.push(self.compare_stage(index, &real, &sim)?);
        }
        Ok(comparisons)
    }
}
