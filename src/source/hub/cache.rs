//! The cache that xp shares with Hugging Face's own tools:
//! `models--org--name/{blobs,refs,snapshots}`, and `.locks` beside them.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::HubError;
use super::name::{Repo, is_commit};
use super::oid::Oid;
use crate::progress::Progress;
use crate::source::SourceError;
use crate::store::file;
use crate::store::{self, ReadError, read_text_bounded};

/// One repository in a cache.
#[derive(Debug)]
pub(super) struct Cache {
    home: PathBuf,
    locks: PathBuf,
    /// Whether snapshots link to blobs; else they hold the files.
    symlinks: bool,
}

/// The right to write one blob; given back when dropped, or by the system when the process dies.
#[derive(Debug)]
pub(super) struct BlobLock(#[allow(dead_code)] File);

impl Cache {
    pub fn new(root: &Path, repo: &Repo, symlinks: bool) -> Self {
        let folder = repo.folder();
        Self { home: root.join(&folder), locks: root.join(".locks").join(folder), symlinks }
    }

    /// The commit that a branch or tag had when it was last looked up.
    pub fn commit_of(&self, revision: &str) -> Result<Option<String>, SourceError> {
        let text = match read_text_bounded(&self.home.join("refs").join(revision), 256) {
            Err(ReadError::Io { source, .. }) if is_absent(&source) => return Ok(None),
            Err(ReadError::NotAFile { .. }) => return Ok(None),
            read => read?,
        };
        match text.trim() {
            commit if is_commit(commit) => Ok(Some(commit.to_owned())),
            other => Err(HubError::Name { what: "the cached commit", text: other.to_owned() }.into()),
        }
    }

    /// Notes the commit of a branch or tag.
    pub fn note_commit(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.home.join("refs").join(revision);
        if is_commit(revision) || self.commit_of(revision).is_ok_and(|known| known.as_deref() == Some(commit))
        {
            return Ok(());
        }
        match store::write(&path, commit.as_bytes()) {
            // Files that are all there may be used from a cache that belongs to somebody else.
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
            {
                Ok(())
            }
            written => written.map_err(HubError::io(path)),
        }
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.home.join("snapshots").join(commit)
    }

    /// Where a file's content is kept.
    pub fn blob(&self, oid: &Oid) -> PathBuf {
        self.home.join("blobs").join(oid.to_string())
    }

    /// Takes the right to write a blob, and waits for another process that has it.
    pub fn lock(&self, oid: &Oid, progress: &dyn Progress) -> Result<BlobLock, HubError> {
        let path = self.locks.join(format!("{oid}.lock"));
        let io = |source| HubError::Io { path: path.clone(), source };
        file::create_dir_all(&self.locks).map_err(io)?;
        loop {
            let file = file::open_or_create_to_lock(&path).map_err(io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    progress.note("another process downloads this file");
                    file.lock().map_err(io)?;
                }
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
            // Whoever cleans the cache may have deleted the file meanwhile: then its lock guards nothing.
            if is_at(&file, &path) {
                return Ok(BlobLock(file));
            }
        }
    }

    /// Gives a commit's file the content of a blob that is there, whose lock the caller has.
    pub fn link(&self, commit: &str, name: &str, oid: &Oid) -> Result<(), HubError> {
        let folder = self.snapshot(commit);
        let pointer = folder.join(name);
        let io = |source| HubError::Io { path: pointer.clone(), source };
        file::create_dir_all(&folder).map_err(io)?;
        // Renaming puts the new name in place of a link whose blob was gone. What a killed process leaves is no file of the
        // commit's, and goes with the next call.
        let temporary = self.locks.join(format!("{oid}-{name}.tmp"));
        file::create_dir_all(&self.locks).map_err(io)?;
        let _ = file::remove_file(&temporary);
        let blob = self.blob(oid);
        let relative = Path::new("../../blobs").join(oid.to_string());
        let linked = match self.symlinks {
            true => file::symlink(&relative, &temporary),
            false => Err(ErrorKind::Unsupported.into()),
        };
        linked
            .or_else(|_| file::hard_link(&blob, &temporary))
            .or_else(|_| store::copy(&blob, &temporary))
            .and_then(|()| store::rename(&temporary, &pointer))
            .map_err(io)
    }
}

/// Whether a name stands for nothing: it is not there, or a part of its path is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |found: io::Result<fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    place(file.metadata()) == place(fs::metadata(path))
}

#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    // An open file cannot be deleted.
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn cache(root: &Path, symlinks: bool) -> Cache {
        Cache::new(root, &Repo::parse("org/name").unwrap(), symlinks)
    }

    fn oid_of(bytes: &[u8]) -> Oid {
        Oid::Sha256(store::Digest::of(bytes))
    }

    #[test]
    fn a_snapshot_links_to_blobs_or_holds_the_files() {
        for symlinks in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let cache = cache(dir.path(), symlinks);
            let oid = oid_of(b"one");
            store::write(&cache.blob(&oid), b"one").unwrap();
            let pointer = cache.snapshot(COMMIT).join("config.json");
            // A link whose blob is gone is replaced.
            fs::create_dir_all(pointer.parent().unwrap()).unwrap();
            file::symlink(Path::new("../../blobs/gone"), &pointer).unwrap();
            // So is what a killed process left.
            let left = dir.path().join(format!(".locks/models--org--name/{oid}-config.json.tmp"));
            fs::create_dir_all(left.parent().unwrap()).unwrap();
            fs::write(&left, "half").unwrap();
            cache.link(COMMIT, "config.json", &oid).unwrap();
            assert!(!left.exists());
            assert_eq!(fs::read(&pointer).unwrap(), b"one");
            assert_eq!(pointer.is_symlink(), symlinks);
            assert_eq!(fs::read_dir(cache.snapshot(COMMIT)).unwrap().count(), 1);
            if symlinks {
                let target = fs::read_link(&pointer).unwrap();
                assert_eq!(target, Path::new("../../blobs").join(oid.to_string()));
            }
        }
    }

    #[test]
    fn references_are_written_and_doubted() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), true);
        assert_eq!(cache.commit_of("main").unwrap(), None);
        for revision in ["main", "refs/pr/1", "v1.0"] {
            cache.note_commit(revision, COMMIT).unwrap();
            assert_eq!(cache.commit_of(revision).unwrap().as_deref(), Some(COMMIT));
        }
        assert_eq!(cache.commit_of("main/x").unwrap(), None);
        assert_eq!(cache.commit_of("refs/pr").unwrap(), None);
        cache.note_commit(COMMIT, COMMIT).unwrap();
        assert!(!dir.path().join("models--org--name/refs").join(COMMIT).exists());
        let main = dir.path().join("models--org--name/refs/main");
        fs::write(&main, "../../../etc").unwrap();
        assert!(cache.commit_of("main").is_err());
        cache.note_commit("main", COMMIT).unwrap();
        assert_eq!(fs::read_to_string(main).unwrap(), COMMIT);
    }

    #[test]
    fn a_blob_has_one_writer() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), true);
        let oid = oid_of(b"one");
        let held = cache.lock(&oid, &Silent).unwrap();
        let path = dir.path().join(format!(".locks/models--org--name/{oid}.lock"));
        assert!(File::open(&path).unwrap().try_lock().is_err());
        drop(held);
        // A lock file that was deleted under its holder does not guard the name.
        let held = cache.lock(&oid, &Silent).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(path.parent().unwrap().exists() && cache.lock(&oid, &Silent).is_ok());
        drop(held);
    }
}
