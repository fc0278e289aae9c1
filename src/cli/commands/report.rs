use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::args::{ReportArgs, TargetArgs};
use super::super::error::CliError;
use super::super::output;
use super::super::terminal::Terminal;
use super::{request, shown};
use crate::run::Session;
use crate::{compare, report, store};

/// Renders the comparisons of a lock, or of folders, as a PDF.
pub fn run(args: &ReportArgs) -> Result<ExitCode, CliError> {
    if let Some(out) = &args.out {
        require_pdf(out)?;
    }
    if args.targets.iter().all(|target| target.is_dir()) {
        let locking = &args.locking;
        if locking.locked || locking.frozen || !locking.set.set.is_empty() || !locking.set.preset.is_empty() {
            return Err(CliError::system(
                "--set, --preset, --locked and --frozen say how a lock is used, and folders have none"
                    .to_owned(),
                "leave them away, or name an experiment or a lock",
            ));
        }
        return of_folders(&args.targets, args.out.as_deref());
    }
    let [target] = args.targets.as_slice() else {
        return Err(CliError::system(
            "a report is made of one experiment or lock, or of folders of comparisons".to_owned(),
            "name one experiment or lock",
        ));
    };
    let terminal = Terminal::new();
    let target = TargetArgs { target: target.clone(), locking: args.locking.clone() };
    let mut session = Session::open(request(&target)?, &terminal)?;
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
    output::line(shown(&path))?;
    Ok(ExitCode::SUCCESS)
}

fn of_folders(folders: &[PathBuf], out: Option<&Path>) -> Result<ExitCode, CliError> {
    let comparisons = folders
        .iter()
        .map(|folder| compare::read_comparison(&folder.join("comparison.json")))
        .collect::<Result<Vec<_>, _>>()?;
    let out = out.map_or_else(|| folders[0].join("report.pdf"), Path::to_owned);
    write(&out, &report::render_pdf(&comparisons, None)?)?;
    output::line(shown(&out))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses to replace anything but an earlier report, before any work is done.
fn require_pdf(path: &Path) -> Result<(), CliError> {
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) };
    let mut start = Vec::new();
    if found.is_file() {
        let read = store::open_file(path).and_then(|file| file.take(5).read_to_end(&mut start));
        read.map_err(|error| {
            CliError::system(
                format!("cannot read {}: {error}", path.display()),
                "it is in the report's place",
            )
        })?;
    }
    if found.is_file() && (start.is_empty() || start == b"%PDF-") {
        return Ok(());
    }
    Err(CliError::failed(
        format!("{} is there and no PDF", path.display()),
        "a report replaces an earlier one and nothing else: name another file",
    ))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    store::write(path, bytes).map_err(|error| {
        CliError::system(format!("cannot write {}: {error}", path.display()), "is the folder writable?")
    })
}
