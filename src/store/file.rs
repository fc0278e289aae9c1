//! Every single change of the file system, one function each. Nothing else in the library makes one
//! (`tests/it/write_layer.rs`), so a test build can count them and fail or stop at any (`fault.rs`).

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is done to the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    CreateFile,
    CreateDir,
    Write,
    Sync,
    SyncDir,
    /// Of two paths: from, to.
    Rename,
    /// Two folders change places.
    Exchange,
    /// A second name for a file, or a link that names it: from, to.
    Link,
    /// Bytes of another file become a file's, without being copied.
    Share,
    SetMode,
    RemoveFile,
    RemoveDir,
}

/// Does one operation on `paths`; a test build may be told to fail or stop here.
pub fn perform<T>(
    operation: Operation,
    paths: &[&Path],
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    #[cfg(debug_assertions)]
    super::fault::reached(operation, paths)?;
    #[cfg(not(debug_assertions))]
    let _ = (operation, paths);
    act()
}

/// A new file being written. Its bytes are on the disk when [`Writer::finish`] has returned.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
}

impl Writer {
    /// Creates a file that must not be there, with the rights that the umask admits.
    ///
    /// # Errors
    /// The system refuses, or something has the name already.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = create_file(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Takes the bytes of another file, sharing its blocks.
    ///
    /// # Errors
    /// The file system cannot do that; nothing is written.
    pub fn share_blocks(&self, source: &File) -> io::Result<()> {
        perform(Operation::Share, &[&self.path], || reflink_copy::reflink_file(source, &self.file))
    }

    /// Waits until all bytes are on the disk.
    ///
    /// # Errors
    /// They are not: what was written must not be used.
    pub fn finish(self) -> io::Result<()> {
        perform(Operation::Sync, &[&self.path], || self.file.sync_all())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(debug_assertions)]
        if super::fault::is_torn_at(Operation::Write, &[&self.path])? {
            let _ = self.file.write_all(&bytes[..bytes.len() / 2]);
            super::fault::stop();
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is filled over several runs of the program, such as a download.
#[derive(Debug)]
pub struct PartFile {
    path: PathBuf,
    file: File,
}

impl PartFile {
    /// Opens what is there, at its beginning; creates the file if nothing is.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = perform(Operation::CreateFile, &[path], || {
            File::options().create(true).truncate(false).read(true).write(true).open(path)
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Bytes that are there.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Drops all that is there; the next write begins anew.
    pub fn clear(&mut self) -> io::Result<()> {
        perform(Operation::Write, &[&self.path], || self.file.set_len(0))?;
        self.file.rewind()
    }

    /// Waits until all bytes are on the disk.
    ///
    /// # Errors
    /// They are not: what was written must not be used.
    pub fn finish(&self) -> io::Result<()> {
        perform(Operation::Sync, &[&self.path], || self.file.sync_all())
    }
}

impl Read for PartFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(debug_assertions)]
        if super::fault::is_torn_at(Operation::Write, &[&self.path])? {
            let _ = self.file.write_all(&bytes[..bytes.len() / 2]);
            super::fault::stop();
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a file to lock it, and creates it if nothing is there.
pub fn open_or_create_to_lock(path: &Path) -> io::Result<File> {
    perform(Operation::CreateFile, &[path], || {
        File::options().create(true).truncate(false).write(true).open(path)
    })
}

/// A process that is being started holds, for a moment, the locks of the one that starts it (between its fork
/// and its exec): a lock that is held is asked for again before it is believed.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Locks a file, until it is closed; false where somebody else holds it.
pub fn lock_unless_held(file: &File) -> io::Result<bool> {
    for tries_left in (0..LOCK_TRIES).rev() {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if tries_left > 0 => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// Creates a file that must not be there. For files that are locked and never written.
pub fn create_file(path: &Path) -> io::Result<File> {
    perform(Operation::CreateFile, &[path], || File::options().write(true).create_new(true).open(path))
}

/// Opens a file that is there, to lock it: for writing where that is allowed, since some systems ask
/// for it. Nothing is ever written into it.
pub fn open_to_lock(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path).or_else(|_| File::open(path))
}

/// Creates a folder that must not be there.
pub fn create_dir(path: &Path) -> io::Result<()> {
    perform(Operation::CreateDir, &[path], || fs::create_dir(path))
}

/// Creates a folder and those above it that are missing. Their names survive a loss of power.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = folder_of(path);
    if parent != path {
        create_dir_all(parent)?;
    }
    match create_dir(path) {
        Ok(()) => sync_dir(parent),
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives a file or a folder another name; a file that has the name is replaced.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    perform(Operation::Rename, &[from, to], || fs::rename(from, to))
}

/// Lets two folders change places at once.
///
/// # Errors
/// The system refuses; [`ErrorKind::Unsupported`] where it cannot do this at all.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    perform(Operation::Exchange, &[one, other], || {
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            use rustix::io::Errno;
            renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(|error| match error {
                // The kernel or this file system does not know the flag.
                Errno::NOSYS | Errno::INVAL | Errno::NOTSUP => ErrorKind::Unsupported.into(),
                error => error.into(),
            })
        }
        #[cfg(not(any(target_os = "linux", target_os = "macos")))]
        {
            Err(ErrorKind::Unsupported.into())
        }
    })
}

