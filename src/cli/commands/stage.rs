//! `xp workload` and `xp real`: one stage of every run of a lock, or of the
//! only run into a folder of one's own.

use std::path::Path;
use std::process::ExitCode;

use super::super::args::StageArgs;
use super::super::error::CliError;
use super::super::terminal::Terminal;
use super::request;
use crate::run::{RunError, Session};
use crate::store::StagedDir;

/// Writes the workload's four files.
pub fn workload(args: &StageArgs) -> Result<ExitCode, CliError> {
    let terminal = Terminal::new();
    let mut session = Session::open(request(&args.target), &terminal)?;
    if let Some(out) = &args.out {
        return into(&mut session, out, |session, folder| session.make_workload(0, folder));
    }
    let _guard = session.project.guard()?;
    for index in 0..session.resolved.lock.runs.len() {
        session.workload_stage(index)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Times the workload on the engine.
pub fn real(args: &StageArgs) -> Result<ExitCode, CliError> {
    let terminal = Terminal::new();
    let mut session = Session::open(request(&args.target), &terminal)?;
    let _guard = session.project.guard()?;
    if let Some(out) = &args.out {
        return into(&mut session, out, |session, folder| session.make_real(0, 0, folder));
    }
    let repeats = session.resolved.lock.experiment.compare.as_ref().map_or(1, |compare| compare.repeats);
    for index in 0..session.resolved.lock.runs.len() {
        session.workload_stage(index)?;
        for repeat in 0..repeats {
            session.real_stage(index, repeat)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the only run's result in a folder, whole or not at all.
pub fn into<'a>(
    session: &mut Session<'a>,
    out: &Path,
    make: impl FnOnce(&mut Session<'a>, &Path) -> Result<String, RunError>,
) -> Result<ExitCode, CliError> {
    let runs = session.resolved.lock.runs.len();
    if runs != 1 {
        return Err(RunError::OutOfMatrix { runs }.into());
    }
    let what = whole(out, |folder| make(session, folder))?;
    anstream::println!("{}: {what}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// Fills a folder beside its name and renames it into place.
pub fn whole<T>(out: &Path, make: impl FnOnce(&Path) -> Result<T, RunError>) -> Result<T, CliError> {
    let refused = |error: std::io::Error| {
        CliError::system(format!("cannot write {}: {error}", out.display()), "is the folder writable?")
    };
    let staged = StagedDir::new(out).map_err(refused)?;
    let made = make(staged.path())?;
    staged.commit().map_err(refused)?;
    Ok(made)
}
