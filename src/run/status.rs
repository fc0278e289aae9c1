use super::RunError;
use super::event::Stage;
use super::record::{StageRecord, StageState};
use super::session::Session;
use super::stages::Step;

/// One stage of one run: what `xp status` says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageStatus {
    pub stage: Stage,
    pub label: String,
    pub fresh: bool,
    /// Why it is (or is not) fresh.
    pub reason: String,
}

/// What a run would do, without doing it. A stage whose inputs would be made again first is not fresh.
pub fn status(session: &Session<'_>) -> Result<Vec<StageStatus>, RunError> {
    let mut out = Vec::new();
    if session.sim_backend().is_some() {
        out.push(profile_status(session)?);
    }
    let lock = &session.resolved.lock;
    let repeats = lock.experiment.compare.as_ref().map_or(1, |compare| compare.repeats);
    let mut comparisons = Some(Vec::new());
    for (index, run) in lock.runs.iter().enumerate() {
        judge(session, &mut out, &session.workload_step(run));
        let sim = match session.sim_step(run) {
            Some(step) => judge(session, &mut out, &step),
            None if session.sim_backend().is_some() => {
                wait(&mut out, Stage::Sim, &run.id, "its bundle is measured first")
            }
            None => None,
        };
        let mut real = Vec::new();
        for repeat in 0..repeats {
            real.extend(judge(session, &mut out, &session.real_step(index, repeat)?));
        }
        if lock.experiment.compare.is_none() {
            continue;
        }
        let compared = match sim {
            Some(sim) if real.len() == repeats as usize => {
                judge(session, &mut out, &session.compare_step(index, &real, &sim)?)
            }
            _ => wait(&mut out, Stage::Compare, &run.id, "its runs are made first"),
        };
        comparisons = comparisons.and_then(|mut all| {
            all.push(compared?);
            Some(all)
        });
    }
    if lock.experiment.compare.is_some() {
        match comparisons {
            Some(all) => judge(session, &mut out, &session.report_step(all.iter())),
            None => wait(&mut out, Stage::Report, &lock.experiment.name, "its comparisons are made first"),
        };
    }
    Ok(out)
}

/// Adds what is to say of a stage; its record when it is fresh.
fn judge(session: &Session<'_>, out: &mut Vec<StageStatus>, step: &Step) -> Option<StageRecord> {
    let state = session.stages.state(step.stage, &step.label, &step.inputs, &step.output);
    let reason = state.reason();
    let record = match state {
        StageState::Fresh(record) => Some(record),
        _ => None,
    };
    out.push(StageStatus { stage: step.stage, label: step.label.clone(), fresh: record.is_some(), reason });
    record
}

fn wait(out: &mut Vec<StageStatus>, stage: Stage, label: &str, reason: &str) -> Option<StageRecord> {
    out.push(StageStatus { stage, label: label.to_owned(), fresh: false, reason: reason.to_owned() });
    None
}

fn profile_status(session: &Session<'_>) -> Result<StageStatus, RunError> {
    let (fresh, label, reason) = match &session.resolved.lock.bundle {
        None => (false, String::new(), "no bundle is pinned yet".to_owned()),
        Some(pin) => match session.pinned_bundle(pin)? {
            Ok(_) => (true, pin.path.clone(), "unchanged".to_owned()),
            Err(why) => (false, pin.path.clone(), why.to_string()),
        },
    };
    Ok(StageStatus { stage: Stage::Profile, label, fresh, reason })
}
