use std::process::ExitCode;

use super::super::args::SpecArgs;
use super::super::error::CliError;
use super::overrides;
use crate::spec;

/// Checks experiments and reports every mistake in each.
pub fn run(args: &SpecArgs) -> Result<ExitCode, CliError> {
    let set = overrides(&args.set)?;
    let mut wrong = 0;
    for path in &args.specs {
        match spec::load(path, &path.display().to_string(), &set) {
            Ok(loaded) => {
                let runs = loaded.cells.len();
                let plural = if runs == 1 { "" } else { "s" };
                anstream::println!("{}: ok, {runs} run{plural}", path.display());
            }
            Err(error) => {
                wrong += 1;
                let _ = CliError::from(error).report();
            }
        }
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
