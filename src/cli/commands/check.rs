use std::path::Path;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::args::SpecArgs;
use super::super::error::{self, CliError};
use super::super::{json, output};
use super::changes;
use crate::lock::ProjectFiles;
use crate::run::Project;
use crate::spec::{self, Changes, Loaded};

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
    let changes = changes(&args.set)?;
    let checked = args.specs.iter().map(|path| (path.as_path(), load(path, &changes, args)));
    if args.json.json {
        return in_json(checked);
    }
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut refused = Vec::new();
    for (path, loaded) in checked {
        match loaded {
            Ok(loaded) => {
                let mut said = format!("{}: ok, {}", path.display(), counted(loaded.cells.len(), "run"));
                if !loaded.warnings.is_empty() {
                    said.push_str(&format!(", {}", counted(loaded.warnings.len(), "warning")));
                }
                let warnings: Vec<CliError> = loaded.warnings.into_iter().map(CliError::from).collect();
                error::report_all(&warnings);
                output::line(said)?;
            }
            Err(error) => refused.push(error),
        }
    }
    Ok(error::report_all(&refused).unwrap_or(ExitCode::SUCCESS))
}

fn load(path: &Path, changes: &Changes, args: &SpecArgs) -> Result<Loaded, CliError> {
    let project = Project::of(path).map_err(|error| {
        CliError::system(
            format!("cannot find the project of {}: {error}", path.display()),
            "is the path right?",
        )
    })?;
    let relative = project.relative(path);
    let files = ProjectFiles::new(project.root(), path, &relative).named_as_given();
    let files = files.with_data(spec::take_data(&args.set.set).0);
    Ok(spec::load(&files, &relative, changes)?)
}

fn in_json<'a>(
    checked: impl Iterator<Item = (&'a Path, Result<Loaded, CliError>)>,
) -> Result<ExitCode, CliError> {
    let (mut files, mut diagnostics, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (path, loaded) in checked {
        let file = path.display().to_string();
        let mut tell = |error: &CliError| {
            diagnostics.extend(error.diagnostics().into_iter().map(|mut diagnostic| {
                // What is said of a file as a whole has no place in it.
                diagnostic.file.get_or_insert_with(|| file.clone());
                diagnostic
            }));
        };
        let loaded = match loaded {
            Ok(mut loaded) => {
                std::mem::take(&mut loaded.warnings).into_iter().for_each(|warning| tell(&warning.into()));
                Some(loaded)
            }
            Err(error) => {
                tell(&error);
                refused.push(error);
                None
            }
        };
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
