use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file so that a reader sees the old bytes or the new ones, never a
/// part: temporary name in the same folder, fsync, rename, fsync the folder.
/// Missing parent folders are created.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = folder_of(path);
    fs::create_dir_all(parent)?;
    let mut temporary = tempfile::Builder::new().prefix(".xp-").suffix(".tmp").tempfile_in(parent)?;
    temporary.write_all(bytes)?;
    make_readable(temporary.as_file())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_dir(parent)
}

/// The folder that holds `path`; of a bare name, the current one.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Temporary files are private by default; artifacts are for everybody the umask admits.
fn make_readable(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    Ok(())
}

/// A folder being filled beside its final name. Nothing is visible under that
/// name until [`StagedDir::commit`]; dropping it instead leaves nothing behind.
#[derive(Debug)]
pub struct StagedDir {
    staging: tempfile::TempDir,
    target: PathBuf,
}

impl StagedDir {
    /// Opens a staging folder next to `target`.
    pub fn new(target: &Path) -> io::Result<Self> {
        let parent = folder_of(target);
        fs::create_dir_all(parent)?;
        let staging = tempfile::Builder::new().prefix(".xp-").suffix(".tmp").tempdir_in(parent)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { staging, target: target.to_owned() })
    }

    /// Where to write the files.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Makes the folder visible under its final name. A folder that was there is replaced, and is
    /// there again if that fails; a file is never replaced.
    pub fn commit(self) -> io::Result<()> {
        sync_tree(self.staging.path())?;
        replace(self.staging.path(), &self.target)?;
        // Its name is gone: nothing is left to delete.
        let _ = self.staging.keep();
        sync_dir(folder_of(&self.target))
    }
}

/// Renames the folder `new` to `target`, whose old content is deleted once the new one is in place.
fn replace(new: &Path, target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return fs::rename(new, target),
        Err(error) => return Err(error),
        Ok(found) if !found.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
        Ok(_) => {}
    }
    // A folder cannot be renamed over a full one: it steps aside first.
    let aside = tempfile::Builder::new().prefix(".xp-").suffix(".old.tmp").tempdir_in(folder_of(target))?;
    let old = aside.path().join("old");
    fs::rename(target, &old)?;
    let Err(error) = fs::rename(new, target) else { return Ok(()) };
    if fs::rename(&old, target).is_err() {
        // It cannot be put back; at least it is not deleted.
        let _ = aside.keep();
    }
    Err(error)
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/file");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_staged_folder_is_invisible_until_committed_and_replaces_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("run");
        let staged = StagedDir::new(&target).unwrap();
        fs::write(staged.path().join("a"), "1").unwrap();
        assert!(!target.exists());
        staged.commit().unwrap();
        let staged = StagedDir::new(&target).unwrap();
        fs::write(staged.path().join("b"), "2").unwrap();
        staged.commit().unwrap();
        assert!(!target.join("a").exists() && target.join("b").exists());
        drop(StagedDir::new(&target).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_there_stays_when_it_cannot_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("run");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("a"), "1").unwrap();
        replace(&dir.path().join("none"), &target).unwrap_err();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");

        let file = dir.path().join("file");
        fs::write(&file, "kept").unwrap();
        let staged = StagedDir::new(&file).unwrap();
        assert_eq!(staged.commit().unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(fs::read(&file).unwrap(), b"kept");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
    }
}
