//! Digests of files that have not changed since they were hashed, as git's index
//! keeps them: a model of some gigabytes is hashed once, not by every command.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::checked::{read_checked, write_checked};
use super::{Digest, digest_file};

/// A file that changed this shortly before it was hashed may change again without a new time stamp: the
/// coarsest file systems count in two seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// What the system says of a file. Equal stamps, equal bytes: that is the assumption, and `ctime`
/// (which no program can set) makes it a safe one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    bytes: u64,
    /// ns since 1970; negative before.
    modified_ns: i128,
    changed_ns: i128,
    inode: u64,
    device: u64,
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let ns = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            Self {
                bytes: found.len(),
                modified_ns: ns(found.mtime(), found.mtime_nsec()),
                changed_ns: ns(found.ctime(), found.ctime_nsec()),
                inode: found.ino(),
                device: found.dev(),
            }
        }
        #[cfg(not(unix))]
        {
            let modified = found.modified().map_or(0, since_1970_ns);
            Self { bytes: found.len(), modified_ns: modified, changed_ns: modified, inode: 0, device: 0 }
        }
    }

    /// Whether its last change lies far enough before `now`. A clock that was set back, or a file from
    /// the future, never is settled: such a file is hashed each time.
    fn is_settled(&self, now_ns: i128) -> bool {
        self.modified_ns.max(self.changed_ns) + SETTLED.as_nanos() as i128 <= now_ns
    }
}

fn since_1970_ns(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    stamp: Stamp,
    sha256: Digest,
}

/// Digests by path, read from and kept in a file that may vanish at any time.
#[derive(Debug, Default)]
pub struct DigestCache {
    /// None: nothing is kept.
    file: Option<PathBuf>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By absolute path.
    known: BTreeMap<String, Entry>,
    changed: bool,
}

impl DigestCache {
    /// A cache that is kept in `file`. One that cannot be read is empty.
    pub fn open(file: &Path) -> Self {
        let known = read_checked(file).unwrap_or_default();
        Self { file: Some(file.to_owned()), entries: Mutex::new(Entries { known, changed: false }) }
    }

    /// Length and digest of a regular file, hashed unless it is known.
    ///
    /// # Errors
    /// It cannot be read, or changes while it is.
    pub fn digest(&self, path: &Path) -> io::Result<(u64, Digest)> {
        let name = std::path::absolute(path)?.to_string_lossy().into_owned();
        let before = Stamp::of(&std::fs::metadata(path)?);
        let known = self.entries().known.get(&name).copied();
        if let Some(entry) = known.filter(|entry| entry.stamp == before) {
            return Ok((before.bytes, entry.sha256));
        }
        let now_ns = since_1970_ns(SystemTime::now());
        let (bytes, sha256) = digest_file(path)?;
        let mut entries = self.entries();
        if before.is_settled(now_ns)
            && Stamp::of(&std::fs::metadata(path)?) == before
            && bytes == before.bytes
        {
            entries.known.insert(name, Entry { stamp: before, sha256 });
            entries.changed = true;
        } else if entries.known.remove(&name).is_some() {
            entries.changed = true;
        }
        Ok((bytes, sha256))
    }

    /// Writes what is new. Files that are gone are forgotten.
    pub fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut entries = self.entries();
        if !entries.changed {
            return Ok(());
        }
        entries.known.retain(|path, _| Path::new(path).exists());
        write_checked(file, &entries.known)?;
        entries.changed = false;
        Ok(())
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn age(path: &Path, seconds: u64) {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_stamp_is_settled_when_its_last_change_is_past() {
        let stamp =
            |modified_ns, changed_ns| Stamp { bytes: 1, modified_ns, changed_ns, inode: 1, device: 1 };
        let second = 1_000_000_000;
        assert!(stamp(0, 0).is_settled(2 * second) && stamp(-5, 0).is_settled(2 * second));
        assert!(!stamp(0, 1).is_settled(2 * second), "changed too lately");
        assert!(!stamp(9 * second, 0).is_settled(2 * second), "from the future");
    }

    #[test]
    fn only_what_is_known_and_unchanged_is_not_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, cache) = (dir.path().join("model"), dir.path().join("cache"));
        std::fs::write(&file, "one").unwrap();
        let stamp = Stamp::of(&std::fs::metadata(&file).unwrap());
        // A digest that no hashing gives shows who answered.
        let wrong = Digest::of("from the cache");
        let know = |stamp: Stamp| {
            let name = file.to_string_lossy().into_owned();
            write_checked(&cache, &BTreeMap::from([(name, Entry { stamp, sha256: wrong })])).unwrap();
        };
        know(stamp);
        assert_eq!(DigestCache::open(&cache).digest(&file).unwrap(), (3, wrong));
        for other in [
            Stamp { bytes: 4, ..stamp },
            Stamp { modified_ns: stamp.modified_ns + 1, ..stamp },
            Stamp { changed_ns: stamp.changed_ns - 1, ..stamp },
            Stamp { inode: stamp.inode + 1, ..stamp },
        ] {
            know(other);
            assert_eq!(DigestCache::open(&cache).digest(&file).unwrap(), (3, Digest::of("one")));
        }
        assert_eq!(DigestCache::default().digest(&file).unwrap(), (3, Digest::of("one")));
        assert!(DigestCache::default().digest(dir.path()).is_err());
    }

    #[test]
    fn a_file_that_changed_just_now_is_hashed_again_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let (file, kept) = (dir.path().join("model"), dir.path().join("cache"));
        std::fs::write(&file, "one").unwrap();
        // Its time of change is now, whatever its time of modification says.
        age(&file, 100);
        let cache = DigestCache::open(&kept);
        cache.digest(&file).unwrap();
        cache.save().unwrap();
        assert!(!kept.exists());
        // A file from the future too.
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(SystemTime::now() + Duration::from_secs(9999))
            .unwrap();
        cache.digest(&file).unwrap();
        cache.save().unwrap();
        assert!(!kept.exists());
    }

    #[test]
    fn what_is_gone_is_forgotten_and_garbage_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (file, kept) = (dir.path().join("model"), dir.path().join("cache"));
        std::fs::write(&file, "one").unwrap();
        let stamp = Stamp::of(&std::fs::metadata(&file).unwrap());
        let entry = Entry { stamp, sha256: Digest::of("one") };
        let here = file.to_string_lossy().into_owned();
        let known = BTreeMap::from([(here.clone(), entry), ("/nowhere/at/all".to_owned(), entry)]);
        let cache =
            DigestCache { file: Some(kept.clone()), entries: Mutex::new(Entries { known, changed: true }) };
        cache.save().unwrap();
        let known: BTreeMap<String, Entry> = read_checked(&kept).unwrap();
        assert_eq!(known.keys().collect::<Vec<_>>(), [&here]);
        std::fs::write(&kept, "garbage").unwrap();
        assert_eq!(DigestCache::open(&kept).digest(&file).unwrap(), (3, Digest::of("one")));
    }
}
