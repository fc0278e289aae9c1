//! What each stage reads and makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::RunError;
use super::device::device_guard;
use super::facts::{self, Runs};
use super::record::{StageRecord, StageState};
use super::replays::{can_replay, replay_all};
use super::restore::Restored;
use super::session::Session;
use super::steps::{self, Compared, Step};
use crate::backend::{
    self, Backend, BackendError, CandleRunner, Job, RecordedRunner, SimRunner, TransformersRunner,
};
use crate::capacity::Price;
use crate::compare::{self, Comparison};
use crate::engine::Engine;
use crate::lock::{self, Measured, ResolveError, RunPin, SimPin};
use crate::machine::{MachineFacts, machine};
use crate::metrics::{self, Replay, RunMeta, RunRecord};
use crate::predictor::Predictor;
use crate::profile::Profile;
use crate::report::{self, Contents, Prices};
use crate::sim;
use crate::spec::{Cell, RecordedBackend, TransformersBackend};
use crate::store::{self, Digest, FileDigest, StagedDir};
use crate::workload::{self, Workload, WorkloadMeta};

/// The files of a run that are its result; `run_meta.json` describes them.
const RESULT_FILES: [&str; 3] = ["request_metrics.csv", "token_metrics.csv", "steps.csv"];

/// What [`Session::at_hand`] finds.
pub(super) enum AtHand {
    /// The result is in its place.
    Result(StageRecord),
    /// It has to be made, for this reason.
    Nothing { why: String },
}

/// Digest of a run's result files.
pub fn result_digest(files: &[FileDigest]) -> Digest {
    let result: Vec<_> = files.iter().filter(|file| RESULT_FILES.contains(&file.file.as_str())).collect();
    Digest::of_json(&result)
}

