//! Locks at the tips of branches. Reading git's objects is git's affair.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::GcError;
use crate::lock::{self, Lock};
use crate::run::Repository;

/// Every lock in `locks/` of a project at the tip of a local branch, each content once.
pub(super) fn branch_locks(repository: &Repository, root: &Path) -> Result<Vec<(String, Lock)>, GcError> {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        // A hook's environment names another repository.
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"] {
            command.env_remove(variable);
        }
        let failed = |why: String| GcError::Git { repository: repository.common().to_owned(), why };
        let output = command.arg("--git-dir").arg(repository.common()).args(args).current_dir(root).output();
        match output {
            Ok(output) if output.status.success() => Ok(output.stdout),
            Ok(output) => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            Err(error) => Err(failed(format!("git cannot be started: {error}"))),
        }
    };
    let tips = git(&["for-each-ref", "--format=%(objectname) %(refname:short)", "refs/heads"])?;
    let project = repository.project().iter().map(|part| part.to_string_lossy());
    let folder: String = project.map(|part| format!("{part}/")).chain(["locks/".to_owned()]).collect();
    // By content: most branches have most locks in common.
    let mut blobs: BTreeMap<String, String> = BTreeMap::new();
    for line in String::from_utf8_lossy(&tips).lines() {
        let Some((commit, branch)) = line.split_once(' ') else { continue };
        let tree = git(&["ls-tree", "-r", "-z", "--full-tree", commit, "--", &folder])?;
        for entry in tree.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            let Some((facts, path)) = entry.split_once('\t') else { continue };
            let mut facts = facts.split(' ').skip(1);
            if let (Some("blob"), Some(blob), true) =
                (facts.next(), facts.next(), path.ends_with(".lock.kdl"))
            {
                blobs.entry(blob.to_owned()).or_insert_with(|| format!("{branch}:{path}"));
            }
        }
    }
    let mut locks = Vec::with_capacity(blobs.len());
    for (blob, name) in blobs {
        let bytes = git(&["cat-file", "blob", &blob])?;
        let text = String::from_utf8_lossy(&bytes);
        match lock::parse(&PathBuf::from(&name), &text) {
            Ok(lock) => locks.push((name, lock)),
            Err(why) => return Err(GcError::Lock { lock: name, branch: true, why: Box::new(why) }),
        }
    }
    Ok(locks)
}
