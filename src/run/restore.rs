//! Results into the store and out of it. What is in the way is set aside, and
//! what is damaged is named.

use std::path::Path;

use super::RunError;
use super::bundle::is_own_bundle;
use super::event::Stage;
use super::record::{StageRecord, StageState, StageStore};
use super::steps::Step;
use crate::store::{self, FetchError, FileDigest, ResultError, StagedDir, StoredResult};

/// What a restore came to.
#[derive(Debug)]
pub(super) enum Restored {
    /// The result is in its place.
    Whole,
    /// The store's copy is not whole: what is wrong with it. Damaged objects are set aside.
    Lost(Vec<String>),
}

impl StageStore {
    /// Takes the files of a finished stage into the store, before they are in their place.
    /// What was set aside for it is told.
    pub(super) fn put(&self, step: &Step, folder: &Path) -> Result<(Vec<FileDigest>, Vec<String>), RunError> {
        let io = |source| RunError::io(self.objects.root(), source);
        let _guard = self.objects.share().map_err(io)?;
        self.place.register(&self.root).map_err(io)?;
        let files = self.objects.put_dir(folder).map_err(io)?;
        let result = StoredResult::new(step.stage.name(), step.inputs.clone(), files);
        let notes = self.put_result(&result)?;
        Ok((result.files, notes))
    }

    /// Takes a result that is in its place into the store, unless it is there.
    pub(super) fn keep(&self, record: &StageRecord) -> Result<Vec<String>, RunError> {
        let io = |source| RunError::io(self.objects.root(), source);
        self.place.register(&self.root).map_err(io)?;
        let result = record.shared();
        let known = self.objects.result(&result.stage, &result.key());
        if matches!(known, Ok(Some(_))) && self.objects.holds(&record.files) {
            return Ok(Vec::new());
        }
        let _guard = self.objects.share().map_err(io)?;
        for file in &record.files {
            let place = self.root.join(record.place(file));
            if self.objects.put_file(&place).map_err(io)? != (file.bytes, file.sha256) {
                // It was changed since it was looked at: the next look tells.
                return Ok(Vec::new());
            }
        }
        self.put_result(&result)
    }

    fn put_result(&self, result: &StoredResult) -> Result<Vec<String>, RunError> {
        let aside = self.objects.put_result(result)?;
        Ok(aside.iter().map(|kept| self.damaged_result(kept)).collect())
    }

    /// Brings a result from the store to its place and remembers it. Nothing is changed unless all of it is whole.
    pub(super) fn restore(&self, record: &StageRecord) -> Result<(Restored, Vec<String>), RunError> {
        let output = self.root.join(&record.output);
        let io = |source| RunError::io(&output, source);
        let _guard = self.objects.share().map_err(|source| RunError::io(self.objects.root(), source))?;
        self.place.register(&self.root).map_err(|source| RunError::io(self.objects.root(), source))?;
        // A file is written at once; a folder is filled first.
        let is_file = record.stage.makes_a_file();
        let staged = (!is_file).then(|| StagedDir::new(&output)).transpose().map_err(io)?;
        let mut lost = Vec::new();
        for file in &record.files {
            let whole = match &staged {
                Some(staged) => self.objects.fetch(file, &staged.path().join(&file.file)),
                None => self.objects.check(file),
            };
            match whole {
                Ok(()) => {}
                Err(FetchError::Damaged { file, object }) => {
                    let kept = self.objects.set_object_aside(&object).map_err(io)?;
                    let kept = kept.map(|kept| format!(", it is kept as {}", self.shown(&kept)));
                    lost.push(format!("the store's copy of {file} was damaged{}", kept.unwrap_or_default()));
                }
                Err(FetchError::Absent { file }) => lost.push(format!("the store's copy of {file} is gone")),
                Err(error) => return Err(error.into()),
            }
        }
        if !lost.is_empty() {
            return Ok((Restored::Lost(lost), Vec::new()));
        }
        if record.stage == Stage::Profile && !is_own_bundle(&record.output) && self.problem_in_the_way(record)
        {
            let why = format!("{} is not the pinned bundle, and not xp's to move: it stays", record.output);
            return Ok((Restored::Lost(vec![why]), Vec::new()));
        }
        // A report of other inputs has the same place.
        let last = self.latest(record.stage, &record.label).filter(|last| last.output == record.output);
        let known: Vec<StageRecord> = last.into_iter().chain([record.clone()]).collect();
        let notes = self.make_room(is_file, &record.output, &known)?;
        match staged {
            Some(staged) => staged.commit().map_err(io)?,
            None => record.files.iter().try_for_each(|file| self.objects.fetch(file, &output))?,
        }
        self.remember(record).map_err(io)?;
        Ok((Restored::Whole, notes))
    }

    /// Whether something lies in the place of a folder that is not all of it.
    fn problem_in_the_way(&self, record: &StageRecord) -> bool {
        std::fs::symlink_metadata(self.root.join(&record.output)).is_ok() && self.problem(record).is_some()
    }