/// Makes a link that names `target`.
pub fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    perform(Operation::Link, &[target, link], || {
        #[cfg(unix)]
        return std::os::unix::fs::symlink(target, link);
        #[cfg(windows)]
        return std::os::windows::fs::symlink_file(target, link);
        #[cfg(not(any(unix, windows)))]
        return Err(ErrorKind::Unsupported.into());
    })
}

/// Gives a file a second name.
pub fn hard_link(file: &Path, link: &Path) -> io::Result<()> {
    perform(Operation::Link, &[file, link], || fs::hard_link(file, link))
}

/// Lets nobody write a file, the owner neither.
pub fn set_read_only(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        perform(Operation::SetMode, &[path], || {
            fs::set_permissions(path, fs::Permissions::from_mode(0o444))
        })?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Notes that something was moved now. Nothing but how long it is kept may depend on that, so a
/// failure is none.
pub fn touch(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(std::time::SystemTime::now()));
}

/// Deletes a file, or a link.
pub fn remove_file(path: &Path) -> io::Result<()> {
    perform(Operation::RemoveFile, &[path], || fs::remove_file(path))
}

/// Deletes an empty folder.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    perform(Operation::RemoveDir, &[path], || fs::remove_dir(path))
}

/// Deletes a folder and all that is in it; links are deleted and not followed.
pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => remove_dir_all(&entry.path())?,
            false => remove_file(&entry.path())?,
        }
    }
    remove_dir(path)
}

/// Waits until a file's bytes are on the disk.
pub fn sync_file(path: &Path) -> io::Result<()> {
    perform(Operation::Sync, &[path], || File::open(path)?.sync_all())
}

/// Waits until a folder's names are on the disk: what was created, renamed or deleted in it.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    perform(Operation::SyncDir, &[path], || {
        #[cfg(unix)]
        File::open(path)?.sync_all()?;
        Ok(())
    })
}

/// The folder that holds `path`; of a bare name, the current one.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_and_deleted_with_all_that_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir_all(&deep).unwrap();
        create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "1").unwrap();
        fs::write(dir.path().join("kept"), "2").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path(), deep.join("link")).unwrap();
        remove_dir_all(&dir.path().join("a")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // A file in the way is an error, and stays.
        assert!(create_dir_all(&dir.path().join("kept/a")).is_err());
        assert_eq!(fs::read(dir.path().join("kept")).unwrap(), b"2");
        create_dir_all(Path::new("/")).unwrap();
    }

    #[test]
    fn folders_change_places() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        create_dir(&one).unwrap();
        assert!(exchange(&one, &other).is_err(), "there is no other");
        create_dir(&other).unwrap();
        fs::write(one.join("a"), "1").unwrap();
        match exchange(&one, &other) {
            Ok(()) => assert!(other.join("a").exists() && !one.join("a").exists()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        }
    }
}
