//! Which bundle the simulation reads: the pinned one while it holds, else a
//! new measurement.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::RunError;
use super::device::device_guard;
use super::event::Stage;
use super::project::ProjectError;
use super::restore::Restored;
use super::session::{LockMode, Session};
use super::status::Standing;
use super::steps;
use super::worker::worker_id;
use crate::backend::{self, BackendError};
use crate::lock::{self, BundlePin, HardwareFact, Measured};
use crate::profile::{self, Limits, Profile, StepSubject, Subject};
use crate::spec::{Experiment, Lengths, ProfileSource, SimBackend, TransformersBackend};
use crate::store::{self, Digest, FileDigest};

/// The longest prompt plus output that a length distribution can draw.
fn longest_total(experiment: &Experiment) -> Option<u32> {
    match experiment.workload.lengths {
        Some(Lengths::Uniform { max, .. } | Lengths::Zipf { max, .. }) => Some(max),
        _ => None,
    }
}

/// Whether a bundle's path is one that xp gives: `profiles/MODEL-MACHINE-CONTENT`. What a person put elsewhere or
/// named otherwise is theirs, and xp moves it nowhere.
pub(super) fn is_own_bundle(path: &str) -> bool {
    let is_digest = |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Some(name) = path.strip_prefix("profiles/").filter(|name| !name.contains('/')) else { return false };
    let mut parts = name.rsplitn(3, '-');
    parts.by_ref().take(2).filter(|part| is_digest(part)).count() == 2 && parts.next().is_some()
}

/// Why a pinned bundle is not simulated from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable {
    why: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its folder is not there.
    Missing,
    /// It cannot be read: it is set aside before another takes its place.
    Damaged,
    /// Another bundle is in its place.
    Replaced,
    /// It is whole, and of no use for the experiment on this machine.
    Unfit,
}

