//! What each stage reads, makes, and is keyed by.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::RunError;
use super::device::device_guard;
use super::event::Stage;
use super::facts;
use super::record::{self, Inputs, StageRecord, StageState};
use super::session::Session;
use crate::backend::{Backend, CandleRunner, Job, SimRunner};
use crate::compare::{self, CompareInput, Comparison};
use crate::engine::Engine;
use crate::lock::{self, RunPin, SimPin};
use crate::metrics;
use crate::predictor::{Interpolate, Predictor};
use crate::profile::{self, Bundle};
use crate::report;
use crate::sim::SIMULATOR_VERSION;
use crate::spec;
use crate::store::{Digest, FileDigest, StagedDir};
use crate::workload::{self, Workload, WorkloadMeta};

/// The files of a run that are its result; `run_meta.json` describes them.
const RESULT_FILES: [&str; 3] = ["request_metrics.csv", "token_metrics.csv", "steps.csv"];

/// Digest of a run's result files.
fn result_digest(files: &[FileDigest]) -> Digest {
    let result: Vec<_> = files.iter().filter(|file| RESULT_FILES.contains(&file.file.as_str())).collect();
    Digest::of_json(&result)
}

/// A stage of one run: label, inputs, and where its output goes.
pub(super) struct Step {
    pub stage: Stage,
    pub label: String,
    pub inputs: Inputs,
    pub output: String,
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("pins serialize")
}

impl Step {
    fn new<const N: usize>(stage: Stage, folder: &str, label: String, inputs: [(&str, String); N]) -> Self {
        let inputs: Inputs = inputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let output = format!("runs/{folder}/{label}-{}", record::key(stage, &inputs).short(8));
        Self { stage, label, inputs, output }
    }
}

