use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::object_store::entries;
use super::{Digest, FileDigest, ObjectStore, ReadError, read_bounded};

/// Version of a stored result's file.
const FORMAT: u32 = 1;

/// No honest result is larger.
const MAX_BYTES: u64 = 16 << 20;

/// A finished stage: what it was made from, and the files it made. By its key, the digest of its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredResult {
    format: u32,
    /// Name of the stage.
    pub stage: String,
    pub inputs: BTreeMap<String, String>,
    /// Its files, by their names inside the result.
    pub files: Vec<FileDigest>,
    /// Digest over stage, inputs and files: a changed byte is noticed.
    sha256: Digest,
}

/// A result of the store cannot be used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ResultError {
    /// It is not what xp writes.
    #[error("{} is damaged", path.display())]
    #[diagnostic(
        code(xp::store::damaged_result),
        help("a run sets it aside and makes the stage again; to keep what it names, bring the file back")
    )]
    Damaged { path: PathBuf },
    /// The system refused.
    #[error("cannot read or write {}", path.display())]
    #[diagnostic(code(xp::store::result))]
    Io { path: PathBuf, source: io::Error },
}

impl StoredResult {
    /// A result of `stage`, a plain word, with at least one file.
    pub fn new(stage: &str, inputs: BTreeMap<String, String>, files: Vec<FileDigest>) -> Self {
        let sha256 = Digest::of_json(&(stage, &inputs, &files));
        Self { format: FORMAT, stage: stage.to_owned(), inputs, files, sha256 }
    }

    /// What it is found by.
    pub fn key(&self) -> Digest {
        result_key(&self.stage, &self.inputs)
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a result is plain data");
        json.push(b'\n');
        json
    }

    /// Reads the bytes of a result that belongs under this stage and key; None if xp did not write them.
    fn parse(bytes: &[u8], stage: &str, key: &Digest) -> Option<Self> {
        let result: Self = serde_json::from_slice(bytes).ok()?;
        let whole = result.format == FORMAT
            && result.stage == stage
            && result.key() == *key
            && result.sha256 == Digest::of_json(&(stage, &result.inputs, &result.files))
            && result.to_bytes() == bytes
            && !result.files.is_empty()
            && result.files.iter().all(|file| is_inside(&file.file));
        whole.then_some(result)
    }
}

/// The digest of a stage's inputs: what its result is found by.
pub fn result_key(stage: &str, inputs: &BTreeMap<String, String>) -> Digest {
    Digest::of_json(&(stage, inputs))
}

/// Whether a path stays below the folder that it is relative to.
pub fn is_inside(path: &str) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    !path.is_empty() && !path.contains(['\\', '\0']) && Path::new(path).components().all(plain)
}

impl ObjectStore {
    /// Where a result lies, or would.
    pub fn result_path(&self, stage: &str, key: &Digest) -> PathBuf {
        self.root().join("results").join(stage).join(format!("{key}.json"))
    }

