//! What a report says about its run besides numbers: the box on its first
//! page, the pins of its appendix, its input files.

use super::RunError;
use super::record::StageRecord;
use crate::compare::{CompareInput, Pin, SloLimits};
use crate::lock::{self, Lock, Measured};
use crate::metrics::{Replay, RunKind, RunMeta, RunRecord};
use crate::spec::{Arrivals, Experiment, Slo};
use crate::store::{Digest, FileDigest};

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn hardware<'a>(meta: &'a RunMeta, name: &str) -> Option<&'a str> {
    meta.hardware.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn arrivals(arrivals: &Arrivals) -> String {
    match arrivals {
        Arrivals::Static => "all arrive at once".to_owned(),
        Arrivals::Poisson { qps } => format!("Poisson arrivals, {qps}/s"),
        Arrivals::Gamma { qps, cv } => format!("gamma arrivals, {qps}/s, cv {cv}"),
        Arrivals::Trace { path } => format!("arrivals of {path}"),
        Arrivals::Recorded => "arrivals of the trace".to_owned(),
    }
}

/// Groups of the first page: head, then at most three lines.
fn boxes(lock: &Lock, cell: &Experiment, index: usize, measured: &RunMeta) -> Vec<(String, Vec<String>)> {
    let experiment = &lock.experiment;
    let (model, run) = (&lock.resolved_model.config, &lock.runs[index]);
    let scheduler = &run.scheduler;
    let millions = model.num_parameters() as f64 / 1e6;
    let is_recorded = measured.kind == RunKind::Recorded;
    let cpu = hardware(measured, "cpu").unwrap_or("CPU");
    let (device, machine) = match is_recorded {
        true => (cell.hardware.device.clone(), "declared, not looked at".to_owned()),
        false => (
            cpu.to_owned(),
            format!("machine {}", measured.fingerprint.map(|print| print.short(12)).unwrap_or_default()),
        ),
    };
    let engine = match &measured.worker {
        _ if is_recorded => format!("{}, recorded", measured.backend),
        Some(worker) => {
            let version = |name: &str| worker.packages.iter().find(|(known, _)| known == name);
            let told = ["transformers", "torch"].into_iter().filter_map(version);
            told.map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
        }
        None => format!("xp {}, candle", lock.xp),
    };
    let prompts = match scheduler.policy.limits_steps() {
        true => format!("chunks of {} tokens", scheduler.chunk_size),
        false => "whole prompts".to_owned(),
    };
    let group = |head: &str, lines: Vec<String>| (head.to_owned(), lines);
    vec![
        group(
            "Model",
            vec![
                format!("{}, {:?}", experiment.model.name, experiment.model.dtype).to_lowercase(),
                format!("{millions:.0} million weights"),
                format!("{} layers, {} KV heads", model.num_hidden_layers, model.num_key_value_heads),
            ],
        ),
        group("Hardware", vec![device, format!("{} compute threads", experiment.hardware.threads), machine]),
        group(
            "Engine",
            vec![engine, format!("{:?}, {} requests", scheduler.policy, scheduler.max_batch_size), prompts],
        ),
        group(
            "Workload",
            vec![
                format!("{} requests", thousands(run.workload.requests)),
                arrivals(&experiment.workload.arrivals),
                format!(
                    "{} tokens in, {} out",
                    thousands(run.workload.prefill_tokens),
                    thousands(run.workload.decode_tokens)
                ),
            ],
        ),
    ]
}

