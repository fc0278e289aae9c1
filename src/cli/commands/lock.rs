use std::path::PathBuf;
use std::process::ExitCode;

use super::super::args::LockArgs;
use super::super::error::CliError;
use super::super::output;
use super::super::terminal::Terminal;
use crate::run::{Observer, Quiet, Request, Session, Upgrade};

/// Names that `--upgrade` takes.
const PINS: [&str; 3] = ["all", "bundle", "model"];

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
        return check(request);
    }
    let terminal = Terminal::new();
    let mut session = Session::open(request, &terminal)?;
    let _guard = session.project.guard()?;
    if upgrade == Upgrade::default() && session.staleness().is_empty() {
        // Nothing that a lock says would be another.
        terminal.locked(&session.project.relative(&session.lock_path), &[]);
        return Ok(ExitCode::SUCCESS);
    }
    session.pin()?;
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

fn check(request: Request) -> Result<ExitCode, CliError> {
    let session = Session::open(request, &Quiet)?;
    let reasons = session.staleness();
    let path = session.project.relative(&session.lock_path);
    if reasons.is_empty() {
        output::line(format_args!("{path} is up to date"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut message = format!("{path} is out of date:");
    for reason in &reasons {
        message.push_str("\n  ");
        message.push_str(&reason.to_string());
    }
    Err(CliError::failed(message, "`xp lock` brings it up to date"))
}
