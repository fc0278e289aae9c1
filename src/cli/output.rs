//! The two streams of the process. Standard output is checked: what a person
//! asked for was printed, or xp says that it was not.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write};

use super::error::CliError;

/// Prints a line on standard output.
pub fn line(text: impl Display) -> Result<(), CliError> {
    write(format_args!("{text}\n"))
}

/// Prints text as it is on standard output.
pub fn print(text: impl Display) -> Result<(), CliError> {
    write(format_args!("{text}"))
}

/// Prints a line on standard error. There is nowhere to say that this failed.
pub fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

fn write(text: fmt::Arguments<'_>) -> Result<(), CliError> {
    let mut stdout = anstream::stdout().lock();
    // Unflushed text would be lost silently when the process ends.
    checked(stdout.write_fmt(text).and_then(|()| stdout.flush()))
}

/// A reader that has gone, such as `head`, has what it wanted; all else is an error.
pub fn checked(written: io::Result<()>) -> Result<(), CliError> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CliError::system(
            format!("cannot write to standard output: {error}"),
            "is the disk full? what the command made on disk is there all the same",
        )),
        _ => Ok(()),
    }
}
