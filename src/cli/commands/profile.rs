use std::process::ExitCode;

use super::super::args::ProfileArgs;
use super::super::error::CliError;
use super::super::out_folder::{Contract, OutFolder};
use super::super::output;
use super::super::terminal::Terminal;
use super::request;
use crate::run::Session;

/// Measures a bundle and pins it, or writes one into a folder of one's own.
pub fn run(args: &ProfileArgs) -> Result<ExitCode, CliError> {
    let inputs = [args.target.target.as_path()];
    let out = args.out.as_deref().map(|out| OutFolder::claim(out, Contract::Bundle, &inputs)).transpose()?;
    let terminal = Terminal::new();
    let mut request = request(&args.target)?;
    request.upgrade.bundle = args.force;
    let mut session = Session::open(request, &terminal)?;
    let _guard = session.project.guard()?;
    match &out {
        Some(out) => {
            let bundle = session.measure()?;
            out.check()?;
            bundle.write(out.path())?;
            let noise = bundle.measured().map_or(0.0, |head| head.noise_percent);
            output::line(format_args!("{}: noise floor ±{noise:.1} %", out.path().display()))?;
        }
        None => drop(session.pin()?),
    }
    Ok(ExitCode::SUCCESS)
}