impl Unusable {
    fn unfit(why: impl Into<String>) -> Self {
        Self { why: why.into(), kind: Kind::Unfit }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Session<'_> {
    /// The simulated backend: the one `compare` names, else the first.
    pub fn sim_backend(&self) -> Option<&SimBackend> {
        lock::simulated_backend(&self.resolved.lock.experiment)
    }

    /// The steps that the runs of this lock can take.
    pub(super) fn limits(&self) -> Limits {
        let runs = || self.resolved.lock.runs.iter();
        let max =
            |of: fn(&crate::scheduler::SchedulerConfig) -> u32| runs().map(|run| of(&run.scheduler)).max();
        // A request longer than the context is refused and takes no step.
        let context = max(|scheduler| scheduler.max_context).unwrap_or(1);
        let longest = (self.resolved.extents.iter().filter_map(|extent| extent.longest_served))
            // What the experiment may draw counts, not only what this seed and this many requests drew.
            .chain(self.resolved.cells.iter().filter_map(|cell| longest_total(&cell.experiment)))
            .map(|tokens| tokens.min(context))
            .max();
        Limits {
            chunk_size: max(|scheduler| scheduler.chunk_size).unwrap_or(1),
            max_batch_size: max(|scheduler| scheduler.max_batch_size).unwrap_or(1),
            block_size: max(|scheduler| scheduler.block_size).unwrap_or(16),
            max_context: longest.unwrap_or(2).max(2),
        }
    }

    /// Reads a folder as the kind of profile that the experiment names.
    pub fn read_profile(&self, folder: &Path) -> Result<Profile, RunError> {
        Ok(backend::read_profile(&self.resolved.lock, folder)?)
    }

    /// Reads the pinned bundle, or finds or measures one and pins it. None without a simulated backend.
    pub(super) fn ensure_bundle(&mut self) -> Result<Option<Profile>, RunError> {
        let Some(sim) = self.sim_backend() else { return Ok(None) };
        match sim.profile.clone() {
            ProfileSource::Folder(folder) => {
                if let Some(pin) = self.resolved.lock.bundle.clone().filter(|pin| pin.path == folder)
                    && !self.bundle_place(&folder)?.exists()
                    && self.keeps_bundles()
                {
                    self.restore_bundle(&pin, &format!("{folder} is missing"))?;
                }
                let bundle = self.read_profile(&self.bundle_place(&folder)?)?;
                self.pin_bundle(folder, &bundle);
                self.keep_bundle(&bundle)?;
                self.observer.reused(Stage::Profile, "", &self.bundle_path());
                Ok(Some(bundle))
            }
            ProfileSource::Auto => {
                let bundle = self.auto_bundle()?;
                self.keep_bundle(&bundle)?;
                Ok(Some(bundle))
            }
        }
    }

    fn auto_bundle(&mut self) -> Result<Profile, RunError> {
        let pinned = self.resolved.lock.bundle.clone();
        let unusable = match &pinned {
            _ if self.request.upgrade.bundle => Unusable::unfit("asked for"),
            None => Unusable::unfit("no bundle is pinned yet"),
            Some(pin) => match self.pinned_bundle(pin)? {
                Ok(bundle) => {
                    self.observer.reused(Stage::Profile, "", &pin.path);
                    return Ok(bundle);
                }
                Err(unusable) => match self.restored_bundle(pin, unusable)? {
                    Ok(bundle) => return Ok(bundle),
                    Err(unusable) => unusable,
                },
            },
        };
        let why = unusable.to_string();
        if self.request.mode != LockMode::Update {
            let path = pinned.map_or("(none)".to_owned(), |pin| pin.path);
            return Err(RunError::BundleGone { path, why });
        }
        if let (Kind::Damaged, Some(pin)) = (unusable.kind, &pinned) {
            let path = self.path(&pin.path)?;
            if !is_own_bundle(&pin.path) {
                self.observer.warned(&format!("{} is damaged: {why}. It stays where it is", pin.path));
            }
            let kept = match is_own_bundle(&pin.path) {
                true => self.stages.set_aside(&pin.path).map_err(|source| RunError::io(&path, source))?,
                false => None,
            };
            if let Some(kept) = kept {
                self.observer.warned(&format!("{} is damaged: it is kept as {kept}", pin.path));
            }
        }
        let (folder, bundle) = match self.fitting_bundle()? {
            Some(found) if !self.request.upgrade.bundle => {
                self.observer.reused(Stage::Profile, "", &found.0);
                found
            }
            _ => self.measure_bundle(&why)?,
        };
        self.pin_bundle(folder, &bundle);
        Ok(bundle)
    }

    /// The bundle of a pin, or why it does not hold. A locked run takes any bundle that is whole:
    /// simulating works anywhere.
    pub(super) fn pinned_bundle(&self, pin: &BundlePin) -> Result<Result<Profile, Unusable>, RunError> {
        let whole = self.whole_bundle(pin)?;
        if self.request.mode != LockMode::Update {
            return Ok(whole);
        }
        Ok(whole.and_then(|bundle| match self.mismatch(&bundle) {
            None => Ok(bundle),
            Some(why) => Err(Unusable::unfit(why)),
        }))
    }

    /// The bundle of a pin, on whatever machine it was measured, or why it is not the one that was pinned.
    pub(super) fn whole_bundle(&self, pin: &BundlePin) -> Result<Result<Profile, Unusable>, RunError> {
        let folder = self.bundle_place(&pin.path)?;
        if !folder.is_dir() {
            let why = format!("{} is missing", pin.path);
            return Ok(Err(Unusable { why, kind: Kind::Missing }));
        }
        let bundle = match self.read_profile(&folder) {
            Ok(bundle) => bundle,
            Err(error) => return Ok(Err(Unusable { why: error.to_string(), kind: Kind::Damaged })),
        };
        if bundle.digest() != pin.sha256 {
            let why = format!("{} is not the pinned one", pin.path);
            return Ok(Err(Unusable { why, kind: Kind::Replaced }));
        }
        Ok(Ok(bundle))
    }

    /// The pinned bundle once it was brought back from the store, or why it is not usable all the same.
    fn restored_bundle(
        &self,
        pin: &BundlePin,
        unusable: Unusable,
    ) -> Result<Result<Profile, Unusable>, RunError> {
        let in_the_way = unusable.kind != Kind::Missing && !is_own_bundle(&pin.path);
        if unusable.kind == Kind::Unfit || in_the_way || !self.restore_bundle(pin, &unusable.why)? {
            return Ok(Err(unusable));
        }
        self.pinned_bundle(pin)
    }

    /// Brings a pinned bundle back from the store, if that has it whole.
    fn restore_bundle(&self, pin: &BundlePin, why: &str) -> Result<bool, RunError> {
        self.path(&pin.path)?;
        let step = steps::profile_step(pin);
        let Ok(Some(result)) = self.stages.objects.result(step.stage.name(), &step.key()) else {
            return Ok(false);
        };
        let (restored, notes) = self.stages.restore(&step.record(result.files))?;
        notes.iter().for_each(|note| self.observer.warned(note));
        match restored {
            Restored::Whole => self.observer.restored(Stage::Profile, "", &pin.path, why),
            Restored::Lost(ref lost) => lost.iter().for_each(|lost| self.observer.warned(lost)),
        }
        Ok(matches!(restored, Restored::Whole))
    }

    /// A bundle that the experiment names is an input; one that xp measured is the project's.
    fn bundle_place(&self, path: &str) -> Result<PathBuf, ProjectError> {
        match self.sim_backend().map(|sim| &sim.profile) {
            Some(ProfileSource::Folder(_)) => self.input(path),
            _ => self.path(path),
        }
    }

    /// Whether the bundle lies where results of the project lie: nothing is written into a data folder.
    fn keeps_bundles(&self) -> bool {
        let is_named = self.sim_backend().is_some_and(|sim| matches!(sim.profile, ProfileSource::Folder(_)));
        !is_named || self.resolved.inputs == self.project.root()
    }

    /// Takes the pinned bundle into the store, unless it is there.
    fn keep_bundle(&self, bundle: &Profile) -> Result<(), RunError> {
        let pin = self.resolved.lock.bundle.as_ref().filter(|_| self.keeps_bundles());
        let Some(pin) = pin else { return Ok(()) };
        let mut files = bundle.files().to_vec();
        if let Some(head) = bundle.head() {
            let path = self.path(&pin.path)?.join(head);
            let (bytes, sha256) = store::digest_file(&path).map_err(|source| RunError::io(&path, source))?;
            files.push(FileDigest { file: head.to_owned(), bytes, sha256 });
        }
        files.sort();
        let notes = self.stages.keep(&steps::profile_step(pin).record(files))?;
        notes.iter().for_each(|note| self.observer.warned(note));
        Ok(())
    }

    /// Where the pinned bundle stands that is not usable.
    pub(super) fn standing_of(&self, pin: &BundlePin, unusable: &Unusable) -> Standing {
        let step = steps::profile_step(pin);
        let objects = &self.stages.objects;
        let stored = || {
            let result = objects.result(step.stage.name(), &step.key());
            result.ok().flatten().is_some_and(|result| objects.holds(&result.files))
        };
        match unusable.kind {
            Kind::Unfit => Standing::Stale,
            _ if stored() => Standing::Stored,
            Kind::Missing => Standing::Missing,
            Kind::Damaged | Kind::Replaced => Standing::Damaged,
        }
    }

    /// A bundle of this machine under `profiles/` that fits, the first by name.
    fn fitting_bundle(&self) -> Result<Option<(String, Profile)>, RunError> {
        let prefix =
            self.bundle_prefix(&profile::machine(self.resolved.lock.experiment.hardware.threads).fingerprint);
        let Ok(entries) = std::fs::read_dir(self.path("profiles")?) else { return Ok(None) };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(&prefix))
            .collect();
        names.sort();
        for name in names {
            let folder = format!("profiles/{name}");
            if let Ok(bundle) = Profile::read(&self.path(&folder)?, None)
                && self.mismatch(&bundle).is_none()
            {
                return Ok(Some((folder, bundle)));
            }
        }
        Ok(None)
    }

