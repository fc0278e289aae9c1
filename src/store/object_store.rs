//! File contents by digest, shared by experiments and worktrees.
//!
//! ```text
//! objects/<2 hex>/<62 hex>      a file's content, by its SHA-256; read-only
//! results/<stage>/<key>.json    a finished stage: its inputs, its files with their digests
//! quarantine/                   what was damaged
//! projects/                     who uses the store, where $XP_STORE names it
//! lock                          writers share it, gc takes it alone
//! ```
//! Nothing in it depends on time, on a name of a run, or on the project it was made in.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::atomic::Temporary;
use super::digest::copy_digested;
use super::file::{self, Writer};
use super::{Digest, FileDigest, open_file};

/// A store's folder. Nothing is made on disk before something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStore {
    root: PathBuf,
}

/// Held while a store is written or read (shared), or swept (alone); the system lets go of it when the
/// process ends. None where the system has no such locks: nothing is swept there.
#[derive(Debug)]
pub struct StoreGuard(#[allow(dead_code)] Option<File>);

/// A file of a result could not be brought out of the store.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FetchError {
    /// The store does not have the content.
    #[error("the store has no content for {file}")]
    #[diagnostic(code(xp::store::absent))]
    Absent { file: String },
    /// The content in the store is not what its name says.
    #[error("the store's content of {file}, object {object}, is damaged")]
    #[diagnostic(code(xp::store::damaged))]
    Damaged { file: String, object: Digest },
    /// The system refused.
    #[error("cannot read the store, or write {}", path.display())]
    #[diagnostic(code(xp::store::fetch))]
    Io { path: PathBuf, source: io::Error },
}

impl ObjectStore {
    /// The store in a folder, which need not exist yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Keeps gc away while results are written or read. Waits for one that is at work.
    pub fn share(&self) -> io::Result<StoreGuard> {
        file::create_dir_all(&self.root)?;
        let path = self.root.join("lock");
        let opened = file::open_or_create_to_lock(&path);
        let file = match opened {
            Ok(file) => file,
            // A store that is only read, somebody else's perhaps: it can be locked all the same.
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
            {
                match File::open(&path) {
                    Ok(file) => file,
                    Err(_) => return Ok(StoreGuard(None)),
                }
            }
            Err(error) => return Err(error),
        };
        Ok(StoreGuard(file.lock_shared().is_ok().then_some(file)))
    }

    /// Keeps everybody else away. None while somebody writes or reads results.
    ///
    /// # Errors
    /// The system refuses the file, or has no locks.
    pub fn seize(&self) -> io::Result<Option<StoreGuard>> {
        file::create_dir_all(&self.root)?;
        let file = file::open_or_create_to_lock(&self.root.join("lock"))?;
        Ok(file::lock_unless_held(&file)?.then_some(StoreGuard(Some(file))))
    }

    /// Where a content lies, or would.
    pub fn object_path(&self, object: &Digest) -> PathBuf {
        let hex = object.to_string();
        self.root.join("objects").join(&hex[..2]).join(&hex[2..])
    }

    /// Whether the content of every file is there, by its size. Whether it is whole is seen when it is fetched.
    pub fn holds(&self, files: &[FileDigest]) -> bool {
        files.iter().all(|file| {
            let found = fs::symlink_metadata(self.object_path(&file.sha256));
            found.is_ok_and(|found| found.is_file() && found.len() == file.bytes)
        })
    }

