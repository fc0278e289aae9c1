use std::path::PathBuf;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::args::LockArgs;
use super::super::error::CliError;
use super::super::terminal::Terminal;
use super::super::{json, output};
use crate::lock::Stale;
use crate::run::{Observer, Quiet, Request, RunError, Session, Upgrade};

/// Names that `--upgrade` takes.
const PINS: [&str; 3] = ["all", "bundle", "model"];

/// What `xp lock --json` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LockAnswer {
    /// The lock, relative to the project.
    lock: String,
    /// Whether it says what the experiment means, once the command is done.
    up_to_date: bool,
    /// Whether it was written.
    written: bool,
    /// Why it is out of date; without `--check`, why it was written.
    reasons: Vec<json::Reason>,
}

/// Locks an experiment, or says why its lock is out of date.
pub fn run(args: &LockArgs) -> Result<ExitCode, CliError> {
    let (target, upgrade) = target(args)?;
    let request = Request {
        target,
        presets: args.set.preset.clone(),
        set: args.set.set.clone(),
        upgrade,
        offline: args.network.offline,
        ..Request::default()
    };
    if args.check {
        return check(request, args.json.json);
    }
    let terminal = Terminal::new();
    let mut session = Session::open(request, &terminal)?;
    let _guard = session.project.guard()?;
    if upgrade == Upgrade::default() && session.staleness().is_empty() {
        // Nothing that a lock says would be another.
        terminal.locked(&session.project.relative(&session.lock_path), &[]);
    } else {
        session.pin()?;
    }
    if args.json.json {
        // Of what was read: why it was written.
        let answer = answer(&session, &session.staleness(), true);
        json::print(&json::Document::new("lock", Vec::new(), answer))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The experiment, and the pins to move. In `--upgrade EXPERIMENT` the word is no pin's name.
fn target(args: &LockArgs) -> Result<(PathBuf, Upgrade), CliError> {
    let mut names: Vec<&str> = args.upgrade.iter().map(String::as_str).collect();
    let mut spec = args.spec.clone();
    if let (None, Some(word)) = (&spec, names.iter_mut().find(|word| !PINS.contains(word))) {
        spec = Some(PathBuf::from(&*word));
        *word = "all";
    }
    let mut upgrade = Upgrade::default();
    for name in names {
        match name {
            "all" => upgrade = Upgrade { model: true, bundle: true },
            "bundle" => upgrade.bundle = true,
            "model" => upgrade.model = true,
            other => {
                return Err(CliError::system(
                    format!("no pin is called {other:?}"),
                    &format!("`--upgrade` takes one of {}", PINS.join(", ")),
                ));
            }
        }
    }
    let spec = spec.ok_or_else(|| {
        CliError::system(
            "no experiment is given".to_owned(),
            "write `xp lock --upgrade experiments/NAME.kdl`",
        )
    })?;
    Ok((spec, upgrade))
}

fn check(mut request: Request, in_json: bool) -> Result<ExitCode, CliError> {
    // What it takes to tell may not be here: then that is the answer, and nothing is fetched for it.
    request.offline = true;
    let session = Session::open(request, &Quiet)?;
    let reasons = session.staleness();
    let path = session.project.relative(&session.lock_path);
    let stale = stale(path.clone(), &reasons);
    if in_json {
        let diagnostics = stale.as_ref().map(CliError::diagnostics).unwrap_or_default();
        json::print(&json::Document::new("lock", diagnostics, answer(&session, &reasons, false)))?;
        return Ok(stale.map_or(ExitCode::SUCCESS, |stale| stale.exit_code()));
    }
    match stale {
        Some(stale) => Err(stale),
        None => {
            output::line(format_args!("{path} is up to date"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn answer(session: &Session<'_>, reasons: &[Stale], locked: bool) -> LockAnswer {
    LockAnswer {
        lock: session.project.relative(&session.lock_path),
        up_to_date: locked || reasons.is_empty(),
        written: locked && !reasons.is_empty(),
        reasons: json::reasons(reasons),
    }
}

/// That the lock is out of date, with every reason, if there are any.
fn stale(path: String, reasons: &[Stale]) -> Option<CliError> {
    if reasons.is_empty() {
        return None;
    }
    let reasons = reasons.iter().map(|reason| format!("\n  {reason}")).collect();
    Some(RunError::StaleLock { path, reasons, help: "`xp lock` brings it up to date" }.into())
}
