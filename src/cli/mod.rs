//! The command line: the only place that prints, reads flags or knows a terminal.

use std::process::ExitCode;

/// Entry point of the `xp` binary.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
