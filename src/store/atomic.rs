use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::file::{self, Writer, folder_of};

/// Writes a file so that a reader sees the old bytes or the new ones, never a
/// part: temporary name in the same folder, fsync, rename, fsync the folder.
/// Missing parent folders are created.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_file(path, |writer| writer.write_all(bytes))
}

/// Writes a file like [`write`], with bytes that `fill` writes one part after another: they need not be
/// in memory together.
///
/// # Errors
/// Those of `fill`, or of the system; what was there stays.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    replace_file(path, |writer| fill(writer))
}

/// Copies a file's bytes like [`write`].
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = super::open_file(from)?;
    replace_file(to, |writer| io::copy(&mut from, writer).map(drop))
}

/// Gives a file or a folder another name, here or in another folder; the names survive a loss of power.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    file::rename(from, to)?;
    file::sync_dir(folder_of(to))?;
    file::sync_dir(folder_of(from))
}

/// Writes a file of a folder that nobody sees yet, a [`StagedDir`]'s: synced, under its own name at
/// once. Missing folders between are created.
///
/// # Errors
/// The system refuses, or the file is there already.
pub fn write_part(path: &Path, bytes: &[u8]) -> io::Result<()> {
    file::create_dir_all(folder_of(path))?;
    let mut writer = Writer::create(path)?;
    writer.write_all(bytes)?;
    writer.finish()
}

fn replace_file(path: &Path, fill: impl FnOnce(&mut Writer) -> io::Result<()>) -> io::Result<()> {
    let parent = folder_of(path);
    file::create_dir_all(parent)?;
    let (mut writer, temporary) = Temporary::new(parent, Writer::create)?;
    fill(&mut writer)?;
    writer.finish()?;
    file::rename(&temporary.path, path)?;
    temporary.keep();
    file::sync_dir(parent)
}

/// Whether a file or folder has the name of one that is being written. One whose process died is
/// never read, and may be deleted.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

const PREFIX: &str = ".xp-";
const SUFFIX: &str = ".tmp";

/// Something under a name that nobody reads; deleted when dropped.
#[derive(Debug)]
pub(super) struct Temporary {
    pub path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// Lets `create` make something new in `parent`.
    pub fn new<T>(parent: &Path, create: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(T, Self)> {
        let mut builder = tempfile::Builder::new();
        let made = builder.prefix(PREFIX).suffix(SUFFIX).disable_cleanup(true).make_in(parent, create)?;
        let (made, path) = made.into_parts();
        Ok((made, Self { path: path.to_path_buf(), kept: false }))
    }

    /// It has another name now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // What cannot be deleted does no harm: nobody reads it.
        let _ = match self.path.is_dir() {
            true => file::remove_dir_all(&self.path),
            false => file::remove_file(&self.path),
        };
    }
}

/// A folder being filled beside its final name. Nothing is visible under that
/// name until [`StagedDir::commit`]; dropping it instead leaves nothing behind.
#[derive(Debug)]
pub struct StagedDir {
    staging: Temporary,
    target: PathBuf,
}

impl StagedDir {
    /// Opens a staging folder next to `target`.
    pub fn new(target: &Path) -> io::Result<Self> {
        let parent = folder_of(target);
        file::create_dir_all(parent)?;
        let ((), staging) = Temporary::new(parent, file::create_dir)?;
        Ok(Self { staging, target: target.to_owned() })
    }

    /// Where to write the files.
    pub fn path(&self) -> &Path {
        &self.staging.path
    }

    /// Makes a folder visible that can be made again, under a name that is free: after a loss of power it may
    /// hold less than it did.
    ///
    /// # Errors
    /// The system refuses, or something has the name.
    pub fn commit_unsynced(self) -> io::Result<()> {
        file::rename(self.path(), &self.target)?;
        self.staging.keep();
        Ok(())
    }

    /// Makes the folder visible under its final name, once all of it is on the disk. A folder that was
    /// there is replaced, and stays if that fails; a file is never replaced.
    pub fn commit(self) -> io::Result<()> {
        sync_tree(self.path())?;
        match fs::symlink_metadata(&self.target) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                file::rename(self.path(), &self.target)?;
                self.staging.keep();
                return file::sync_dir(folder_of(&self.target));
            }
            Err(error) => return Err(error),
            Ok(found) if !found.is_dir() => return Err(ErrorKind::NotADirectory.into()),
            Ok(_) => {}
        }
        // A folder cannot be renamed over a full one. The old one is deleted when the new one is safe.
        let old = match file::exchange(self.path(), &self.target) {
            Ok(()) => self.staging,
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                let aside = step_aside(self.path(), &self.target)?;
                self.staging.keep();
                aside
            }
            Err(error) => return Err(error),
        };
        let synced = file::sync_dir(folder_of(&self.target));
        if synced.is_err() {
            // On the disk the old content may still have the name: it must not be deleted under it.
            old.keep();
        }
        synced
    }
}

