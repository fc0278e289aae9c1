//! What a finished stage leaves behind: its inputs, and the digests of its
//! files. A stage is reused when both still hold, and brought back from the
//! store when its files are gone.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::Stage;
use super::worktree::StorePlace;
use crate::store::{self, Digest, FileDigest, ObjectStore, StoredResult, abbreviate, is_inside};

/// Inputs by name; the digest over all of them is the stage's key.
pub type Inputs = BTreeMap<String, String>;

/// The record of a finished stage in its project, `.xp/stages/<stage>-<label>-<key>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    pub stage: Stage,
    /// Run id, and what tells several of a kind apart.
    pub label: String,
    pub inputs: Inputs,
    /// Folder or file it made, from the project's root.
    pub output: String,
    /// Files below `output` (or the file itself, named by its own name).
    pub files: Vec<FileDigest>,
}

impl StageRecord {
    /// Digest of the files: what the stages after it depend on.
    pub fn content(&self) -> Digest {
        Digest::of_json(&self.files)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Where a file of it lies below the project's root.
    pub(super) fn place(&self, file: &FileDigest) -> String {
        match self.stage.makes_a_file() {
            true => self.output.clone(),
            false => format!("{}/{}", self.output, file.file),
        }
    }

    /// The part of it that experiments and worktrees share.
    pub fn shared(&self) -> StoredResult {
        StoredResult::new(self.stage.name(), self.inputs.clone(), self.files.clone())
    }
}

/// An input that has another value than when a stage was last made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InputChange {
    pub input: String,
    /// None where the input is new.
    pub made_with: Option<String>,
    pub wanted: String,
}

/// Whether a stage's result is at hand, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageState {
    /// The result is there, whole, and its inputs are the pinned ones.
    Fresh(StageRecord),
    /// It is not there for the reason given, and the store has it.
    Stored { record: StageRecord, why: Box<StageState> },
    /// It was never made in this project.
    New,
    /// Inputs have other values than when it was last made; at least one.
    Stale { changes: Vec<InputChange> },
    /// A file of the result is gone.
    Missing { file: String },
    /// A file of the result has other bytes than were written.
    Damaged { file: String },
}

impl StageState {
    /// Why the stage is (or is not) run, in words.
    pub fn reason(&self) -> String {
        match self {
            Self::Fresh(_) => "unchanged".to_owned(),
            Self::Stored { why, .. } => why.reason(),
            Self::New => "not made yet".to_owned(),
            Self::Stale { changes } => {
                let Some(first) = changes.first() else { return "an input changed".to_owned() };
                let more = match changes.len() - 1 {
                    0 => String::new(),
                    1 => ", and another input".to_owned(),
                    more => format!(", and {more} other inputs"),
                };
                format!("{first}{more}")
            }
            Self::Missing { file } => format!("{file} is missing"),
            Self::Damaged { file } => format!("{file} was changed or damaged"),
        }
    }
}

impl std::fmt::Display for InputChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let before = self.made_with.as_deref().map_or_else(|| "nothing".to_owned(), abbreviate);
        write!(f, "{} changed from {before} to {}", self.input, abbreviate(&self.wanted))
    }
}

/// The records of a project, under `.xp/stages`, and the store that has its results.
#[derive(Debug, Clone)]
pub struct StageStore {
    pub(super) root: PathBuf,
    pub(super) place: StorePlace,
    pub(super) objects: ObjectStore,
}

/// The digest of a stage's inputs.
pub fn key(stage: Stage, inputs: &Inputs) -> Digest {
    store::result_key(stage.name(), inputs)
}

impl StageStore {
    /// The records of the project at `root`, and the store that belongs to it.
    pub fn new(root: &Path) -> Self {
        Self::at(root, StorePlace::of(root))
    }

    /// The records of the project at `root`, with a store elsewhere.
    pub(super) fn at(root: &Path, place: StorePlace) -> Self {
        Self { root: root.to_owned(), objects: ObjectStore::new(place.folder.clone()), place }
    }