impl Session<'_> {
    pub(super) fn workload_step(&self, run: &RunPin) -> Step {
        steps::workload_step(run)
    }

    /// The step of a measured repeat; None where nothing is measured.
    pub(super) fn real_step(&self, index: usize, repeat: u32) -> Result<Option<Step>, RunError> {
        let lock = &self.resolved.lock;
        let machine = self.machine(index).fingerprint;
        let cell = &self.resolved.cells[index].experiment;
        Ok(steps::real_step(lock, cell, &lock.runs[index], &machine, repeat)?)
    }

    pub(super) fn sim_step(&self, index: usize) -> Option<Step> {
        let lock = &self.resolved.lock;
        steps::sim_step(lock, &self.resolved.cells[index].experiment, &lock.runs[index])
    }

    /// Reuses a stage's result, brings it back from the store, or makes it: `make` fills the folder it is given.
    pub(super) fn perform(
        &mut self,
        step: &Step,
        make: impl FnOnce(&mut Self, &Path) -> Result<String, RunError>,
    ) -> Result<StageRecord, RunError> {
        let why = match self.at_hand(step)? {
            AtHand::Result(record) => return Ok(record),
            AtHand::Nothing { why } => why,
        };
        let output = self.path(&step.output)?;
        let io = |source| RunError::io(&output, source);
        self.observer.started(step.stage, &step.label, &why);
        let started = Instant::now();
        let staged = StagedDir::new(&output).map_err(io)?;
        let folder = staged.path().to_owned();
        let what = make(self, &folder)?;
        // A result is in the store before it is in its place: from then on it can be restored. It takes its
        // place all the same where the store refuses it, since it may have taken hours to make.
        let stored = self.stages.put(step, &folder);
        let (files, mut notes, refused) = match stored {
            Ok((files, notes)) => (files, notes, None),
            Err(error) => (store::digest_dir(&folder).map_err(io)?, Vec::new(), Some(error)),
        };
        notes.extend(self.stages.make_room(false, &step.output, &[])?);
        staged.commit().map_err(io)?;
        let record = step.record(files);
        self.stages.remember(&record).map_err(io)?;
        self.warn(notes);
        if let Some(error) = refused {
            return Err(error);
        }
        self.observer.finished(step.stage, &step.label, &what, started.elapsed().as_secs_f64());
        Ok(record)
    }

    /// A stage's result, in its place, if it is there or in the store.
    pub(super) fn at_hand(&self, step: &Step) -> Result<AtHand, RunError> {
        // Of a report, the path says all.
        let label = if step.stage.makes_a_file() { "" } else { &step.label };
        let mut why = None;
        loop {
            match self.stages.state_of(step) {
                StageState::Fresh(record) => {
                    self.warn(self.stages.keep(&record)?);
                    self.observer.reused(step.stage, label, &record.output);
                    return Ok(AtHand::Result(record));
                }
                StageState::Stored { record, why: reason } => {
                    let (restored, notes) = self.stages.restore(&record)?;
                    self.warn(notes);
                    match restored {
                        Restored::Whole => {
                            self.observer.restored(step.stage, label, &record.output, &reason.reason());
                            return Ok(AtHand::Result(record));
                        }
                        // What was damaged is aside: another look finds another copy, or none.
                        Restored::Lost(lost) => {
                            let lost = lost.join("; ");
                            why = Some(format!("{}, and {lost}", reason.reason()));
                        }
                    }
                }
                state => {
                    self.warn(self.stages.clear_damaged_result(step)?);
                    return Ok(AtHand::Nothing { why: why.unwrap_or_else(|| state.reason()) });
                }
            }
        }
    }

    fn warn(&self, notes: Vec<String>) {
        notes.iter().for_each(|note| self.observer.warned(note));
    }

    /// Writes a run's workload; its content must be the pinned one.
    pub fn workload_stage(&mut self, index: usize) -> Result<StageRecord, RunError> {
        let step = self.workload_step(&self.resolved.lock.runs[index]);
        self.perform(&step, |session, folder| session.make_workload(index, folder))
    }

    /// Writes a run's workload files into a folder.
    pub fn make_workload(&mut self, index: usize, folder: &Path) -> Result<String, RunError> {
        let pin = self.resolved.lock.runs[index].workload.clone();
        let made = self.resolved.workload(index)?;
        let experiment = &self.resolved.cells[index].experiment;
        workload::write_workload(folder, &made, &experiment.workload, &self.resolved.streams())?;
        Ok(format!("{} requests, {} tokens in, {} out", pin.requests, pin.prefill_tokens, pin.decode_tokens))
    }

    /// Simulates a run and pins (or checks) the result's digest.
    pub fn sim_stage(&mut self, index: usize, bundle: &Profile) -> Result<StageRecord, RunError> {
        let run = self.resolved.lock.runs[index].clone();
        let Some(step) = self.sim_step(index) else { return Err(RunError::NoCompare) };
        let record = self.perform(&step, |session, folder| session.make_sim(index, bundle, folder))?;
        let sha256 = result_digest(&record.files);
        let steps = metrics::read_meta(&self.path(&record.output)?)?.num_steps;
        if let (Some(pinned), true) = (
            self.locked_run(&run.id).and_then(|locked| locked.sim.as_ref()),
            self.request.mode != super::LockMode::Update,
        ) && pinned.sha256 != sha256
        {
            return Err(RunError::SimDiffers {
                run: run.id,
                pinned: pinned.sha256.short(12),
                found: sha256.short(12),
            });
        }
        self.resolved.lock.runs[index].sim = Some(SimPin { sha256, steps });
        Ok(record)
    }

    /// Puts another workload in the place of the first run's, with the digest of its own content.
    pub fn replace_workload(&mut self, made: Workload, meta: &WorkloadMeta) {
        let files = workload::workload_files(&made, &meta.workload, &meta.seeds);
        self.resolved.replace_workload(made, workload::digest(&files));
    }

    /// Simulates a run into a folder.
    pub fn make_sim(&mut self, index: usize, bundle: &Profile, folder: &Path) -> Result<String, RunError> {
        self.require_fit(index, bundle)?;
        let predictor = self.predictor(index, bundle)?;
        let sim = self.resolved.cells[index].experiment.simulated();
        let (name, log) = sim.map(|sim| (sim.name.clone(), sim.log)).unwrap_or_default();
        let observer = self.observer;
        let workload = self.resolved.simulated_workload(index)?;
        let mut runner = SimRunner {
            name: &name,
            profile: bundle,
            predictor: predictor.as_ref(),
            log,
            router_seed: self.router_seed(),
        };
        let started = Instant::now();
        let (record, meta) = runner.serve(&self.job(index, 0, &workload), observer.progress())?;
        let seconds = started.elapsed().as_secs_f64();
        metrics::write_run(folder, &record, &meta)?;
        let rate = meta.output_tokens as f64 / seconds.max(1e-9);
        Ok(format!("{} steps, {:.1} M tokens/s", meta.num_steps, rate / 1e6))
    }

    /// Times a run on the engine.
    pub fn real_stage(&mut self, index: usize, repeat: u32) -> Result<StageRecord, RunError> {
        let step = self.real_step(index, repeat)?.ok_or(ResolveError::NoEngine)?;
        self.perform(&step, |session, folder| session.make_real(index, repeat, folder))
    }

    /// Times a run on the engine into a folder.
    pub fn make_real(&mut self, index: usize, repeat: u32, folder: &Path) -> Result<String, RunError> {
        let engine_spec = match lock::measured_backend(&self.resolved.cells[index].experiment)? {
            Measured::Candle(engine) => engine.clone(),
            Measured::Transformers(transformers) => {
                let transformers = transformers.clone();
                return self.make_transformers(index, repeat, &transformers, folder);
            }
            Measured::Recorded(recorded) => {
                let recorded = recorded.clone();
                return self.make_recorded(index, &recorded, folder);
            }
            Measured::Engine(_) => return Err(ResolveError::NoEngine.into()),
        };
        let observer = self.observer;
        let (workload, tokenizer) = (self.resolved.served_workload(index)?, self.resolved.tokenizer()?);
        let mut engine = self.take_engine(index)?;
        let mut runner = CandleRunner {
            name: &engine_spec.name,
            sampling: &engine_spec.sampling,
            sampling_seed: self.resolved.lock.seeds.sampling,
            tokenizer: &tokenizer,
            engine: &mut engine.1,
        };
        let device = device_guard(observer);
        let served = runner.serve(&self.job(index, repeat, &workload), observer.progress());
        drop(device);
        self.engine = Some(engine);
        let (record, meta) = served?;
        metrics::write_run(folder, &record, &meta)?;
        Ok(format!("{} steps, {} output tokens", meta.num_steps, meta.output_tokens))
    }

    /// Times a run on transformers into a folder.
    fn make_transformers(
        &mut self,
        index: usize,
        repeat: u32,
        spec: &TransformersBackend,
        folder: &Path,
    ) -> Result<String, RunError> {
        let (workload, tokenizer) = (self.resolved.served_workload(index)?, self.resolved.tokenizer()?);
        let mut worker = self.take_worker(index, spec)?;
        let mut runner =
            TransformersRunner { name: &spec.name, tokenizer: &tokenizer, worker: &mut worker.1 };
        let device = device_guard(self.observer);
        let served = runner.serve(&self.job(index, repeat, &workload), self.observer.progress());
        drop(device);
        let (record, meta) = served?;
        // One that failed is not used again.
        self.worker = Some(worker);
        metrics::write_run(folder, &record, &meta)?;
        Ok(format!("{} steps, {} output tokens", meta.num_steps, meta.output_tokens))
    }

    /// Takes a run from its recording into a folder.
    fn make_recorded(&self, index: usize, spec: &RecordedBackend, folder: &Path) -> Result<String, RunError> {
        let pin = self.resolved.lock.runs[index].recorded.as_ref();
        let sha256 = pin.map_or_else(|| Digest::of([]), |pin| pin.sha256);
        let workload = self.resolved.workload(index)?;
        let (file, device) =
            (self.input(&spec.path)?, &self.resolved.cells[index].experiment.hardware.device);
        let mut runner = RecordedRunner { spec, file: &file, sha256, device };
        let (record, meta) = runner.serve(&self.job(index, 0, &workload), self.observer.progress())?;
        metrics::write_run(folder, &record, &meta)?;
        Ok(format!("{} requests of {}, {} output tokens", meta.num_requests, spec.path, meta.output_tokens))
    }

    fn job<'j>(&'j self, index: usize, repeat: u32, workload: &'j Workload) -> Job<'j> {
        let lock = &self.resolved.lock;
        Job {
            run: &lock.runs[index],
            workload,
            model_name: &lock.experiment.model.name,
            model: &lock.resolved_model,
            dtype: lock.experiment.model.dtype,
            hardware: &self.resolved.cells[index].experiment.hardware,
            repeat,
        }
    }

    /// This machine, as a run uses it.
    pub(super) fn machine(&self, index: usize) -> MachineFacts {
        let hardware = &self.resolved.cells[index].experiment.hardware;
        machine(&hardware.device, hardware.threads)
    }

    /// The engine on a run's device, with the model loaded; whoever takes it puts it back, for the stages to come.
    pub(super) fn take_engine(&mut self, index: usize) -> Result<(String, Engine), RunError> {
        let hardware = &self.resolved.cells[index].experiment.hardware;
        if let Some(loaded) = self.engine.take().filter(|(device, _)| *device == hardware.device) {
            return Ok(loaded);
        }
        self.observer.progress().start("loading the model", 0);
        let dtype = self.resolved.lock.experiment.model.dtype;
        let engine = Engine::load(&self.resolved.model, dtype, &hardware.device, hardware.threads)
            .map_err(BackendError::from)?;
        self.observer.progress().finish();
        Ok((hardware.device.clone(), engine))
    }

    pub(super) fn compare_step(
        &self,
        index: usize,
        real: &[StageRecord],
        sim: &StageRecord,
        lock_digest: Digest,
    ) -> Result<Step, RunError> {
        let lock = &self.resolved.lock;
        let compare = lock.experiment.compare.as_ref().ok_or(RunError::NoCompare)?;
        let allow_foreign_bundle = self.request.allow_foreign_bundle;
        let run = &lock.runs[index];
        let compared = Compared { run, compare, lock_digest, real, sim, allow_foreign_bundle };
        Ok(steps::compare_step(lock, &compared))
    }

    /// Compares a run's measurements with its simulation. `lock_digest` is that of the lock's inputs.
    pub fn compare_stage(
        &mut self,
        index: usize,
        real: &[StageRecord],
        sim: &StageRecord,
        lock_digest: Digest,
    ) -> Result<(StageRecord, Comparison), RunError> {
        let step = self.compare_step(index, real, sim, lock_digest)?;
        let record = self.perform(&step, |session, folder| {
            session.make_comparison(index, real, sim, lock_digest, folder)
        })?;
        let comparison = compare::read_comparison(&self.path(&record.output)?.join("comparison.json"))?;
        Ok((record, comparison))
    }

    fn make_comparison(
        &mut self,
        index: usize,
        real: &[StageRecord],
        sim: &StageRecord,
        lock_digest: Digest,
        folder: &Path,
    ) -> Result<String, RunError> {
        let measured = real
            .iter()
            .map(|record| Ok(metrics::read_run(&self.path(&record.output)?)?))
            .collect::<Result<Vec<_>, RunError>>()?;
        let simulated = metrics::read_run(&self.path(&sim.output)?)?;
        let replays = self.replays(index, &measured)?;
        let lock = &self.resolved.lock;
        let files = facts::files(real, sim);
        let allow_foreign_bundle = self.request.allow_foreign_bundle;
        let input = facts::compare_input(
            lock,
            &self.resolved.cells[index].experiment,
            index,
            Runs { real: measured, sim: simulated, replays, files },
            lock_digest,
            allow_foreign_bundle,
        )?;
        let comparison = compare::compare(&input)?;
        write_comparison(folder, &comparison)?;
        let worst = comparison.headline.iter().map(|row| row.error_percent.abs()).fold(0.0, f64::max);
        Ok(format!("largest headline error {worst:.1} %"))
    }

    /// Replays the measured runs under the simulated policy, for the error budget. None where that cannot be done,
    /// or the profile is not at hand.
    fn replays(&mut self, index: usize, measured: &[(RunRecord, RunMeta)]) -> Result<Vec<Replay>, RunError> {
        if !can_replay(&self.resolved.lock.runs[index], measured) {
            return Ok(Vec::new());
        }
        let Some(folder) = self.bundle_folder(index)? else { return Ok(Vec::new()) };
        // A comparison of results that came from elsewhere needs no profile; their budget would.
        let Ok(profile) = self.read_profile(index, &folder) else { return Ok(Vec::new()) };
        let predictor = self.predictor(index, &profile)?;
        let run = &self.resolved.lock.runs[index];
        let workload = run.scheduler.prefix_caching.then(|| self.resolved.simulated_workload(index));
        let workload = workload.transpose()?;
        let prefixes = workload.as_ref().and_then(|workload| sim::prefixes_for(workload, &run.scheduler));
        Ok(replay_all(run, predictor.as_ref(), prefixes.as_deref(), profile.speed().as_ref(), measured))
    }

    pub(super) fn report_step<'r>(&self, comparisons: impl Iterator<Item = &'r StageRecord>) -> Step {
        let lock = self.expected_lock();
        steps::report_step(&lock.experiment, Digest::of(lock.to_kdl()), comparisons)
    }

    /// Renders the PDF of all runs.
    pub fn report_stage(&mut self, comparisons: &[(StageRecord, Comparison)]) -> Result<PathBuf, RunError> {
        let step = self.report_step(comparisons.iter().map(|(record, _)| record));
        let path = self.path(&step.output)?;
        let io = |source| RunError::io(&path, source);
        let why = match self.at_hand(&step)? {
            AtHand::Result(_) => return Ok(path),
            AtHand::Nothing { why } => why,
        };
        self.observer.started(step.stage, "", &why);
        let started = Instant::now();
        let runs: Vec<Comparison> = comparisons.iter().map(|(_, comparison)| comparison.clone()).collect();
        let (text, prices) = (self.expected_lock().to_kdl(), self.prices());
        let contents = Contents {
            comparisons: &runs,
            lock: Some(&text),
            prices: prices.as_ref(),
            ..Contents::default()
        };
        let pdf = report::render(&contents)?;
        // An earlier report of the same experiment gives way.
        let last = self.stages.latest(step.stage, &step.label);
        let notes = self.stages.make_room(true, &step.output, last.as_slice())?;
        store::write(&path, &pdf).map_err(io)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record =
            step.record(vec![FileDigest { file, bytes: pdf.len() as u64, sha256: Digest::of(&pdf) }]);
        self.stages.remember(&record).map_err(io)?;
        self.warn(notes);
        self.warn(self.stages.keep(&record)?);
        self.observer.finished(step.stage, "", &step.output, started.elapsed().as_secs_f64());
        Ok(path)
    }

    /// The predictor that the experiment names, for a run. That of the last run is kept: most runs of a matrix have
    /// the same.
    pub(super) fn predictor(
        &mut self,
        index: usize,
        bundle: &Profile,
    ) -> Result<Arc<dyn Predictor>, RunError> {
        let (run, cell) = (&self.resolved.lock.runs[index], &self.resolved.cells[index].experiment);
        let Some(sim) = cell.simulated() else { return Err(RunError::NoCompare) };
        let of_cell = (sim, &cell.hardware.interconnect);
        let key = Digest::of_json(&(bundle.digest(), of_cell, &run.cluster, &run.scheduler));
        if let Some((_, predictor)) = self.last_predictor.as_ref().filter(|(of, _)| *of == key) {
            return Ok(predictor.clone());
        }
        let predictor: Arc<dyn Predictor> =
            backend::predictor(&self.resolved.lock, index, cell, bundle, Some(&self.project.own("trained")))?
                .into();
        self.last_predictor = Some((key, predictor.clone()));
        Ok(predictor)
    }

    /// What the runs cost; none where no hardware has a price.
    fn prices(&self) -> Option<Prices> {
        let price = |(run, cell): (&RunPin, &Cell)| {
            let per_device_hour = cell.experiment.hardware.price_per_hour?;
            Some(Price { per_device_hour, devices: run.cluster.num_devices(&run.scheduler) })
        };
        let runs: Vec<Option<Price>> =
            self.resolved.lock.runs.iter().zip(&self.resolved.cells).map(price).collect();
        runs.iter().any(Option::is_some).then(|| Prices { currency: "US$".to_owned(), runs })
    }

    /// Seed of the router's draws; it is pinned where there are several replicas.
    fn router_seed(&self) -> u64 {
        self.resolved.lock.seeds.router.unwrap_or_default()
    }
}

/// Writes a comparison's files, figures included.
pub fn write_comparison(folder: &Path, comparison: &Comparison) -> Result<(), RunError> {
    compare::write_comparison(folder, comparison)?;
    for (name, svg) in report::render_figures(comparison)? {
        let path = folder.join("figs").join(name);
        crate::store::write_part(&path, svg.as_ref()).map_err(|source| RunError::io(&path, source))?;
    }
    Ok(())
}