    /// Takes every file below `dir` into the store, sorted by name. The caller holds [`ObjectStore::share`].
    pub fn put_dir(&self, dir: &Path) -> io::Result<Vec<FileDigest>> {
        let mut names = Vec::new();
        files_below(dir, dir, &mut names)?;
        names.sort();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let (bytes, sha256) = self.put_file(&dir.join(&name))?;
            files.push(FileDigest { file: name, bytes, sha256 });
        }
        Ok(files)
    }

    /// Takes a file's content into the store; its length and digest. The caller holds [`ObjectStore::share`].
    pub fn put_file(&self, path: &Path) -> io::Result<(u64, Digest)> {
        // The name is known once all was read, and the copy is what is read.
        let folder = self.root.join("objects");
        file::create_dir_all(&folder)?;
        let (copy, bytes, object) = copy_beside(path, &folder)?;
        let target = self.object_path(&object);
        let whole = fs::symlink_metadata(&target).is_ok_and(|found| found.len() == bytes)
            && super::digest_file(&target).is_ok_and(|(_, found)| found == object);
        if whole {
            return Ok((bytes, object));
        }
        let parent = target.parent().unwrap_or(&folder);
        file::create_dir_all(parent)?;
        file::set_read_only(&copy.path)?;
        super::rename(&copy.path, &target)?;
        copy.keep();
        Ok((bytes, object))
    }

    /// Writes the files of a result into `folder`, which exists. What is written was hashed: a damaged
    /// content never leaves the store.
    pub fn fetch_dir(&self, files: &[FileDigest], folder: &Path) -> Result<(), FetchError> {
        files.iter().try_for_each(|file| self.fetch(file, &folder.join(&file.file)))
    }

    /// Writes one file, whole or not at all; missing folders are made.
    pub fn fetch(&self, file: &FileDigest, to: &Path) -> Result<(), FetchError> {
        let io = |source| FetchError::Io { path: to.to_owned(), source };
        let object = self.object_path(&file.sha256);
        if !object.is_file() {
            return Err(FetchError::Absent { file: file.file.clone() });
        }
        let parent = file::folder_of(to);
        file::create_dir_all(parent).map_err(io)?;
        let (copy, bytes, found) = copy_beside(&object, parent).map_err(io)?;
        if (bytes, found) != (file.bytes, file.sha256) {
            return Err(FetchError::Damaged { file: file.file.clone(), object: file.sha256 });
        }
        file::rename(&copy.path, to).map_err(io)?;
        copy.keep();
        file::sync_dir(parent).map_err(io)
    }

    /// Re-hashes a content where it lies.
    pub fn check(&self, file: &FileDigest) -> Result<(), FetchError> {
        let path = self.object_path(&file.sha256);
        match super::digest_file(&path) {
            Ok(found) if found == (file.bytes, file.sha256) => Ok(()),
            Ok(_) => Err(FetchError::Damaged { file: file.file.clone(), object: file.sha256 }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(FetchError::Absent { file: file.file.clone() })
            }
            Err(source) => Err(FetchError::Io { path, source }),
        }
    }

    /// Sets a damaged object aside, so that nothing reads it again; where, if it was there.
    pub fn set_object_aside(&self, object: &Digest) -> io::Result<Option<PathBuf>> {
        self.set_aside(&self.object_path(object), &object.to_string())
    }

    /// Moves a file of the store into its quarantine, under a name that nothing has yet.
    pub(super) fn set_aside(&self, path: &Path, name: &str) -> io::Result<Option<PathBuf>> {
        if fs::symlink_metadata(path).is_err() {
            return Ok(None);
        }
        let folder = self.root.join("quarantine");
        file::create_dir_all(&folder)?;
        let mut places = (0..).map(|n| folder.join(format!("{name}.{n}")));
        let place =
            places.find(|place| fs::symlink_metadata(place).is_err()).expect("an unused number exists");
        super::rename(path, &place)?;
        file::touch(&place);
        Ok(Some(place))
    }

    /// Every object by its name, with its length; what has no object's name is left out. In no order.
    pub fn objects(&self) -> io::Result<Vec<(Digest, u64)>> {
        let mut out = Vec::new();
        for folder in entries(&self.root.join("objects"))? {
            if !folder.file_type()?.is_dir() {
                continue;
            }
            let start = folder.file_name();
            for entry in entries(&folder.path())? {
                let name = format!("{}{}", start.to_string_lossy(), entry.file_name().to_string_lossy());
                let found = entry.metadata()?;
                if let (Ok(object), true) = (name.parse(), found.is_file()) {
                    out.push((object, found.len()));
                }
            }
        }
        Ok(out)
    }
}

/// Entries of a folder; none if it is not there.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Names of the regular files below `dir`, with forward slashes.
fn files_below(root: &Path, dir: &Path, out: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(root, &path, out)?;
        } else {
            let name = path.strip_prefix(root).unwrap_or(&path);
            out.push(name.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/"));
        }
    }
    Ok(())
}

