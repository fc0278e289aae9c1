//! The command line: the only place that prints, reads flags or knows a terminal.

mod args;
mod commands;
mod error;
mod table;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

/// Entry point of the `xp` binary.
pub fn main() -> ExitCode {
    let args = args::Cli::parse();
    error::install_hook();
    // Parsers recurse and reports lay out deep trees: more stack than a main thread may have.
    let worker = std::thread::Builder::new().name("xp".to_owned()).stack_size(64 << 20);
    let run = worker.spawn(move || commands::run(args)).and_then(|thread| {
        thread.join().map_err(|_| std::io::Error::other("xp stopped on an internal error; please report it"))
    });
    match run {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => error.report(),
        Err(error) => {
            anstream::eprintln!("error: {error}");
            ExitCode::from(101)
        }
    }
}
