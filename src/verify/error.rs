use std::io;
use std::path::PathBuf;

use crate::lock::LockError;
use crate::report::ReportError;
use crate::run::{ProjectError, RunError};
use crate::store::ReadError;

/// Nothing could be checked.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum VerifyError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// The system refused.
    #[error("cannot read {}", path.display())]
    #[diagnostic(code(xp::verify::io))]
    Io { path: PathBuf, source: io::Error },
    /// A PDF without data.
    #[error("{} has no attached data: xp did not write it, or an older xp did", path.display())]
    #[diagnostic(
        code(xp::verify::no_data),
        help("`xp run` or `xp report` writes a PDF that can be verified")
    )]
    NoData { path: PathBuf },
}
