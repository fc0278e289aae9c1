//! Locks at the tips of branches. Reading git's objects is git's affair.

use std::path::{Path, PathBuf};

use super::GcError;
use crate::git;
use crate::lock::{self, Lock};
use crate::run::Repository;

/// Largest lock that is read, in bytes: as large as the largest that a file may hold.
const MAX_LOCK: u64 = 64 << 20;

/// Every lock in `locks/` of a project at the tip of a local branch, each content once.
pub(super) fn branch_locks(repository: &Repository, root: &Path) -> Result<Vec<(String, Lock)>, GcError> {
    let failed = |error: git::GitError| GcError::Git {
        repository: repository.common().to_owned(),
        why: error.to_string(),
    };
    let project = repository.project().iter().map(|part| part.to_string_lossy());
    let folder: String = project.map(|part| format!("{part}/")).chain(["locks/".to_owned()]).collect();
    let texts = git::Repository::of(root, "")
        .and_then(|repository| repository.texts_at_branches(&folder, ".lock.kdl", MAX_LOCK))
        .map_err(failed)?;
    let mut locks = Vec::with_capacity(texts.len());
    for (name, text) in texts {
        match lock::parse(&PathBuf::from(&name), &text) {
            Ok(lock) => locks.push((name, lock)),
            Err(why) => return Err(GcError::Lock { lock: name, branch: true, why: Box::new(why) }),
        }
    }
    Ok(locks)
}
