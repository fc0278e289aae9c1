use std::process::ExitCode;

use super::super::args::CompletionsArgs;
use super::super::error::CliError;
use super::super::{help, output};

/// Prints a shell's completion script.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), "xp", &mut script);
    output::print(String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
