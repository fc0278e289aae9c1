use std::io;
use std::path::PathBuf;

use crate::store::ReadError;

/// A run's folder could not be read or written, or breaks the run contract.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ContractError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// The operating system said no while reading.
    #[error("cannot read {}", path.display())]
    #[diagnostic(code(xp::metrics::read), help("is it the folder of a run?"))]
    Io { path: PathBuf, source: io::Error },
    /// The operating system said no while writing.
    #[error("cannot write {}", path.display())]
    #[diagnostic(code(xp::metrics::write), help("is the folder writable, and is there space?"))]
    Write { path: PathBuf, source: io::Error },
    /// The file is larger than any honest file of its kind.
    #[error("{file} is larger than {limit} bytes")]
    #[diagnostic(code(xp::metrics::too_large), help("is this the right file?"))]
    TooLarge { file: String, limit: u64 },
    /// A record is longer than any honest one.
    #[error("{file}, line {line}: longer than {limit} bytes")]
    #[diagnostic(
        code(xp::metrics::line_too_long),
        help("the file is damaged, or it is no CSV file of a run")
    )]
    LineTooLong { file: String, line: u64, limit: usize },
    /// The file does not end with a whole line.
    #[error("{file} does not end with a whole line")]
    #[diagnostic(
        code(xp::metrics::truncated),
        help("the file was cut off, by a full disk or an interrupted copy: take the run again")
    )]
    Truncated { file: String },
    /// The columns are not the contract's.
    #[error("{file}, line 1: the columns are {found}")]
    #[diagnostic(code(xp::metrics::header), help("a run's {file} has the columns {wanted}"))]
    Header { file: String, found: String, wanted: String },
    /// A row as a whole is wrong.
    #[error("{file}, line {line}: {message}")]
    #[diagnostic(code(xp::metrics::row), help("the file was edited or damaged: take the run again"))]
    Row { file: String, line: u64, message: String },
    /// A cell holds something else than the contract says.
    #[error("{file}, line {line}, column {column}: {found} is not {expected}")]
    #[diagnostic(code(xp::metrics::cell), help("the file was edited or damaged: take the run again"))]
    Cell { file: String, line: u64, column: &'static str, found: String, expected: String },
    /// A file is not JSON of the type that it should be.
    #[error("{file}, line {line}, column {column}: {message}")]
    #[diagnostic(code(xp::metrics::json), help("`xp schema run_meta` prints what the file may hold"))]
    Json { file: String, line: usize, column: usize, message: String },
    /// The run was written by a newer xp.
    #[error("{file} has {what} {found}, this xp knows {known}")]
    #[diagnostic(code(xp::metrics::version), help("a newer xp wrote the run: read it with that one"))]
    Version { file: String, what: &'static str, found: u64, known: u32 },
    /// Files of one run contradict each other.
    #[error("{file} does not belong to the run's other files: {message}")]
    #[diagnostic(code(xp::metrics::contradiction), help("the folder mixes files of two runs, or was edited"))]
    Contradiction { file: String, message: String },
    /// A record in memory cannot be written as a run.
    #[error("the run cannot be written: {message}")]
    #[diagnostic(code(xp::metrics::record), help("this is a mistake in the backend that made the run"))]
    Record { message: String },
}
