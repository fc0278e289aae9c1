//! What goes and what stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::roots::Roots;
use super::{GcError, GcRequest};
use crate::backend;
use crate::run::{Known, Reach, Stage, StageRecord, StageStore};
use crate::store::{self, Digest, ObjectStore, file};

/// A temporary file that was changed this short a time ago may be somebody's: a few commands write outside of
/// a project's guard, for moments.
const IN_USE: Duration = Duration::from_secs(600);

/// What kind of thing is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A stage's result in the store.
    Result,
    /// A file's content in the store.
    Object,
    /// A folder of `runs/`, just as xp wrote it.
    Run,
    /// What a project noted about a stage.
    Record,
    /// Operators that were trained with the tables of a profile.
    Trained,
    /// What a killed process left behind.
    Leftover,
    /// What was damaged, and is old.
    Quarantine,
    /// The note that a project uses the store.
    Project,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Object => "object",
            Self::Run => "run",
            Self::Record => "record",
            Self::Trained => "trained",
            Self::Leftover => "leftover",
            Self::Quarantine => "quarantine",
            Self::Project => "project",
        }
    }
}

/// Something that no root reaches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Garbage {
    pub kind: Kind,
    pub path: PathBuf,
    pub bytes: u64,
}

impl Garbage {
    pub(super) fn remove(&self) -> io::Result<()> {
        let removed = match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_dir() => file::remove_dir_all(&self.path),
            Ok(_) => file::remove_file(&self.path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Something that no root reaches and that stays all the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Kept {
    pub path: PathBuf,
    pub bytes: u64,
    pub why: &'static str,
}

/// What a sweep removes, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub garbage: Vec<Garbage>,
    pub kept: Vec<Kept>,
    /// Locks and reports that were looked at.
    pub roots: usize,
}

impl Plan {
    /// Bytes of everything that is removed.
    pub fn bytes(&self) -> u64 {
        self.garbage.iter().map(|garbage| garbage.bytes).sum()
    }
}

/// Finds what is not reached. The store and the projects are held still.
pub(super) fn make(
    roots: &Roots,
    objects: &ObjectStore,
    request: &GcRequest,
    started: SystemTime,
) -> Result<Plan, GcError> {
    let mut plan = Plan { roots: roots.locks.len(), ..Plan::default() };
    let mut reach = Reach::default();
    for (name, lock) in &roots.locks {
        let unclear = |why| GcError::Unclear { lock: name.clone(), why: Box::new(why) };
        reach.add_lock(lock).map_err(unclear)?;
    }
    let projects: Vec<ProjectRecords> =
        roots.projects.iter().map(|root| ProjectRecords::read(root)).collect::<Result<_, _>>()?;
    for report in projects.iter().flat_map(ProjectRecords::reports) {
        reach.add_report(&report.inputs);
        plan.roots += 1;
    }
    let results = objects.results().map_err(|source| GcError::io(objects.root(), source))?;
    let results =
        results.into_iter().collect::<Result<Vec<_>, _>>().map_err(|why| GcError::Result { why })?;
    let in_projects = projects.iter().flat_map(|project| &project.records);
    let known: Vec<Known> = results
        .iter()
        .filter_map(Known::of)
        .chain(in_projects.map(|(_, record)| Known::new(record.stage, &record.inputs, &record.files)))
        .collect();
    reach.close(&known);

    let mut live: BTreeSet<Digest> = BTreeSet::new();
    for result in &results {
        // A stage that this xp does not know is a newer one's.
        if Known::of(result).is_none_or(|known| reach.reaches(&known)) {
            live.extend(result.files.iter().map(|file| file.sha256));
        } else {
            plan.remove(Kind::Result, objects.result_path(&result.stage, &result.key()))?;
        }
    }
    let trained: BTreeSet<String> =
        roots.locks.iter().flat_map(|(_, lock)| backend::trained_files(lock)).collect();
    let swept = Swept { request, started, store: objects.root() };
    for project in &projects {
        project.sweep(&reach, &mut live, &mut plan)?;
        swept.leftovers(&project.root, &mut plan)?;
        sweep_trained(&project.root.join(".xp").join("trained"), &trained, &mut plan)?;
        swept.quarantine(&project.root.join(".xp").join("quarantine"), &mut plan)?;
    }
    for (object, bytes) in objects.objects().map_err(|source| GcError::io(objects.root(), source))? {
        let path = objects.object_path(&object);
        if live.contains(&object) {
            continue;
        }
        match fs::symlink_metadata(&path).and_then(|found| found.modified()) {
            // Whoever wrote it after gc began has a use for it.
            Ok(written) if written > started => {
                plan.kept.push(Kept { path, bytes, why: "newer than this gc" });
            }
            _ => plan.garbage.push(Garbage { kind: Kind::Object, path, bytes }),
        }
    }
    swept.walk(objects.root(), &mut plan)?;
    swept.quarantine(&objects.root().join("quarantine"), &mut plan)?;
    for registration in &roots.forgotten {
        plan.remove(Kind::Project, registration.clone())?;
    }
    plan.garbage.sort();
    plan.garbage.dedup();
    plan.kept.sort();
    Ok(plan)
}

impl Plan {
    fn remove(&mut self, kind: Kind, path: PathBuf) -> Result<(), GcError> {
        let bytes = size(&path).map_err(|source| GcError::io(&path, source))?;
        self.garbage.push(Garbage { kind, path, bytes });
        Ok(())
    }

    fn keep(&mut self, path: PathBuf, why: &'static str) -> Result<(), GcError> {
        let bytes = size(&path).map_err(|source| GcError::io(&path, source))?;
        self.kept.push(Kept { path, bytes, why });
        Ok(())
    }
}

/// Bytes of a file, or of all files below a folder. Links count as nothing.
fn size(path: &Path) -> io::Result<u64> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Ok(if found.is_file() { found.len() } else { 0 });
    }
    fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}

