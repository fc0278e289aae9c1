use std::path::{Path, PathBuf};

use crate::store::ReadError;

/// A folder of LLMServingSim's kernel profiles could not be used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum KernelProfileError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// A file says something that no profile says, or leaves out what every profile has.
    #[error("{}:{line}:{column}: {found}", path.display())]
    #[diagnostic(code(xp::profile::kernels), help("{right}"))]
    Invalid {
        path: PathBuf,
        /// Line and column of the cell's or the value's first character, from 1.
        line: u64,
        column: u64,
        found: String,
        /// What would be right.
        right: String,
    },
    /// The model was not profiled at this degree of tensor parallelism.
    #[error("{} was not profiled at tensor-parallel degree {wanted}", path.display())]
    #[diagnostic(code(xp::profile::degree), help("it was profiled at {}", Self::list(have)))]
    Degree { path: PathBuf, wanted: u32, have: Vec<u32> },
}

impl KernelProfileError {
    fn list(degrees: &[u32]) -> String {
        let degrees: Vec<String> = degrees.iter().map(u32::to_string).collect();
        if degrees.is_empty() { "no degree".to_owned() } else { degrees.join(", ") }
    }

    /// `at` is a line and a column.
    pub(super) fn invalid(
        path: &Path,
        at: (u64, u64),
        found: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        let (line, column) = at;
        Self::Invalid { path: path.to_owned(), line, column, found: found.into(), right: right.into() }
    }
}