/// Renames the folder `new` to `target`, whose old content goes aside first: for a moment there is none.
fn step_aside(new: &Path, target: &Path) -> io::Result<Temporary> {
    let ((), aside) = Temporary::new(folder_of(target), file::create_dir)?;
    let old = aside.path.join("old");
    file::rename(target, &old)?;
    let Err(error) = file::sync_dir(&aside.path).and_then(|()| file::rename(new, target)) else {
        return Ok(aside);
    };
    if file::rename(&old, target).is_err() {
        // It cannot be put back; at least it is not deleted.
        aside.keep();
    }
    Err(error)
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => sync_tree(&entry.path())?,
            kind if kind.is_file() => file::sync_file(&entry.path())?,
            _ => {}
        }
    }
    file::sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/file");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(count(path.parent().unwrap()), 1);
        let copied = dir.path().join("copy");
        copy(&path, &copied).unwrap();
        assert_eq!(fs::read(&copied).unwrap(), b"two");
        let half = write_with(&path, |writer| writer.write_all(b"thr").and(Err(ErrorKind::Other.into())));
        assert!(half.is_err() && fs::read(&path).unwrap() == b"two", "a part is not the file");
        write_with(&path, |writer| writer.write_all(b"thr").and_then(|()| writer.write_all(b"ee"))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        write(&path, b"two").unwrap();
        // Where a folder is, no file can be: nothing is left of the attempt.
        assert!(write(&dir.path().join("deep"), b"three").is_err());
        assert!(copy(&dir.path().join("none"), &copied).is_err());
        assert_eq!(fs::read(&copied).unwrap(), b"two");
        assert_eq!(count(dir.path()), 2);
    }

    #[test]
    fn a_staged_folder_is_invisible_until_committed_and_replaces_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("run");
        let staged = StagedDir::new(&target).unwrap();
        write_part(&staged.path().join("tables/a"), b"1").unwrap();
        assert!(write_part(&staged.path().join("tables/a"), b"2").is_err(), "a part is written once");
        assert!(!target.exists());
        staged.commit().unwrap();
        let staged = StagedDir::new(&target).unwrap();
        write_part(&staged.path().join("b"), b"2").unwrap();
        staged.commit().unwrap();
        assert!(!target.join("tables").exists() && target.join("b").exists());
        drop(StagedDir::new(&target).unwrap());
        assert_eq!(count(dir.path()), 1);
    }

    #[test]
    fn what_was_there_stays_when_it_cannot_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("run");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("a"), "1").unwrap();
        step_aside(&dir.path().join("none"), &target).unwrap_err();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");

        let file = dir.path().join("file");
        fs::write(&file, "kept").unwrap();
        let staged = StagedDir::new(&file).unwrap();
        assert_eq!(staged.commit().unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(fs::read(&file).unwrap(), b"kept");
        assert_eq!(count(dir.path()), 2, "nothing else is left");
    }

    #[test]
    fn a_system_without_exchange_replaces_folders_too() {
        let dir = tempfile::tempdir().unwrap();
        let (new, target) = (dir.path().join("new"), dir.path().join("run"));
        write_part(&new.join("b"), b"2").unwrap();
        write_part(&target.join("a"), b"1").unwrap();
        drop(step_aside(&new, &target).unwrap());
        assert!(target.join("b").exists() && !target.join("a").exists());
        assert_eq!(count(dir.path()), 1);
    }

    #[cfg(unix)]
    #[test]
    fn artifacts_are_for_everybody_the_umask_admits() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // The umask is the process's: what other programs get shows it.
        let (plain_file, plain_dir) = (dir.path().join("f"), dir.path().join("d"));
        fs::File::create(&plain_file).unwrap();
        fs::create_dir(&plain_dir).unwrap();
        let (file, run) = (dir.path().join("file"), dir.path().join("run"));
        write(&file, b"1").unwrap();
        StagedDir::new(&run).unwrap().commit().unwrap();
        assert_eq!((mode(&file), mode(&run)), (mode(&plain_file), mode(&plain_dir)));
    }
}
