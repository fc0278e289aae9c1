//! Where a project's store lies: one for all worktrees of a repository.

use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::project::make_own_folder;
use crate::store::{self, Digest};

/// Names the store's folder, for several projects perhaps.
const VARIABLE: &str = "XP_STORE";

/// No honest file that git keeps for a worktree is larger, in bytes.
const MAX_POINTER: u64 = 64 << 10;

/// A store's folder, and how it came to be the project's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePlace {
    pub folder: PathBuf,
    /// Whether `$XP_STORE` names it: other projects may use it too.
    pub named: bool,
}

impl StorePlace {
    /// The store of the project at `root`: what `$XP_STORE` names (from the project's root), else `.xp/store` of
    /// the same project in the repository's main worktree, else its own.
    pub fn of(root: &Path) -> Self {
        match std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
            Some(named) => Self { folder: root.join(named), named: true },
            None => match Repository::of(root).and_then(|repository| repository.main_project()) {
                Some(main) => Self::own(&main),
                None => Self::own(root),
            },
        }
    }

    /// The store inside the project at `root`.
    pub fn own(root: &Path) -> Self {
        Self { folder: root.join(".xp").join("store"), named: false }
    }

    /// Prepares the store to be written for the project at `root`. One that is named by hand notes that the
    /// project uses it, so that gc knows of it; one in a `.xp`, perhaps another worktree's, is no business of git's.
    pub fn register(&self, root: &Path) -> io::Result<()> {
        if self.named {
            return register(&self.folder, root);
        }
        self.folder.parent().and_then(Path::parent).map_or(Ok(()), make_own_folder)
    }
}

/// Notes in the store at `folder` that results of the project at `root` are in it.
pub fn register(folder: &Path, root: &Path) -> io::Result<()> {
    let text = root.display().to_string();
    let path = folder.join("projects").join(Digest::of(&text).short(16));
    if path.exists() {
        return Ok(());
    }
    store::write(&path, format!("{text}\n").as_bytes())
}

/// Projects that use the store at `folder` and said so, with the file that says it. Sorted.
pub fn registered(folder: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut out = Vec::new();
    let entries = match std::fs::read_dir(folder.join("projects")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(out),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some() {
            continue;
        }
        let text = store::read_text_bounded(&path, MAX_POINTER).map_err(io::Error::other)?;
        out.push((PathBuf::from(text.trim_end_matches('\n')), path));
    }
    out.sort();
    Ok(out)
}

/// The git repository that a project lies in. git itself is not called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Top folder of the worktree that the project lies in.
    top: PathBuf,
    /// The project's folder below `top`; empty if it is `top`.
    project: PathBuf,
    /// What all worktrees share: the main worktree's `.git`.
    common: PathBuf,
}

impl Repository {
    /// The repository around the project at `root`, if there is one.
    pub fn of(root: &Path) -> Option<Self> {
        let top = root.ancestors().find(|dir| dir.join(".git").exists())?;
        let project = root.strip_prefix(top).ok()?.to_owned();
        let git = top.join(".git");
        let common = match git.is_dir() {
            true => git,
            false => {
                let text = pointer(&git)?;
                let git_dir = plain(&top.join(text.strip_prefix("gitdir:")?.trim()));
                // A submodule has none: it is a repository of its own.
                match pointer(&git_dir.join("commondir")) {
                    Some(common) => plain(&git_dir.join(common)),
                    None => git_dir,
                }
            }
        };
        Some(Self { top: top.to_owned(), project, common })
    }

    /// The folder that git keeps its data in, shared by all worktrees.
    pub fn common(&self) -> &Path {
        &self.common
    }

    /// The project's folder inside the repository; empty if it is the whole.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// The same project in the main worktree. None in a bare repository or a submodule.
    fn main_project(&self) -> Option<PathBuf> {
        let main =
            self.common.parent().filter(|_| self.common.file_name().is_some_and(|name| name == ".git"))?;
        main.is_dir().then(|| main.join(&self.project))
    }

