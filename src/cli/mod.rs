//! The command line: the only place that prints, reads flags or knows a terminal.

mod args;
mod commands;
mod error;
mod help;
mod json;
mod out_folder;
mod output;
mod table;
mod terminal;

use std::process::ExitCode;

use clap::FromArgMatches;

/// Entry point of the `xp` binary.
pub fn main() -> ExitCode {
    error::install_hook();
    let parsed = help::command().try_get_matches();
    let args = match parsed.and_then(|mut matches| args::Cli::from_arg_matches_mut(&mut matches)) {
        Ok(args) => args,
        // Help and the version come this way too, on standard output.
        Err(message) => {
            if let Some(code) = json::misused(&message) {
                return code;
            }
            let printed = message.print();
            return match output::checked(printed) {
                Err(error) if !message.use_stderr() => error.report(),
                _ => ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2)),
            };
        }
    };
    let json = args.command.json();
    // Parsers recurse and reports lay out deep trees: more stack than a main thread may have.
    let worker = std::thread::Builder::new().name("xp".to_owned()).stack_size(64 << 20);
    let run = worker.spawn(move || commands::run(args)).and_then(|thread| {
        thread.join().map_err(|_| std::io::Error::other("xp stopped on an internal error; please report it"))
    });
    match run {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => match json {
            Some(command) => json::fail(command, &error),
            None => error.report(),
        },
        Err(error) => {
            output::note(format_args!("error: {error}"));
            if let Some(command) = json {
                json::fail(command, &error::CliError::system(error.to_string(), "see standard error"));
            }
            ExitCode::from(101)
        }
    }
}
