use std::io;
use std::path::PathBuf;

/// git could not answer, or its answer is no.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum GitError {
    /// The program does not run.
    #[error("cannot run git")]
    #[diagnostic(code(xp::git::missing), help("install git, or name files instead of revisions"))]
    Missing { source: io::Error },
    /// The folder lies in no working tree.
    #[error("{} is not in a git repository", dir.display())]
    #[diagnostic(code(xp::git::no_repository), help("{help}"))]
    NoRepository { dir: PathBuf, help: String },
    /// git does not know the revision.
    #[error("there is no revision {rev}: {said}")]
    #[diagnostic(code(xp::git::revision), help("{help}"))]
    Revision { rev: String, said: String, help: String },
    /// The revision has no such file.
    #[error("{rev} has no file {path}")]
    #[diagnostic(code(xp::git::path), help("{help}"))]
    Path { rev: String, path: String, help: String },
    /// The file is larger than any honest file of its kind.
    #[error("{name} is larger than {limit} bytes")]
    #[diagnostic(code(xp::git::too_large), help("is this the right file?"))]
    TooLarge { name: String, limit: u64 },
    /// The file is no text.
    #[error("{name} is not UTF-8: byte {offset} does not belong to a character")]
    #[diagnostic(code(xp::git::not_utf8))]
    NotUtf8 { name: String, offset: usize },
    /// A person has set this already, to something else.
    #[error("{place} says already: {found}")]
    #[diagnostic(
        code(xp::git::taken),
        help("xp would write: {wanted}\nnothing was changed; remove what is there, and install again")
    )]
    Taken { place: String, found: String, wanted: String },
    /// A file of git's could not be read or written.
    #[error("cannot read or write {}", path.display())]
    #[diagnostic(code(xp::git::io))]
    Io { path: PathBuf, source: io::Error },
    /// git refuses, for a reason of its own.
    #[error("git {what}: {said}")]
    #[diagnostic(code(xp::git::failed))]
    Failed { what: String, said: String },
}