/// Copies a file under a temporary name into `folder`, sharing its blocks where the file system can;
/// the copy with its length and digest. An edit of one never reaches the other.
pub(super) fn copy_beside(path: &Path, folder: &Path) -> io::Result<(Temporary, u64, Digest)> {
    let source = open_file(path)?;
    let (mut writer, temporary) = Temporary::new(folder, Writer::create)?;
    let (bytes, digest) = match writer.share_blocks(&source) {
        Ok(()) => super::digest_file(&temporary.path)?,
        Err(_) => copy_digested(source, &mut writer)?,
    };
    writer.finish()?;
    Ok((temporary, bytes, digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    fn filled(dir: &Path) -> (ObjectStore, Vec<FileDigest>) {
        let objects = ObjectStore::new(dir.join("store"));
        let run = dir.join("run");
        for (name, text) in [("a.csv", "one"), ("deep/b.csv", "one"), ("c.csv", "")] {
            store::write(&run.join(name), text.as_bytes()).unwrap();
        }
        let files = objects.put_dir(&run).unwrap();
        (objects, files)
    }

    #[test]
    fn equal_contents_are_kept_once_and_come_out_as_they_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let (objects, files) = filled(dir.path());
        assert_eq!(files, store::digest_dir(&dir.path().join("run")).unwrap());
        assert_eq!(objects.objects().unwrap().len(), 2);
        assert!(objects.holds(&files));
        let out = dir.path().join("out");
        objects.fetch_dir(&files, &out).unwrap();
        assert_eq!(store::digest_dir(&out).unwrap(), files);
        // What came out is nobody's but the caller's.
        fs::write(out.join("a.csv"), "two").unwrap();
        fs::write(dir.path().join("run/a.csv"), "two").unwrap();
        files.iter().for_each(|file| objects.check(file).unwrap());
        // Nothing temporary is left.
        assert_eq!(entries(&objects.root().join("objects")).unwrap().len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn objects_are_read_only_and_files_that_come_out_are_not() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (objects, files) = filled(dir.path());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&objects.object_path(&files[0].sha256)), 0o444);
        objects.fetch(&files[0], &dir.path().join("out")).unwrap();
        assert_eq!(mode(&dir.path().join("out")), 0o644);
    }

    #[test]
    fn no_damaged_content_leaves_the_store_and_a_good_one_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let (objects, files) = filled(dir.path());
        let object = objects.object_path(&files[0].sha256);
        for damage in ["onf", "on", "", "more than one"] {
            fs::remove_file(&object).unwrap();
            fs::write(&object, damage).unwrap();
            let out = dir.path().join("out");
            assert!(matches!(objects.fetch(&files[0], &out), Err(FetchError::Damaged { .. })));
            assert!(objects.check(&files[0]).is_err());
            assert!(!out.exists(), "nothing is written, not a part either");
            objects.put_dir(&dir.path().join("run")).unwrap();
            objects.check(&files[0]).unwrap();
        }
        fs::remove_file(&object).unwrap();
        fs::write(&object, "bad").unwrap();
        let kept = objects.set_object_aside(&files[0].sha256).unwrap().unwrap();
        assert_eq!(fs::read(kept).unwrap(), b"bad");
        assert!(!objects.holds(&files));
        assert!(matches!(objects.check(&files[0]), Err(FetchError::Absent { .. })));
        assert_eq!(objects.set_object_aside(&files[0].sha256).unwrap(), None);
    }

    #[test]
    fn one_sweeps_while_nobody_writes() {
        let dir = tempfile::tempdir().unwrap();
        let objects = ObjectStore::new(dir.path().to_owned());
        let (first, second) = (objects.share().unwrap(), objects.share().unwrap());
        assert!(objects.seize().unwrap().is_none());
        drop((first, second));
        let alone = objects.seize().unwrap().unwrap();
        assert!(objects.seize().unwrap().is_none());
        drop(alone);
        drop(objects.share().unwrap());
    }
}
