//! One experiment on the way to its report: the lock that is wanted, the lock
//! that is written, and the pins that only a measurement or a simulation gives.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RunError;
use super::event::Observer;
use super::project::{Project, ProjectError};
use super::record::{StageRecord, StageStore};
use crate::engine::{ENGINE_VERSION, Engine};
use crate::lock::{
    self, BundlePin, Lock, ProjectFiles, Resolved, SimPin, SpecPin, Stale, Versions, WorkerPin,
};
use crate::metrics::METRICS_VERSION;
use crate::predictor::Predictor;
use crate::profile::Profile;
use crate::sim::SIMULATOR_VERSION;
use crate::source::{Access, Network};
use crate::spec::{self, Changes, Experiment, Override};
use crate::store::{self, Digest, DigestCache, Memo};
use crate::worker::LoadedWorker;
use crate::workload::WORKLOAD_VERSION;

/// How a lock may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockMode {
    /// Lock first, keeping pins that the experiment still admits.
    #[default]
    Update,
    /// Refuse a lock that is out of date.
    Locked,
    /// Use the lock without looking at the experiment.
    Frozen,
}

/// Pins that are moved even where the experiment still admits them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Upgrade {
    /// The commit that a moving revision resolved to.
    pub model: bool,
    /// The profiling bundle.
    pub bundle: bool,
}

/// What to run, and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// An experiment or a lock.
    pub target: PathBuf,
    /// Presets that are used after the experiment's own.
    pub presets: Vec<String>,
    /// `--set` overrides; `data=FOLDER` among them is recorded nowhere.
    pub set: Vec<String>,
    pub mode: LockMode,
    /// Pins that are moved even where they hold.
    pub upgrade: Upgrade,
    /// Compare across hardware; the report says so.
    pub allow_foreign_bundle: bool,
    /// Never use the network.
    pub offline: bool,
}

/// A resolved experiment in its project.
pub struct Session<'a> {
    pub project: Project,
    pub lock_path: PathBuf,
    /// The lock on disk, if there is one.
    pub previous: Option<Lock>,
    /// The format of the lock on disk.
    format: u32,
    /// Why the lock on disk is none. It is set aside before another takes its place.
    damaged: Option<String>,
    /// Whether it is none since a merge left conflicts, and a side of them could be read for its pins.
    side: bool,
    /// Digest of the lock's bytes when it was read.
    on_disk: Option<Digest>,
    /// The lock as it should be; its bundles and simulated results may still be missing.
    pub resolved: Resolved,
    pub request: Request,
    pub(super) stages: StageStore,
    digests: DigestCache,
    memo: Memo,
    pub(super) observer: &'a dyn Observer,
    /// The engine, once it was needed, and the device that it runs on.
    pub(super) engine: Option<(String, Engine)>,
    /// The Python worker with its model, once it was needed, and what is pinned of it.
    pub(super) worker: Option<(WorkerPin, LoadedWorker)>,
    /// Simulated results in run order, once they were pinned.
    pub(super) sims: Vec<StageRecord>,
    /// The predictor of the last simulated run, by what it was made from.
    pub(super) last_predictor: Option<(Digest, Arc<dyn Predictor>)>,
}

/// Whether the file is a lock by its name.
pub fn is_lock(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".lock.kdl")
}