    /// The project's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the results of the project are kept.
    pub fn objects(&self) -> &ObjectStore {
        &self.objects
    }

    fn dir(&self) -> PathBuf {
        self.root.join(".xp").join("stages")
    }

    fn record_path(&self, stage: Stage, label: &str, inputs: &Inputs) -> PathBuf {
        self.dir().join(format!("{stage}-{label}-{}.json", key(stage, inputs).short(16)))
    }

    fn latest_path(&self, stage: Stage, label: &str) -> PathBuf {
        self.dir().join(format!("{stage}-{label}.latest.json"))
    }

    /// A record that can be believed: one that xp would have written.
    pub(super) fn load(path: &Path) -> Option<StageRecord> {
        let bytes = store::read_bounded(path, 16 << 20).ok()?;
        let record: StageRecord = serde_json::from_slice(&bytes).ok()?;
        let believed = is_inside(&record.output)
            && !record.files.is_empty()
            && record.files.iter().all(|file| is_inside(&file.file));
        believed.then_some(record)
    }

    /// What is remembered of a stage under these labels, the latest of each label first.
    pub fn records_of(&self, stage: Stage, labels: &HashSet<&str>) -> Vec<StageRecord> {
        let prefix = format!("{stage}-");
        let label = |name: &str| -> Option<String> {
            let label = name.strip_prefix(&prefix)?.strip_suffix(".json")?;
            let label = match label.strip_suffix(".latest") {
                Some(label) => label,
                None => label.rsplit_once('-')?.0,
            };
            labels.contains(label).then(|| label.to_owned())
        };
        let entries = std::fs::read_dir(self.dir()).into_iter().flatten().flatten();
        let mut found: Vec<(String, bool, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some((label(&name)?, !name.ends_with(".latest.json"), entry.path()))
            })
            .collect();
        found.sort();
        found.iter().filter_map(|(label, _, path)| Self::load_of(path, stage, label)).collect()
    }

    /// Every record of the project at `root` that can be believed, with its file. Sorted.
    pub fn records(root: &Path) -> io::Result<Vec<(PathBuf, StageRecord)>> {
        let entries = match std::fs::read_dir(root.join(".xp").join("stages")) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut paths: Vec<PathBuf> = entries.iter().map(std::fs::DirEntry::path).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        Ok(paths.into_iter().filter_map(|path| Some((path.clone(), Self::load(&path)?))).collect())
    }

    fn load_of(path: &Path, stage: Stage, label: &str) -> Option<StageRecord> {
        Self::load(path).filter(|record| record.stage == stage && record.label == label)
    }

    /// Looks the stage's result up at `output`, where it belongs, and re-hashes its files. Where they are
    /// not whole, says whether the store has them. Writes nothing.
    pub fn state(&self, stage: Stage, label: &str, inputs: &Inputs, output: &str) -> StageState {
        let record = Self::load_of(&self.record_path(stage, label, inputs), stage, label)
            .filter(|record| record.inputs == *inputs && record.output == output);
        let why = match &record {
            None => self.why_not_made(stage, label, inputs),
            Some(record) => match self.problem(record) {
                None => return StageState::Fresh(record.clone()),
                Some(problem) => problem,
            },
        };
        // What was made here comes first: of a measurement, the store may have another's.
        let own = record.filter(|record| self.objects.holds(&record.files));
        let stored = own.or_else(|| {
            let result = self.objects.result(stage.name(), &key(stage, inputs)).ok()??;
            let fits = !stage.makes_a_file() || result.files.len() == 1;
            (fits && self.objects.holds(&result.files)).then(|| StageRecord {
                stage,
                label: label.to_owned(),
                inputs: inputs.clone(),
                output: output.to_owned(),
                files: result.files,
            })
        });
        match stored {
            Some(record) => StageState::Stored { record, why: Box::new(why) },
            None => why,
        }
    }

    /// What is wrong with the files of a record. Damage is told before absence.
    pub fn problem(&self, record: &StageRecord) -> Option<StageState> {
        let mut missing = None;
        for file in &record.files {
            let place = record.place(file);
            match store::digest_file(&self.root.join(&place)) {
                Ok((_, digest)) if digest == file.sha256 => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    missing.get_or_insert(StageState::Missing { file: place });
                }
                _ => return Some(StageState::Damaged { file: place }),
            }
        }
        missing
    }

    fn why_not_made(&self, stage: Stage, label: &str, inputs: &Inputs) -> StageState {
        let Some(last) = self.latest(stage, label) else { return StageState::New };
        let changes: Vec<InputChange> = inputs
            .iter()
            .filter(|(name, value)| last.inputs.get(*name) != Some(value))
            .map(|(name, value)| InputChange {
                input: name.clone(),
                made_with: last.inputs.get(name).cloned(),
                wanted: value.clone(),
            })
            .collect();
        if changes.is_empty() { StageState::New } else { StageState::Stale { changes } }
    }

    /// The record of the stage's last making, whatever its inputs were.
    pub(super) fn latest(&self, stage: Stage, label: &str) -> Option<StageRecord> {
        Self::load_of(&self.latest_path(stage, label), stage, label)
    }

    /// Remembers a finished stage whose files are complete on disk.
    pub fn remember(&self, record: &StageRecord) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
        store::write(&self.record_path(record.stage, &record.label, &record.inputs), &json)?;
        store::write(&self.latest_path(record.stage, &record.label), &json)
    }

    /// Sets what is in a result's place aside, under `.xp/quarantine`, so that nothing reads it and nothing is
    /// lost; where, from the root, if there was anything.
    pub fn set_aside(&self, output: &str) -> io::Result<Option<String>> {
        let from = self.root.join(output);
        if std::fs::symlink_metadata(&from).is_err() {
            return Ok(None);
        }
        let to = self.unused_place(output)?;
        store::rename(&from, &self.root.join(&to))?;
        store::file::touch(&self.root.join(&to));
        Ok(Some(to))
    }

    /// Keeps a copy of a file that will be replaced, under `.xp/quarantine`; where, from the root.
    pub fn copy_aside(&self, file: &str) -> io::Result<String> {
        let to = self.unused_place(file)?;
        store::copy(&self.root.join(file), &self.root.join(&to))?;
        Ok(to)
    }

    /// A name in `.xp/quarantine` that nothing has yet.
    fn unused_place(&self, output: &str) -> io::Result<String> {
        store::file::create_dir_all(&self.root.join(".xp").join("quarantine"))?;
        let name = output.replace('/', "-");
        let mut places = (0..).map(|n| format!(".xp/quarantine/{name}.{n}"));
        let unused = |place: &String| std::fs::symlink_metadata(self.root.join(place)).is_err();
        Ok(places.find(unused).expect("an unused number exists"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn inputs(value: &str) -> Inputs {
        Inputs::from([("chunk-size".to_owned(), value.to_owned())])
    }

    pub fn stages(root: &Path) -> StageStore {
        StageStore::at(root, StorePlace::own(root))
    }

    /// A record of what lies at `output`.
    pub fn record_of(stages: &StageStore, inputs: Inputs, output: &str) -> StageRecord {
        let files = store::digest_dir(&stages.root.join(output)).unwrap();
        let (label, output) = ("r".to_owned(), output.to_owned());
        StageRecord { stage: Stage::Sim, label, inputs, output, files }
    }

    #[test]
    fn a_result_is_fresh_until_an_input_or_a_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let stages = stages(dir.path());
        let state = |value: &str| stages.state(Stage::Sim, "r", &inputs(value), "runs/sim_runs/a");
        assert_eq!(state("1"), StageState::New);
        store::write(&dir.path().join("runs/sim_runs/a/x.csv"), b"1").unwrap();
        stages.remember(&record_of(&stages, inputs("1"), "runs/sim_runs/a")).unwrap();
        assert!(matches!(state("1"), StageState::Fresh(_)));
        assert_eq!(state("2").reason(), "chunk-size changed from 1 to 2");
        std::fs::write(dir.path().join("runs/sim_runs/a/x.csv"), "2").unwrap();
        assert_eq!(state("1").reason(), "runs/sim_runs/a/x.csv was changed or damaged");
        assert_eq!(stages.set_aside("runs/sim_runs/a").unwrap().unwrap(), ".xp/quarantine/runs-sim_runs-a.0");
        assert_eq!(state("1").reason(), "runs/sim_runs/a/x.csv is missing");
    }

    #[test]
    fn every_input_that_changed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let stages = stages(dir.path());
        store::write(&dir.path().join("runs/a/x.csv"), b"1").unwrap();
        stages.remember(&record_of(&stages, inputs("1"), "runs/a")).unwrap();
        let mut other = inputs("2");
        other.insert("threads".to_owned(), "4".to_owned());
        let state = stages.state(Stage::Sim, "r", &other, "runs/b");
        assert_eq!(state.reason(), "chunk-size changed from 1 to 2, and another input");
        let StageState::Stale { changes } = state else { panic!("{state:?}") };
        assert_eq!(changes[1].to_string(), "threads changed from nothing to 4");
    }

    #[test]
    fn a_record_that_xp_would_not_have_written_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("project");
        let stages = stages(&root);
        store::write(&root.join("runs/a/x.csv"), b"1").unwrap();
        store::write(&dir.path().join("outside/x.csv"), b"1").unwrap();
        let good = record_of(&stages, inputs("1"), "runs/a");
        let path = stages.record_path(Stage::Sim, "r", &inputs("1"));
        let state = |record: &StageRecord| {
            let json = serde_json::to_vec(record).unwrap();
            store::write(&path, &json).unwrap();
            store::write(&stages.latest_path(Stage::Sim, "r"), &json).unwrap();
            stages.state(Stage::Sim, "r", &inputs("1"), "runs/a")
        };
        assert_eq!(state(&good), StageState::Fresh(good.clone()));
        let file = |name: &str| FileDigest { file: name.to_owned(), ..good.files[0].clone() };
        let outside = dir.path().join("outside").display().to_string();
        let bad = [
            StageRecord { stage: Stage::Real, ..good.clone() },
            StageRecord { label: "other".to_owned(), ..good.clone() },
            StageRecord { files: Vec::new(), ..good.clone() },
            StageRecord { output: "../outside".to_owned(), ..good.clone() },
            StageRecord { output: outside, ..good.clone() },
            StageRecord { output: "runs".to_owned(), ..good.clone() },
            StageRecord { output: String::new(), ..good.clone() },
            StageRecord { output: "runs/../../outside".to_owned(), ..good.clone() },
            StageRecord { files: vec![file("../a/x.csv")], ..good.clone() },
            StageRecord { files: vec![file("/etc/passwd")], ..good.clone() },
            StageRecord { files: vec![file("")], ..good.clone() },
        ];
        for record in &bad {
            assert_eq!(state(record), StageState::New, "{record:?}");
        }
        let other = StageRecord { inputs: inputs("2"), ..good };
        assert_eq!(state(&other).reason(), "chunk-size changed from 2 to 1");
    }

    #[test]
    fn what_is_set_aside_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let stages = stages(dir.path());
        for n in 0..3 {
            store::write(&dir.path().join("locks/a.lock.kdl"), n.to_string().as_bytes()).unwrap();
            let kept = stages.copy_aside("locks/a.lock.kdl").unwrap();
            assert_eq!(kept, format!(".xp/quarantine/locks-a.lock.kdl.{n}"));
            assert_eq!(std::fs::read_to_string(dir.path().join(kept)).unwrap(), n.to_string());
        }
    }
}
