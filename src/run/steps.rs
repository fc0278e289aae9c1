//! What each stage is keyed by: the digest of inputs that cover everything in its files, so that
//! experiments and worktrees may share them. Only labels and places name a run.

use super::RunError;
use super::event::Stage;
use super::facts;
use super::reach::Known;
use super::record::{self, Inputs, StageRecord};
use crate::compare::COMPARISON_FORMAT;
use crate::lock::{self, BundlePin, Lock, Measured, ResolveError, RunPin};
use crate::metrics::RUN_FORMAT;
use crate::profile;
use crate::spec::{Compare, Experiment, RecordedBackend, SimLog, TransformersBackend};
use crate::store::{Digest, FileDigest};

/// A stage of one run: label, inputs, and where its output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub stage: Stage,
    pub label: String,
    pub inputs: Inputs,
    pub output: String,
}

/// Inputs that no lock pins: the machine at hand, the version at hand, which repeat it is. A lock reaches
/// results with any value of them.
pub(super) fn is_pinned(stage: Stage, input: &str) -> bool {
    let free: &[&str] = match stage {
        Stage::Real => &["engine", "format", "machine", "repeat"],
        Stage::Sim => &["format"],
        Stage::Workload | Stage::Profile | Stage::Compare | Stage::Report => &[],
    };
    !free.contains(&input)
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("pins serialize")
}

impl Step {
    fn new(stage: Stage, folder: &str, label: String, inputs: Inputs) -> Self {
        let output = format!("runs/{folder}/{label}-{}", record::key(stage, &inputs).short(8));
        Self { stage, label, inputs, output }
    }

    /// The record of its result.
    pub fn record(&self, files: Vec<FileDigest>) -> StageRecord {
        let Self { stage, label, inputs, output } = self.clone();
        StageRecord { stage, label, inputs, output, files }
    }

    /// What its result is found by in the store.
    pub fn key(&self) -> Digest {
        record::key(self.stage, &self.inputs)
    }
}

