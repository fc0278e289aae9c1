//! Results from one store to another. Only what is missing is copied, every byte is hashed at both ends, and
//! what is interrupted goes on where it was.

use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::file;
use super::object_store::copy_beside;
use super::{FetchError, FileDigest, ObjectStore, ResultError, StoredResult};

/// What a transfer came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Results that the other store has now, and had not.
    pub results: usize,
    /// Results that it had.
    pub present: usize,
    /// Contents that were copied, and their bytes.
    pub objects: usize,
    pub bytes: u64,
    /// Results that were left out, with what is wrong, sorted.
    pub damaged: Vec<String>,
}

/// A transfer could not go on. What was copied is whole and stays.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum TransferError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Result(#[from] ResultError),
    /// The system refused.
    #[error("cannot copy into the store {}", store.display())]
    #[diagnostic(
        code(xp::store::transfer),
        help("what was copied stays; the same command goes on from there")
    )]
    Io { store: PathBuf, source: io::Error },
}

/// Why one result was not transferred, or how much of it was copied.
enum One {
    Present,
    Copied { objects: usize, bytes: u64 },
    Damaged(String),
}

/// Copies results and their contents. `done` is called after each.
///
/// # Errors
/// The system refuses to write. Damage is no error: the result is left out and named.
pub fn transfer(
    results: &[StoredResult],
    from: &ObjectStore,
    to: &ObjectStore,
    done: &(dyn Fn() + Sync),
) -> Result<Transferred, TransferError> {
    let refused = |store: &ObjectStore| {
        let store = store.root().to_owned();
        move |source| TransferError::Io { store, source }
    };
    let _from = from.share().map_err(refused(from))?;
    let _to = to.share().map_err(refused(to))?;
    let all = results.par_iter().map(|result| {
        let one = transfer_one(result, from, to);
        done();
        one
    });
    let mut out = Transferred::default();
    for one in all.collect::<Result<Vec<_>, _>>()? {
        match one {
            One::Present => out.present += 1,
            One::Copied { objects, bytes } => {
                out.results += 1;
                out.objects += objects;
                out.bytes += bytes;
            }
            One::Damaged(what) => out.damaged.push(what),
        }
    }
    out.damaged.sort();
    out.damaged.dedup();
    Ok(out)
}

fn transfer_one(result: &StoredResult, from: &ObjectStore, to: &ObjectStore) -> Result<One, TransferError> {
    let key = result.key();
    let name = || format!("{} {}…", result.stage, key.short(12));
    let known = match to.result(&result.stage, &key) {
        Ok(known) => known,
        Err(ResultError::Damaged { path }) => {
            return Ok(One::Damaged(format!("{}: {} is damaged", name(), path.display())));
        }
        Err(error) => return Err(error.into()),
    };
    // Of one measurement there may be two: each store keeps its own.
    if known.as_ref().is_some_and(|known| known.files != result.files && to.holds(&known.files)) {
        return Ok(One::Present);
    }
    let (mut objects, mut bytes) = (0, 0);
    for file in &result.files {
        match import(file, from, to) {
            Ok(false) => {}
            Ok(true) => {
                objects += 1;
                bytes += file.bytes;
            }
            Err(Import::Damaged(store, error)) => {
                return Ok(One::Damaged(format!("{}: in {}, {error}", name(), store.display())));
            }
            Err(Import::Io(source)) => {
                return Err(TransferError::Io { store: to.root().to_owned(), source });
            }
        }
    }
    if known.is_some() && objects == 0 {
        return Ok(One::Present);
    }
    to.put_result(result)?;
    Ok(One::Copied { objects, bytes })
}

enum Import {
    /// In one of the stores.
    Damaged(PathBuf, FetchError),
    Io(io::Error),
}