/// The pins of the appendix, in four groups.
fn pins(lock: &Lock, index: usize, measured: &RunMeta) -> Vec<Pin> {
    let (experiment, run, model) = (&lock.experiment, &lock.runs[index], &lock.resolved_model);
    let mut out = Vec::new();
    let mut pin = |group: &str, name: &str, value: String| {
        out.push(Pin { group: group.to_owned(), name: name.to_owned(), value });
    };
    pin("Model", "name", experiment.model.name.clone());
    pin("Model", "dtype", format!("{:?}", experiment.model.dtype).to_lowercase());
    if let Some(commit) = &model.commit {
        pin("Model", "commit", commit.clone());
    }
    pin("Model", "digest", model.sha256.short(16));
    pin("Model", "layers", model.config.num_hidden_layers.to_string());
    pin(
        "Model",
        "hidden, intermediate",
        format!("{}, {}", model.config.hidden_size, model.config.intermediate_size),
    );
    pin(
        "Model",
        "heads, KV heads",
        format!("{}, {}", model.config.num_attention_heads, model.config.num_key_value_heads),
    );
    pin("Model", "vocabulary", model.config.vocab_size.to_string());
    let scheduler = &run.scheduler;
    pin("Engine settings", "policy", format!("{:?}", scheduler.policy).to_lowercase());
    pin("Engine settings", "chunk-size", scheduler.chunk_size.to_string());
    pin("Engine settings", "max-batch-size", scheduler.max_batch_size.to_string());
    pin("Engine settings", "block-size", scheduler.block_size.to_string());
    pin("Engine settings", "kv-blocks", scheduler.kv_blocks.to_string());
    pin("Engine settings", "watermark-blocks", scheduler.watermark_blocks.to_string());
    if let Some(recorded) = &run.recorded {
        pin("Engine settings", "recording", format!("{}, {}", recorded.path, recorded.sha256.short(16)));
    }
    if let Ok(Measured::Candle(engine)) = lock::measured_backend(experiment) {
        pin("Engine settings", "temperature", engine.sampling.temperature.to_string());
    }
    if let Some(worker) = &measured.worker {
        pin("Engine settings", "python", worker.python.clone());
        for (name, version) in worker.packages.iter().take(6) {
            pin("Engine settings", name, version.clone());
        }
        pin("Engine settings", "attention", worker.attention.clone());
    }
    for set in &run.set {
        pin("Engine settings", &set.path, set.value.to_string());
    }
    pin("Workload", "digest", run.workload.sha256.short(16));
    pin("Workload", "requests", run.workload.requests.to_string());
    pin(
        "Workload",
        "tokens in, out",
        format!("{}, {}", run.workload.prefill_tokens, run.workload.decode_tokens),
    );
    pin("Workload", "root seed", lock.seeds.root.to_string());
    pin("Workload", "spec", lock.spec.path.clone());
    pin("Workload", "metric definitions", lock.versions.metrics.to_string());
    for (name, value) in measured.hardware.iter().take(6) {
        pin("Machine", name, value.clone());
    }
    if let Some(bundle) = lock.bundle_of(run) {
        pin("Machine", "bundle", bundle.sha256.short(16));
    }
    out
}

/// The runs that are compared, and their files by what the comparison calls them.
#[derive(Debug)]
pub struct Runs {
    pub real: Vec<(RunRecord, RunMeta)>,
    pub sim: (RunRecord, RunMeta),
    /// The measured runs replayed, where that can be done.
    pub replays: Vec<Replay>,
    pub files: Vec<FileDigest>,
}

/// What the comparison of a lock's run, whose experiment is `cell`, is made from.
///
/// # Errors
/// The experiment compares nothing, or nothing was measured.
pub fn compare_input(
    lock: &Lock,
    cell: &Experiment,
    index: usize,
    runs: Runs,
    lock_digest: Digest,
    allow_foreign_bundle: bool,
) -> Result<CompareInput, RunError> {
    let compared = lock.experiment.compare.as_ref().ok_or(RunError::NoCompare)?;
    let (_, measured) = runs.real.first().ok_or(RunError::NoCompare)?;
    Ok(CompareInput {
        run: lock.runs[index].id.clone(),
        description: lock.experiment.description.clone(),
        facts: boxes(lock, cell, index, measured),
        pins: pins(lock, index, measured),
        files: runs.files,
        real: runs.real,
        sim: runs.sim,
        replays: runs.replays,
        pass_percent: compared.pass.0,
        warn_percent: compared.warn.0,
        lock_digest,
        allow_foreign_bundle,
        slo: slo(&lock.experiment.slo),
    })
}

/// What a comparison calls the folder of a run.
pub(super) fn folder(record: &StageRecord) -> &str {
    record.output.trim_start_matches("runs/")
}

/// Every file the comparison read.
pub(super) fn files(real: &[StageRecord], sim: &StageRecord) -> Vec<FileDigest> {
    real.iter()
        .chain([sim])
        .flat_map(|record| {
            let folder = folder(record);
            record
                .files
                .iter()
                .map(move |file| FileDigest { file: format!("{folder}/{}", file.file), ..file.clone() })
        })
        .collect()
}

/// The objectives in nanoseconds.
pub(super) fn slo(slo: &Slo) -> SloLimits {
    SloLimits {
        ttft_ns: slo.ttft_p99.map(|limit| limit.0),
        tpot_ns: slo.tpot_p99.map(|limit| limit.0),
        e2e_ns: slo.e2e_p99.map(|limit| limit.0),
    }
}
