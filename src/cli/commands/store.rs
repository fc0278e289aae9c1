use std::path::Path;
use std::process::ExitCode;

use super::super::args::{StoreCommand, StoreCopyArgs};
use super::super::error::CliError;
use super::super::output;
use super::super::table::size;
use super::super::terminal::Terminal;
use crate::lock::{self, Lock};
use crate::run::{self, Project, RunError, StageStore};
use crate::store::Transferred;

/// Says where results are kept, or copies them.
pub fn run(command: &StoreCommand) -> Result<ExitCode, CliError> {
    match command {
        StoreCommand::Info(args) => info(&args.project),
        StoreCommand::Push(args) => {
            let (project, locks) = project_of(args)?;
            let out = run::push(&project, &args.other, &locks, &Terminal::new())?;
            told("pushed", &out)
        }
        StoreCommand::Pull(args) => {
            let (project, locks) = project_of(args)?;
            let out = run::pull(&project, &args.other, &locks, &Terminal::new())?;
            told("pulled", &out)
        }
    }
}

fn around(folder: &Path) -> Result<Project, CliError> {
    let io = |source| RunError::Io { path: folder.to_owned(), source };
    Ok(Project::around(folder).map_err(io)?)
}

fn info(folder: &Path) -> Result<ExitCode, CliError> {
    let stages = StageStore::new(around(folder)?.root());
    let store = stages.objects();
    let io = |source| RunError::Io { path: store.root().to_owned(), source };
    let (objects, results) = (store.objects().map_err(io)?, store.results().map_err(io)?);
    let bytes = objects.iter().map(|(_, bytes)| bytes).sum();
    output::line(store.root().display())?;
    output::line(format_args!("results  {}", results.len()))?;
    output::line(format_args!("objects  {}, {}", objects.len(), size(bytes)))?;
    Ok(ExitCode::SUCCESS)
}

/// The project of the locks, else the one around the current folder.
fn project_of(args: &StoreCopyArgs) -> Result<(Project, Vec<Lock>), CliError> {
    let mut project: Option<Project> = None;
    let mut locks = Vec::with_capacity(args.locks.len());
    for path in &args.locks {
        locks.push(lock::read(path)?);
        let of = Project::of(path).map_err(|source| RunError::Io { path: path.clone(), source })?;
        if project.as_ref().is_some_and(|project| *project != of) {
            return Err(CliError::system(
                format!("{} is of another project than the locks before it", path.display()),
                "name locks of one project",
            ));
        }
        project = Some(of);
    }
    match project {
        Some(project) => Ok((project, locks)),
        None => Ok((around(Path::new("."))?, locks)),
    }
}

fn told(verb: &str, out: &Transferred) -> Result<ExitCode, CliError> {
    output::line(format_args!(
        "{verb} {} results with {} new files, {}; {} were there",
        out.results,
        out.objects,
        size(out.bytes),
        out.present
    ))?;
    if out.damaged.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut message = format!("{} damaged results were left out:", out.damaged.len());
    for damaged in &out.damaged {
        message.push_str(&format!("\n  {damaged}"));
    }
    Err(CliError::failed(message, "all others were copied; a run of xp makes what is damaged again"))
}
