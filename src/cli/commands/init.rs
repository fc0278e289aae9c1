use std::process::ExitCode;

use super::super::args::InitArgs;
use super::super::error::CliError;
use super::super::output;
use crate::{spec, store};

/// Writes a commented experiment.
pub fn run(args: &InitArgs) -> Result<ExitCode, CliError> {
    if args.path.exists() && !args.force {
        return Err(CliError::failed(
            format!("{} exists already", args.path.display()),
            "name another file, or replace it with --force",
        ));
    }
    let name = args.path.file_stem().unwrap_or_default().to_string_lossy();
    store::write(&args.path, spec::starter(&name).as_bytes()).map_err(|error| {
        CliError::system(format!("cannot write {}: {error}", args.path.display()), "is the folder writable?")
    })?;
    let path = args.path.display();
    output::line(format_args!("wrote {path}\n\nnext:\n  xp check {path}\n  xp run {path}"))?;
    Ok(ExitCode::SUCCESS)
}
