use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::args::RealArgs;
use super::super::error::CliError;
use super::super::out_folder::{Contract, OutFolder};
use super::super::terminal::Terminal;
use super::{request, stage};
use crate::run::Session;
use crate::workload;

/// Times the workload of every run of a lock on the engine, or one from a folder.
pub fn run(args: &RealArgs) -> Result<ExitCode, CliError> {
    let inputs: Vec<&Path> = [Some(&args.target.target), args.workload.as_ref()]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    let out =
        args.out.as_deref().map(|out| OutFolder::claim(out, Contract::Measured, &inputs)).transpose()?;
    let terminal = Terminal::new();
    let mut session = Session::open(request(&args.target)?, &terminal)?;
    if let Some(folder) = &args.workload {
        let (made, meta) = workload::read_workload(folder)?;
        session.replace_workload(made, &meta);
    }
    session.require_measurable()?;
    let _guard = session.project.guard()?;
    if let Some(out) = &out {
        return stage::into(&mut session, out, |session, folder| session.make_real(0, 0, folder));
    }
    let repeats = session.resolved.lock.experiment.compare.as_ref().map_or(1, |compare| compare.repeats);
    for index in 0..session.resolved.lock.runs.len() {
        session.measured_runs(index, repeats)?;
    }
    Ok(ExitCode::SUCCESS)
}
