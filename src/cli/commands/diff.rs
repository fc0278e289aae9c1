//! `xp diff`: what differs between two locks, and what that makes again.

mod json;
mod lines;
mod markdown;
mod operand;
mod results;
#[cfg(test)]
mod tests;
mod text;
pub(super) mod words;

use std::path::Path;
use std::process::ExitCode;

use self::operand::{Side, sides};
use self::results::RunResults;
use super::super::args::DiffArgs;
use super::super::error::CliError;
use super::super::{json as answers, output};
use crate::lock::{self, Lock, LockDiff, OtherRun};

/// Two locks that were compared.
#[derive(Debug)]
pub struct Compared {
    /// As the person named them.
    pub old: String,
    pub new: String,
    pub diff: LockDiff,
    /// What the diff means.
    pub sentence: String,
    /// Results of the common runs, when they were asked for.
    pub results: Option<Vec<RunResults>>,
}

/// Facts that differ, by what they do to results. Exit code 1 when any do, 2 on trouble.
pub fn run(args: &DiffArgs) -> Result<ExitCode, CliError> {
    let (old, new) =
        sides(&args.old, args.new.as_deref()).map_err(|error| CliError::from(error).into_trouble())?;
    let results = args.results.then(|| results::of(&old, &new));
    let compared = Compared { results, ..compare(old, new) };
    let printed = match (args.json, args.markdown) {
        (true, _) => answers::print(&json::answer(&compared)),
        (_, true) => output::print(markdown::markdown(&compared)),
        _ => output::print(text::text(&compared)),
    };
    printed.map_err(CliError::into_trouble)?;
    Ok(ExitCode::from(u8::from(!compared.diff.is_empty())))
}

/// The text of a diff of two files, of which one may be none; or why there is none.
pub(super) fn of_files(old: &Path, new: &Path) -> Result<String, String> {
    let name = |path: &Path| path.to_string_lossy().into_owned();
    let (old, new) = sides(&name(old), Some(&name(new))).map_err(|error| error.to_string())?;
    Ok(text::text(&compare(old, new)))
}

/// Compares two sides, of which at least one is a lock.
pub fn compare(old: Side, new: Side) -> Compared {
    let runs = |lock: &Lock| -> Vec<OtherRun> {
        lock.runs.iter().map(|run| OtherRun { id: run.id.clone(), set: run.set.clone() }).collect()
    };
    let (diff, sentence) = match (&old.lock, &new.lock) {
        (Some(old), Some(new)) => {
            let diff = lock::diff(old, new);
            let sentence = words::sentence(&diff);
            (diff, sentence)
        }
        (old, new) => {
            let diff = LockDiff {
                added_runs: new.as_ref().map(runs).unwrap_or_default(),
                removed_runs: old.as_ref().map(runs).unwrap_or_default(),
                ..LockDiff::default()
            };
            let what = if new.is_some() { "new" } else { "gone" };
            let runs = diff.added_runs.len() + diff.removed_runs.len();
            let sentence = format!("The lock is {what}: {}.", words::counted(runs, "run"));
            (diff, sentence)
        }
    };
    Compared { old: old.name, new: new.name, diff, sentence, results: None }
}
