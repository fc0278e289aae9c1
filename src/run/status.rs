use schemars::JsonSchema;
use serde::Serialize;

use super::RunError;
use super::event::Stage;
use super::record::{InputChange, StageRecord, StageState};
use super::session::Session;
use super::steps::{self, Step};
use crate::lock::BundlePin;
use crate::store::Digest;

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Its result is there, whole, and of the pinned inputs.
    Fresh,
    /// The store has its result: it is brought back, not made again.
    Stored,
    /// It was never made here.
    New,
    /// Inputs changed since it was made.
    Stale,
    /// A file of its result is gone.
    Missing,
    /// A file of its result was changed.
    Damaged,
    /// What it reads is made first.
    Waiting,
}

impl Standing {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stored => "stored",
            Self::New => "new",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Waiting => "waiting",
        }
    }
}

/// One stage of one run: what `xp status` says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageStatus {
    pub stage: Stage,
    pub label: String,
    pub standing: Standing,
    /// Why it is (or is not) fresh.
    pub reason: String,
    /// Inputs that have other values than when it was last made.
    pub changes: Vec<InputChange>,
    /// Digest of its inputs: what its result is found by in the store. None while they are not known.
    pub key: Option<Digest>,
    /// Where its files are, or will be, from the project's root.
    pub output: Option<String>,
    /// Their size, bytes; None while there are none.
    pub bytes: Option<u64>,
    /// Stages that read what it makes, and how many of each kind. They are made again too, unless it makes the
    /// same bytes again. Empty while its result is at hand.
    pub then: Vec<(Stage, usize)>,
}

/// What a run would do, without doing it. A stage whose inputs would be made again first waits.
pub fn status(session: &Session<'_>) -> Result<Vec<StageStatus>, RunError> {
    let lock = &session.resolved.lock;
    let compares = lock.experiment.compare.is_some();
    let simulates = session.sim_backend().is_some();
    let mut judged = Judged { session, out: Vec::new() };
    let reports = usize::from(compares);
    if simulates {
        judged.profiles(reports)?;
    }
    let repeats = lock.experiment.compare.as_ref().map_or(1, |compare| compare.repeats);
    let lock_digest = lock.input_digest();
    let after_run = [(Stage::Compare, reports), (Stage::Report, reports)];
    let mut comparisons = Some(Vec::new());
    for (index, run) in lock.runs.iter().enumerate() {
        // What reads a workload is keyed by its content, which is pinned: nothing waits for its files.
        judged.judge(&session.workload_step(run), &[]);
        let sim = match session.sim_step(index) {
            Some(step) => judged.judge(&step, &after_run),
            None if simulates => judged.wait(Stage::Sim, &run.id, "its bundle is measured first", &after_run),
            None => None,
        };
        let mut real = Vec::new();
        for repeat in 0..repeats {
            let step = session.real_step(index, repeat)?;
            real.extend(step.and_then(|step| judged.judge(&step, &after_run)));
        }
        if !compares {
            continue;
        }
        let compared = match sim {
            Some(sim) if real.len() == repeats as usize => {
                judged.judge(&session.compare_step(index, &real, &sim, lock_digest)?, &after_run[1..])
            }
            _ => judged.wait(Stage::Compare, &run.id, "its runs are made first", &after_run[1..]),
        };
        comparisons = comparisons.and_then(|mut all| {
            all.push(compared?);
            Some(all)
        });
    }
    if compares {
        match comparisons {
            Some(all) => judged.judge(&session.report_step(all.iter()), &[]),
            None => judged.wait(Stage::Report, &lock.experiment.name, "its comparisons are made first", &[]),
        };
    }
    Ok(judged.out)
}

struct Judged<'s, 'o> {
    session: &'s Session<'o>,
    out: Vec<StageStatus>,
}

/// Kinds of which there are any.
fn some(then: &[(Stage, usize)]) -> Vec<(Stage, usize)> {
    then.iter().filter(|(_, count)| *count > 0).copied().collect()
}

impl Judged<'_, '_> {
    /// Adds what is to say of a stage; its record when its result is at hand, here or in the store.
    fn judge(&mut self, step: &Step, then: &[(Stage, usize)]) -> Option<StageRecord> {
        let state = self.session.stages.state_of(step);
        let reason = state.reason();
        let changes = match &state {
            StageState::Stale { changes } => changes.clone(),
            StageState::Stored { why, .. } => match why.as_ref() {
                StageState::Stale { changes } => changes.clone(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        let (standing, record) = match state {
            StageState::Fresh(record) => (Standing::Fresh, Some(record)),
            StageState::Stored { record, .. } => (Standing::Stored, Some(record)),
            StageState::New => (Standing::New, None),
            StageState::Stale { .. } => (Standing::Stale, None),
            StageState::Missing { .. } => (Standing::Missing, None),
            StageState::Damaged { .. } => (Standing::Damaged, None),
        };
        self.out.push(StageStatus {
            stage: step.stage,
            label: step.label.clone(),
            standing,
            reason,
            changes,
            key: Some(step.key()),
            output: Some(step.output.clone()),
            bytes: record.as_ref().map(StageRecord::bytes),
            then: if record.is_some() { Vec::new() } else { some(then) },
        });
        record
    }

    fn wait(&mut self, stage: Stage, label: &str, why: &str, then: &[(Stage, usize)]) -> Option<StageRecord> {
        self.out.push(StageStatus {
            stage,
            label: label.to_owned(),
            standing: Standing::Waiting,
            reason: why.to_owned(),
            changes: Vec::new(),
            key: None,
            output: None,
            bytes: None,
            then: some(then),
        });
        None
    }

    /// Each bundle, and the runs that are simulated from it.
    fn profiles(&mut self, reports: usize) -> Result<(), RunError> {
        let session = self.session;
        let lock = &session.resolved.lock;
        let then =
            |runs: usize| [(Stage::Sim, runs), (Stage::Compare, runs * reports), (Stage::Report, reports)];
        let unpinned = lock.runs.iter().filter(|run| lock.bundle_of(run).is_none()).count();
        if unpinned > 0 {
            self.wait(Stage::Profile, "", "no bundle is pinned yet", &then(unpinned));
            if let Some(status) = self.out.last_mut() {
                status.standing = Standing::New;
            }
        }
        for (index, pin) in lock.bundles() {
            let runs = lock.runs.iter().filter(|run| lock.bundle_of(run) == Some(pin)).count();
            self.profile(index, pin, &then(runs))?;
        }
        Ok(())
    }

    fn profile(&mut self, index: usize, pin: &BundlePin, then: &[(Stage, usize)]) -> Result<(), RunError> {
        let step = steps::profile_step(pin);
        let (standing, reason) = match self.session.pinned_bundle(index, pin)? {
            Ok(_) => (Standing::Fresh, "unchanged".to_owned()),
            Err(unusable) => (self.session.standing_of(pin, &unusable), unusable.to_string()),
        };
        let fresh = matches!(standing, Standing::Fresh | Standing::Stored);
        self.out.push(StageStatus {
            stage: Stage::Profile,
            label: pin.path.clone(),
            standing,
            reason,
            changes: Vec::new(),
            key: Some(step.key()),
            output: Some(step.output),
            bytes: fresh.then(|| pin.files.iter().map(|file| file.bytes).sum()),
            then: if fresh { Vec::new() } else { some(then) },
        });
        Ok(())
    }
}
