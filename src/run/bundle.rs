//! Which bundles the simulations read: a pinned one while it holds, else a new
//! measurement; or the folders that the experiment names, one for each run.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
use crate::lock::{self, BundlePin, HardwareFact, Measured, ProfileUse};
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
    /// The simulated backend: the one `compare` names, else the first. Its settings may be others in a run.
    pub fn sim_backend(&self) -> Option<&SimBackend> {
        self.resolved.lock.experiment.simulated()
    }

    /// The steps that the runs can take that are simulated from the same profile as this one.
    fn limits(&self, index: usize) -> Limits {
        let same = self.sharing(index);
        let runs = || same.iter().map(|index| &self.resolved.lock.runs[*index]);
        let max =
            |of: fn(&crate::scheduler::SchedulerConfig) -> u32| runs().map(|run| of(&run.scheduler)).max();
        // A request longer than the context is refused and takes no step.
        let context = max(|scheduler| scheduler.max_context).unwrap_or(1);
        let longest = (same.iter().filter_map(|index| self.resolved.extents[*index].longest_served))
            // What the experiment may draw counts, not only what this seed and this many requests drew.
            .chain(same.iter().filter_map(|index| longest_total(&self.resolved.cells[*index].experiment)))
            .map(|tokens| tokens.min(context))
            .max();
        Limits {
            chunk_size: max(|scheduler| scheduler.chunk_size).unwrap_or(1),
            max_batch_size: max(|scheduler| scheduler.max_batch_size).unwrap_or(1),
            block_size: max(|scheduler| scheduler.block_size).unwrap_or(16),
            max_context: longest.unwrap_or(2).max(2),
        }
    }

    /// The runs that are simulated from the same profile as this one, itself among them.
    fn sharing(&self, index: usize) -> Vec<usize> {
        let profile = self.profile_of(index);
        (0..self.resolved.cells.len()).filter(|other| self.profile_of(*other) == profile).collect()
    }

    /// What a run is simulated from; none where nothing is simulated.
    fn profile_of(&self, index: usize) -> Option<ProfileUse<'_>> {
        ProfileUse::of(&self.resolved.cells.get(index)?.experiment)
    }

    /// Reads a folder as the kind of profile that the experiment of a run names.
    pub fn read_profile(&self, index: usize, folder: &Path) -> Result<Profile, RunError> {
        Ok(backend::read_profile(&self.resolved.cells[index].experiment, folder)?)
    }

    /// Reads the bundles that the runs are simulated from, each once, and pins them; finds or measures the one of this
    /// machine. The profile of each run, in their order; none without a simulated backend.
    pub(super) fn ensure_bundles(&mut self) -> Result<Vec<Arc<Profile>>, RunError> {
        let count = self.resolved.lock.runs.len();
        let is_own = self.resolved.lock.experiment.varies_profile();
        let mut firsts: Vec<usize> = Vec::new();
        let mut read: Vec<Arc<Profile>> = Vec::new();
        let mut out = Vec::with_capacity(count);
        for index in 0..count {
            let Some(profile) = self.profile_of(index) else { return Ok(Vec::new()) };
            let known = firsts.iter().position(|first| self.profile_of(*first) == Some(profile));
            let at = match known {
                Some(at) => at,
                None => {
                    let profile = self.ensure_bundle(index)?;
                    firsts.push(index);
                    read.push(Arc::new(profile));
                    read.len() - 1
                }
            };
            if is_own && known.is_some() {
                let runs = &mut self.resolved.lock.runs;
                runs[index].bundle = runs[firsts[at]].bundle.clone();
            }
            out.push(read[at].clone());
        }
        Ok(out)
    }

    /// Reads the bundle of a run and pins it, or finds or measures one.
    fn ensure_bundle(&mut self, index: usize) -> Result<Profile, RunError> {
        let named = self.profile_of(index).and_then(|profile| match profile.source {
            ProfileSource::Folder(folder) => Some(folder.clone()),
            ProfileSource::Auto => None,
        });
        let bundle = match named {
            Some(folder) => {
                if let Some(pin) = self.bundle_pin(index).filter(|pin| pin.path == folder)
                    && !self.bundle_place(index, &folder)?.exists()
                    && self.keeps_bundles(index)
                {
                    self.restore_bundle(&pin, &format!("{folder} is missing"))?;
                }
                let bundle = self.read_profile(index, &self.bundle_place(index, &folder)?)?;
                self.observer.reused(Stage::Profile, "", &folder);
                self.pin_bundle(index, folder, &bundle);
                bundle
            }
            None => self.auto_bundle(index)?,
        };
        self.keep_bundle(index, &bundle)?;
        Ok(bundle)
    }

    /// The bundle that is pinned of a run.
    fn bundle_pin(&self, index: usize) -> Option<BundlePin> {
        let lock = &self.resolved.lock;
        lock.bundle_of(&lock.runs[index]).cloned()
    }

    fn auto_bundle(&mut self, index: usize) -> Result<Profile, RunError> {
        let pinned = self.bundle_pin(index);
        let unusable = match &pinned {
            _ if self.request.upgrade.bundle => Unusable::unfit("asked for"),
            None => Unusable::unfit("no bundle is pinned yet"),
            Some(pin) => match self.pinned_bundle(index, pin)? {
                Ok(bundle) => {
                    self.observer.reused(Stage::Profile, "", &pin.path);
                    return Ok(bundle);
                }
                Err(unusable) => match self.restored_bundle(index, pin, unusable)? {
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
        let (folder, bundle) = match self.fitting_bundle(index)? {
            Some(found) if !self.request.upgrade.bundle => {
                self.observer.reused(Stage::Profile, "", &found.0);
                found
            }
            _ => self.measure_bundle(index, &why)?,
        };
        self.pin_bundle(index, folder, &bundle);
        Ok(bundle)
    }

    /// The bundle of a run's pin, or why it does not hold. A locked run takes any bundle that is whole:
    /// simulating works anywhere.
    pub(super) fn pinned_bundle(
        &self,
        index: usize,
        pin: &BundlePin,
    ) -> Result<Result<Profile, Unusable>, RunError> {
        let whole = self.whole_bundle(index, pin)?;
        if self.request.mode != LockMode::Update {
            return Ok(whole);
        }
        Ok(whole.and_then(|bundle| match self.mismatch(index, &bundle) {
            None => Ok(bundle),
            Some(why) => Err(Unusable::unfit(why)),
        }))
    }

    /// The bundle of a run's pin, on whatever machine it was measured, or why it is not the one that was pinned.
    pub(super) fn whole_bundle(
        &self,
        index: usize,
        pin: &BundlePin,
    ) -> Result<Result<Profile, Unusable>, RunError> {
        let folder = self.bundle_place(index, &pin.path)?;
        if !folder.is_dir() {
            let why = format!("{} is missing", pin.path);
            return Ok(Err(Unusable { why, kind: Kind::Missing }));
        }
        let bundle = match self.read_profile(index, &folder) {
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
        index: usize,
        pin: &BundlePin,
        unusable: Unusable,
    ) -> Result<Result<Profile, Unusable>, RunError> {
        let in_the_way = unusable.kind != Kind::Missing && !is_own_bundle(&pin.path);
        if unusable.kind == Kind::Unfit || in_the_way || !self.restore_bundle(pin, &unusable.why)? {
            return Ok(Err(unusable));
        }
        self.pinned_bundle(index, pin)
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
    fn bundle_place(&self, index: usize, path: &str) -> Result<PathBuf, ProjectError> {
        match self.profile_of(index).map(|profile| profile.source) {
            Some(ProfileSource::Folder(_)) => self.input(path),
            _ => self.path(path),
        }
    }

    /// Whether a run's bundle lies where results of the project lie: nothing is written into a data folder.
    fn keeps_bundles(&self, index: usize) -> bool {
        let is_folder = |profile: ProfileUse<'_>| matches!(profile.source, ProfileSource::Folder(_));
        let is_named = self.profile_of(index).is_some_and(is_folder);
        !is_named || self.resolved.inputs == self.project.root()
    }

    /// Takes the pinned bundle into the store, unless it is there.
    fn keep_bundle(&self, index: usize, bundle: &Profile) -> Result<(), RunError> {
        let pin = self.bundle_pin(index).filter(|_| self.keeps_bundles(index));
        let Some(pin) = &pin else { return Ok(()) };
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
    fn fitting_bundle(&self, index: usize) -> Result<Option<(String, Profile)>, RunError> {
        let prefix = self.bundle_prefix(&self.machine(index).fingerprint);
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
                && self.mismatch(index, &bundle).is_none()
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
    pub(super) fn require_fit(&self, index: usize, bundle: &Profile) -> Result<(), RunError> {
        match self.misfit(index, bundle) {
            None => Ok(()),
            Some(why) => Err(RunError::BundleUnfit { why }),
        }
    }

    /// Why a bundle does not fit this machine, model or experiment.
    fn mismatch(&self, index: usize, bundle: &Profile) -> Option<String> {
        let machine = self.machine(index);
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
        self.misfit(index, bundle)
    }

    /// Why a bundle does not fit this model or experiment.
    fn misfit(&self, index: usize, bundle: &Profile) -> Option<String> {
        // What a predictor makes of kernels, it checks itself.
        let head = bundle.measured()?;
        if head.model_digest != self.shape_digest() {
            return Some("it is of a model of another shape or number format".to_owned());
        }
        if let Some(wanted) = self.engines(index).into_iter().find(|wanted| *wanted != head.engine) {
            return Some(format!("it is of another engine: {}, not {wanted}", head.engine));
        }
        let limits = self.limits(index);
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

    /// The engines whose steps the runs take that are simulated from the same profile as this one: one, unless the
    /// matrix varies its packages.
    fn engines(&self, index: usize) -> BTreeSet<String> {
        let runs = self.sharing(index).into_iter().map(|other| &self.resolved.lock.runs[other]);
        runs.map(|run| run.worker.as_ref().map_or_else(profile::engine_id, worker_id)).collect()
    }

    /// Digest of what decides the speed of a step: shape and number format, not the weights' values.
    pub(super) fn shape_digest(&self) -> Digest {
        let lock = &self.resolved.lock;
        Digest::of_json(&(&lock.resolved_model.config, lock.experiment.model.dtype))
    }

    /// Measures this machine into `profiles/`.
    fn measure_bundle(&mut self, index: usize, why: &str) -> Result<(String, Profile), RunError> {
        let started = std::time::Instant::now();
        self.observer.started(Stage::Profile, "", why);
        let bundle = self.measure_for(index)?;
        // Named by content: no bundle takes the place of another.
        let content = bundle.measured().map(|head| head.content.short(8)).unwrap_or_default();
        let folder = format!("profiles/{}{content}", self.bundle_prefix(&bundle.fingerprint()));
        bundle.write(&self.path(&folder)?)?;
        let bundle = Profile::read(&self.path(&folder)?, None)?;
        self.observer.finished(Stage::Profile, "", &folder, started.elapsed().as_secs_f64());
        Ok((folder, bundle))
    }

    /// Measures the engine on this machine without writing anything, as far as the runs reach that share the first
    /// one's profile.
    pub fn measure(&mut self) -> Result<Profile, RunError> {
        self.measure_for(0)
    }

    fn measure_for(&mut self, index: usize) -> Result<Profile, RunError> {
        let measured = lock::measured_backend(&self.resolved.cells[index].experiment)?;
        if let Measured::Transformers(transformers) = measured {
            let transformers = transformers.clone();
            return self.measure_worker(index, &transformers);
        }
        let tokenizer = self.resolved.tokenizer()?;
        let (model, machine) = (self.resolved.lock.experiment.model.name.clone(), self.machine(index));
        let subject = Subject {
            model: &model,
            shape: self.shape_digest(),
            tokenizer: &tokenizer,
            machine: &machine,
            limits: self.limits(index),
        };
        let mut engine = self.take_engine(index)?;
        let device = device_guard(self.observer);
        let measured = profile::measure(&mut engine.1, &subject, self.observer.progress());
        drop(device);
        self.engine = Some(engine);
        Ok(Profile::Own(Box::new(measured?)))
    }

    /// Measures the Python worker of a run.
    fn measure_worker(&mut self, index: usize, spec: &TransformersBackend) -> Result<Profile, RunError> {
        let mut worker = self.take_worker(index, spec)?;
        let (limits, machine) = (self.limits(index), self.machine(index));
        let subject = StepSubject {
            model: &self.resolved.lock.experiment.model.name,
            shape: self.shape_digest(),
            engine: &worker_id(&worker.0),
            machine: &machine,
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

    fn pin_bundle(&mut self, index: usize, path: String, bundle: &Profile) {
        let pin = BundlePin {
            path,
            sha256: bundle.digest(),
            fingerprint: bundle.fingerprint(),
            hardware: bundle
                .hardware()
                .into_iter()
                .map(|(name, value)| HardwareFact { name, value })
                .collect(),
            files: bundle.files().to_vec(),
        };
        let lock = &mut self.resolved.lock;
        match lock.experiment.varies_profile() {
            true => lock.runs[index].bundle = Some(pin),
            false => lock.bundle = Some(pin),
        }
    }

    /// Where the pinned bundle of a run lies, or while none is pinned, the one that the experiment names.
    pub fn bundle_folder(&self, index: usize) -> Result<Option<PathBuf>, RunError> {
        let named = || match self.profile_of(index)?.source {
            ProfileSource::Folder(folder) => Some(folder.clone()),
            ProfileSource::Auto => None,
        };
        let pinned = self.bundle_pin(index).map(|pin| pin.path);
        Ok(pinned.or_else(named).map(|path| self.bundle_place(index, &path)).transpose()?)
    }
}
