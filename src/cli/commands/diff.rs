use std::process::ExitCode;

use super::super::args::DiffArgs;
use super::super::error::CliError;

pub fn run(_args: &DiffArgs) -> Result<ExitCode, CliError> {
    todo!()
}
