use std::io;
use std::path::PathBuf;

use crate::store::ReadError;

/// A search was asked for that cannot be, or a `capacity.json` could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum CapacityError {
    /// The range of rates makes no search.
    #[error("no highest rate can be searched for: {problem}")]
    #[diagnostic(
        code(xp::capacity::range),
        help(
            "such as qps from 0.25 to 64 with a tolerance of 2 %: rates in requests/s, the lower one first"
        )
    )]
    Range { problem: &'static str },
    /// Without a limit every rate holds.
    #[error("no objective has a limit")]
    #[diagnostic(
        code(xp::capacity::no_objective),
        help("set at least one of ttft-p99, tpot-p99, e2e-p99 and delay-p99")
    )]
    NoObjective,
    /// The plan of a search cannot be.
    #[error("the search cannot be: {what}")]
    #[diagnostic(
        code(xp::capacity::plan),
        help("1 to 10,000 cells, each with at least one device and a price that is not negative")
    )]
    Plan { what: String },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// The operating system said no while writing.
    #[error("cannot write {}", path.display())]
    #[diagnostic(code(xp::capacity::write), help("is the folder writable, and is there space?"))]
    Write { path: PathBuf, source: io::Error },
    /// A file is no result of a search.
    #[error("{file}, line {line}, column {column}: {message}")]
    #[diagnostic(code(xp::capacity::json), help("`xp schema capacity` prints what the file may hold"))]
    Json { file: String, line: usize, column: usize, message: String },
    /// A newer xp wrote the file.
    #[error("{file} has {what} {found}, this xp knows {known}")]
    #[diagnostic(code(xp::capacity::version), help("a newer xp made the search: read it with that one"))]
    Version { file: String, what: &'static str, found: u64, known: u32 },
    /// A value of the file is impossible, or does not follow from the others.
    #[error("{file}: {what}")]
    #[diagnostic(code(xp::capacity::content), help("the file was edited or damaged: search again"))]
    Content { file: String, what: String },
}
