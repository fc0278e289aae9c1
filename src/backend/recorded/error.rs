use crate::store::ReadError;

/// A recording is not what its columns say, or not of the workload.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RecordingError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// The file has other bytes than those that were hashed.
    #[error("{file} changed while xp was running")]
    #[diagnostic(
        code(xp::backend::recording_changed),
        help("run the command again when nothing writes to it")
    )]
    Changed { file: String },
    /// A column that the experiment names is not there.
    #[error("{file}:1: there is no column `{column}`")]
    #[diagnostic(
        code(xp::backend::recording_column),
        help("its header is {header:?}; `columns` of the backend names what stands where")
    )]
    Column { file: String, column: String, header: String },
    /// A row as a whole is wrong.
    #[error("{file}:{line}: {message}")]
    #[diagnostic(
        code(xp::backend::recording_row),
        help("a recording has a row for each request of the workload, with all its columns")
    )]
    Row { file: String, line: u64, message: String },
    /// A value is not what its column holds.
    #[error("{file}:{line}, column `{column}`: {message}")]
    #[diagnostic(code(xp::backend::recording_cell), help("{help}"))]
    Cell { file: String, line: u64, column: String, message: String, help: &'static str },
    /// Requests of the workload are not in the recording.
    #[error("{file} has {rows} rows, and none for {missing}")]
    #[diagnostic(
        code(xp::backend::recording_incomplete),
        help(
            "each request of the workload has to be recorded, numbered from 0 in the order of arrival: is it of this workload?"
        )
    )]
    Incomplete { file: String, rows: usize, missing: String },
}
