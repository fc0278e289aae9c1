//! Experiment → [`Lock`]: everything that could drift becomes a pin. Bundles
//! and simulated results are pinned by `run/`, which knows how to make them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::admit::admit;
use super::bundles::keep_bundles;
use super::pins::{
    FORMAT, Lock, ModelPin, RecordedPin, RunPin, SeedsPin, SetPin, SpecPin, Versions, WorkerPin,
};
use super::resolved::{Made, Resolved};
use super::workloads::{Workloads, reads_texts};
use crate::catalog::ModelConfig;
use crate::scheduler::{ClusterConfig, SchedulerConfig};
use crate::source::{self, Access, ModelFiles, Pinned, SourceError};
use crate::spec::{
    self, Backend, CandleBackend, Cell, Compare, EngineBackend, EngineSettings, Experiment, KvCache, KvSize,
    MAX_MATRIX_REQUESTS, Model, RecordedBackend, Source, TransformersBackend,
};
use crate::store::{Digest, FileDigest};
use crate::worker::{self, Requirements, RequirementsError};
use crate::workload::{self, Seeds, WorkloadError};

/// An experiment could not be resolved.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ResolveError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Requirements(#[from] RequirementsError),
    /// No backend runs the workload for real.
    #[error("no backend of the experiment measures: `compare` needs a real one")]
    #[diagnostic(code(xp::lock::no_engine), help("add `backend \"sarathi\"`"))]
    NoEngine,
    /// An axis of the matrix changes what all runs of a lock share.
    #[error("the matrix ({axes}) varies more than workload, hardware and the settings of backends")]
    #[diagnostic(
        code(xp::lock::axis),
        help(
            "vary `workload.*`, `hardware.*` and `backend.<name>.*`; for other models write another experiment"
        )
    )]
    Axis { axes: String },
    /// The KV memory does not hold a single block.
    #[error(
        "{memory} holds {blocks} KV blocks of {block_bytes} bytes: fewer than the longest request needs ({needed})"
    )]
    #[diagnostic(code(xp::lock::kv_memory), help("give the KV cache more memory, or shorten the requests"))]
    KvMemory { memory: String, blocks: u64, block_bytes: u64, needed: u64 },
    /// A run breaks a rule of experiments for the model's shape.
    #[error("{message}")]
    #[diagnostic(
        code(xp::lock::unfit),
        help("the experiment does not fit its model: `xp check` shows where")
    )]
    Unfit { message: String },
    /// A request of a file is longer than the model's context.
    #[error("{request} has {tokens} tokens, prompt and output together; the model's context has {context}")]
    #[diagnostic(
        code(xp::lock::too_long),
        help("take it out, shorten it or its output, or take a model with a longer context")
    )]
    TooLong { request: String, tokens: u64, context: u32 },
    /// The workloads of all runs do not fit into memory together.
    #[error("the runs have more than {limit} requests together")]
    #[diagnostic(
        code(xp::lock::too_many_requests),
        help("all workloads of a lock are held in memory: lower `requests`, or split the experiment")
    )]
    TooManyRequests { limit: u64 },
    /// A workload that is made again is another one.
    #[error("the workload of {run} changed while xp was running")]
    #[diagnostic(
        code(xp::lock::workload_changed),
        help("run the command again when nothing writes to its files")
    )]
    WorkloadChanged { run: String },
    /// A data file could not be read for its digest.
    #[error("cannot read {path}")]
    #[diagnostic(
        code(xp::lock::data_file),
        help(
            "it is looked for in {folder}; where the data folder is elsewhere, give it with `--set data=FOLDER`"
        )
    )]
    DataFile { path: String, folder: String, source: std::io::Error },
    /// The folder of the input files is not here.
    #[error("there is no data folder {folder}")]
    #[diagnostic(
        code(xp::lock::no_data_folder),
        help("give it with `--set data=FOLDER`: the lock holds digests of its files, not its place")
    )]
    NoDataFolder { folder: String, source: std::io::Error },
}

