//! What a finished stage leaves behind: its inputs, and the digests of its
//! files. A stage is reused when both still hold.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::event::Stage;
use crate::store::{self, Digest, FileDigest, abbreviate};

/// Inputs by name; the digest over all of them is the stage's key.
pub type Inputs = BTreeMap<String, String>;

/// The record of a finished stage, `.xp/stages/<stage>-<label>-<key>.json`.
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

/// Whether a stage's result is at hand, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageState {
    /// The result is there, whole, and its inputs are the pinned ones.
    Fresh(StageRecord),
    /// It was never made in this project.
    New,
    /// An input has another value than when it was last made.
    Stale { input: String, made_with: String, wanted: String },
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
            Self::New => "not made yet".to_owned(),
            Self::Stale { input, made_with, wanted } => {
                format!("{input} changed from {} to {}", abbreviate(made_with), abbreviate(wanted))
            }
            Self::Missing { file } => format!("{file} is missing"),
            Self::Damaged { file } => format!("{file} was changed or damaged"),
        }
    }
}

/// The records of a project, under `.xp/stages`.
#[derive(Debug, Clone)]
pub struct StageStore {
    root: PathBuf,
}

/// The digest of a stage's inputs.
pub fn key(stage: Stage, inputs: &Inputs) -> Digest {
    Digest::of_json(&(stage.name(), inputs))
}

impl StageStore {
    /// The store of the project at `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
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

    /// A record of the stage that can be believed: one that xp would have written.
    fn load(path: &Path, stage: Stage, label: &str) -> Option<StageRecord> {
        let bytes = store::read_bounded(path, 16 << 20).ok()?;
        let record: StageRecord = serde_json::from_slice(&bytes).ok()?;
        let believed = record.stage == stage
            && record.label == label
            && is_inside(&record.output)
            && !record.files.is_empty()
            && record.files.iter().all(|file| is_inside(&file.file));
        believed.then_some(record)
    }

    /// What is remembered of a stage under these labels, the latest of each label first.
    pub fn records(&self, stage: Stage, labels: &HashSet<&str>) -> Vec<StageRecord> {
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
        found.iter().filter_map(|(label, _, path)| Self::load(path, stage, label)).collect()
    }

    /// Looks the stage's result up at `output`, where it belongs, and re-hashes its files.
    pub fn state(&self, stage: Stage, label: &str, inputs: &Inputs, output: &str) -> StageState {
        let record = Self::load(&self.record_path(stage, label, inputs), stage, label);
        let Some(record) = record.filter(|record| record.inputs == *inputs && record.output == output) else {
            return self.why_not_made(stage, label, inputs);
        };
        let output = self.root.join(&record.output);
        for file in &record.files {
            let path = if output.is_dir() { output.join(&file.file) } else { output.clone() };
            let shown = if record.output.ends_with(&file.file) {
                record.output.clone()
            } else {
                format!("{}/{}", record.output, file.file)
            };
            match store::digest_file(&path) {
                Err(_) => return StageState::Missing { file: shown },
                Ok((_, digest)) if digest != file.sha256 => return StageState::Damaged { file: shown },
                Ok(_) => {}
            }
        }
        StageState::Fresh(record)
    }

    fn why_not_made(&self, stage: Stage, label: &str, inputs: &Inputs) -> StageState {
        let Some(last) = Self::load(&self.latest_path(stage, label), stage, label) else {
            return StageState::New;
        };
        let changed = inputs.iter().find(|(name, value)| last.inputs.get(*name) != Some(value));
        match changed {
            Some((input, wanted)) => StageState::Stale {
                input: input.clone(),
                made_with: last.inputs.get(input).cloned().unwrap_or_else(|| "nothing".to_owned()),
                wanted: wanted.clone(),
            },
            None => StageState::New,
        }
    }

