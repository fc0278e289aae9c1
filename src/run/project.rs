use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::worktree::plain;
use crate::store::{self, file};

/// A folder with `experiments/`, `locks/`, `runs/`, `profiles/`, `reports/` and `.xp/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    root: PathBuf,
}

/// A path does not lie in a project, or the project is in use.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ProjectError {
    /// A path of a lock or a spec leads out of the project.
    #[error("{path:?} leads out of the project")]
    #[diagnostic(
        code(xp::run::outside),
        help("paths in experiments and locks are relative to the project and stay inside it")
    )]
    Outside { path: String },
    /// The run lock could not be taken.
    #[error("cannot lock {}", path.display())]
    #[diagnostic(code(xp::run::lock), help("is there space, and may the folder be written?"))]
    Lock { path: PathBuf, source: io::Error },
    /// Another xp writes to this project.
    #[error("another xp is running in {}", root.display())]
    #[diagnostic(code(xp::run::busy), help("timings would disturb each other: wait for it, or stop it"))]
    Busy { root: PathBuf, source: io::Error },
}

/// Held while a process writes runs of a project; released when dropped, or by the system when it dies.
#[derive(Debug)]
pub struct RunGuard(#[allow(dead_code)] File);

impl Project {
    /// The project of an experiment or a lock: the folder that holds its `experiments/` or
    /// `locks/`, else the closest folder above it with `.xp` or `.git`, else its own folder.
    pub fn of(file: &Path) -> io::Result<Self> {
        let file = plain(&std::path::absolute(file)?);
        let parent = file.parent().unwrap_or(Path::new("/"));
        let named = parent
            .ancestors()
            .find(|dir| dir.file_name().is_some_and(|name| name == "experiments" || name == "locks"));
        let root = match named.and_then(Path::parent) {
            Some(root) => root,
            None => parent
                .ancestors()
                .find(|dir| dir.join(".xp").is_dir() || dir.join(".git").exists())
                .unwrap_or(parent),
        };
        Ok(Self { root: root.to_owned() })
    }

    /// The project that a folder is, or lies in.
    pub fn around(folder: &Path) -> io::Result<Self> {
        Self::of(&folder.join("project"))
    }

    /// The project of which the folder is known.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The project's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `path` as it is written in locks: relative to the root, with forward slashes.
    pub fn relative(&self, path: &Path) -> String {
        let absolute = plain(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        let relative = absolute.strip_prefix(&self.root).unwrap_or(&absolute);
        relative.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
    }

    /// A path of a spec or a lock on disk; refused when it leads out of the project.
    pub fn resolve(&self, relative: &str) -> Result<PathBuf, ProjectError> {
        let path = Path::new(relative);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if relative.is_empty() || !inside || relative.contains('\\') {
            return Err(ProjectError::Outside { path: relative.to_owned() });
        }
        Ok(self.root.join(path))
    }

    /// A file of xp's own, under `.xp`.
    pub fn own(&self, name: &str) -> PathBuf {
        self.root.join(".xp").join(name)
    }

    /// A name for what belongs to a file of the project: its path, with `-` for `/`.
    pub fn name_of(&self, path: &Path) -> String {
        self.relative(path).replace('/', "-")
    }

    /// `locks/<stem>.lock.kdl` of an experiment's file.
    pub fn lock_of(&self, spec: &Path) -> PathBuf {
        let stem = spec.file_stem().unwrap_or_default().to_string_lossy();
        self.root.join("locks").join(format!("{stem}.lock.kdl"))
    }

    /// Takes the project for writing. One writer at a time; engine timings need the machine to themselves.
    pub fn guard(&self) -> Result<RunGuard, ProjectError> {
        let path = self.root.join(".xp").join("writer");
        let lock = |source| ProjectError::Lock { path: path.clone(), source };
        make_own_folder(&self.root).map_err(lock)?;
        let file = match file::create_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => file::open_to_lock(&path),
            made => made,
        };
        let file = file.map_err(lock)?;
        match file::lock_unless_held(&file) {
            Ok(true) => Ok(RunGuard(file)),
            Ok(false) => {
                Err(ProjectError::Busy { root: self.root.clone(), source: io::ErrorKind::WouldBlock.into() })
            }
            Err(source) => Err(lock(source)),
        }
    }
}

/// Makes `.xp` of the project at `root`, of which git shows nothing. A `.gitignore` that is there stays.
pub(super) fn make_own_folder(root: &Path) -> io::Result<()> {
    let own = root.join(".xp");
    file::create_dir_all(&own)?;
    let ignore = own.join(".gitignore");
    if std::fs::symlink_metadata(&ignore).is_err() {
        // Without it git shows more than it should, and nothing else is wrong.
        let _ = store::write(&ignore, b"*\n");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_experiments_and_paths_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let spec = dir.path().join("experiments/deep/qwen.kdl");
        let project = Project::of(&spec).unwrap();
        assert_eq!(project.root(), dir.path());
        assert_eq!(project.relative(&spec), "experiments/deep/qwen.kdl");
        let around = dir.path().join("locks/../experiments/./deep/../deep/qwen.kdl");
        assert_eq!(Project::of(&around).unwrap(), project);
        assert_eq!(project.relative(&around), "experiments/deep/qwen.kdl");
        assert_eq!(plain(Path::new("/../../a/..")), Path::new("/"));
        assert_eq!(project.lock_of(&spec), dir.path().join("locks/qwen.lock.kdl"));
        for bad in ["../x", "/etc/passwd", "a/../../b", "", "a\\b"] {
            assert!(project.resolve(bad).is_err(), "{bad}");
        }
        assert!(project.resolve("reports/a.pdf").is_ok());
    }

    #[test]
    fn git_shows_nothing_of_xps_own_folder() {
        let dir = tempfile::tempdir().unwrap();
        let project = Project::at(dir.path().to_owned());
        let ignore = project.own(".gitignore");
        drop(project.guard().unwrap());
        assert_eq!(std::fs::read_to_string(&ignore).unwrap(), "*\n");
        // What a person wrote there stays.
        std::fs::write(&ignore, "/digests\n").unwrap();
        drop(project.guard().unwrap());
        assert_eq!(std::fs::read_to_string(&ignore).unwrap(), "/digests\n");
    }

    #[test]
    fn a_second_writer_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let project = Project::of(&dir.path().join("locks/a.lock.kdl")).unwrap();
        let first = project.guard().unwrap();
        assert!(matches!(project.guard(), Err(ProjectError::Busy { .. })));
        drop(first);
        project.guard().unwrap();
    }
}
