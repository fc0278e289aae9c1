use std::io::Read;
use std::process::ExitCode;

use anstyle::AnsiColor;

use super::super::args::VerifyArgs;
use super::super::error::CliError;
use super::super::json;
use super::super::output;
use super::super::terminal::Terminal;
use crate::run::{Observer, is_lock};
use crate::spec;
use crate::store;
use crate::verify::{Outcome, Verified, VerifyError, What, verify_lock, verify_report};

/// Checks a lock or a report against everything it pins; exit code 1 when anything differs, or cannot be checked.
pub fn run(args: &VerifyArgs) -> Result<ExitCode, CliError> {
    let path = &args.target;
    let terminal = Terminal::new();
    let verified = if is_lock(path) {
        let (data, others) = spec::take_data(&args.set);
        if let Some(other) = others.first() {
            return Err(CliError::system(
                format!("`--set {other}` would be another lock"),
                "a lock is verified as it is: only `--set data=FOLDER` says something of this machine",
            ));
        }
        verify_lock(path, data.as_deref(), terminal.progress())?
    } else if is_pdf(args)? {
        verify_report(path, terminal.progress())?
    } else {
        return Err(CliError::failed(
            format!("{} is neither a lock nor a PDF", path.display()),
            "name a lock (locks/NAME.lock.kdl) or a report (reports/NAME.pdf)",
        ));
    };
    let failed = failed(args, &verified);
    if args.json.json {
        let diagnostics = failed.as_ref().map(CliError::diagnostics).unwrap_or_default();
        json::print(&json::Document::new("verify", diagnostics, verified))?;
        return Ok(failed.map_or(ExitCode::SUCCESS, |failed| failed.exit_code()));
    }
    output::print(table(&verified))?;
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// That something does not hold, or cannot be checked.
fn failed(args: &VerifyArgs, verified: &Verified) -> Option<CliError> {
    let path = &args.target;
    let differ = verified.count(None, Outcome::Differs);
    let absent = verified.count(None, Outcome::Absent);
    if differ == 0 && (absent == 0 || args.allow_missing) {
        return None;
    }
    let name = path.display();
    let message = match (differ, absent) {
        (0, _) => format!("{name}: {absent} of its facts could not be checked here"),
        (_, 0) => format!("{name}: {differ} of its facts do not hold"),
        _ => format!("{name}: {differ} of its facts do not hold, and {absent} could not be checked here"),
    };
    let help = match differ {
        0 => "bring what is absent here, or leave it out with --allow-missing",
        _ => "the list above names each; `xp status` says what is to be made again",
    };
    Some(CliError::failed(message, help))
}

fn is_pdf(args: &VerifyArgs) -> Result<bool, CliError> {
    let mut start = Vec::new();
    let read = store::open_file(&args.target).and_then(|file| file.take(5).read_to_end(&mut start));
    read.map_err(|source| VerifyError::Io { path: args.target.clone(), source })?;
    Ok(start == b"%PDF-")
}

/// How many of each kind were checked, then whatever is not the same.
fn table(verified: &Verified) -> String {
    let mut kinds: Vec<What> = verified.checks.iter().map(|check| check.what).collect();
    kinds.sort();
    kinds.dedup();
    let mut out = format!("{:<16} {:>6} {:>8} {:>7}\n", "", "same", "differ", "absent");
    for kind in kinds {
        let count = |outcome| verified.count(Some(kind), outcome);
        let (same, differ, absent) = (count(Outcome::Same), count(Outcome::Differs), count(Outcome::Absent));
        out.push_str(&format!("{:<16} {same:>6} {differ:>8} {absent:>7}\n", kind.name()));
    }
    for check in &verified.checks {
        let (word, colour) = match check.outcome {
            Outcome::Same => continue,
            Outcome::Differs => ("differs", AnsiColor::Red),
            Outcome::Absent => ("absent", AnsiColor::Yellow),
        };
        let style = colour.on_default();
        let (what, name, detail) = (check.what.name(), &check.name, &check.detail);
        out.push_str(&format!("{style}{word:<7}{style:#} {what} {name}: {detail}\n"));
    }
    out
}
