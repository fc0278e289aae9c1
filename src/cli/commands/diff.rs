use std::process::ExitCode;

use super::super::args::DiffArgs;
use super::super::error::CliError;
use super::super::output;
use crate::lock::{self, Change, Impact};
use crate::store::abbreviate;

/// Facts that differ between two locks, gravest first. Exit code 1 when any do.
pub fn run(args: &DiffArgs) -> Result<ExitCode, CliError> {
    let (old, new) = (lock::read(&args.old)?, lock::read(&args.new)?);
    let diff = lock::diff(&old, &new);
    if diff.is_empty() {
        output::line("the locks say the same")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut group: Option<Impact> = None;
    for change in &diff.changes {
        if group != Some(change.impact) {
            group = Some(change.impact);
            output::line(change.impact.explanation())?;
        }
        output::line(format_args!("  {}", sentence(change)))?;
    }
    match diff.invalidated_runs.as_slice() {
        [] => output::line("\nno run is invalidated")?,
        runs => output::line(format_args!("\ninvalidates {}: {}", plural(runs.len()), runs.join(", ")))?,
    }
    Ok(ExitCode::from(1))
}

fn plural(runs: usize) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}

fn sentence(change: &Change) -> String {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("{} {} → {}", change.path, abbreviate(old), abbreviate(new)),
        (None, Some(new)) => format!("{} added: {}", change.path, abbreviate(new)),
        (Some(old), None) => format!("{} removed: {}", change.path, abbreviate(old)),
        (None, None) => change.path.clone(),
    }
}