pub(super) fn streams(seeds: &SeedsPin) -> Seeds {
    Seeds { prompts: seeds.prompts, lengths: seeds.lengths, arrivals: seeds.arrivals }
}

/// Resolves an experiment. Pins of `previous` that the experiment still admits are kept.
pub fn resolve(
    experiment: &Experiment,
    cells: Vec<Cell>,
    spec: SpecPin,
    versions: Versions,
    previous: Option<&Lock>,
    access: &Access<'_>,
) -> Result<Resolved, ResolveError> {
    let seed = |stream: &str| workload::seed::derive(experiment.seed, stream);
    let routes = cells.iter().any(|cell| {
        measured_backend(&cell.experiment).is_ok_and(|backend| {
            let engine = backend.engine();
            engine.replicas.count > 1 || engine.parallel.data > 1
        })
    });
    let seeds = SeedsPin {
        router: routes.then(|| seed("router")),
        root: experiment.seed,
        prompts: seed("prompts"),
        lengths: seed("lengths"),
        arrivals: seed("arrivals"),
        sampling: seed("sampling"),
        weights: seed("weights"),
    };
    let source = &experiment.model.source;
    let pinned = previous.and_then(|lock| pinned(lock, source));
    let chat = cells.iter().any(|cell| cell.experiment.workload.chat_template);
    let model = source::resolve(source, &experiment.model.name, seeds.weights, chat, access, pinned)?;
    let mut resolved_model = ModelPin {
        commit: model.commit.clone(),
        sha256: Digest::of(""),
        config: model.config.clone(),
        files: model.files.clone(),
    };
    resolved_model.sha256 = resolved_model.digest(experiment.model.dtype);
    let shared = Shared::of(experiment);
    for cell in &cells {
        shared.admit(cell)?;
    }
    let made = Made::default();
    let workloads = Workloads {
        seeds: streams(&seeds),
        model: &model,
        made: &made,
        texts: reads_texts(experiment),
        access,
    };
    let described = workloads.describe(&cells)?;
    let mut runs = Vec::with_capacity(cells.len());
    let mut extents = Vec::with_capacity(cells.len());
    let mut requests = 0;
    for (cell, (workload, extent)) in cells.iter().zip(described) {
        requests += workload.requests;
        within_memory(requests)?;
        let measured = measured_backend(&cell.experiment)?;
        admit(&cell.experiment, &model.config, &extent)?;
        let engine = measured.engine();
        let scheduler = scheduler_config(&engine, &cell.experiment, &model.config, extent.longest)?;
        let recorded = match measured {
            Measured::Recorded(recorded) => Some(recording(recorded, access)?),
            Measured::Candle(_) | Measured::Transformers(_) | Measured::Engine(_) => None,
        };
        let worker = match measured {
            Measured::Transformers(backend) => {
                Some(worker_pin(backend, &cell.experiment.hardware.device, &model, access)?)
            }
            Measured::Candle(_) | Measured::Recorded(_) | Measured::Engine(_) => None,
        };
        let set: Vec<SetPin> = cell
            .overrides
            .iter()
            .map(|(path, value)| SetPin { path: path.clone(), value: value.clone() })
            .collect();
        runs.push(RunPin {
            id: run_id(&experiment.name, &set),
            set,
            workload,
            scheduler,
            cluster: cluster_config(&engine),
            recorded,
            worker,
            bundle: None,
            sim: None,
        });
        extents.push(extent);
    }
    let mut lock = Lock {
        lock: FORMAT,
        xp: env!("CARGO_PKG_VERSION").to_owned(),
        versions,
        spec,
        experiment: experiment.clone(),
        seeds,
        resolved_model,
        bundle: None,
        runs,
    };
    if let Some(previous) = previous {
        keep_bundles(&mut lock, previous, &cells);
    }
    Ok(Resolved { lock, model, cells, extents, inputs: access.inputs.to_owned(), made })
}

