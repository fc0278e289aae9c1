use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use super::super::args::StatusArgs;
use super::super::error::CliError;
use super::super::output;
use super::super::table::size;
use super::request;
use crate::run::{self, Quiet, Session, StageStatus, Standing};
use crate::store::abbreviate;

/// Says which stages are up to date and why the others are not. Writes nothing.
pub fn run(args: &StatusArgs) -> Result<ExitCode, CliError> {
    let session = Session::open(request(&args.target), &Quiet)?;
    let path = session.project.relative(&session.lock_path);
    let reasons = session.staleness();
    let standing = if reasons.is_empty() { Standing::Fresh } else { Standing::Stale };
    output::line(format_args!("{:<8}  {}  {path}", "lock", word(standing)))?;
    for reason in reasons {
        output::line(format_args!("                   {reason}"))?;
    }
    for stage in run::status(&session)? {
        let name = stage.stage.name();
        output::line(format_args!("{name:<8}  {}  {}  {}", word(stage.standing), stage.label, stage.reason))?;
        if args.explain {
            output::print(explained(&stage))?;
        }
    }
    Ok(ExitCode::SUCCESS)
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