    /// How the folders of this model's bundles on a machine are named, up to their content.
    fn bundle_prefix(&self, machine: &Digest) -> String {
        let name = self.resolved.lock.experiment.model.name.replace('/', "-");
        format!("{name}-{}-", machine.short(8))
    }

    /// Refuses a bundle of another model, number format or engine, or one that does not cover the
    /// experiment's steps. It may be of another machine: simulating works anywhere.
    pub(super) fn require_fit(&self, bundle: &Profile) -> Result<(), RunError> {
        match self.misfit(bundle) {
            None => Ok(()),
            Some(why) => Err(RunError::BundleUnfit { why }),
        }
    }

    /// Why a bundle does not fit this machine, model or experiment.
    fn mismatch(&self, bundle: &Profile) -> Option<String> {
        let machine = profile::machine(self.resolved.lock.experiment.hardware.threads);
        if bundle.measured().is_none() {
            return Some("it is of no machine that xp measured".to_owned());
        }
        let measured = bundle.fingerprint();
        if measured != machine.fingerprint {
            return Some(format!(
                "the machine differs: pinned {}…, this is {}…",
                measured.short(12),
                machine.fingerprint.short(12)
            ));
        }
        self.misfit(bundle)
    }

    /// Why a bundle does not fit this model or experiment.
    fn misfit(&self, bundle: &Profile) -> Option<String> {
        // What a predictor makes of kernels, it checks itself.
        let head = bundle.measured()?;
        if head.model_digest != self.shape_digest() {
            return Some("it is of a model of another shape or number format".to_owned());
        }
        if let Some(wanted) = self.engines().into_iter().find(|wanted| *wanted != head.engine) {
            return Some(format!("it is of another engine: {}, not {wanted}", head.engine));
        }
        let limits = self.limits();
        let wanted = [
            ("tokens in a step", head.max_tokens.unwrap_or(u32::MAX), limits.max_tokens()),
            ("requests in a step", head.max_batch_size, limits.max_batch_size),
            ("tokens of a request", head.max_context, limits.max_context),
        ];
        if let Some((what, covered, needed)) =
            wanted.into_iter().find(|(_, covered, needed)| covered < needed)
        {
            return Some(format!("it covers {covered} {what}, the experiment needs {needed}"));
        }
        let block_size = head.block_size.filter(|size| *size != limits.block_size)?;
        Some(format!("it was measured with KV blocks of {block_size}, not {}", limits.block_size))
    }