impl<'a> Session<'a> {
    /// Reads the target, resolves what it pins, and holds it against the lock on disk. Writes nothing.
    pub fn open(request: Request, observer: &'a dyn Observer) -> Result<Self, RunError> {
        let project = Project::of(&request.target).map_err(|source| RunError::io(&request.target, source))?;
        let from_lock = is_lock(&request.target);
        let lock_path = if from_lock { request.target.clone() } else { project.lock_of(&request.target) };
        // Before it is read: what is written meanwhile is noticed by `write_lock`.
        let on_disk = digest_of(&lock_path);
        // A path that the person gave is called as they gave it.
        let shown = if from_lock { lock_path.clone() } else { project.relative(&lock_path).into() };
        let read = (from_lock || lock_path.exists()).then(|| lock::read_any(&lock_path, &shown)).transpose();
        let mut format = lock::FORMAT;
        let mut side = None;
        let (previous, damaged) = match read {
            Ok(None) => (None, None),
            Ok(Some((locked, found))) => {
                format = found;
                (Some(locked), None)
            }
            // The experiment says all that a lock can say.
            Err(error) if error.is_damage() && !from_lock && request.mode == LockMode::Update => {
                // What a merge has left in conflict still pins what is not.
                side = lock::read_side(&lock_path);
                (None, Some(error.to_string()))
            }
            Err(error) => return Err(error.into()),
        };
        let (place, set) = spec::take_data(&request.set);
        let (spec_path, presets, overrides) = match &previous {
            Some(locked) if from_lock => (
                project.resolve(&locked.spec.path)?,
                joined(&locked.spec.presets, &request.presets),
                merged(&locked.spec.overrides, &set),
            ),
            _ => (request.target.clone(), joined(&[], &request.presets), set),
        };
        if let (Some(locked), false) = (&previous, from_lock) {
            of_this_experiment(locked, &project, &lock_path, &spec_path)?;
        }
        let stages = StageStore::new(project.root());
        let digests = DigestCache::open(&project.own("digests"));
        let memo = Memo::open(&project.own("memo").join(project.name_of(&lock_path) + ".memo"));
        let has_side = side.is_some();
        let inputs = |experiment: &Experiment| {
            lock::find_data_folder(project.root(), experiment.data.as_deref(), place.as_deref())
        };
        let access = |inputs| Access {
            inputs,
            digests: &digests,
            memo: &memo,
            network: Network::unless(request.offline),
            progress: observer.progress(),
        };
        let resolved = match (&previous, request.mode) {
            (None, LockMode::Frozen | LockMode::Locked) => {
                let source = std::io::ErrorKind::NotFound.into();
                return Err(RunError::NoLock { path: project.relative(&lock_path), source });
            }
            (Some(locked), LockMode::Frozen) => {
                let cells = spec::expand(&locked.experiment)?;
                // Derived anew: an experiment edited inside the lock is not the one that was locked.
                let pin = SpecPin { sha256: Digest::of_json(&locked.experiment), ..locked.spec.clone() };
                let inputs = inputs(&locked.experiment)?;
                lock::resolve(&locked.experiment, cells, pin, versions(), Some(locked), &access(&inputs))?
            }
            _ => {
                if !spec_path.exists() {
                    return Err(RunError::NoSpec {
                        path: project.relative(&spec_path),
                        from_lock,
                        source: std::io::ErrorKind::NotFound.into(),
                    });
                }
                let path = project.relative(&spec_path);
                let parsed =
                    overrides.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
                let changes = Changes { presets: presets.clone(), overrides: parsed };
                let files = ProjectFiles::new(project.root(), &spec_path, &path).with_data(place.clone());
                let loaded = spec::load(&files, &path, &changes)?;
                for warning in &loaded.warnings {
                    observer.warned(&warning.in_one_line());
                }
                let pin = SpecPin { path, sha256: Digest::of_json(&loaded.experiment), presets, overrides };
                let mut kept = previous.clone().or(side);
                if let (Some(kept), true) = (&mut kept, request.upgrade.model) {
                    kept.resolved_model.commit = None;
                }
                let (inputs, kept) = (inputs(&loaded.experiment)?, kept.as_ref());
                lock::resolve(&loaded.experiment, loaded.cells, pin, versions(), kept, &access(&inputs))?
            }
        };
        let session = Self {
            project,
            lock_path,
            previous,
            format,
            damaged,
            side: has_side,
            on_disk,
            resolved,
            request,
            stages,
            digests,
            memo,
            observer,
            engine: None,
            worker: None,
            sims: Vec::new(),
            last_predictor: None,
        };
        session.require_current()?;
        let mut told: Vec<&String> = Vec::new();
        for note in session.resolved.extents.iter().flat_map(|extent| &extent.notes) {
            if !told.contains(&note) {
                observer.warned(note);
                told.push(note);
            }
        }
        Ok(session)
    }

    /// Keeps what was found out, for the next command. That it cannot be kept costs nothing but time.
    fn remember(&self) {
        let _ = self.digests.save();
        let _ = self.memo.save();
    }

    /// Pins a simulated result where the lock on disk has one and nothing before it changed.
    pub(super) fn locked_run(&self, id: &str) -> Option<&lock::RunPin> {
        self.previous.as_ref()?.runs.iter().find(|run| run.id == id)
    }

    /// Every reason why the lock on disk is out of date, simulated results left aside
    /// where they have not been computed yet. The pinned bundles are read.
    pub fn staleness(&self) -> Vec<Stale> {
        let mut reasons = self.reasons_to_write();
        let Some(previous) = &self.previous else { return reasons };
        let lock = &self.resolved.lock;
        if self.sim_backend().is_some() && lock.runs.iter().any(|run| lock.bundle_of(run).is_none()) {
            reasons.push(Stale::NoBundle);
        }
        let locked: HashSet<&BundlePin> = previous.bundles().map(|(_, pin)| pin).collect();
        for (index, pin) in lock.bundles().filter(|(_, pin)| locked.contains(pin)) {
            let why = match self.whole_bundle(index, pin) {
                Ok(whole) => whole.err().map(|unusable| unusable.to_string()),
                Err(error) => Some(error.to_string()),
            };
            reasons.extend(why.map(|why| Stale::BundleGone { why }));
        }
        reasons
    }

