use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::args::{CompareArgs, TargetArgs};
use super::super::error::CliError;
use super::super::out_folder::{Contract, OutFolder};
use super::super::output;
use super::super::table;
use super::super::terminal::Terminal;
use super::request;
use crate::compare::{self, CompareInput, Comparison};
use crate::metrics;
use crate::run::{self, Session};
use crate::store::{self, Digest, FileDigest};

/// Compares the runs of a lock, or run folders.
pub fn run(args: &CompareArgs) -> Result<ExitCode, CliError> {
    let comparisons = match (&args.target, &args.sim, &args.out) {
        (Some(target), _, _) => of_target(target, args)?,
        (None, Some(_), Some(_)) => vec![of_folders(args)?],
        _ => {
            return Err(CliError::system(
                "nothing to compare".to_owned(),
                "name a lock, or --real, --sim and --out",
            ));
        }
    };
    for comparison in &comparisons {
        output::line(format_args!("{}: {}", comparison.run, table::verdict(comparison.verdict)))?;
        output::print(table::headline(comparison))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn of_target(target: &Path, args: &CompareArgs) -> Result<Vec<Comparison>, CliError> {
    let terminal = Terminal::new();
    let target = TargetArgs { target: target.to_owned(), locking: args.locking.clone() };
    let mut request = request(&target)?;
    request.allow_foreign_bundle = args.allow_foreign_bundle;
    let mut session = Session::open(request, &terminal)?;
    let _guard = session.project.guard()?;
    let made = session.compare_all()?;
    Ok(made.into_iter().map(|(_, comparison)| comparison).collect())
}

fn of_folders(args: &CompareArgs) -> Result<Comparison, CliError> {
    let (Some(sim), Some(out)) = (&args.sim, &args.out) else {
        return Err(CliError::system("--sim and --out are missing".to_owned(), "give both"));
    };
    let inputs: Vec<&Path> = args.real.iter().chain([sim]).map(PathBuf::as_path).collect();
    let out = OutFolder::claim(out, Contract::Comparison, &inputs)?;
    let real = args.real.iter().map(|dir| metrics::read_run(dir)).collect::<Result<Vec<_>, _>>()?;
    let simulated = metrics::read_run(sim)?;
    let mut files: Vec<FileDigest> = Vec::new();
    for dir in args.real.iter().chain([sim]) {
        let name = name_of(dir);
        let found = store::digest_dir(dir).map_err(|error| {
            CliError::system(format!("cannot read {}: {error}", dir.display()), "is it a run's folder?")
        })?;
        files.extend(
            found.into_iter().map(|file| FileDigest { file: format!("{name}/{}", file.file), ..file }),
        );
    }
    let meta = &real[0].1;
    let input = CompareInput {
        run: meta.run.clone().unwrap_or_else(|| name_of(&args.real[0])),
        description: None,
        facts: Vec::new(),
        pins: Vec::new(),
        lock_digest: Digest::of_json(&files),
        files,
        pass_percent: args.pass,
        warn_percent: args.warn,
        allow_foreign_bundle: args.allow_foreign_bundle,
        slo: Default::default(),
        sim: simulated,
        replays: Vec::new(),
        real,
    };
    let comparison = compare::compare(&input)?;
    out.fill(|folder| run::write_comparison(folder, &comparison))?;
    Ok(comparison)
}

/// What a folder is called.
fn name_of(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
