use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::args::StatusArgs;
use super::super::error::CliError;
use super::super::table::size;
use super::super::{json, output};
use super::request;
use crate::run::{self, InputChange, Quiet, Request, Session, StageStatus, Standing};
use crate::store::abbreviate;

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
    standing: Standing,
    /// Why it is, or is not, fresh.
    reason: String,
    /// Inputs that have other values than when it was last made.
    changes: Vec<InputChange>,
    /// Digest of its inputs; null while they are not known.
    key: Option<String>,
    /// Where its files are, or will be, from the project's root.
    output: Option<String>,
    /// Their size; null while there are none.
    bytes: Option<u64>,
}

/// Says which stages are up to date and why the others are not. Writes nothing.
pub fn run(args: &StatusArgs) -> Result<ExitCode, CliError> {
    // It says what is here: nothing is fetched for it.
    let session = Session::open(Request { offline: true, ..request(&args.target)? }, &Quiet)?;
    let path = session.project.relative(&session.lock_path);
    let reasons = session.staleness();
    let stages = run::status(&session)?;
    if args.json.json {
        let lock = LockStatus { path, up_to_date: reasons.is_empty(), reasons: json::reasons(&reasons) };
        let stages = stages.into_iter().map(answer).collect();
        json::print(&json::Document::new("status", Vec::new(), Status { lock, stages }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let standing = if reasons.is_empty() { Standing::Fresh } else { Standing::Stale };
    output::line(format_args!("{:<8}  {}  {path}", "lock", word(standing)))?;
    for reason in reasons {
        output::line(format_args!("                   {reason}"))?;
    }
    for stage in stages {
        let name = stage.stage.name();
        output::line(format_args!("{name:<8}  {}  {}  {}", word(stage.standing), stage.label, stage.reason))?;
        if args.explain {
            output::print(explained(&stage))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(stage: StageStatus) -> StageAnswer {
    StageAnswer {
        stage: stage.stage.name().to_owned(),
        label: stage.label,
        standing: stage.standing,
        reason: stage.reason,
        changes: stage.changes,
        key: stage.key.map(|key| key.to_string()),
        output: stage.output,
        bytes: stage.bytes,
    }
}

/// The word for where a stage stands, in seven columns and in colour.
fn word(standing: Standing) -> String {
    let colour = match standing {
        Standing::Fresh | Standing::Stored => AnsiColor::Green,
        Standing::New | Standing::Waiting => AnsiColor::Cyan,
        Standing::Stale | Standing::Missing => AnsiColor::Yellow,
        Standing::Damaged => AnsiColor::Red,
    };
    let style = colour.on_default();
    format!("{style}{:<7}{style:#}", standing.name())
}

const DIM: Style = Style::new().dimmed();

/// Everything that is known of a stage, one fact a line.
fn explained(stage: &StageStatus) -> String {
    let mut out = String::new();
    let mut fact = |name: &str, value: String| {
        out.push_str(&format!("                   {DIM}{name:<8}{DIM:#}{value}\n"));
    };
    if let Some(key) = stage.key {
        fact("key", key.short(16));
    }
    if let Some(output) = &stage.output {
        let size = stage.bytes.map(|bytes| format!(", {}", size(bytes)));
        let place = match stage.standing {
            Standing::Fresh => output.clone(),
            Standing::Stored => format!("in the store, for {output}"),
            _ => format!("none yet at {output}"),
        };
        fact("files", format!("{place}{}", size.unwrap_or_default()));
    }
    for change in &stage.changes {
        let before = change.made_with.as_deref().map_or_else(|| "nothing".to_owned(), abbreviate);
        fact("changed", format!("{}: {before} → {}", change.input, abbreviate(&change.wanted)));
    }
    if !stage.then.is_empty() {
        let kinds: Vec<String> = stage.then.iter().map(|(stage, count)| format!("{count} {stage}")).collect();
        fact("then", format!("{}, unless it makes the same bytes again", kinds.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{InputChange, Stage};
    use crate::store::Digest;

    #[test]
    fn a_stage_is_explained_in_facts() {
        let mut stage = StageStatus {
            stage: Stage::Sim,
            label: "tiny".to_owned(),
            standing: Standing::Stale,
            reason: "chunk-size changed from 2 to 1, and another input".to_owned(),
            changes: vec![
                InputChange {
                    input: "chunk-size".to_owned(),
                    made_with: Some("2".to_owned()),
                    wanted: "1".to_owned(),
                },
                InputChange {
                    input: "bundle".to_owned(),
                    made_with: None,
                    wanted: Digest::of("b").to_string(),
                },
            ],
            key: Some(Digest::of("key")),
            output: Some("runs/sim_runs/tiny-01234567".to_owned()),
            bytes: None,
            then: vec![(Stage::Compare, 1), (Stage::Report, 1)],
        };
        let plain = |stage: &StageStatus| anstream::adapter::strip_str(&explained(stage)).to_string();
        insta::assert_snapshot!(plain(&stage), @r"
        key     2c70e12b7a0646f9
        files   none yet at runs/sim_runs/tiny-01234567
        changed chunk-size: 2 → 1
        changed bundle: nothing → 3e23e8160039…
        then    1 compare, 1 report, unless it makes the same bytes again
        ");
        stage.standing = Standing::Stored;
        stage.bytes = Some(1_300_000);
        stage.changes.clear();
        stage.then.clear();
        insta::assert_snapshot!(plain(&stage), @r"
        key     2c70e12b7a0646f9
        files   in the store, for runs/sim_runs/tiny-01234567, 1.2 MiB
        ");
    }
}
