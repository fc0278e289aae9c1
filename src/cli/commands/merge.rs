//! `xp merge`: what git runs to merge locks.

use std::path::Path;
use std::process::ExitCode;

use super::super::args::MergeArgs;
use super::super::error::CliError;
use super::super::output;
use super::diff::words::{few, plain};
use crate::git;
use crate::lock::{self, Labels, Lock, LockError, Merged};
use crate::store;

/// Longest label of a side, in characters.
const MAX_LABEL: usize = 100;

/// Merges two locks by their facts and writes the result. Exit code 1 when there are conflicts, 2 on
/// trouble.
pub fn run(args: &MergeArgs) -> Result<ExitCode, CliError> {
    let name = args.path.as_ref().unwrap_or(&args.ours).display().to_string();
    let out = args.out.as_ref().unwrap_or(&args.ours);
    let labels = Labels {
        ours: label(args.our_label.as_deref(), "ours"),
        theirs: label(args.their_label.as_deref(), "theirs"),
    };
    let merged = match locks(args) {
        Ok((base, ours, theirs)) => lock::merge(base.as_ref(), &ours, &theirs, &labels),
        Err(error) if error.is_damage() || matches!(error, LockError::Newer { .. }) => {
            return as_text(args, &name, out, &labels, &error);
        }
        Err(error) => return Err(CliError::from(error).as_trouble()),
    };
    write(out, merged.text.as_bytes())?;
    let spec = merged.spec.clone();
    if !merged.conflicts.is_empty() {
        return Err(conflicts(&name, &spec, &merged));
    }
    if !merged.outdated.is_empty() {
        let outdated: Vec<String> = merged.outdated.iter().map(|fact| plain(fact, MAX_LABEL)).collect();
        output::note(format_args!(
            "{name}: merged, and out of date: both sides changed what {} made of: {}\n\
             `xp lock {spec}` brings it up to date",
            if outdated.len() == 1 { "this fact is" } else { "these facts are" },
            few(&outdated)
        ));
    } else if merged.both_changed_settings {
        output::note(format_args!(
            "{name}: merged; both sides changed settings: `xp lock --check {spec}` tells whether it is up to date"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn locks(args: &MergeArgs) -> Result<(Option<Lock>, Lock, Lock), LockError> {
    let none = args.base.as_os_str() == "/dev/null"
        || args.base.metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
    let base = (!none).then(|| lock::read(&args.base)).transpose()?;
    Ok((base, lock::read(&args.ours)?, lock::read(&args.theirs)?))
}

/// What git calls a side; one that does not know the placeholder gives it as it is.
fn label(given: Option<&str>, otherwise: &str) -> String {
    match given.map(str::trim) {
        None | Some("" | "%X" | "%Y") => otherwise.to_owned(),
        Some(given) => plain(given, MAX_LABEL),
    }
}

fn conflicts(name: &str, spec: &str, merged: &Merged) -> CliError {
    const SHOWN: usize = 10;
    let count = merged.conflicts.len();
    let mut message = format!("{name}: {count} {}", if count == 1 { "conflict" } else { "conflicts" });
    let side =
        |side: &Option<String>| side.as_deref().map_or_else(|| "nothing".to_owned(), |text| plain(text, 60));
    for conflict in merged.conflicts.iter().take(SHOWN) {
        message.push_str(&format!(
            "\n  {}: ours {}, theirs {}, before {}",
            plain(&conflict.fact, MAX_LABEL),
            side(&conflict.ours),
            side(&conflict.theirs),
            side(&conflict.base)
        ));
    }
    if count > SHOWN {
        message.push_str(&format!("\n  and {} more", count - SHOWN));
    }
    CliError::failed(
        message,
        &format!("settle {spec} first; then `xp lock {spec}` writes the lock anew from it"),
    )
}

/// Files that are no locks of this xp's are merged line by line, as git would without xp. A person
/// has to look at the result, whatever it is.
fn as_text(
    args: &MergeArgs,
    name: &str,
    out: &Path,
    labels: &Labels,
    error: &LockError,
) -> Result<ExitCode, CliError> {
    let merged =
        git::merge_lines([&args.ours, &args.base, &args.theirs], [&labels.ours, "base", &labels.theirs])
            .map_err(|error| CliError::from(error).as_trouble())?;
    write(out, &merged)?;
    let help = "lines were merged, not facts: look at the result, and lock the experiment again";
    Err(CliError::failed(format!("{name}: not all three are locks: {error}"), help))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    store::write(path, bytes).map_err(|error| {
        CliError::system(format!("cannot write {}: {error}", path.display()), "is the folder writable?")
    })
}
