use std::process::ExitCode;

use super::super::args::SpecArgs;
use super::super::error::CliError;
use super::super::output;
use super::overrides;
use crate::spec;

/// Checks experiments and reports every mistake in each.
pub fn run(args: &SpecArgs) -> Result<ExitCode, CliError> {
    let set = overrides(&args.set)?;
    let mut worst = ExitCode::SUCCESS;
    for path in &args.specs {
        match spec::load(path, &path.display().to_string(), &set) {
            Ok(loaded) => {
                let runs = loaded.cells.len();
                let plural = if runs == 1 { "" } else { "s" };
                output::line(format_args!("{}: ok, {runs} run{plural}", path.display()))?;
            }
            Err(error) => {
                let code = CliError::from(error).report();
                // A file that cannot be read weighs more than one with mistakes.
                if worst != ExitCode::from(2) {
                    worst = code;
                }
            }
        }
    }
    Ok(worst)
}
