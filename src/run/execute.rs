use std::path::PathBuf;

use super::RunError;
use super::event::Observer;
use super::record::StageRecord;
use super::session::{Request, Session};
use crate::compare::{Comparison, Verdict};
use crate::lock;

/// An hour, ns.
const HOUR_NS: u64 = 3_600_000_000_000;

/// Latest arrival of a request that is waited for, ns after the start.
const MAX_ARRIVAL_NS: u64 = 24 * HOUR_NS;

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    pub lock: PathBuf,
    /// None where nothing is compared.
    pub report: Option<PathBuf>,
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
    if session.resolved.lock.experiment.compare.is_none() {
        session.run_all()?;
        observer.warned("nothing is compared, and nothing reported: the experiment has no `compare`");
        return Ok(Outcome { lock: session.lock_path.clone(), report: None, comparisons: Vec::new() });
    }
    let comparisons = session.compare_all()?;
    let report = session.report_stage(&comparisons)?;
    let comparisons = comparisons.into_iter().map(|(_, comparison)| comparison).collect();
    Ok(Outcome { lock: session.lock_path.clone(), report: Some(report), comparisons })
}

impl Session<'_> {
    /// Brings every run's comparison up to date, and all it rests on.
    pub fn compare_all(&mut self) -> Result<Vec<(StageRecord, Comparison)>, RunError> {
        let compared = self.resolved.lock.experiment.compare.clone().ok_or(RunError::NoCompare)?;
        self.require_measurable()?;
        self.pin()?;
        // Of all runs, and not cheap: it writes the lock.
        let lock_digest = self.resolved.lock.input_digest();
        let mut comparisons = Vec::with_capacity(self.resolved.lock.runs.len());
        for index in 0..self.resolved.lock.runs.len() {
            let real = self.measured_runs(index, compared.repeats)?;
            let sim = self.sim_record(index)?;
            comparisons.push(self.compare_stage(index, &real, &sim, lock_digest)?);
        }
        Ok(comparisons)
    }

    /// Simulates every run where the experiment has a simulated backend, and times each once.
    fn run_all(&mut self) -> Result<(), RunError> {
        self.require_measurable()?;
        self.pin()?;
        for index in 0..self.resolved.lock.runs.len() {
            self.measured_runs(index, 1)?;
        }
        Ok(())
    }

    /// Brings a run's workload and its measurements up to date.
    pub fn measured_runs(&mut self, index: usize, repeats: u32) -> Result<Vec<StageRecord>, RunError> {
        self.workload_stage(index)?;
        if !self.is_measured(index) {
            return Ok(Vec::new());
        }
        (0..repeats).map(|repeat| self.real_stage(index, repeat)).collect()
    }

    /// Whether anything of a run is measured: some engines are only simulated.
    fn is_measured(&self, index: usize) -> bool {
        let cell = &self.resolved.cells[index].experiment;
        lock::measured_backend(cell).is_ok_and(lock::Measured::is_measured)
    }

    /// Refuses measurements that nobody would wait for; a recording is there already. A measurement lasts at least as long as its
    /// requests take to arrive; a simulation does not.
    pub fn require_measurable(&self) -> Result<(), RunError> {
        let lock = &self.resolved.lock;
        for (index, (run, extent)) in lock.runs.iter().zip(&self.resolved.extents).enumerate() {
            if run.recorded.is_some() || !self.is_measured(index) {
                continue;
            }
            let last = extent.last_arrival_ns;
            if last > MAX_ARRIVAL_NS {
                return Err(RunError::TooLong { run: run.id.clone(), hours: last.div_ceil(HOUR_NS) });
            }
        }
        Ok(())
    }
}
