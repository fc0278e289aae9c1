use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::args::SimArgs;
use super::super::error::CliError;
use super::super::out_folder::{Contract, OutFolder};
use super::super::terminal::Terminal;
use super::{request, stage};
use crate::run::{RunError, Session};
use crate::workload;

/// Simulates every run of a lock, or one from folders.
pub fn run(args: &SimArgs) -> Result<ExitCode, CliError> {
    let inputs: Vec<&Path> = [Some(&args.target.target), args.workload.as_ref(), args.bundle.as_ref()]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    let out =
        args.out.as_deref().map(|out| OutFolder::claim(out, Contract::Simulated, &inputs)).transpose()?;
    let terminal = Terminal::new();
    let mut session = Session::open(request(&args.target)?, &terminal)?;
    let Some(out) = &out else {
        if args.workload.is_some() || args.bundle.is_some() {
            return Err(CliError::system(
                "a simulation from folders is not pinned by the lock".to_owned(),
                "name the folder to write with --out",
            ));
        }
        let _guard = session.project.guard()?;
        session.pin()?;
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(folder) = &args.workload {
        let (made, meta) = workload::read_workload(folder)?;
        session.replace_workload(made, &meta);
    }
    let folder = match &args.bundle {
        Some(folder) => folder.clone(),
        None => session.bundle_folder(0)?.ok_or_else(|| {
            CliError::failed(
                "no bundle is pinned yet".to_owned(),
                "`xp profile` measures one, or give --bundle",
            )
        })?,
    };
    let bundle = session.read_profile(0, &folder)?;
    stage::into(&mut session, out, |session, folder| -> Result<String, RunError> {
        session.make_sim(0, &bundle, folder)
    })
}
