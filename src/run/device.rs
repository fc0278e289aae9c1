use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use super::event::Observer;
use crate::store::file;

/// Held while the machine is timed; released when dropped, or by the system when the process dies.
#[derive(Debug)]
pub(super) struct DeviceGuard(#[allow(dead_code)] Option<File>);

/// Takes this machine for a timing, whatever project asks: two timings at once would time each other.
/// Waits while another xp holds it. Where the system gives no lock, timing goes on without one.
pub(super) fn device_guard(observer: &dyn Observer) -> DeviceGuard {
    let Some(file) = lock_file(&std::env::temp_dir().join("xp-device-cpu.lock")) else {
        return DeviceGuard(None);
    };
    match file.try_lock() {
        Ok(()) => DeviceGuard(Some(file)),
        Err(fs::TryLockError::WouldBlock) => {
            observer.warned("another xp is timing this machine: waiting for it");
            DeviceGuard(file.lock().is_ok().then_some(file))
        }
        Err(fs::TryLockError::Error(_)) => DeviceGuard(None),
    }
}

/// Makes or opens the file, whose name anybody can guess: never through a link, never anything but
/// a regular file, and never to write into it. Another user's file, which only that user may open
/// for writing, can be locked all the same.
fn lock_file(path: &Path) -> Option<File> {
    match file::create_file(path) {
        Ok(file) => return Some(file),
        // Making a new file does not follow a link, so there is one, or a file.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(_) => return None,
    }
    // A pipe would be waited for when opened: look first.
    let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let file = file::open_to_lock(path).ok()?;
    is_same(&found, &file.metadata().ok()?).then_some(file)
}

/// Whether what was looked at is what was opened.
fn is_same(looked_at: &fs::Metadata, opened: &fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        looked_at.dev() == opened.dev() && looked_at.ino() == opened.ino()
    }
    #[cfg(not(unix))]
    {
        looked_at.is_file() && opened.is_file()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn two_timings_exclude_each_other_and_the_file_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = lock_file(&path).unwrap();
        first.try_lock().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        let second = lock_file(&path).unwrap();
        assert!(matches!(second.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(first);
        second.try_lock().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
        assert!(matches!(File::open(&path).unwrap().try_lock(), Err(fs::TryLockError::WouldBlock)));
    }

    #[test]
    fn links_folders_and_pipes_give_no_lock_and_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink(at("victim"), at("dangling")).unwrap();
        fs::write(at("file"), "kept").unwrap();
        symlink(at("file"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        for name in ["dangling", "link", "folder", "pipe"] {
            if name != "pipe" || pipe.as_ref().is_ok_and(std::process::ExitStatus::success) {
                assert!(lock_file(&at(name)).is_none(), "{name}");
            }
        }
        assert!(!at("victim").exists());
        assert_eq!(fs::read(at("file")).unwrap(), b"kept");
    }
}