    /// The result of a stage with these inputs, if there is one.
    pub fn result(&self, stage: &str, key: &Digest) -> Result<Option<StoredResult>, ResultError> {
        let path = self.result_path(stage, key);
        let bytes = match read_bounded(&path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(ReadError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
            Err(ReadError::Io { path, source }) => return Err(ResultError::Io { path, source }),
            Err(_) => return Err(ResultError::Damaged { path }),
        };
        match StoredResult::parse(&bytes, stage, key) {
            Some(result) => Ok(Some(result)),
            None => Err(ResultError::Damaged { path }),
        }
    }

    /// Writes a result whose contents are in the store. The first one stays, as long as its contents are
    /// there: another of the same inputs changes nothing. A damaged one is set aside; where it is then.
    /// The caller holds [`ObjectStore::share`].
    pub fn put_result(&self, result: &StoredResult) -> Result<Option<PathBuf>, ResultError> {
        let path = self.result_path(&result.stage, &result.key());
        let io = |source| ResultError::Io { path: path.clone(), source };
        let aside = match self.result(&result.stage, &result.key()) {
            Ok(Some(found)) if self.holds(&found.files) => return Ok(None),
            Ok(_) => None,
            Err(ResultError::Damaged { .. }) => self.set_result_aside(&path).map_err(io)?,
            Err(error) => return Err(error),
        };
        super::write(&path, &result.to_bytes()).map_err(io)?;
        Ok(aside)
    }

    /// Sets a damaged result aside; where, if it was there.
    pub fn set_result_aside(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let stage = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.set_aside(path, &format!("{stage}-{name}"))
    }

    /// Every result, sorted by stage and key; damaged ones as errors. What has no result's name is left out.
    pub fn results(&self) -> io::Result<Vec<Result<StoredResult, ResultError>>> {
        let mut names = Vec::new();
        for stage in entries(&self.root().join("results"))? {
            if !stage.file_type()?.is_dir() {
                continue;
            }
            for entry in entries(&stage.path())? {
                let name = entry.file_name().to_string_lossy().into_owned();
                let key: Option<Digest> = name.strip_suffix(".json").and_then(|key| key.parse().ok());
                names.extend(key.map(|key| (stage.file_name().to_string_lossy().into_owned(), key)));
            }
        }
        names.sort();
        let read = |(stage, key): &(String, Digest)| self.result(stage, key).transpose();
        Ok(names.iter().filter_map(read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    fn result(objects: &ObjectStore, dir: &Path, text: &str) -> StoredResult {
        store::write(&dir.join("run/x.csv"), text.as_bytes()).unwrap();
        let inputs = BTreeMap::from([("threads".to_owned(), "2".to_owned())]);
        StoredResult::new("real", inputs, objects.put_dir(&dir.join("run")).unwrap())
    }

    #[test]
    fn the_first_result_of_a_key_stays_while_its_contents_do() {
        let dir = tempfile::tempdir().unwrap();
        let objects = ObjectStore::new(dir.path().join("store"));
        let (first, second) = (result(&objects, dir.path(), "1"), result(&objects, dir.path(), "2"));
        let key = first.key();
        assert_eq!(objects.result("real", &key).unwrap(), None);
        for put in [&first, &second, &first] {
            assert_eq!(objects.put_result(put).unwrap(), None);
            assert_eq!(objects.result("real", &key).unwrap().as_ref(), Some(&first));
        }
        objects.set_object_aside(&first.files[0].sha256).unwrap();
        objects.put_result(&second).unwrap();
        assert_eq!(objects.result("real", &key).unwrap().as_ref(), Some(&second));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let objects = ObjectStore::new(dir.path().join("store"));
        let good = result(&objects, dir.path(), "1");
        objects.put_result(&good).unwrap();
        let path = objects.result_path("real", &good.key());
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 7);
            assert_eq!(StoredResult::parse(&damaged, "real", &good.key()), None, "byte {at}");
        }
        assert_eq!(StoredResult::parse(&bytes[..bytes.len() - 1], "real", &good.key()), None);
        assert_eq!(StoredResult::parse(&bytes, "sim", &good.key()), None);

        std::fs::write(&path, &bytes[..9]).unwrap();
        assert!(matches!(objects.result("real", &good.key()), Err(ResultError::Damaged { .. })));
        assert!(matches!(objects.results().unwrap().as_slice(), [Err(ResultError::Damaged { .. })]));
        let kept = objects.put_result(&good).unwrap().unwrap();
        assert_eq!(std::fs::read(kept).unwrap(), &bytes[..9]);
        assert_eq!(objects.results().unwrap().into_iter().collect::<Result<Vec<_>, _>>().unwrap(), [good]);
    }

    #[test]
    fn a_result_names_no_file_outside_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let objects = ObjectStore::new(dir.path().join("store"));
        let good = result(&objects, dir.path(), "1");
        for name in ["../x.csv", "/etc/passwd", "", "a\\b"] {
            let file = FileDigest { file: name.to_owned(), ..good.files[0].clone() };
            let bad = StoredResult::new("real", good.inputs.clone(), vec![file]);
            assert_eq!(StoredResult::parse(&bad.to_bytes(), "real", &bad.key()), None, "{name:?}");
        }
    }
}