    /// The engines whose steps the runs of this lock take: one, unless the matrix varies its packages.
    fn engines(&self) -> BTreeSet<String> {
        let runs = self.resolved.lock.runs.iter();
        runs.map(|run| run.worker.as_ref().map_or_else(profile::engine_id, worker_id)).collect()
    }

    /// Digest of what decides the speed of a step: shape and number format, not the weights' values.
    pub(super) fn shape_digest(&self) -> Digest {
        let lock = &self.resolved.lock;
        Digest::of_json(&(&lock.resolved_model.config, lock.experiment.model.dtype))
    }

    /// Measures this machine into `profiles/`.
    fn measure_bundle(&mut self, why: &str) -> Result<(String, Profile), RunError> {
        let started = std::time::Instant::now();
        self.observer.started(Stage::Profile, "", why);
        let bundle = self.measure()?;
        // Named by content: no bundle takes the place of another.
        let content = bundle.measured().map(|head| head.content.short(8)).unwrap_or_default();
        let folder = format!("profiles/{}{content}", self.bundle_prefix(&bundle.fingerprint()));
        bundle.write(&self.path(&folder)?)?;
        let bundle = Profile::read(&self.path(&folder)?, None)?;
        self.observer.finished(Stage::Profile, "", &folder, started.elapsed().as_secs_f64());
        Ok((folder, bundle))
    }

    /// Measures the engine on this machine without writing anything.
    pub fn measure(&mut self) -> Result<Profile, RunError> {
        let measured = lock::measured_backend(&self.resolved.cells[0].experiment)?;
        if let Measured::Transformers(transformers) = measured {
            let transformers = transformers.clone();
            return self.measure_worker(&transformers);
        }
        let tokenizer = self.resolved.tokenizer()?;
        let model = self.resolved.lock.experiment.model.name.clone();
        let subject = Subject {
            model: &model,
            shape: self.shape_digest(),
            tokenizer: &tokenizer,
            threads: self.resolved.lock.experiment.hardware.threads,
            limits: self.limits(),
        };
        let observer = self.observer;
        let engine = self.engine()?;
        let _device = device_guard(observer);
        Ok(Profile::Own(Box::new(profile::measure(engine, &subject, observer.progress())?)))
    }

    /// Measures the Python worker of the first run.
    fn measure_worker(&mut self, spec: &TransformersBackend) -> Result<Profile, RunError> {
        let mut worker = self.take_worker(0, spec)?;
        let limits = self.limits();
        let subject = StepSubject {
            model: &self.resolved.lock.experiment.model.name,
            shape: self.shape_digest(),
            engine: &worker_id(&worker.0),
            threads: self.resolved.lock.experiment.hardware.threads,
            max_batch_size: limits.max_batch_size,
            max_context: limits.max_context,
        };
        let device = device_guard(self.observer);
        let measured = profile::measure_steps(&mut worker.1.worker, &subject, self.observer.progress());
        drop(device);
        let steps = measured.map_err(BackendError::from)?;
        self.worker = Some(worker);
        Ok(Profile::Steps(Box::new(steps)))
    }

    fn pin_bundle(&mut self, path: String, bundle: &Profile) {
        self.resolved.lock.bundle = Some(BundlePin {
            path,
            sha256: bundle.digest(),
            fingerprint: bundle.fingerprint(),
            hardware: bundle
                .hardware()
                .into_iter()
                .map(|(name, value)| HardwareFact { name, value })
                .collect(),
            files: bundle.files().to_vec(),
        });
    }

    fn bundle_path(&self) -> String {
        self.resolved.lock.bundle.as_ref().map(|pin| pin.path.clone()).unwrap_or_default()
    }

    /// Where the pinned bundle lies, or while none is pinned, the one that the experiment names.
    pub fn bundle_folder(&self) -> Result<Option<PathBuf>, RunError> {
        let named = || match &self.sim_backend()?.profile {
            ProfileSource::Folder(folder) => Some(folder.clone()),
            ProfileSource::Auto => None,
        };
        let pinned = self.resolved.lock.bundle.as_ref().map(|pin| pin.path.clone());
        Ok(pinned.or_else(named).map(|path| self.bundle_place(&path)).transpose()?)
    }
}
