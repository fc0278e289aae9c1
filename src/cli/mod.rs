//! The command line: the only place that prints, reads flags or knows a terminal.

mod args;
mod commands;
mod error;
mod json;
mod out_folder;
mod output;
mod table;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

/// Entry point of the `xp` binary.
pub fn main() -> ExitCode {
    error::install_hook();
    let args = match args::Cli::try_parse() {
        Ok(args) => args,
        // Help and the version come this way too, on standard output.
        Err(message) => {
            let printed = message.print();
            return match output::checked(printed) {
                Err(error) if !message.use_stderr() => error.report(),
                _ => ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2)),
            };
        }
    };
    // Parsers recurse and reports lay out deep trees: more stack than a main thread may have.
    let worker = std::thread::Builder::new().name("xp".to_owned()).stack_size(64 << 20);
    let run = worker.spawn(move || commands::run(args)).and_then(|thread| {
        thread.join().map_err(|_| std::io::Error::other("xp stopped on an internal error; please report it"))
    });
    match run {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => error.report(),
        Err(error) => {
            output::note(format_args!("error: {error}"));
            ExitCode::from(101)
        }
    }
}
