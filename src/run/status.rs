use super::RunError;
use super::event::Stage;
use super::record::{Inputs, StageState};
use super::session::Session;
use crate::lock::BundlePin;
use crate::profile;

/// One stage of one run: what `xp status` says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageStatus {
    pub stage: Stage,
    pub label: String,
    pub fresh: bool,
    /// Why it is (or is not) fresh.
    pub reason: String,
}

/// What a run would do, without doing it. Stages after one that would be redone are not judged.
pub fn status(session: &Session<'_>) -> Result<Vec<StageStatus>, RunError> {
    let mut out = vec![profile_status(session)?];
    let lock = &session.resolved.lock;
    let repeats = lock.experiment.compare.as_ref().map_or(1, |compare| compare.repeats);
    for (index, run) in lock.runs.iter().enumerate() {
        out.push(of(session, Stage::Workload, &run.id, &session.workload_step(run).inputs));
        if let Some(step) = session.sim_step(run) {
            out.push(of(session, Stage::Sim, &run.id, &step.inputs));
        }
        for repeat in 0..repeats {
            let step = session.real_step(index, repeat)?;
            out.push(of(session, Stage::Real, &step.label, &step.inputs));
        }
    }
    Ok(out)
}

fn of(session: &Session<'_>, stage: Stage, label: &str, inputs: &Inputs) -> StageStatus {
    let state = session.stages.state(stage, label, inputs);
    let fresh = matches!(state, StageState::Fresh(_));
    StageStatus { stage, label: label.to_owned(), fresh, reason: state.reason() }
}

fn profile_status(session: &Session<'_>) -> Result<StageStatus, RunError> {
    let (fresh, label, reason) = match &session.resolved.lock.bundle {
        None => (false, String::new(), "no bundle is pinned yet".to_owned()),
        Some(BundlePin { path, .. }) => match profile::read_bundle(&session.path(path)?) {
            Ok(_) => (true, path.clone(), "unchanged".to_owned()),
            Err(error) => (false, path.clone(), error.to_string()),
        },
    };
    Ok(StageStatus { stage: Stage::Profile, label, fresh, reason })
}