fn inputs<const N: usize>(inputs: [(&str, String); N]) -> Inputs {
    inputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The run's inputs that decide what the scheduler does, one entry a setting, so that a
/// change can be named.
fn scheduler_inputs(run: &RunPin) -> impl Iterator<Item = (String, String)> {
    let settings = match serde_json::to_value(&run.scheduler) {
        Ok(serde_json::Value::Object(settings)) => settings,
        _ => serde_json::Map::new(),
    };
    settings.into_iter().map(|(name, value)| (name, value.to_string()))
}

/// The workload's files: their content is the key.
pub(super) fn workload_step(run: &RunPin) -> Step {
    let inputs = inputs([("workload", run.workload.sha256.to_string())]);
    Step::new(Stage::Workload, "workloads", run.id.clone(), inputs)
}

/// A pinned bundle, which lies where its pin says.
pub fn profile_step(pin: &BundlePin) -> Step {
    let inputs = inputs([("bundle", pin.sha256.to_string())]);
    Step { stage: Stage::Profile, label: "bundle".to_owned(), inputs, output: pin.path.clone() }
}

/// One measured repeat (from 0) of a run on a machine. Repeats are measurements of their own, and a
/// measurement is one of its machine. None where nothing is measured.
pub(super) fn real_step(
    lock: &Lock,
    cell: &Experiment,
    run: &RunPin,
    machine: &Digest,
    repeat: u32,
) -> Result<Option<Step>, ResolveError> {
    let engine = match lock::measured_backend(cell)? {
        Measured::Candle(engine) => engine,
        Measured::Transformers(transformers) => {
            return Ok(Some(transformers_step(lock, transformers, run, machine, repeat)));
        }
        Measured::Recorded(recorded) => return Ok(Some(recorded_step(lock, cell, recorded, run, repeat))),
        Measured::Engine(_) => return Ok(None),
    };
    let mut inputs = measurement_inputs(lock, &engine.name, run, machine, repeat);
    inputs.extend(self::inputs([
        ("device", cell.hardware.device.clone()),
        ("engine", profile::engine_id()),
        ("sampling", json(&engine.sampling)),
        ("sampling seed", lock.seeds.sampling.to_string()),
    ]));
    let label = format!("{}-r{}", run.id, u64::from(repeat) + 1);
    Ok(Some(Step::new(Stage::Real, "real_runs", label, inputs)))
}

/// What a repeat's measurement depends on, whatever engine runs here.
fn measurement_inputs(lock: &Lock, backend: &str, run: &RunPin, machine: &Digest, repeat: u32) -> Inputs {
    let mut inputs = inputs([
        ("backend", backend.to_owned()),
        ("dtype", json(&lock.experiment.model.dtype)),
        ("engine version", lock.versions.engine.to_string()),
        ("format", RUN_FORMAT.to_string()),
        ("machine", machine.to_string()),
        ("metrics", lock.versions.metrics.to_string()),
        ("model", lock.resolved_model.sha256.to_string()),
        ("model name", lock.experiment.model.name.clone()),
        ("repeat", (u64::from(repeat) + 1).to_string()),
        ("threads", lock.experiment.hardware.threads.to_string()),
        ("weights seed", lock.seeds.weights.to_string()),
        ("workload", run.workload.sha256.to_string()),
    ]);
    inputs.extend(scheduler_inputs(run));
    inputs
}

/// One measured repeat of a run on transformers.
fn transformers_step(
    lock: &Lock,
    transformers: &TransformersBackend,
    run: &RunPin,
    machine: &Digest,
    repeat: u32,
) -> Step {
    let mut inputs = measurement_inputs(lock, &transformers.name, run, machine, repeat);
    let worker = run.worker.as_ref();
    inputs.extend(worker.into_iter().flat_map(|worker| {
        [
            ("device".to_owned(), worker.device.clone()),
            ("worker packages".to_owned(), worker.packages.join(", ")),
            ("worker program".to_owned(), format!("{}, protocol {}", worker.script, worker.protocol)),
        ]
    }));
    let label = format!("{}-r{}", run.id, u64::from(repeat) + 1);
    Step::new(Stage::Real, "real_runs", label, inputs)
}

/// A run that was recorded elsewhere: of no machine, and keyed by its file.
fn recorded_step(
    lock: &Lock,
    cell: &Experiment,
    recorded: &RecordedBackend,
    run: &RunPin,
    repeat: u32,
) -> Step {
    let sha256 = run.recorded.as_ref().map(|pin| pin.sha256.to_string()).unwrap_or_default();
    let mut inputs = inputs([
        ("backend", recorded.name.clone()),
        ("columns", json(&recorded.columns)),
        ("device", cell.hardware.device.clone()),
        ("dtype", json(&lock.experiment.model.dtype)),
        ("format", RUN_FORMAT.to_string()),
        ("metrics", lock.versions.metrics.to_string()),
        ("model", lock.resolved_model.sha256.to_string()),
        ("model name", lock.experiment.model.name.clone()),
        ("recording", sha256),
        ("repeat", (u64::from(repeat) + 1).to_string()),
        ("threads", lock.experiment.hardware.threads.to_string()),
        ("workload", run.workload.sha256.to_string()),
    ]);
    inputs.extend(scheduler_inputs(run));
    let label = format!("{}-r{}", run.id, u64::from(repeat) + 1);
    Step::new(Stage::Real, "real_runs", label, inputs)
}

/// The simulation of a run whose experiment is `cell`; None without a simulated backend or a pinned bundle.
pub fn sim_step(lock: &Lock, cell: &Experiment, run: &RunPin) -> Option<Step> {
    let sim = cell.simulated()?;
    let bundle = lock.bundle_of(run)?;
    let mut inputs = inputs([
        ("backend", sim.name.clone()),
        ("bundle", bundle.sha256.to_string()),
        ("dtype", json(&lock.experiment.model.dtype)),
        ("format", RUN_FORMAT.to_string()),
        ("metrics", lock.versions.metrics.to_string()),
        ("model", lock.resolved_model.sha256.to_string()),
        ("model name", lock.experiment.model.name.clone()),
        ("predictor", json(&sim.predictor)),
        ("simulator", lock.versions.simulator.to_string()),
        ("threads", lock.experiment.hardware.threads.to_string()),
        ("workload", run.workload.sha256.to_string()),
    ]);
    inputs.extend(scheduler_inputs(run));
    let of_texts = run.scheduler.prefix_caching && lock::writes_texts(&lock.experiment);
    // What most simulations do not have is no part of their keys.
    let optional = [
        ("cluster", (!run.cluster.is_single()).then(|| json(&run.cluster))),
        ("interconnect", cell.hardware.interconnect.as_ref().map(json)),
        ("grid", sim.grid.as_ref().map(json)),
        ("log", (sim.log != SimLog::default()).then(|| json(&sim.log))),
        ("overhead", sim.overhead.as_ref().map(json)),
        // The same workload declares prefixes, or is served with texts that have their own.
        ("prefixes", of_texts.then(|| "of texts made for lengths".to_owned())),
        ("vidur", sim.vidur.as_ref().map(json)),
        ("router seed", lock.seeds.router.map(|seed| seed.to_string())),
    ];
    inputs.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Some(Step::new(Stage::Sim, "sim_runs", run.id.clone(), inputs))
}

/// Where a result that a lock reaches belongs in a project: once for each run that asks for it.
pub(super) fn places_of(lock: &Lock, known: &Known) -> Result<Vec<Step>, RunError> {
    let (stage, inputs) = (known.stage, &known.inputs);
    let same = |step: Step| (step.inputs == *inputs).then_some(step);
    let input = |name: &str| inputs.get(name).map(String::as_str);
    let mut out = Vec::new();
    match stage {
        Stage::Profile => out.extend(lock.bundles().map(|(_, pin)| profile_step(pin)).filter_map(same)),
        Stage::Report => out.extend(input("report").map(|output| Step {
            stage,
            label: lock.experiment.name.clone(),
            inputs: inputs.clone(),
            output: output.to_owned(),
        })),
        Stage::Workload => out.extend(lock.runs.iter().map(workload_step).filter_map(same)),
        Stage::Sim => {
            let cells = crate::spec::expand(&lock.experiment)?;
            let steps = lock.runs.iter().zip(&cells);
            let steps = steps.filter_map(|(run, cell)| sim_step(lock, &cell.experiment, run));
            out.extend(steps.filter_map(same));
        }
        Stage::Compare => {
            let run = lock.runs.iter().find(|run| input("run") == Some(&run.id));
            out.extend(run.map(|run| Step::new(stage, "comparisons", run.id.clone(), inputs.clone())));
        }
        Stage::Real => {
            let cells = crate::spec::expand(&lock.experiment)?;
            let pinned = |inputs: &Inputs| -> Inputs {
                let pinned = inputs.iter().filter(|(name, _)| is_pinned(stage, name));
                pinned.map(|(name, value)| (name.clone(), value.clone())).collect()
            };
            let Some(repeat) = input("repeat").and_then(|repeat| repeat.parse::<u32>().ok()) else {
                return Ok(out);
            };
            for (run, cell) in lock.runs.iter().zip(&cells) {
                let nowhere = Digest::of([]);
                let step = real_step(lock, &cell.experiment, run, &nowhere, repeat.saturating_sub(1))?;
                let Some(step) = step else { continue };
                if pinned(&step.inputs) == pinned(inputs) {
                    out.push(Step::new(stage, "real_runs", step.label, inputs.clone()));
                }
            }
        }
    }
    Ok(out)
}

/// What a comparison reads.
pub(super) struct Compared<'a> {
    pub run: &'a RunPin,
    pub compare: &'a Compare,
    /// [`Lock::input_digest`], computed once for all runs of a lock.
    pub lock_digest: Digest,
    pub real: &'a [StageRecord],
    pub sim: &'a StageRecord,
    pub allow_foreign_bundle: bool,
}

