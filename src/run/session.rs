//! One experiment on the way to its report: the lock that is wanted, the lock
//! that is written, and the pins that only a measurement or a simulation gives.

use std::path::{Path, PathBuf};

use super::RunError;
use super::event::Observer;
use super::project::{Project, ProjectError};
use super::record::{StageRecord, StageStore};
use crate::engine::Engine;
use crate::lock::{self, Lock, Resolved, SpecPin, Stale};
use crate::spec::{self, Override};
use crate::store::{self, Digest};

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

/// What to run, and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// An experiment or a lock.
    pub target: PathBuf,
    /// `--set` overrides.
    pub set: Vec<String>,
    pub mode: LockMode,
    /// Measure a bundle even if the pinned one holds.
    pub new_profile: bool,
    /// Compare across hardware; the report says so.
    pub allow_foreign_bundle: bool,
}

/// A resolved experiment in its project.
pub struct Session<'a> {
    pub project: Project,
    pub lock_path: PathBuf,
    /// The lock on disk, if there is one.
    pub previous: Option<Lock>,
    /// The lock as it should be; its bundle and simulated results may still be missing.
    pub resolved: Resolved,
    pub request: Request,
    pub(super) stages: StageStore,
    pub(super) observer: &'a dyn Observer,
    /// The engine, once it was needed.
    pub(super) engine: Option<Engine>,
    /// Simulated results in run order, once they were pinned.
    pub(super) sims: Vec<StageRecord>,
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
        let (lock_path, spec_path, overrides) = if from_lock {
            let locked = lock::read(&request.target)?;
            let spec = project.resolve(&locked.spec.path)?;
            let set =
                if request.set.is_empty() { locked.spec.overrides.clone() } else { request.set.clone() };
            (request.target.clone(), spec, set)
        } else {
            (project.lock_of(&request.target), request.target.clone(), request.set.clone())
        };
        let previous = match lock_path.exists() {
            true => Some(lock::read(&lock_path)?),
            false => None,
        };
        let stages = StageStore::new(project.root());
        let resolved = match (&previous, request.mode) {
            (None, LockMode::Frozen | LockMode::Locked) => {
                let source = std::io::ErrorKind::NotFound.into();
                return Err(RunError::NoLock { path: project.relative(&lock_path), source });
            }
            (Some(locked), LockMode::Frozen) => {
                let cells = spec::expand(&locked.experiment)?;
                // Derived anew: an experiment edited inside the lock is not the one that was locked.
                let pin = SpecPin { sha256: Digest::of_json(&locked.experiment), ..locked.spec.clone() };
                lock::resolve(&locked.experiment, &cells, pin, project.root(), Some(locked))?
            }
            _ => {
                if !spec_path.exists() {
                    return Err(RunError::NoSpec {
                        path: project.relative(&spec_path),
                        from_lock,
                        source: std::io::ErrorKind::NotFound.into(),
                    });
                }
                let parsed =
                    overrides.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
                let loaded = spec::load(&spec_path, &project.relative(&spec_path), &parsed)?;
                let pin = SpecPin {
                    path: project.relative(&spec_path),
                    sha256: Digest::of_json(&loaded.experiment),
                    overrides,
                };
                lock::resolve(&loaded.experiment, &loaded.cells, pin, project.root(), previous.as_ref())?
            }
        };
        Ok(Self {
            project,
            lock_path,
            previous,
            resolved,
            request,
            stages,
            observer,
            engine: None,
            sims: Vec::new(),
        })
    }

    /// Pins a simulated result where the lock on disk has one and nothing before it changed.
    pub(super) fn locked_run(&self, id: &str) -> Option<&lock::RunPin> {
        self.previous.as_ref()?.runs.iter().find(|run| run.id == id)
    }

    /// Every reason why the lock on disk is out of date, simulated results left aside
    /// where they have not been computed yet.
    pub fn staleness(&self) -> Vec<Stale> {
        let Some(previous) = &self.previous else {
            return vec![Stale::NoLock { path: self.project.relative(&self.lock_path) }];
        };
        let mut wanted = self.resolved.lock.clone();
        for run in &mut wanted.runs {
            if run.sim.is_none() {
                run.sim = self.locked_run(&run.id).and_then(|locked| locked.sim.clone());
            }
        }
        let mut reasons = lock::staleness(previous, &wanted);
        if wanted.bundle.is_none() && self.sim_backend().is_some() {
            reasons.push(Stale::NoBundle);
        }
        reasons
    }

    /// Refuses to go on where the mode forbids a change of the lock.
    pub fn require_current(&self) -> Result<(), RunError> {
        if self.request.mode == LockMode::Update {
            return Ok(());
        }
        let reasons = self.staleness();
        if reasons.is_empty() {
            return Ok(());
        }
        Err(RunError::stale(self.request.mode, self.project.relative(&self.lock_path), &reasons))
    }

    /// Writes the lock when it says something new.
    pub(super) fn write_lock(&self) -> Result<(), RunError> {
        self.require_current()?;
        let path = self.project.relative(&self.lock_path);
        let text = self.resolved.lock.to_kdl();
        let reasons: Vec<String> = match &self.previous {
            Some(_) => self.staleness().iter().map(ToString::to_string).collect(),
            None => vec![format!("{path} did not exist")],
        };
        if !reasons.is_empty() && self.request.mode == LockMode::Update {
            store::write(&self.lock_path, text.as_bytes())
                .map_err(|source| RunError::io(&self.lock_path, source))?;
        }
        self.observer.locked(&path, &reasons);
        Ok(())
    }

    /// A path of the lock on disk.
    pub(super) fn path(&self, relative: &str) -> Result<PathBuf, ProjectError> {
        self.project.resolve(relative)
    }
}

impl Session<'_> {
    /// Makes the pins that need a measurement or a simulation, then writes the lock if it changed.
    pub fn pin(&mut self) -> Result<(), RunError> {
        if let Some(bundle) = self.ensure_bundle()? {
            let predictor = self.predictor(&bundle)?;
            for index in 0..self.resolved.lock.runs.len() {
                let record = self.sim_stage(index, &bundle, predictor.as_ref())?;
                self.sims.push(record);
            }
        }
        self.write_lock()
    }

    /// The simulated result that `pin` made or found.
    pub(super) fn sim_record(&self, index: usize) -> Result<StageRecord, RunError> {
        self.sims.get(index).cloned().ok_or(RunError::NoCompare)
    }
}