/// What a project noted about its stages.
struct ProjectRecords {
    root: PathBuf,
    /// By file, the latest of each label apart.
    records: Vec<(PathBuf, StageRecord)>,
    latest: Vec<(PathBuf, StageRecord)>,
}

impl ProjectRecords {
    fn read(root: &Path) -> Result<Self, GcError> {
        let all =
            StageStore::records(root).map_err(|source| GcError::io(&root.join(".xp/stages"), source))?;
        let is_latest = |(path, _): &(PathBuf, StageRecord)| path.to_string_lossy().ends_with(".latest.json");
        let (latest, records) = all.into_iter().partition(is_latest);
        Ok(Self { root: root.to_owned(), records, latest })
    }

    /// Records of the PDFs that are there. Of one that was edited, the latest: somebody has it.
    fn reports(&self) -> Vec<&StageRecord> {
        let mut by_output: BTreeMap<&str, Vec<&StageRecord>> = BTreeMap::new();
        for (_, record) in self.latest.iter().chain(&self.records) {
            if record.stage == Stage::Report {
                by_output.entry(&record.output).or_default().push(record);
            }
        }
        let mut out = Vec::new();
        for (output, records) in by_output {
            let path = self.root.join(output);
            if fs::symlink_metadata(&path).is_err() {
                continue;
            }
            let found = store::digest_file(&path).ok();
            let same = |record: &&&StageRecord| {
                found.is_some_and(|(_, digest)| record.files.iter().all(|file| file.sha256 == digest))
            };
            match records.iter().find(same) {
                Some(record) => out.push(*record),
                None => out.extend(records),
            }
        }
        out
    }

    /// Marks the contents of reached records; plans to remove the others, and the folders that they tell of.
    fn sweep(&self, reach: &Reach, live: &mut BTreeSet<Digest>, plan: &mut Plan) -> Result<(), GcError> {
        let mut outputs = BTreeSet::new();
        let (reached, garbage): (Vec<_>, Vec<_>) = self
            .records
            .iter()
            .partition(|(_, record)| reach.reaches(&Known::new(record.stage, &record.inputs, &record.files)));
        for (_, record) in &reached {
            live.extend(record.files.iter().map(|file| file.sha256));
            outputs.insert(record.output.as_str());
        }
        for (path, record) in garbage {
            plan.remove(Kind::Record, path.clone())?;
            let folder = self.root.join(&record.output);
            // `profiles/` and `reports/` belong to the project's owner.
            if !record.output.starts_with("runs/")
                || outputs.contains(record.output.as_str())
                || !folder.is_dir()
            {
                continue;
            }
            outputs.insert(&record.output);
            match store::digest_dir(&folder) {
                Ok(files) if files == record.files => plan.remove(Kind::Run, folder)?,
                _ => plan.keep(folder, "changed since xp wrote it")?,
            }
        }
        for (path, record) in &self.latest {
            if !reach.has_label(record.stage, &record.label) {
                plan.remove(Kind::Record, path.clone())?;
            }
        }
        // Folders of `runs/` that nothing is known of are somebody's.
        let all: BTreeSet<&str> = self.records.iter().map(|(_, record)| record.output.as_str()).collect();
        for kind in folders(&self.root.join("runs"))? {
            for folder in folders(&kind)? {
                let output = folder.strip_prefix(&self.root).unwrap_or(&folder);
                let output = output.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
                if !all.contains(output.as_str()) && !is_leftover(&folder) {
                    plan.keep(folder, "xp has no record of it")?;
                }
            }
        }
        Ok(())
    }
}

