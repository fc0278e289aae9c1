use std::process::ExitCode;

use super::super::args::TargetArgs;
use super::super::error::CliError;
use super::super::output;
use super::request;
use crate::run::{self, Quiet, Session};

/// Says which stages are up to date and why the others are not. Writes nothing.
pub fn run(args: &TargetArgs) -> Result<ExitCode, CliError> {
    let session = Session::open(request(args), &Quiet)?;
    let path = session.project.relative(&session.lock_path);
    let reasons = session.staleness();
    match reasons.is_empty() {
        true => output::line(format_args!("lock      fresh    {path}"))?,
        false => output::line(format_args!("lock      stale    {path}"))?,
    }
    for reason in reasons {
        output::line(format_args!("                   {reason}"))?;
    }
    for stage in run::status(&session)? {
        let standing = stage.standing.name();
        output::line(format_args!(
            "{:<8}  {standing:<7}  {}  {}",
            stage.stage.name(),
            stage.label,
            stage.reason
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
