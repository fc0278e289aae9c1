use std::path::Path;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::args::SpecArgs;
use super::super::error::{self, CliError};
use super::super::{json, output};
use super::overrides;
use crate::spec::{self, Loaded, Override};

/// What `xp check --json` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Check {
    /// One entry for each file, in the order given.
    files: Vec<CheckedFile>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CheckedFile {
    /// As it was given.
    file: String,
    /// Whether there is no mistake in it.
    ok: bool,
    /// The experiment's name; null when there are mistakes.
    experiment: Option<String>,
    /// Runs of its matrix; null when there are mistakes.
    runs: Option<usize>,
}

/// Checks experiments and reports every mistake in each.
pub fn run(args: &SpecArgs) -> Result<ExitCode, CliError> {
    let set = overrides(&args.set)?;
    let checked = args.specs.iter().map(|path| (path.as_path(), load(path, &set)));
    if args.json.json {
        return in_json(checked);
    }
    let mut refused = Vec::new();
    for (path, loaded) in checked {
        match loaded {
            Ok(loaded) => {
                let runs = loaded.cells.len();
                let plural = if runs == 1 { "" } else { "s" };
                output::line(format_args!("{}: ok, {runs} run{plural}", path.display()))?;
            }
            Err(error) => refused.push(error),
        }
    }
    Ok(error::report_all(&refused).unwrap_or(ExitCode::SUCCESS))
}

fn load(path: &Path, set: &[Override]) -> Result<Loaded, CliError> {
    Ok(spec::load(path, &path.display().to_string(), set)?)
}

fn in_json<'a>(
    checked: impl Iterator<Item = (&'a Path, Result<Loaded, CliError>)>,
) -> Result<ExitCode, CliError> {
    let (mut files, mut diagnostics, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (path, loaded) in checked {
        let file = path.display().to_string();
        let loaded = loaded.map_err(|error| {
            diagnostics.extend(error.diagnostics().into_iter().map(|mut diagnostic| {
                // What is said of a file as a whole has no place in it.
                diagnostic.file.get_or_insert_with(|| file.clone());
                diagnostic
            }));
            refused.push(error);
        });
        let loaded = loaded.ok();
        files.push(CheckedFile {
            file,
            ok: loaded.is_some(),
            runs: loaded.as_ref().map(|loaded| loaded.cells.len()),
            experiment: loaded.map(|loaded| loaded.experiment.name),
        });
    }
    json::print(&json::Document::new("check", diagnostics, Check { files }))?;
    Ok(error::worst(&refused).unwrap_or(ExitCode::SUCCESS))
}