    /// Why the lock on disk would be written again. An older format says the same.
    fn reasons_to_write(&self) -> Vec<Stale> {
        let mut reasons = self.differences();
        if self.format != lock::FORMAT {
            reasons.push(Stale::Format { locked: self.format, wanted: lock::FORMAT });
        }
        reasons
    }

    /// What the lock says otherwise than the one that is wanted.
    fn differences(&self) -> Vec<Stale> {
        let Some(previous) = &self.previous else {
            let path = self.project.relative(&self.lock_path);
            return vec![match self.damaged.clone() {
                Some(why) => Stale::Unreadable { path, why },
                None => Stale::NoLock { path },
            }];
        };
        lock::staleness(previous, &self.expected_lock())
    }

    /// The lock as it should be, with the simulated results of the one on disk where none was computed yet.
    pub(super) fn expected_lock(&self) -> Lock {
        let mut lock = self.resolved.lock.clone();
        if let (Some(previous), Some(_)) = (&self.previous, self.sim_backend()) {
            let locked: HashMap<&str, &SimPin> =
                previous.runs.iter().filter_map(|run| Some((run.id.as_str(), run.sim.as_ref()?))).collect();
            for run in lock.runs.iter_mut().filter(|run| run.sim.is_none()) {
                run.sim = locked.get(run.id.as_str()).map(|sim| (*sim).clone());
            }
        }
        lock
    }

    /// Refuses to go on where the mode forbids a change of the lock. A bundle that is gone is told
    /// by the stage that needs it.
    fn require_current(&self) -> Result<(), RunError> {
        if self.request.mode == LockMode::Update {
            return Ok(());
        }
        let reasons = self.differences();
        if reasons.is_empty() {
            return Ok(());
        }
        Err(RunError::stale(self.request.mode, self.project.relative(&self.lock_path), &reasons))
    }

    /// Writes the lock when it says something new. Nothing that another process wrote since it was
    /// read is overwritten.
    pub(super) fn write_lock(&mut self) -> Result<(), RunError> {
        self.require_current()?;
        let path = self.project.relative(&self.lock_path);
        let text = self.resolved.lock.to_kdl();
        let found = digest_of(&self.lock_path);
        // Another process that wanted the same was faster: there is nothing left to say.
        let is_said = found == Some(Digest::of(&text));
        if found != self.on_disk && !is_said {
            return Err(RunError::LockChanged { path });
        }
        let reasons: Vec<String> = match (&self.previous, &self.damaged) {
            _ if is_said => Vec::new(),
            (None, None) => vec![format!("{path} did not exist")],
            _ => self.reasons_to_write().iter().map(ToString::to_string).collect(),
        };
        if !reasons.is_empty() && self.request.mode == LockMode::Update {
            let io = |source| RunError::io(&self.lock_path, source);
            if self.damaged.is_some() {
                let kept = self.stages.copy_aside(&path).map_err(io)?;
                let was = match self.side {
                    true => "was left in conflict by a merge: its pins go on, and",
                    false => "was no lock:",
                };
                self.observer.warned(&format!("{path} {was} it is kept as {kept}"));
            }
            store::write(&self.lock_path, text.as_bytes()).map_err(io)?;
            self.on_disk = Some(Digest::of(text));
        }
        self.observer.locked(&path, &reasons);
        Ok(())
    }

    /// A path of an input file on disk.
    pub(super) fn input(&self, relative: &str) -> Result<PathBuf, ProjectError> {
        Project::at(self.resolved.inputs.clone()).resolve(relative)
    }

    /// A path of the lock on disk.
    pub(super) fn path(&self, relative: &str) -> Result<PathBuf, ProjectError> {
        self.project.resolve(relative)
    }
}

/// Versions of this xp's parts.
pub fn versions() -> Versions {
    Versions {
        metrics: METRICS_VERSION,
        workload: WORKLOAD_VERSION,
        engine: ENGINE_VERSION,
        simulator: SIMULATOR_VERSION,
    }
}

/// Recorded presets and then the given ones: each once, where it is named last.
fn joined(recorded: &[String], given: &[String]) -> Vec<String> {
    let all: Vec<&String> = recorded.iter().chain(given).collect();
    let is_last = |index: &usize| !all[index + 1..].contains(&all[*index]);
    (0..all.len()).filter(is_last).map(|index| all[index].clone()).collect()
}