/// Folders in a folder; none if it is not there.
fn folders(dir: &Path) -> Result<Vec<PathBuf>, GcError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(GcError::io(dir, source)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| GcError::io(dir, source))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            out.push(entry.path());
        }
    }
    Ok(out)
}

/// Plans to remove trained operators that no lock's runs are predicted with.
fn sweep_trained(dir: &Path, wanted: &BTreeSet<String>, plan: &mut Plan) -> Result<(), GcError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(GcError::io(dir, source)),
    };
    for entry in entries {
        let path = entry.map_err(|source| GcError::io(dir, source))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !wanted.contains(&*name) && !is_leftover(&path) {
            plan.remove(Kind::Trained, path)?;
        }
    }
    Ok(())
}

/// Whether a name is one that xp gives to what it is writing.
fn is_leftover(path: &Path) -> bool {
    store::is_temporary(&path.file_name().unwrap_or_default().to_string_lossy())
}

/// Whether a leftover holds what was about to be replaced when a process was killed: it may be the only copy.
fn is_replaced(path: &Path) -> bool {
    is_leftover(path) && path.join("old").exists()
}

struct Swept<'a> {
    request: &'a GcRequest,
    started: SystemTime,
    store: &'a Path,
}

impl Swept<'_> {
    /// What killed processes left in the folders that xp writes into.
    fn leftovers(&self, root: &Path, plan: &mut Plan) -> Result<(), GcError> {
        for folder in [".xp", "experiments", "locks", "profiles", "reports", "runs"] {
            self.walk(&root.join(folder), plan)?;
        }
        Ok(())
    }

    fn walk(&self, dir: &Path, plan: &mut Plan) -> Result<(), GcError> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(source) => return Err(GcError::io(dir, source)),
        };
        for entry in entries {
            let entry = entry.map_err(|source| GcError::io(dir, source))?;
            let path = entry.path();
            // What is set aside stays as it is, and the store is walked by itself.
            let apart = path == self.store || entry.file_name() == "quarantine";
            if is_replaced(&path) {
                self.aged(path, plan)?;
            } else if is_leftover(&path) {
                match self.age(&path)? < IN_USE {
                    true => plan.keep(path, "perhaps being written")?,
                    false => plan.remove(Kind::Leftover, path)?,
                }
            } else if !apart && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.walk(&path, plan)?;
            }
        }
        Ok(())
    }

    fn quarantine(&self, dir: &Path, plan: &mut Plan) -> Result<(), GcError> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(GcError::io(dir, source)),
        };
        for entry in entries {
            self.aged(entry.map_err(|source| GcError::io(dir, source))?.path(), plan)?;
        }
        Ok(())
    }

    /// How long ago it was last changed. A time in the future is no age.
    fn age(&self, path: &Path) -> Result<Duration, GcError> {
        let changed = fs::symlink_metadata(path).and_then(|found| found.modified());
        let changed = changed.map_err(|source| GcError::io(path, source))?;
        Ok(self.started.duration_since(changed).unwrap_or(Duration::ZERO))
    }

    /// What was set aside goes when it is old enough.
    fn aged(&self, path: PathBuf, plan: &mut Plan) -> Result<(), GcError> {
        let age = self.age(&path)?;
        match self.request.quarantine_older_than {
            Some(limit) if age >= limit => plan.remove(Kind::Quarantine, path),
            _ => plan.keep(path, "in quarantine"),
        }
    }
}
