//! `xp workload`, and what stage commands share: a stage of every run of a lock,
//! or of the only run into a folder of one's own.

use std::path::Path;
use std::process::ExitCode;

use super::super::args::StageArgs;
use super::super::error::CliError;
use super::super::out_folder::{Contract, OutFolder};
use super::super::output;
use super::super::terminal::Terminal;
use super::request;
use crate::run::{RunError, Session};

/// Writes the workload's four files.
pub fn workload(args: &StageArgs) -> Result<ExitCode, CliError> {
    let inputs = [args.target.target.as_path()];
    let out =
        args.out.as_deref().map(|out| OutFolder::claim(out, Contract::Workload, &inputs)).transpose()?;
    let terminal = Terminal::new();
    let mut session = Session::open(request(&args.target)?, &terminal)?;
    if let Some(out) = &out {
        return into(&mut session, out, |session, folder| session.make_workload(0, folder));
    }
    let _guard = session.project.guard()?;
    for index in 0..session.resolved.lock.runs.len() {
        session.workload_stage(index)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the only run's result in a folder, whole or not at all.
pub fn into<'a>(
    session: &mut Session<'a>,
    out: &OutFolder<'_>,
    make: impl FnOnce(&mut Session<'a>, &Path) -> Result<String, RunError>,
) -> Result<ExitCode, CliError> {
    let runs = session.resolved.lock.runs.len();
    if runs != 1 {
        return Err(RunError::OutOfMatrix { runs }.into());
    }
    let what = out.fill(|folder| make(session, folder))?;
    output::line(format_args!("{}: {what}", out.path().display()))?;
    Ok(ExitCode::SUCCESS)
}