    /// Empties the place of a result. What is there and not just what xp put there, by one of `known`, is set
    /// aside and named.
    pub(super) fn make_room(
        &self,
        is_file: bool,
        output: &str,
        known: &[StageRecord],
    ) -> Result<Vec<String>, RunError> {
        let path = self.root.join(output);
        let is_known = |found: &FileDigest| known.iter().any(|record| record.files.contains(found));
        let ours = match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(RunError::io(&path, source)),
            Ok(found) if is_file && found.is_file() => {
                store::digest_file(&path).is_ok_and(|(bytes, sha256)| {
                    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    is_known(&FileDigest { file, bytes, sha256 })
                })
            }
            Ok(found) if !is_file && found.is_dir() => {
                store::digest_dir(&path).is_ok_and(|files| files.iter().all(is_known))
            }
            Ok(_) => false,
        };
        if ours {
            return Ok(Vec::new());
        }
        let kept = self.set_aside(output).map_err(|source| RunError::io(&path, source))?;
        Ok(kept.iter().map(|kept| format!("what was at {output} is kept as {kept}")).collect())
    }

    /// Sets a result of the store aside that cannot be read. The stage is made again.
    pub(super) fn clear_damaged_result(&self, step: &Step) -> Result<Vec<String>, RunError> {
        match self.objects.result(step.stage.name(), &step.key()) {
            Err(ResultError::Damaged { path }) => {
                let io = |source| RunError::io(&path, source);
                let _guard = self.objects.share().map_err(io)?;
                let kept = self.objects.set_result_aside(&path).map_err(io)?;
                Ok(kept.iter().map(|kept| self.damaged_result(kept)).collect())
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok(Vec::new()),
        }
    }

    fn damaged_result(&self, kept: &Path) -> String {
        format!("a damaged result of the store is kept as {}", self.shown(kept))
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// The state of a step's result.
    pub(super) fn state_of(&self, step: &Step) -> StageState {
        self.state(step.stage, &step.label, &step.inputs, &step.output)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{inputs, record_of, stages};
    use super::*;

    const OUTPUT: &str = "runs/sim_runs/a";

    fn made(root: &Path) -> (StageStore, StageRecord) {
        let stages = stages(root);
        store::write(&root.join(OUTPUT).join("x.csv"), b"1").unwrap();
        store::write(&root.join(OUTPUT).join("y.csv"), b"2").unwrap();
        let record = record_of(&stages, inputs("1"), OUTPUT);
        stages.remember(&record).unwrap();
        assert_eq!(stages.keep(&record).unwrap(), [""; 0]);
        (stages, record)
    }

    fn state(stages: &StageStore, value: &str) -> StageState {
        stages.state(Stage::Sim, "r", &inputs(value), OUTPUT)
    }

    #[test]
    fn what_is_gone_or_damaged_comes_back_from_the_store_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (stages, record) = made(dir.path());
        let folder = dir.path().join(OUTPUT);
        let restored = |why: &str| {
            let StageState::Stored { record: stored, why: reason } = state(&stages, "1") else { panic!() };
            assert!(reason.reason().contains(why), "{reason:?}");
            let (restored, notes) = stages.restore(&stored).unwrap();
            assert!(matches!(restored, Restored::Whole));
            assert_eq!(state(&stages, "1"), StageState::Fresh(record.clone()));
            notes
        };
        std::fs::remove_file(folder.join("x.csv")).unwrap();
        assert_eq!(restored("x.csv is missing"), [""; 0]);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(restored("x.csv is missing"), [""; 0]);
        std::fs::write(folder.join("x.csv"), "edited").unwrap();
        let notes = restored("x.csv was changed or damaged");
        assert_eq!(notes, ["what was at runs/sim_runs/a is kept as .xp/quarantine/runs-sim_runs-a.0"]);
        let kept = dir.path().join(".xp/quarantine/runs-sim_runs-a.0");
        assert_eq!(std::fs::read(kept.join("x.csv")).unwrap(), b"edited");
        // A file of somebody else's beside a missing one.
        std::fs::remove_file(folder.join("x.csv")).unwrap();
        std::fs::write(folder.join("notes.txt"), "keep me").unwrap();
        assert_eq!(restored("x.csv is missing").len(), 1);
        assert!(dir.path().join(".xp/quarantine/runs-sim_runs-a.1/notes.txt").is_file());
    }

    #[test]
    fn another_project_takes_the_result_under_a_name_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (stages, record) = made(&dir.path().join("one"));
        let other = StageStore::at(&dir.path().join("two"), stages.place.clone());
        let at = |value: &str| other.state(Stage::Sim, "other", &inputs(value), "runs/sim_runs/b");
        let StageState::Stored { record: stored, why } = at("1") else { panic!() };
        assert_eq!((*why, &stored.files), (StageState::New, &record.files));
        assert!(matches!(other.restore(&stored).unwrap().0, Restored::Whole));
        assert!(matches!(at("1"), StageState::Fresh(_)));
        assert_eq!(at("2").reason(), "chunk-size changed from 1 to 2");
    }

    #[test]
    fn a_damaged_object_is_set_aside_and_the_stage_is_to_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let (stages, record) = made(dir.path());
        std::fs::write(dir.path().join(OUTPUT).join("x.csv"), "edited").unwrap();
        let object = stages.objects.object_path(&record.files[0].sha256);
        std::fs::remove_file(&object).unwrap();
        std::fs::write(&object, "9").unwrap();
        let StageState::Stored { record, .. } = state(&stages, "1") else { panic!() };
        let (Restored::Lost(lost), notes) = stages.restore(&record).unwrap() else { panic!() };
        let kept = format!(".xp/store/quarantine/{}.0", record.files[0].sha256);
        assert_eq!(lost, [format!("the store's copy of x.csv was damaged, it is kept as {kept}")]);
        assert_eq!(notes, [""; 0]);
        assert_eq!(std::fs::read(dir.path().join(kept)).unwrap(), b"9");
        assert_eq!(std::fs::read(dir.path().join(OUTPUT).join("x.csv")).unwrap(), b"edited");
        assert!(matches!(state(&stages, "1"), StageState::Damaged { .. }));
    }

    #[test]
    fn a_report_of_other_inputs_gives_way_and_another_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let stages = stages(dir.path());
        let pdf = dir.path().join("reports/a.pdf");
        let made = |text: &str| {
            store::write(&pdf, text.as_bytes()).unwrap();
            let (bytes, sha256) = store::digest_file(&pdf).unwrap();
            let record = StageRecord {
                stage: Stage::Report,
                label: "a".to_owned(),
                inputs: inputs(text),
                output: "reports/a.pdf".to_owned(),
                files: vec![FileDigest { file: "a.pdf".to_owned(), bytes, sha256 }],
            };
            stages.remember(&record).unwrap();
            assert_eq!(stages.keep(&record).unwrap(), [""; 0]);
            record
        };
        let first = made("1");
        made("2");
        let (Restored::Whole, notes) = stages.restore(&first).unwrap() else { panic!() };
        assert_eq!((std::fs::read(&pdf).unwrap(), notes), (b"1".to_vec(), Vec::new()));
        std::fs::write(&pdf, "a person's").unwrap();
        let (Restored::Whole, notes) = stages.restore(&first).unwrap() else { panic!() };
        assert_eq!(notes, ["what was at reports/a.pdf is kept as .xp/quarantine/reports-a.pdf.0"]);
    }

    #[test]
    fn a_bundle_that_a_person_named_is_not_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (stages, record) = made(dir.path());
        let restored = |output: &str| {
            store::write(&dir.path().join(output).join("x.csv"), b"a person's").unwrap();
            let record = StageRecord { stage: Stage::Profile, output: output.to_owned(), ..record.clone() };
            stages.restore(&record).unwrap()
        };
        for output in
            ["bundles/mine", "profiles/mine", "profiles/mine-01234567", "profiles/a/m-01234567-89abcdef"]
        {
            let (Restored::Lost(lost), notes) = restored(output) else { panic!("{output}") };
            assert!(lost[0].starts_with(&format!("{output} is not the pinned bundle")), "{lost:?}");
            assert_eq!(notes, [""; 0]);
            assert_eq!(std::fs::read(dir.path().join(output).join("x.csv")).unwrap(), b"a person's");
        }
        assert!(!dir.path().join(".xp/quarantine").exists());
        let (Restored::Whole, notes) = restored("profiles/qwen3-tiny-01234567-89abcdef") else { panic!() };
        assert!(notes[0].contains(".xp/quarantine/profiles-"), "{notes:?}");
        // Where nothing is, it comes back to any place.
        let record =
            StageRecord { stage: Stage::Profile, output: "bundles/new".to_owned(), ..record.clone() };
        assert!(matches!(stages.restore(&record).unwrap().0, Restored::Whole));
    }

    #[test]
    fn a_damaged_result_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (stages, record) = made(dir.path());
        let step = Step {
            stage: Stage::Sim,
            label: "r".to_owned(),
            inputs: record.inputs.clone(),
            output: OUTPUT.to_owned(),
        };
        assert_eq!(stages.clear_damaged_result(&step).unwrap(), [""; 0]);
        std::fs::write(stages.objects.result_path("sim", &step.key()), "{").unwrap();
        assert!(matches!(state(&stages, "1"), StageState::Fresh(_)), "its files tell");
        let notes = stages.clear_damaged_result(&step).unwrap();
        assert!(notes[0].starts_with("a damaged result of the store is kept as .xp/store/quarantine/sim-"));
        assert!(stages.objects.result("sim", &step.key()).unwrap().is_none());
        stages.keep(&record).unwrap();
        assert!(stages.objects.result("sim", &step.key()).unwrap().is_some());
    }
}
