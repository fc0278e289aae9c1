use std::process::ExitCode;

use super::super::args::LockArgs;
use super::super::error::CliError;
use super::super::output;
use super::super::terminal::Terminal;
use crate::run::{Quiet, Request, Session};

/// Locks an experiment, or says why its lock is out of date.
pub fn run(args: &LockArgs) -> Result<ExitCode, CliError> {
    let request = Request {
        target: args.spec.clone(),
        presets: args.set.preset.clone(),
        set: args.set.set.clone(),
        new_profile: args.upgrade_profile,
        ..Request::default()
    };
    if args.check {
        return check(request);
    }
    let terminal = Terminal::new();
    let mut session = Session::open(request, &terminal)?;
    let _guard = session.project.guard()?;
    session.pin()?;
    Ok(ExitCode::SUCCESS)
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
