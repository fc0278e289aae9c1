use std::io;
use std::path::{Path, PathBuf};

use crate::engine::EngineError;
use crate::store::ReadError;

/// A bundle could not be measured, read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ProfileError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),
    /// A file of the bundle says something that no measurement gives.
    #[error("{}:{line}: {message}", path.display())]
    #[diagnostic(
        code(xp::profile::bundle),
        help("bundles are written by `xp profile`; restore this one or measure again")
    )]
    Invalid { path: PathBuf, line: u64, message: String },
    /// A file of the bundle has other bytes than `bundle.json` says.
    #[error("{} is not the file that bundle.json describes", path.display())]
    #[diagnostic(code(xp::profile::digest), help("it was edited or damaged: restore it, or measure again"))]
    Digest { path: PathBuf },
    /// A newer xp wrote the bundle.
    #[error("{} has bundle format {found}; this xp reads up to {newest}", path.display())]
    #[diagnostic(code(xp::profile::newer), help("update xp, or measure again with this one"))]
    Newer { path: PathBuf, found: u32, newest: u32 },
    /// The system refused a file.
    #[error("cannot write {}", path.display())]
    #[diagnostic(code(xp::profile::write))]
    Write { path: PathBuf, source: io::Error },
}

impl ProfileError {
    pub(super) fn invalid(path: &Path, line: u64, message: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_owned(), line, message: message.into() }
    }
}
