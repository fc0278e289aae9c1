use std::io;
use std::path::{Path, PathBuf};

use crate::run::ProjectError;
use crate::store::ResultError;

/// Nothing was removed, unless it says so.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum GcError {
    /// A lock cannot be read, so what it rests on is not known.
    #[error("nothing was removed: {lock} cannot be read, and what it rests on is not known")]
    #[diagnostic(
        code(xp::gc::unreadable_root),
        help("lock its experiment again, or move the file away{}", if *branch { "; `--no-branches` leaves branches that are not checked out aside" } else { "" })
    )]
    Lock {
        lock: String,
        branch: bool,
        #[diagnostic_source]
        why: Box<dyn miette::Diagnostic + Send + Sync>,
    },
    /// A lock was read, and what it rests on cannot be told.
    #[error("nothing was removed: what {lock} rests on cannot be told")]
    #[diagnostic(code(xp::gc::unclear_root), help("lock its experiment again, or move the file away"))]
    Unclear {
        lock: String,
        #[diagnostic_source]
        why: Box<dyn miette::Diagnostic + Send + Sync>,
    },
    /// A record of the store cannot be read, so what it names is not known.
    #[error("nothing was removed: a result of the store is damaged")]
    #[diagnostic(
        code(xp::gc::damaged_result),
        help("move the file away: its stage is made again when it is needed")
    )]
    Result {
        #[source]
        #[diagnostic_source]
        why: ResultError,
    },
    /// A project that uses the store is not there.
    #[error("nothing was removed: {} uses the store and is not there", root.display())]
    #[diagnostic(
        code(xp::gc::project_gone),
        help("is its drive mounted? if it was deleted, say so with `--forget-missing`")
    )]
    ProjectGone { root: PathBuf },
    /// A worktree that git was told to keep is not there.
    #[error("nothing was removed: the worktree {} is not there, and git was told to keep it", root.display())]
    #[diagnostic(
        code(xp::gc::worktree_gone),
        help(
            "is its drive mounted? if it was deleted, say so to git: `git worktree unlock`, then `git worktree prune`"
        )
    )]
    WorktreeGone { root: PathBuf },
    /// Locks of branches cannot be read without git.
    #[error("nothing was removed: the branches of {} cannot be read: {why}", repository.display())]
    #[diagnostic(
        code(xp::gc::git),
        help(
            "locks of branches keep their results; `--no-branches` leaves those that are not checked out aside"
        )
    )]
    Git { repository: PathBuf, why: String },
    /// Somebody writes or reads results.
    #[error("nothing was removed: another xp is using the store {}", store.display())]
    #[diagnostic(code(xp::gc::busy), help("wait for it, or stop it"))]
    Busy { store: PathBuf },
    /// Somebody runs an experiment.
    #[error("nothing was removed: {why}")]
    #[diagnostic(code(xp::gc::project_busy), help("wait for it, or stop it"))]
    ProjectBusy { why: ProjectError },
    /// The system refused.
    #[error("cannot read or remove {}", path.display())]
    #[diagnostic(code(xp::gc::io))]
    Io { path: PathBuf, source: io::Error },
}

impl GcError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
