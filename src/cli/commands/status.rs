use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::args::StatusArgs;
use super::super::error::CliError;
use super::super::{json, output};
use super::request;
use crate::run::{self, Quiet, Session, StageStatus};

/// What `xp status --json` found. That something is stale is no error.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    lock: LockStatus,
    /// In the order of execution.
    stages: Vec<StageAnswer>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct LockStatus {
    /// The lock, relative to the project.
    path: String,
    up_to_date: bool,
    /// Why it is out of date.
    reasons: Vec<json::Reason>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct StageAnswer {
    /// `workload`, `profile`, `sim`, `real`, `compare` or `report`.
    stage: String,
    /// Which of its kind: a run, a repeat, a file.
    label: String,
    fresh: bool,
    /// Why it is, or is not, fresh.
    reason: String,
}

/// Says which stages are up to date and why the others are not. Writes nothing.
pub fn run(args: &StatusArgs) -> Result<ExitCode, CliError> {
    let session = Session::open(request(&args.target), &Quiet)?;
    let path = session.project.relative(&session.lock_path);
    let reasons = session.staleness();
    let stages = run::status(&session)?;
    if args.json.json {
        let lock = LockStatus { path, up_to_date: reasons.is_empty(), reasons: json::reasons(&reasons) };
        let stages = stages.into_iter().map(answer).collect();
        json::print(&json::Document::new("status", Vec::new(), Status { lock, stages }))?;
        return Ok(ExitCode::SUCCESS);
    }
    match reasons.is_empty() {
        true => output::line(format_args!("lock      fresh  {path}"))?,
        false => output::line(format_args!("lock      stale  {path}"))?,
    }
    for reason in reasons {
        output::line(format_args!("                 {reason}"))?;
    }
    for stage in stages {
        let state = if stage.fresh { "fresh" } else { "stale" };
        output::line(format_args!("{:<8}  {state}  {}  {}", stage.stage.name(), stage.label, stage.reason))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(StageStatus { stage, label, fresh, reason }: StageStatus) -> StageAnswer {
    StageAnswer { stage: stage.name().to_owned(), label, fresh, reason }
}
