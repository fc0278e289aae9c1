//! Results of pure functions by the digest of what went in, kept between
//! commands: a lock of 10,000 runs is checked without making 10,000 workloads.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Digest;
use super::checked::{read_checked, write_checked};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The program that computed the results: another build may compute others.
    build: String,
    results: BTreeMap<Digest, Value>,
}

/// Results by what they were computed from. Only those that were asked for are kept again.
#[derive(Debug, Default)]
pub struct Memo {
    /// None: nothing is kept.
    file: Option<PathBuf>,
    build: String,
    known: BTreeMap<Digest, Value>,
    used: Mutex<BTreeMap<Digest, Value>>,
}

impl Memo {
    /// A memo that is kept in `file`. One that cannot be read, or that another build wrote, is empty.
    pub fn open(file: &Path) -> Self {
        let build = build();
        let kept: Kept = read_checked(file).unwrap_or_default();
        let known = if kept.build == build { kept.results } else { BTreeMap::new() };
        Self { file: Some(file.to_owned()), build, known, used: Mutex::default() }
    }

    /// The result of `function` for `inputs`: the kept one, or the one that `make` computes. The
    /// inputs must be all that the result depends on.
    pub fn recall<T, E>(
        &self,
        function: &str,
        inputs: &impl Serialize,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
    {
        let key = Digest::of_json(&(function, inputs));
        let known = self.used().get(&key).or_else(|| self.known.get(&key)).cloned();
        if let Some(value) = known
            && let Ok(result) = T::deserialize(&value)
        {
            self.used().insert(key, value);
            return Ok(result);
        }
        let result = make()?;
        if let Ok(value) = serde_json::to_value(&result) {
            self.used().insert(key, value);
        }
        Ok(result)
    }

    /// Keeps the results that were asked for, if they are others than those that were kept.
    pub fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let used = self.used();
        match *used == self.known {
            true => Ok(()),
            false => write_checked(file, &Kept { build: self.build.clone(), results: used.clone() }),
        }
    }

    fn used(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Value>> {
        self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Names this very program: version, size and time of its file.
fn build() -> String {
    let found = std::env::current_exe().and_then(std::fs::metadata);
    let file = found.ok().map(|found| {
        let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (found.len(), modified.unwrap_or_default().as_nanos())
    });
    format!("{} {file:?}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_result_is_computed_once_and_dropped_when_nobody_asks() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memo");
        let ask = |memo: &Memo, input: u32, made: &str| {
            memo.recall("f", &input, || Ok::<_, Infallible>(made.to_owned())).unwrap()
        };
        let first = Memo::open(&file);
        assert_eq!((ask(&first, 1, "a"), ask(&first, 2, "b")), ("a".to_owned(), "b".to_owned()));
        assert_eq!(ask(&first, 1, "other"), "a");
        first.save().unwrap();
        let second = Memo::open(&file);
        assert_eq!(ask(&second, 1, "other"), "a");
        second.save().unwrap();
        let third = Memo::open(&file);
        assert_eq!(ask(&third, 2, "new"), "new");
        assert_eq!(ask(&Memo::default(), 1, "none"), "none");
    }

    #[test]
    fn errors_and_other_types_are_not_recalled() {
        let memo = Memo::default();
        assert_eq!(memo.recall::<u32, _>("f", &1, || Err("no")), Err("no"));
        assert_eq!(memo.recall::<_, ()>("f", &1, || Ok("text".to_owned())), Ok("text".to_owned()));
        assert_eq!(memo.recall::<u32, ()>("f", &1, || Ok(7)), Ok(7));
        assert_eq!(memo.recall::<u32, ()>("g", &1, || Ok(8)), Ok(8));
    }

    #[test]
    fn another_build_computes_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memo");
        let memo = Memo::open(&file);
        memo.recall::<u32, ()>("f", &1, || Ok(1)).unwrap();
        memo.save().unwrap();
        let mut kept: Kept = read_checked(&file).unwrap();
        kept.build.push('x');
        write_checked(&file, &kept).unwrap();
        assert_eq!(Memo::open(&file).recall::<u32, ()>("f", &1, || Ok(2)), Ok(2));
    }
}
