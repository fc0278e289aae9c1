//! Answers for programs.

use serde::Serialize;

use super::error::CliError;
use super::output;

/// Prints a value as JSON, with a line's end.
pub fn print(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).expect("answers are plain data");
    output::line(text)
}