/// The commit and the files that a lock pins of the same repository and revision.
fn pinned<'a>(lock: &'a Lock, source: &Source) -> Option<Pinned<'a>> {
    let pin = &lock.resolved_model;
    let commit = pin.commit.as_deref().filter(|_| lock.experiment.model.source == *source)?;
    Some(Pinned { commit, files: &pin.files })
}

/// The pin of a recording.
fn recording(recorded: &RecordedBackend, access: &Access<'_>) -> Result<RecordedPin, ResolveError> {
    let path = recorded.path.clone();
    let file = input_file(&path, access)?;
    Ok(RecordedPin { path, bytes: file.bytes, sha256: file.sha256 })
}

/// The pin of a worker that computes on `device`.
fn worker_pin(
    backend: &TransformersBackend,
    device: &str,
    model: &ModelFiles,
    access: &Access<'_>,
) -> Result<WorkerPin, ResolveError> {
    model.require_safetensors()?;
    let requirements = match &backend.requirements {
        Some(path) => Requirements::read(&workload::data_file(access.inputs, path)?, path)?,
        None => Requirements::own(),
    };
    Ok(WorkerPin {
        protocol: worker::PROTOCOL,
        script: Digest::of(worker::SCRIPT),
        device: device.to_owned(),
        packages: requirements.lines().to_vec(),
    })
}

/// Digest of an input file.
pub(super) fn input_file(path: &str, access: &Access<'_>) -> Result<FileDigest, ResolveError> {
    let place = workload::data_file(access.inputs, path)?;
    let digest = access.digests.digest(&place);
    let (bytes, sha256) = digest.map_err(|source| ResolveError::DataFile {
        path: path.to_owned(),
        folder: access.inputs.display().to_string(),
        source,
    })?;
    Ok(FileDigest { file: path.to_owned(), bytes, sha256 })
}

/// The rows of a trace are known once it was read.
fn within_memory(requests: u64) -> Result<(), ResolveError> {
    match requests > MAX_MATRIX_REQUESTS {
        true => Err(ResolveError::TooManyRequests { limit: MAX_MATRIX_REQUESTS }),
        false => Ok(()),
    }
}

/// What all runs of a lock share: model, threads, thresholds, and which backends there are.
#[derive(PartialEq)]
struct Shared<'a> {
    seed: u64,
    model: &'a Model,
    threads: u32,
    compare: Option<&'a Compare>,
    report: Option<&'a str>,
    backends: Vec<&'a str>,
    simulated: Option<&'a str>,
}

impl<'a> Shared<'a> {
    fn of(experiment: &'a Experiment) -> Self {
        Self {
            seed: experiment.seed,
            model: &experiment.model,
            threads: experiment.hardware.threads,
            compare: experiment.compare.as_ref(),
            report: experiment.report.as_deref(),
            backends: experiment.backends.iter().map(Backend::name).collect(),
            simulated: experiment.simulated().map(|sim| sim.name.as_str()),
        }
    }

    /// Refuses a cell that changes what is shared.
    fn admit(&self, cell: &'a Cell) -> Result<(), ResolveError> {
        if *self == Shared::of(&cell.experiment) {
            return Ok(());
        }
        let axes: Vec<&str> = cell.overrides.iter().map(|(path, _)| path.as_str()).collect();
        Err(ResolveError::Axis { axes: axes.join(", ") })
    }
}

/// A stable name: the experiment's, with a digest of the cell's settings when it has any.
fn run_id(name: &str, set: &[SetPin]) -> String {
    if set.is_empty() {
        return name.to_owned();
    }
    // The order in which the axes are written decides no result.
    let settings: BTreeMap<&str, &Value> = set.iter().map(|pin| (pin.path.as_str(), &pin.value)).collect();
    let settings: Vec<(&str, &Value)> = settings.into_iter().collect();
    format!("{name}-{}", Digest::of_json(&settings).short(8))
}