/// Copies a content unless it is there; whether it was copied.
fn import(wanted: &FileDigest, from: &ObjectStore, to: &ObjectStore) -> Result<bool, Import> {
    match to.check(wanted) {
        Ok(()) => return Ok(false),
        Err(FetchError::Absent { .. }) => {}
        Err(FetchError::Io { source, .. }) => return Err(Import::Io(source)),
        Err(error) => return Err(Import::Damaged(to.root().to_owned(), error)),
    }
    let damaged = |error| Import::Damaged(from.root().to_owned(), error);
    let source = from.object_path(&wanted.sha256);
    if !source.is_file() {
        return Err(damaged(FetchError::Absent { file: wanted.file.clone() }));
    }
    let target = to.object_path(&wanted.sha256);
    let parent = target.parent().unwrap_or(Path::new("."));
    file::create_dir_all(parent).map_err(Import::Io)?;
    let (copy, bytes, found) = copy_beside(&source, parent).map_err(Import::Io)?;
    if (bytes, found) != (wanted.bytes, wanted.sha256) {
        let (file, object) = (wanted.file.clone(), wanted.sha256);
        return Err(damaged(FetchError::Damaged { file, object }));
    }
    file::set_read_only(&copy.path).map_err(Import::Io)?;
    super::rename(&copy.path, &target).map_err(Import::Io)?;
    copy.keep();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store;

    fn put(objects: &ObjectStore, dir: &Path, number: u32, text: &str) -> StoredResult {
        let run = dir.join(format!("run-{text}"));
        store::write(&run.join("x.csv"), text.as_bytes()).unwrap();
        store::write(&run.join("shared.csv"), b"shared").unwrap();
        let inputs = BTreeMap::from([("number".to_owned(), number.to_string())]);
        let result = StoredResult::new("real", inputs, objects.put_dir(&run).unwrap());
        objects.put_result(&result).unwrap();
        result
    }

    fn all(objects: &ObjectStore) -> Vec<StoredResult> {
        objects.results().unwrap().into_iter().collect::<Result<_, _>>().unwrap()
    }

    fn edit(objects: &ObjectStore, file: &FileDigest) {
        let path = objects.object_path(&file.sha256);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "damage").unwrap();
    }

    #[test]
    fn only_what_is_missing_is_copied_and_what_was_interrupted_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (ObjectStore::new(dir.path().join("a")), ObjectStore::new(dir.path().join("b")));
        for number in 0..3 {
            put(&from, dir.path(), number, &number.to_string());
        }
        let run = || transfer(&all(&from), &from, &to, &|| {}).unwrap();
        let first = run();
        assert_eq!((first.results, first.present, first.damaged.len()), (3, 0, 0));
        assert_eq!(all(&to), all(&from));
        all(&to).iter().flat_map(|result| &result.files).for_each(|file| to.check(file).unwrap());
        let second = run();
        assert_eq!((second.results, second.present, second.objects, second.bytes), (0, 3, 0, 0));
        // As if it had been interrupted: a result and a content of another are not there.
        let results = all(&from);
        std::fs::remove_file(to.result_path("real", &results[0].key())).unwrap();
        let file = results[1].files.iter().find(|file| file.file == "x.csv").unwrap();
        std::fs::remove_file(to.object_path(&file.sha256)).unwrap();
        let third = run();
        assert_eq!((third.results, third.present, third.objects, third.bytes), (2, 1, 1, 1));
        assert_eq!(all(&to), all(&from));
    }

    #[test]
    fn damage_at_either_end_is_named_and_its_results_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (ObjectStore::new(dir.path().join("a")), ObjectStore::new(dir.path().join("b")));
        let (good, bad) = (put(&from, dir.path(), 1, "good"), put(&from, dir.path(), 2, "bad"));
        let own =
            |result: &StoredResult| result.files.iter().find(|file| file.file == "x.csv").unwrap().clone();
        edit(&from, &own(&bad));
        let out = transfer(&all(&from), &from, &to, &|| {}).unwrap();
        assert_eq!(out.results, 1);
        assert_eq!(out.damaged.len(), 1);
        assert!(out.damaged[0].contains("x.csv") && out.damaged[0].contains("is damaged"), "{out:?}");
        assert_eq!(all(&to), std::slice::from_ref(&good));
        assert!(!to.object_path(&own(&bad).sha256).exists(), "no damaged content is copied");
        // At the other end it stays as it is: it is somebody else's.
        edit(&to, &own(&good));
        let out = transfer(std::slice::from_ref(&good), &from, &to, &|| {}).unwrap();
        assert_eq!((out.results, out.damaged.len()), (0, 1));
        assert_eq!(std::fs::read(to.object_path(&own(&good).sha256)).unwrap(), b"damage");
        let path = to.result_path("real", &good.key());
        std::fs::write(&path, "{").unwrap();
        let out = transfer(&[good], &from, &to, &|| {}).unwrap();
        assert!(out.damaged[0].ends_with("is damaged"), "{out:?}");
        assert_eq!(std::fs::read(&path).unwrap(), b"{");
    }

    #[test]
    fn of_two_measurements_each_store_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (ObjectStore::new(dir.path().join("a")), ObjectStore::new(dir.path().join("b")));
        put(&from, dir.path(), 1, "theirs");
        let ours = put(&to, dir.path(), 1, "ours");
        let out = transfer(&all(&from), &from, &to, &|| {}).unwrap();
        assert_eq!((out.results, out.present, out.objects), (0, 1, 0));
        assert_eq!(all(&to), [ours]);
    }
}
