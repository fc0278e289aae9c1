use std::process::ExitCode;

use super::super::args::ProfileArgs;
use super::super::error::CliError;
use super::super::terminal::Terminal;
use super::request;
use crate::profile;
use crate::run::Session;

/// Measures a bundle and pins it, or writes one into a folder of one's own.
pub fn run(args: &ProfileArgs) -> Result<ExitCode, CliError> {
    let terminal = Terminal::new();
    let mut request = request(&args.target);
    request.new_profile = args.force;
    let mut session = Session::open(request, &terminal)?;
    let _guard = session.project.guard()?;
    match &args.out {
        Some(out) => {
            let bundle = session.measure()?;
            profile::write_bundle(out, &bundle)?;
            anstream::println!("{}: noise floor ±{:.1} %", out.display(), bundle.meta.noise_percent);
        }
        None => session.pin()?,
    }
    Ok(ExitCode::SUCCESS)
}