    /// The same project in every worktree, this one first. A worktree whose folder is gone is left out,
    /// unless git was told to keep it.
    pub fn projects(&self) -> io::Result<Vec<Worktree>> {
        let mut out = vec![Worktree { root: self.top.join(&self.project), absent: false }];
        if let Some(root) = self.main_project() {
            out.push(Worktree { root, absent: false });
        }
        let entries = match std::fs::read_dir(self.common.join("worktrees")) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let folder = entry.path();
            // `gitdir` names the worktree's `.git` file.
            let Some(git) = pointer(&folder.join("gitdir")) else { continue };
            let git = plain(&folder.join(git));
            let Some(top) = git.parent() else { continue };
            let absent = !top.is_dir();
            if !absent || folder.join("locked").exists() {
                out.push(Worktree { root: top.join(&self.project), absent });
            }
        }
        let first = out.remove(0);
        out.sort();
        out.dedup();
        out.retain(|worktree| worktree.root != first.root);
        out.insert(0, first);
        Ok(out)
    }
}

/// A project's folder in one worktree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worktree {
    pub root: PathBuf,
    /// git keeps it although its folder is not there: on a drive that is not mounted, perhaps.
    pub absent: bool,
}

/// The first line of a file in which git keeps a path.
fn pointer(path: &Path) -> Option<String> {
    let text = store::read_text_bounded(path, MAX_POINTER).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// A path without `.` and `..`, by its text alone.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            // Above the root is the root.
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A main worktree and a linked one, as git lays them out.
    pub fn worktrees(dir: &Path) -> (PathBuf, PathBuf) {
        let (main, linked) = (dir.join("main"), dir.join("deep/linked"));
        let write = |path: PathBuf, text: String| store::write(&path, text.as_bytes()).unwrap();
        write(main.join(".git/worktrees/linked/commondir"), "../..\n".to_owned());
        write(main.join(".git/worktrees/linked/gitdir"), format!("{}/.git\n", linked.display()));
        write(linked.join(".git"), format!("gitdir: {}/.git/worktrees/linked\n", main.display()));
        (main, linked)
    }

    #[test]
    fn worktrees_share_the_store_of_the_same_project_in_the_main_one() {
        let dir = tempfile::tempdir().unwrap();
        let (main, linked) = worktrees(dir.path());
        for below in ["", "bench/cpu"] {
            let (of_main, of_linked) = (main.join(below), linked.join(below));
            let repository = Repository::of(&of_linked).unwrap();
            assert_eq!(repository.main_project().unwrap(), of_main);
            assert_eq!(repository.common(), main.join(".git"));
            let roots = |root: &Path| -> Vec<PathBuf> {
                let found = Repository::of(root).unwrap().projects().unwrap();
                found.into_iter().map(|worktree| worktree.root).collect()
            };
            assert_eq!(roots(&of_linked), [of_linked.clone(), of_main.clone()]);
            assert_eq!(roots(&of_main), [of_main, of_linked]);
        }
    }

    #[test]
    fn a_worktree_that_is_gone_counts_only_while_git_is_told_to_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let (main, linked) = worktrees(dir.path());
        std::fs::remove_dir_all(&linked).unwrap();
        let repository = Repository::of(&main).unwrap();
        assert_eq!(repository.projects().unwrap().len(), 1);
        store::write(&main.join(".git/worktrees/linked/locked"), b"usb").unwrap();
        let kept = &repository.projects().unwrap()[1];
        assert!(kept.absent && kept.root == linked);
    }

    #[test]
    fn submodules_and_garbage_have_a_store_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        store::write(&dir.path().join(".git/modules/sub/HEAD"), b"x").unwrap();
        store::write(&sub.join(".git"), b"gitdir: ../.git/modules/sub\n").unwrap();
        assert_eq!(Repository::of(&sub).unwrap().main_project(), None);
        for garbage in ["", "gitdir:", "words", "gitdir: /nowhere/at/all", "\u{0}"] {
            store::write(&sub.join(".git"), garbage.as_bytes()).unwrap();
            let main = Repository::of(&sub).and_then(|repository| repository.main_project());
            assert_eq!(main, None, "{garbage:?}");
        }
    }

    #[test]
    fn projects_say_once_that_they_use_a_store() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(registered(dir.path()).unwrap(), []);
        for root in ["/b", "/a", "/b"] {
            register(dir.path(), Path::new(root)).unwrap();
        }
        let found: Vec<PathBuf> = registered(dir.path()).unwrap().into_iter().map(|(root, _)| root).collect();
        assert_eq!(found, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }
}