/// Recorded overrides with the given ones: a path that is set again has its new value, in its old place.
fn merged(recorded: &[String], given: &[String]) -> Vec<String> {
    let path = |text: &str| text.split_once('=').map(|(path, _)| path.to_owned());
    let mut out = recorded.to_vec();
    for text in given {
        match out.iter_mut().find(|other| path(other).is_some() && path(other) == path(text)) {
            Some(other) => other.clone_from(text),
            None => out.push(text.clone()),
        }
    }
    out
}

/// Digest of a lock's bytes, if it is there and of a lock's size.
fn digest_of(path: &Path) -> Option<Digest> {
    store::read_bounded(path, lock::MAX_LOCK_BYTES).ok().map(Digest::of)
}

/// Refuses the lock of another experiment that has the same file name.
fn of_this_experiment(
    locked: &Lock,
    project: &Project,
    lock_path: &Path,
    spec_path: &Path,
) -> Result<(), RunError> {
    let spec = project.relative(spec_path);
    let other = locked.spec.path.clone();
    let exists = || project.resolve(&other).is_ok_and(|path| path.exists());
    if other != spec && exists() {
        return Err(RunError::LockTaken { lock: project.relative(lock_path), spec, other });
    }
    Ok(())
}

impl Session<'_> {
    /// Makes the pins that need a measurement or a simulation, then writes the lock if it changed. The profiles that
    /// the runs were simulated from, in their order; none where nothing is simulated.
    pub fn pin(&mut self) -> Result<Vec<Arc<Profile>>, RunError> {
        self.remember();
        let profiles = self.ensure_bundles()?;
        for (index, profile) in profiles.iter().enumerate() {
            let record = self.sim_stage(index, profile)?;
            self.sims.push(record);
        }
        self.write_lock()?;
        Ok(profiles)
    }

    /// The simulated result that `pin` made or found.
    pub(super) fn sim_record(&self, index: usize) -> Result<StageRecord, RunError> {
        self.sims.get(index).cloned().ok_or(RunError::NoCompare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Quiet;

    const TINY: &str = r#"experiment "tiny" {
    model "qwen3-tiny"
    workload "few" { requests 3; lengths "fixed" prefill=9 decode=3; }
    backend "sarathi" chunk-size=16 kv-memory="4MiB"
}"#;

    fn texts<const N: usize>(list: [&str; N]) -> Vec<String> {
        list.map(str::to_owned).to_vec()
    }

    #[test]
    fn overrides_join_by_path() {
        let recorded = texts(["seed=1", "workload.requests=2"]);
        assert_eq!(merged(&recorded, &[]), recorded);
        assert_eq!(
            merged(&recorded, &texts(["workload.requests=3", "compare.pass=a=b", "seed=9", "seed=8"])),
            texts(["seed=8", "workload.requests=3", "compare.pass=a=b"])
        );
        assert_eq!(merged(&recorded, &texts(["seed"])), texts(["seed=1", "workload.requests=2", "seed"]));
    }

    #[test]
    fn presets_join_and_the_last_one_wins() {
        let recorded = texts(["small", "slow"]);
        assert_eq!(joined(&recorded, &[]), recorded);
        assert_eq!(joined(&recorded, &texts(["fast", "small"])), texts(["slow", "fast", "small"]));
        assert_eq!(joined(&[], &texts(["a", "b", "a"])), texts(["b", "a"]));
    }

    #[test]
    fn a_lock_that_another_process_wrote_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("experiments/tiny.kdl");
        store::write(&target, TINY.as_bytes()).unwrap();
        let lock = dir.path().join("locks/tiny.lock.kdl");
        let open = |set: &str| {
            let request = Request { target: target.clone(), set: texts([set]), ..Request::default() };
            Session::open(request, &Quiet).unwrap()
        };
        let (mut first, mut second, mut same) = (open("seed=1"), open("seed=2"), open("seed=1"));
        first.pin().unwrap();
        same.pin().expect("what it wants is there");
        let written = std::fs::read(&lock).unwrap();
        assert!(matches!(second.pin(), Err(RunError::LockChanged { .. })));
        assert_eq!(std::fs::read(&lock).unwrap(), written);
        // What the session wrote itself is no surprise to it, and a lock that is gone is.
        first.pin().unwrap();
        let mut third = open("seed=3");
        std::fs::remove_file(&lock).unwrap();
        assert!(matches!(third.pin(), Err(RunError::LockChanged { .. })));
        open("seed=2").pin().unwrap();
        assert_ne!(std::fs::read(&lock).unwrap(), written);
    }
}