/// A run's comparison.
pub(super) fn compare_step(lock: &Lock, compared: &Compared<'_>) -> Step {
    let real: Vec<Digest> = compared.real.iter().map(StageRecord::content).collect();
    // A comparison names the folders of its files.
    let folders: Vec<&str> = compared.real.iter().chain([compared.sim]).map(facts::folder).collect();
    let inputs = inputs([
        ("compare", json(compared.compare)),
        ("folders", json(&folders)),
        ("foreign bundle allowed", compared.allow_foreign_bundle.to_string()),
        ("format", COMPARISON_FORMAT.to_string()),
        ("lock", compared.lock_digest.to_string()),
        ("metrics", lock.versions.metrics.to_string()),
        ("real", json(&real)),
        ("run", compared.run.id.clone()),
        ("sim", compared.sim.content().to_string()),
        ("xp", env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    Step::new(Stage::Compare, "comparisons", compared.run.id.clone(), inputs)
}

/// The PDF of all runs. `lock` is the digest of the lock's text, which is attached.
pub(super) fn report_step<'r>(
    experiment: &Experiment,
    lock: Digest,
    comparisons: impl Iterator<Item = &'r StageRecord>,
) -> Step {
    let label = experiment.name.clone();
    let output = experiment.report.clone().unwrap_or_else(|| format!("reports/{label}.pdf"));
    let digests: Vec<Digest> = comparisons.map(StageRecord::content).collect();
    let inputs = inputs([
        ("comparisons", json(&digests)),
        ("lock", lock.to_string()),
        ("report", output.clone()),
        ("xp", env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    Step { stage: Stage::Report, label, inputs, output }
}

/// The stages of a lock's first run that depend on no other stage's files, for tests.
#[cfg(test)]
pub fn steps_of(lock: &Lock, machine: &Digest, repeat: u32) -> Result<Vec<Step>, RunError> {
    let cells = crate::spec::expand(&lock.experiment)?;
    let run = &lock.runs[0];
    let mut steps = vec![workload_step(run)];
    steps.extend(real_step(lock, &cells[0].experiment, run, machine, repeat)?);
    steps.extend(lock.bundles().map(|(_, pin)| profile_step(pin)));
    steps.extend(sim_step(lock, &cells[0].experiment, run));
    Ok(steps)
}