    /// Remembers a finished stage. `output` must be complete on disk.
    pub fn remember(
        &self,
        stage: Stage,
        label: &str,
        inputs: &Inputs,
        output: &str,
    ) -> io::Result<StageRecord> {
        let path = self.root.join(output);
        let files = if path.is_dir() {
            store::digest_dir(&path)?
        } else {
            let (bytes, sha256) = store::digest_file(&path)?;
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            vec![FileDigest { file, bytes, sha256 }]
        };
        let record = StageRecord {
            stage,
            label: label.to_owned(),
            inputs: inputs.clone(),
            output: output.to_owned(),
            files,
        };
        let json = serde_json::to_vec_pretty(&record).map_err(io::Error::other)?;
        store::write(&self.record_path(stage, label, inputs), &json)?;
        store::write(&self.latest_path(stage, label), &json)?;
        Ok(record)
    }

    /// Sets a damaged result aside, under `.xp/quarantine`, so that nothing reads it and nothing is lost.
    pub fn set_aside(&self, output: &str) -> io::Result<()> {
        let from = self.root.join(output);
        if !from.exists() {
            return Ok(());
        }
        std::fs::rename(from, self.root.join(self.unused_place(output)?))
    }

    /// Keeps a copy of a file that will be replaced, under `.xp/quarantine`; where, from the root.
    pub fn copy_aside(&self, file: &str) -> io::Result<String> {
        let to = self.unused_place(file)?;
        std::fs::copy(self.root.join(file), self.root.join(&to))?;
        Ok(to)
    }

    /// A name in `.xp/quarantine` that nothing has yet.
    fn unused_place(&self, output: &str) -> io::Result<String> {
        std::fs::create_dir_all(self.root.join(".xp").join("quarantine"))?;
        let name = output.replace('/', "-");
        let mut places = (0..).map(|n| format!(".xp/quarantine/{name}.{n}"));
        Ok(places.find(|place| !self.root.join(place).exists()).expect("an unused number exists"))
    }
}

/// Whether a path stays below the folder that it is relative to.
fn is_inside(path: &str) -> bool {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    !path.is_empty() && !path.contains(['\\', '\0']) && Path::new(path).components().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(value: &str) -> Inputs {
        Inputs::from([("chunk-size".to_owned(), value.to_owned())])
    }

    #[test]
    fn a_result_is_fresh_until_an_input_or_a_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let stages = StageStore::new(dir.path());
        let state = |value: &str| stages.state(Stage::Sim, "r", &inputs(value), "runs/sim_runs/a");
        assert_eq!(state("1"), StageState::New);
        store::write(&dir.path().join("runs/sim_runs/a/x.csv"), b"1").unwrap();
        stages.remember(Stage::Sim, "r", &inputs("1"), "runs/sim_runs/a").unwrap();
        assert!(matches!(state("1"), StageState::Fresh(_)));
        assert_eq!(state("2").reason(), "chunk-size changed from 1 to 2");
        std::fs::write(dir.path().join("runs/sim_runs/a/x.csv"), "2").unwrap();
        assert_eq!(state("1").reason(), "runs/sim_runs/a/x.csv was changed or damaged");
        stages.set_aside("runs/sim_runs/a").unwrap();
        assert_eq!(state("1").reason(), "runs/sim_runs/a/x.csv is missing");
    }

    #[test]
    fn a_record_that_xp_would_not_have_written_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("project");
        let stages = StageStore::new(&root);
        store::write(&root.join("runs/a/x.csv"), b"1").unwrap();
        store::write(&dir.path().join("outside/x.csv"), b"1").unwrap();
        let good = stages.remember(Stage::Sim, "r", &inputs("1"), "runs/a").unwrap();
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
        let stages = StageStore::new(dir.path());
        for n in 0..3 {
            store::write(&dir.path().join("locks/a.lock.kdl"), n.to_string().as_bytes()).unwrap();
            let kept = stages.copy_aside("locks/a.lock.kdl").unwrap();
            assert_eq!(kept, format!(".xp/quarantine/locks-a.lock.kdl.{n}"));
            assert_eq!(std::fs::read_to_string(dir.path().join(kept)).unwrap(), n.to_string());
        }
    }
}
