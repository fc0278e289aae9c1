//! Who uses a store, and which locks there are.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::branches::branch_locks;
use super::{GcError, GcRequest};
use crate::lock::{self, Lock, LockError};
use crate::run::{Project, ProjectError, Repository, RunGuard, registered};
use crate::store::{ObjectStore, ReadError, StoreGuard};

/// Everything that protects results.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Every project that uses the store, the one that was named first.
    pub projects: Vec<PathBuf>,
    /// Every lock, and what it is called.
    pub locks: Vec<(String, Lock)>,
    /// Files of the store that name projects which are gone for good.
    pub forgotten: Vec<PathBuf>,
}

/// Who was asked to stay away.
#[derive(Debug)]
#[allow(dead_code)]
pub(super) struct Guards {
    projects: Vec<RunGuard>,
    store: StoreGuard,
}

impl Guards {
    /// Takes every project and the store, and says when they were taken.
    pub fn take(projects: &[PathBuf], objects: &ObjectStore) -> Result<(Self, SystemTime), GcError> {
        let mut guards = Vec::new();
        // Where xp never ran there is nothing to keep from being written, and no folder to make.
        for root in projects.iter().filter(|root| root.join(".xp").is_dir()) {
            let guard = Project::at(root.clone()).guard().map_err(|why| match why {
                ProjectError::Lock { path, source } => GcError::Io { path, source },
                why => GcError::ProjectBusy { why },
            })?;
            guards.push(guard);
        }
        let root = objects.root();
        let seized = objects.seize().map_err(|source| GcError::io(&root.join("lock"), source))?;
        let store = seized.ok_or_else(|| GcError::Busy { store: root.to_owned() })?;
        Ok((Self { projects: guards, store }, SystemTime::now()))
    }
}

/// Finds projects and locks; the first that cannot be read is an error.
pub(super) fn find(project: &Project, store: &Path, request: &GcRequest) -> Result<Roots, GcError> {
    let mut roots = Roots::default();
    let mut repositories = BTreeSet::new();
    add_project(&mut roots, &mut repositories, project.root(), request)?;
    let named = registered(store).map_err(|source| GcError::io(&store.join("projects"), source))?;
    for (root, registration) in named {
        match root.is_dir() {
            true => add_project(&mut roots, &mut repositories, &root, request)?,
            false if request.forget_missing => roots.forgotten.push(registration),
            false => return Err(GcError::ProjectGone { root }),
        }
    }
    for root in &roots.projects {
        let mut paths = Vec::new();
        let mut seen = BTreeSet::new();
        find_locks(root, root, &mut seen, &mut paths).map_err(|(path, source)| GcError::io(&path, source))?;
        paths.sort();
        for path in paths {
            let lock = path.display().to_string();
            match lock::read(&path) {
                Ok(read) => roots.locks.push((lock, read)),
                // Gone since it was listed.
                Err(LockError::Read(ReadError::Io { source, .. }))
                    if source.kind() == io::ErrorKind::NotFound && !is_link(&path) => {}
                Err(why) => return Err(GcError::Lock { lock, branch: false, why: Box::new(why) }),
            }
        }
    }
    Ok(roots)
}

fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Adds a project in all worktrees of its repository, and the locks of its branches.
fn add_project(
    roots: &mut Roots,
    repositories: &mut BTreeSet<(PathBuf, PathBuf)>,
    root: &Path,
    request: &GcRequest,
) -> Result<(), GcError> {
    let mut add = |root: PathBuf| {
        if !roots.projects.contains(&root) {
            roots.projects.push(root);
        }
    };
    add(root.to_owned());
    let Some(repository) = Repository::of(root) else { return Ok(()) };
    if !repositories.insert((repository.common().to_owned(), repository.project().to_owned())) {
        return Ok(());
    }
    let worktrees = repository.projects().map_err(|source| GcError::io(repository.common(), source))?;
    for worktree in worktrees {
        match worktree.absent {
            true => return Err(GcError::WorktreeGone { root: worktree.root }),
            false if worktree.root.is_dir() => add(worktree.root),
            false => {}
        }
    }
    if !request.no_branches {
        roots.locks.extend(branch_locks(&repository, root)?);
    }
    Ok(())
}

/// Every lock of a working copy. Links lead to locks and to `locks/` only: no walk leaves the project otherwise.
fn find_locks(
    root: &Path,
    dir: &Path,
    seen: &mut BTreeSet<PathBuf>,
    out: &mut Vec<PathBuf>,
) -> Result<(), (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| (path, source)
    };
    // Each folder once, however links lead to it.
    if !seen.insert(dir.canonicalize().map_err(at(dir))?) {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let kind = entry.file_type().map_err(at(&path))?;
        let is_folder = kind.is_dir() || (kind.is_symlink() && name == "locks" && path.is_dir());
        if !is_folder {
            if name.ends_with(".lock.kdl") {
                out.push(path);
            }
            continue;
        }
        let made = dir == root && ["runs", "reports", "profiles"].contains(&&*name);
        if !made && !name.starts_with('.') && !path.join("CACHEDIR.TAG").is_file() {
            find_locks(root, &path, seen, out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn locks_are_found_wherever_they_lie_in_the_project() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let found = ["locks/a.lock.kdl", "locks/deep/b.lock.kdl", "old.lock.kdl", "sub/runs/c.lock.kdl"];
        let passed = [
            ".xp/quarantine/locks-a.lock.kdl.0",
            ".git/x.lock.kdl",
            "runs/x.lock.kdl",
            "target/CACHEDIR.TAG",
            "target/x.lock.kdl",
            "locks/notes.kdl",
        ];
        for name in found.iter().chain(&passed) {
            store::write(&root.join(name), b"").unwrap();
        }
        let mut paths = Vec::new();
        find_locks(root, root, &mut BTreeSet::new(), &mut paths).unwrap();
        paths.sort();
        assert_eq!(paths, found.map(|name| root.join(name)));
    }

    #[cfg(unix)]
    #[test]
    fn links_to_locks_are_followed_and_circles_end() {
        use std::os::unix::fs::symlink;
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        store::write(&elsewhere.path().join("shared.lock.kdl"), b"").unwrap();
        store::write(&elsewhere.path().join("one/x.lock.kdl"), b"").unwrap();
        symlink(elsewhere.path(), dir.path().join("locks")).unwrap();
        symlink(dir.path(), elsewhere.path().join("locks")).unwrap();
        symlink(elsewhere.path().join("one"), dir.path().join("data")).unwrap();
        symlink(elsewhere.path().join("gone"), dir.path().join("dangling.lock.kdl")).unwrap();
        let mut paths = Vec::new();
        find_locks(dir.path(), dir.path(), &mut BTreeSet::new(), &mut paths).unwrap();
        assert_eq!(paths.len(), 3, "{paths:?}");
    }
}
