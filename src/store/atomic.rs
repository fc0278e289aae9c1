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
fn folder_of(path: &Path) -> &Path {
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

fn sync_dir(dir: &Path) -> io::Result<()> {
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

    /// Makes the folder visible under its final name, replacing what was there.
    pub fn commit(self) -> io::Result<()> {
        sync_tree(self.staging.path())?;
        let parent = folder_of(&self.target);
        if self.target.exists() {
            // A folder cannot be renamed over a full one: step aside first, delete after.
            let aside = tempfile::Builder::new().prefix(".xp-").suffix(".old.tmp").tempdir_in(parent)?;
            fs::rename(&self.target, aside.path().join("old"))?;
        }
        let staging = self.staging.keep();
        fs::rename(&staging, &self.target).inspect_err(|_| {
            let _ = fs::remove_dir_all(&staging);
        })?;
        sync_dir(parent)
    }
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
}