impl Session<'_> {
    /// The run's inputs that decide what the scheduler does, one entry a setting, so that a
    /// change can be named.
    fn scheduler_inputs(inputs: &mut Inputs, run: &RunPin) {
        if let Ok(serde_json::Value::Object(settings)) = serde_json::to_value(&run.scheduler) {
            inputs.extend(settings.into_iter().map(|(name, value)| (name, value.to_string())));
        }
    }

    pub(super) fn workload_step(&self, run: &RunPin) -> Step {
        Step::new(
            Stage::Workload,
            "workloads",
            run.id.clone(),
            [("workload", run.workload.sha256.to_string())],
        )
    }

    pub(super) fn real_step(&self, index: usize, repeat: u32) -> Result<Step, RunError> {
        let lock = &self.resolved.lock;
        let run = &lock.runs[index];
        let engine = lock::measured_backend(&self.resolved.cells[index].experiment)?;
        let threads = lock.experiment.hardware.threads;
        let mut step = Step::new(
            Stage::Real,
            "real_runs",
            format!("{}-r{}", run.id, repeat + 1),
            [
                ("backend", engine.name.clone()),
                ("dtype", json(&lock.experiment.model.dtype)),
                ("engine", profile::engine_id()),
                ("machine", profile::machine(threads).fingerprint.to_string()),
                ("metrics", lock.versions.metrics.to_string()),
                ("model", lock.resolved_model.sha256.to_string()),
                ("model name", lock.experiment.model.name.clone()),
                ("sampling", json(&engine.sampling)),
                ("sampling seed", lock.seeds.sampling.to_string()),
                ("threads", threads.to_string()),
                ("weights seed", lock.seeds.weights.to_string()),
                ("workload", run.workload.sha256.to_string()),
            ],
        );
        Self::scheduler_inputs(&mut step.inputs, run);
        step.output =
            format!("runs/real_runs/{}-{}", step.label, record::key(Stage::Real, &step.inputs).short(8));
        Ok(step)
    }

    pub(super) fn sim_step(&self, run: &RunPin) -> Option<Step> {
        let lock = &self.resolved.lock;
        let sim = self.sim_backend()?;
        let bundle = lock.bundle.as_ref()?;
        let mut step = Step::new(
            Stage::Sim,
            "sim_runs",
            run.id.clone(),
            [
                ("backend", sim.name.clone()),
                ("bundle", bundle.sha256.to_string()),
                ("dtype", json(&lock.experiment.model.dtype)),
                ("metrics", lock.versions.metrics.to_string()),
                ("model", lock.resolved_model.sha256.to_string()),
                ("model name", lock.experiment.model.name.clone()),
                ("predictor", json(&sim.predictor)),
                ("simulator", SIMULATOR_VERSION.to_string()),
                ("threads", lock.experiment.hardware.threads.to_string()),
                ("workload", run.workload.sha256.to_string()),
            ],
        );
        Self::scheduler_inputs(&mut step.inputs, run);
        step.output =
            format!("runs/sim_runs/{}-{}", step.label, record::key(Stage::Sim, &step.inputs).short(8));
        Some(step)
    }

    /// Reuses a stage's result or makes it: `make` fills the folder it is given.
    pub(super) fn perform(
        &mut self,
        step: &Step,
        make: impl FnOnce(&mut Self, &Path) -> Result<String, RunError>,
    ) -> Result<StageRecord, RunError> {
        let state = self.stages.state(step.stage, &step.label, &step.inputs, &step.output);
        if let StageState::Fresh(record) = state {
            self.observer.reused(step.stage, &step.label, &record.output);
            return Ok(record);
        }
        let output = self.path(&step.output)?;
        let io = |source| RunError::io(&output, source);
        if matches!(state, StageState::Damaged { .. }) {
            self.stages.set_aside(&step.output).map_err(io)?;
        }
        self.observer.started(step.stage, &step.label, &state.reason());
        let started = Instant::now();
        let staged = StagedDir::new(&output).map_err(io)?;
        let folder = staged.path().to_owned();
        let what = make(self, &folder)?;
        staged.commit().map_err(io)?;
        let record = self.stages.remember(step.stage, &step.label, &step.inputs, &step.output).map_err(io)?;
        self.observer.finished(step.stage, &step.label, &what, started.elapsed().as_secs_f64());
        Ok(record)
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
    pub fn sim_stage(
        &mut self,
        index: usize,
        bundle: &Bundle,
        predictor: &dyn Predictor,
    ) -> Result<StageRecord, RunError> {
        let run = self.resolved.lock.runs[index].clone();
        let Some(step) = self.sim_step(&run) else { return Err(RunError::NoCompare) };
        let record =
            self.perform(&step, |session, folder| session.make_sim(index, bundle, predictor, folder))?;
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
    pub fn make_sim(
        &mut self,
        index: usize,
        bundle: &Bundle,
        predictor: &dyn Predictor,
        folder: &Path,
    ) -> Result<String, RunError> {
        self.require_fit(bundle)?;
        let name = self.sim_backend().map(|sim| sim.name.clone()).unwrap_or_default();
        let observer = self.observer;
        let workload = self.resolved.workload(index)?;
        let mut runner = SimRunner { name: &name, bundle: &bundle.meta, predictor };
        let started = Instant::now();
        let (record, meta) = runner.serve(&self.job(index, 0, &workload), observer.progress())?;
        let seconds = started.elapsed().as_secs_f64();
        metrics::write_run(folder, &record, &meta)?;
        let rate = meta.output_tokens as f64 / seconds.max(1e-9);
        Ok(format!("{} steps, {:.1} M tokens/s", meta.num_steps, rate / 1e6))
    }

    /// Times a run on the engine.
    pub fn real_stage(&mut self, index: usize, repeat: u32) -> Result<StageRecord, RunError> {
        let step = self.real_step(index, repeat)?;
        self.perform(&step, |session, folder| session.make_real(index, repeat, folder))
    }

    /// Times a run on the engine into a folder.
    pub fn make_real(&mut self, index: usize, repeat: u32, folder: &Path) -> Result<String, RunError> {
        let engine_spec = lock::measured_backend(&self.resolved.cells[index].experiment)?.clone();
        let observer = self.observer;
        let (workload, tokenizer) = (self.resolved.workload(index)?, self.resolved.tokenizer()?);
        self.engine()?;
        let mut engine = self.engine.take().expect("just loaded");
        let mut runner = CandleRunner {
            name: &engine_spec.name,
            sampling: &engine_spec.sampling,
            sampling_seed: self.resolved.lock.seeds.sampling,
            tokenizer: &tokenizer,
            engine: &mut engine,
        };
        let device = device_guard(observer);
        let served = runner.serve(&self.job(index, repeat, &workload), observer.progress());
        drop(device);
        self.engine = Some(engine);
        let (record, meta) = served?;
        metrics::write_run(folder, &record, &meta)?;
        Ok(format!("{} steps, {} output tokens", meta.num_steps, meta.output_tokens))
    }

    fn job<'j>(&'j self, index: usize, repeat: u32, workload: &'j Workload) -> Job<'j> {
        let lock = &self.resolved.lock;
        Job {
            run: &lock.runs[index],
            workload,
            model_name: &lock.experiment.model.name,
            model: &lock.resolved_model,
            dtype: lock.experiment.model.dtype,
            threads: lock.experiment.hardware.threads,
            repeat,
        }
    }

    /// The engine with its model loaded, kept between stages.
    pub(super) fn engine(&mut self) -> Result<&mut Engine, RunError> {
        if self.engine.is_none() {
            let lock = &self.resolved.lock;
            self.observer.progress().start("loading the model", 0);
            let engine = Engine::load(
                &self.resolved.model,
                lock.experiment.model.dtype,
                lock.experiment.hardware.threads,
            )
            .map_err(crate::backend::BackendError::from)?;
            self.observer.progress().finish();
            self.engine = Some(engine);
        }
        Ok(self.engine.as_mut().expect("just loaded"))
    }

    pub(super) fn compare_step(
        &self,
        index: usize,
        real: &[StageRecord],
        sim: &StageRecord,
    ) -> Result<Step, RunError> {
        let lock = &self.resolved.lock;
        let compared = lock.experiment.compare.as_ref().ok_or(RunError::NoCompare)?;
        let digests: Vec<Digest> = real.iter().map(|record| Digest::of_json(&record.files)).collect();
        Ok(Step::new(
            Stage::Compare,
            "comparisons",
            lock.runs[index].id.clone(),
            [
                ("compare", json(compared)),
                ("foreign bundle allowed", self.request.allow_foreign_bundle.to_string()),
                ("lock", lock.input_digest().to_string()),
                ("metrics", lock.versions.metrics.to_string()),
                ("real", json(&digests)),
                ("sim", Digest::of_json(&sim.files).to_string()),
                ("xp", env!("CARGO_PKG_VERSION").to_owned()),
            ],
        ))
    }

    /// Compares a run's measurements with its simulation.
    pub fn compare_stage(
        &mut self,
        index: usize,
        real: &[StageRecord],
        sim: &StageRecord,
    ) -> Result<(StageRecord, Comparison), RunError> {
        let step = self.compare_step(index, real, sim)?;
        let record =
            self.perform(&step, |session, folder| session.make_comparison(index, real, sim, folder))?;
        let comparison = compare::read_comparison(&self.path(&record.output)?.join("comparison.json"))?;
        Ok((record, comparison))
    }

    fn make_comparison(
        &mut self,
        index: usize,
        real: &[StageRecord],
        sim: &StageRecord,
        folder: &Path,
    ) -> Result<String, RunError> {
        let measured = real
            .iter()
            .map(|record| Ok(metrics::read_run(&self.path(&record.output)?)?))
            .collect::<Result<Vec<_>, RunError>>()?;
        let simulated = metrics::read_run(&self.path(&sim.output)?)?;
        let lock = &self.resolved.lock;
        let compared = lock.experiment.compare.as_ref().ok_or(RunError::NoCompare)?;
        let run = &lock.runs[index];
        let input = CompareInput {
            run: run.id.clone(),
            description: lock.experiment.description.clone(),
            facts: facts::boxes(lock, index, &measured[0].1),
            pins: facts::pins(lock, index, &measured[0].1),
            files: facts::files(real, sim),
            real: measured,
            sim: simulated,
            pass_percent: compared.pass.0,
            warn_percent: compared.warn.0,
            lock_digest: lock.input_digest(),
            allow_foreign_bundle: self.request.allow_foreign_bundle,
            slo: facts::slo(&lock.experiment.slo),
        };
        let comparison = compare::compare(&input)?;
        write_comparison(folder, &comparison)?;
        let worst = comparison.headline.iter().map(|row| row.error_percent.abs()).fold(0.0, f64::max);
        Ok(format!("largest headline error {worst:.1} %"))
    }

    pub(super) fn report_step<'r>(&self, comparisons: impl Iterator<Item = &'r StageRecord>) -> Step {
        let experiment = &self.resolved.lock.experiment;
        let name = experiment.name.clone();
        let output = experiment.report.clone().unwrap_or_else(|| format!("reports/{name}.pdf"));
        let digests: Vec<Digest> = comparisons.map(|record| Digest::of_json(&record.files)).collect();
        let inputs = Inputs::from([
            ("comparisons".to_owned(), json(&digests)),
            ("report".to_owned(), output.clone()),
            ("xp".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]);
        Step { stage: Stage::Report, label: name, inputs, output }
    }

    /// Renders the PDF of all runs.
    pub fn report_stage(&mut self, comparisons: &[(StageRecord, Comparison)]) -> Result<PathBuf, RunError> {
        let Step { stage, label, inputs, output } =
            self.report_step(comparisons.iter().map(|(record, _)| record));
        let path = self.path(&output)?;
        let io = |source| RunError::io(&path, source);
        let state = self.stages.state(stage, &label, &inputs, &output);
        if let StageState::Fresh(_) = state {
            self.observer.reused(stage, "", &output);
            return Ok(path);
        }
        if matches!(state, StageState::Damaged { .. }) {
            self.stages.set_aside(&output).map_err(io)?;
        }
        self.observer.started(stage, "", &state.reason());
        let started = Instant::now();
        let runs: Vec<Comparison> = comparisons.iter().map(|(_, comparison)| comparison.clone()).collect();
        let pdf = report::render_pdf(&runs)?;
        crate::store::write(&path, &pdf).map_err(io)?;
        self.stages.remember(stage, &label, &inputs, &output).map_err(io)?;
        self.observer.finished(stage, "", &output, started.elapsed().as_secs_f64());
        Ok(path)
    }

    /// The predictor the experiment names.
    pub fn predictor(&self, bundle: &Bundle) -> Result<Box<dyn Predictor>, RunError> {
        match self.sim_backend().map(|sim| sim.predictor).unwrap_or_default() {
            spec::Predictor::Interpolate => Ok(Box::new(Interpolate::new(bundle)?)),
        }
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