/// The backend whose settings are simulated: an engine that runs here or a recording of another, which are measured, or
/// an engine that is not.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Measured<'a> {
    Candle(&'a CandleBackend),
    Transformers(&'a TransformersBackend),
    Recorded(&'a RecordedBackend),
    Engine(&'a EngineBackend),
}

impl<'a> Measured<'a> {
    fn of(backend: &'a Backend) -> Option<Self> {
        match backend {
            Backend::Candle(candle) => Some(Self::Candle(candle)),
            Backend::Transformers(transformers) => Some(Self::Transformers(transformers)),
            Backend::Recorded(recorded) => Some(Self::Recorded(recorded)),
            Backend::Engine(engine) => Some(Self::Engine(engine)),
            Backend::Sim(_) => None,
        }
    }

    /// Its name in the experiment.
    pub fn name(self) -> &'a str {
        match self {
            Self::Candle(candle) => &candle.name,
            Self::Transformers(transformers) => &transformers.name,
            Self::Recorded(recorded) => &recorded.name,
            Self::Engine(engine) => &engine.name,
        }
    }

    /// The engine's settings, which the simulator shares.
    pub fn engine(self) -> EngineSettings {
        match self {
            Self::Candle(candle) => candle.settings(),
            Self::Transformers(transformers) => transformers.settings(),
            Self::Recorded(recorded) => recorded.settings(),
            Self::Engine(engine) => engine.settings(),
        }
    }

    /// Whether there is anything to measure.
    pub fn is_measured(self) -> bool {
        !matches!(self, Self::Engine(_))
    }
}

/// The backend that is measured: the one `compare` names, else the first.
pub(crate) fn measured_backend(experiment: &Experiment) -> Result<Measured<'_>, ResolveError> {
    let named = experiment.compare.as_ref().map(|compare| compare.real.as_str());
    experiment
        .backends
        .iter()
        .filter_map(Measured::of)
        .find(|measured| named.is_none_or(|name| name == measured.name()))
        .ok_or(ResolveError::NoEngine)
}

/// The scheduler's settings, defaults resolved against the model and the workload, whose longest
/// request has `longest` tokens.
pub fn scheduler_config(
    engine: &EngineSettings,
    experiment: &Experiment,
    model: &ModelConfig,
    longest: u64,
) -> Result<SchedulerConfig, ResolveError> {
    let (dtype, hardware) = (experiment.model.dtype, &experiment.hardware);
    let KvCache { block_bytes, blocks, watermark } = spec::kv_cache(engine, model, dtype, hardware);
    let needed = longest.div_ceil(u64::from(engine.block_size));
    if blocks < needed + watermark {
        return Err(ResolveError::KvMemory {
            memory: match engine.kv {
                KvSize::Memory(memory) => format!("kv-memory {memory}"),
                KvSize::Blocks(_) => "kv-blocks".to_owned(),
                KvSize::Share(share) => format!("what {share} of a device have left"),
            },
            blocks,
            block_bytes,
            needed: needed + watermark,
        });
    }
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let context = model.max_position_embeddings;
    Ok(SchedulerConfig {
        pipeline_stages: engine.parallel.pipeline,
        max_waiting_steps: engine.max_waiting_steps,
        prefix_caching: engine.prefix_caching,
        async_scheduling: engine.async_scheduling,
        compat: engine.compat,
        ..SchedulerConfig::new(
            engine.scheduler,
            (engine.chunk_size, engine.max_batch_size),
            (engine.block_size, narrow(blocks), narrow(watermark)),
            engine.max_context.map_or(context, |limit| limit.min(context)),
        )
    })
}

/// How the engine's replicas are made up.
fn cluster_config(engine: &EngineSettings) -> ClusterConfig {
    let tensor_parallel = engine.parallel.tensor;
    ClusterConfig {
        replicas: engine.replicas.count,
        router: engine.replicas.router,
        tensor_parallel,
        expert_parallel: if engine.parallel.expert { tensor_parallel * engine.parallel.data } else { 1 },
        data_parallel: engine.parallel.data,
        eager: !engine.cuda_graphs,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;
    use crate::progress::Silent;
    use crate::source::Network;
    use crate::spec::Loaded;
    use crate::store::{DigestCache, Memo};

    const TINY: &str = r#"experiment "tiny" {
    seed 7
    model "qwen3-tiny"
    workload "few" {
        requests 3
        lengths "uniform" min=12 max=40
        arrivals "poisson" qps=50
    }
    backend "sarathi" chunk-size=16 max-batch-size=4 kv-memory="4MiB"
}"#;

    fn resolved(text: &str, root: &Path, previous: Option<&Lock>) -> Resolved {
        let Loaded { experiment, cells, .. } = spec::load_text("tiny.kdl", text, &[]).unwrap();
        let pin = SpecPin {
            path: "experiments/tiny.kdl".to_owned(),
            sha256: Digest::of_json(&experiment),
            presets: Vec::new(),
            overrides: Vec::new(),
        };
        let (digests, memo) = (DigestCache::default(), Memo::default());
        let access = Access {
            inputs: root,
            digests: &digests,
            memo: &memo,
            network: Network::Offline,
            progress: &Silent,
        };
        resolve(&experiment, cells, pin, VERSIONS, previous, &access).unwrap()
    }

    const VERSIONS: Versions = Versions { metrics: 1, workload: 1, engine: 1, simulator: 1 };

    /// The text of a lock of one run.
    pub(in crate::lock) fn tiny_lock() -> String {
        static TEXT: LazyLock<String> = LazyLock::new(|| resolved(TINY, Path::new("."), None).lock.to_kdl());
        TEXT.clone()
    }

    #[test]
    fn a_run_is_named_by_its_settings_in_any_order() {
        let pin = |path: &str, value: Value| SetPin { path: path.to_owned(), value };
        let (qps, chunk) = (pin("workload.arrivals.qps", json!(2)), pin("backend.a.chunk-size", json!(8)));
        let one = run_id("x", &[qps.clone(), chunk.clone()]);
        assert_eq!(one, run_id("x", &[chunk.clone(), qps.clone()]));
        assert_ne!(one, run_id("x", &[chunk]));
        assert_eq!(run_id("x", &[]), "x");
    }

    #[test]
    fn a_bundle_is_kept_while_the_experiment_simulates_from_it() {
        let with = |profile: &str| {
            let sim = format!("backend \"vidur\" {{ profile \"{profile}\"; }}\n}}");
            TINY.trim_end_matches('}').to_owned() + &sim
        };
        let root = Path::new(".");
        let mut before = resolved(&with("auto"), root, None).lock;
        let digest = Digest::of("bundle");
        before.bundle = Some(crate::lock::BundlePin {
            path: "profiles/a".to_owned(),
            sha256: digest,
            fingerprint: digest,
            hardware: Vec::new(),
            files: Vec::new(),
        });
        let kept = |text: &str| resolved(text, root, Some(&before)).lock.bundle.is_some();
        assert!(kept(&with("auto")) && kept(&with("profiles/a")));
        assert!(!kept(&with("profiles/b")) && !kept(TINY));
    }

    #[test]
    fn one_file_of_lengths_and_arrivals_is_pinned_once() {
        let dir = tempfile::tempdir().unwrap();
        let trace = "num_prefill_tokens,num_decode_tokens,inter_arrival_ns\n3,4,5\n6,7,8\n";
        std::fs::write(dir.path().join("t.csv"), trace).unwrap();
        let text = TINY
            .replace("lengths \"uniform\" min=12 max=40", "lengths \"trace\" \"t.csv\"")
            .replace("arrivals \"poisson\" qps=50", "arrivals \"trace\" \"t.csv\"");
        let lock = resolved(&text, dir.path(), None).lock;
        assert_eq!(lock.runs[0].workload.files.len(), 1);
        assert_eq!(crate::lock::parse(Path::new("x"), &lock.to_kdl()).unwrap(), lock);
    }

    #[test]
    fn traces_too_may_not_hold_more_than_memory() {
        assert!(within_memory(MAX_MATRIX_REQUESTS).is_ok());
        assert!(matches!(within_memory(MAX_MATRIX_REQUESTS + 1), Err(ResolveError::TooManyRequests { .. })));
    }
}
