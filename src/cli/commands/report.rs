use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::args::{ReportArgs, TargetArgs};
use super::super::error::CliError;
use super::super::terminal::Terminal;
use super::{request, shown};
use crate::run::Session;
use crate::{compare, report, store};

/// Renders the comparisons of a lock, or of folders, as a PDF.
pub fn run(args: &ReportArgs) -> Result<ExitCode, CliError> {
    if args.targets.iter().all(|target| target.join("comparison.json").is_file()) {
        return of_folders(&args.targets, args.out.as_deref());
    }
    let [target] = args.targets.as_slice() else {
        return Err(CliError::system(
            "a report is made of one experiment or lock, or of folders of comparisons".to_owned(),
            "name one experiment or lock",
        ));
    };
    let terminal = Terminal::new();
    let target = TargetArgs { target: target.clone(), set: Default::default(), locked: false, frozen: false };
    let mut session = Session::open(request(&target), &terminal)?;
    let _guard = session.project.guard()?;
    let comparisons = session.compare_all()?;
    let path = session.report_stage(&comparisons)?;
    let path = match &args.out {
        Some(out) => {
            let bytes = store::read_bounded(&path, 1 << 30)?;
            write(out, &bytes)?;
            out.clone()
        }
        None => path,
    };
    anstream::println!("{}", shown(&path));
    Ok(ExitCode::SUCCESS)
}

fn of_folders(folders: &[PathBuf], out: Option<&Path>) -> Result<ExitCode, CliError> {
    let comparisons = folders
        .iter()
        .map(|folder| compare::read_comparison(&folder.join("comparison.json")))
        .collect::<Result<Vec<_>, _>>()?;
    let out = out.map_or_else(|| folders[0].join("report.pdf"), Path::to_owned);
    write(&out, &report::render_pdf(&comparisons)?)?;
    anstream::println!("{}", shown(&out));
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    store::write(path, bytes).map_err(|error| {
        CliError::system(format!("cannot write {}: {error}", path.display()), "is the folder writable?")
    })
}
