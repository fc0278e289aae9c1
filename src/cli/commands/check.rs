use std::path::Path;
use std::process::ExitCode;

use super::super::args::SpecArgs;
use super::super::error::CliError;
use super::super::output;
use super::changes;
use crate::lock::ProjectFiles;
use crate::run::Project;
use crate::spec::{self, Changes};

/// Checks experiments and reports every mistake in each.
pub fn run(args: &SpecArgs) -> Result<ExitCode, CliError> {
    let changes = changes(&args.set)?;
    let mut worst = ExitCode::SUCCESS;
    for path in &args.specs {
        if let Err(error) = check(path, &changes) {
            let code = error.report();
            // A file that cannot be read weighs more than one with mistakes.
            if worst != ExitCode::from(2) {
                worst = code;
            }
        }
    }
    Ok(worst)
}

fn check(path: &Path, changes: &Changes) -> Result<(), CliError> {
    let project = Project::of(path).map_err(|error| {
        CliError::system(
            format!("cannot find the project of {}: {error}", path.display()),
            "is the path right?",
        )
    })?;
    let relative = project.relative(path);
    let files = ProjectFiles::new(project.root(), path, &relative).named_as_given();
    let loaded = spec::load(&files, &relative, changes)?;
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut said = format!("{}: ok, {}", path.display(), counted(loaded.cells.len(), "run"));
    if !loaded.warnings.is_empty() {
        said.push_str(&format!(", {}", counted(loaded.warnings.len(), "warning")));
    }
    for warning in loaded.warnings {
        CliError::from(warning).report();
    }
    output::line(said)
}
