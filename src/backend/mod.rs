//! What serves a workload: one trait, one file per backend.

mod candle;
mod predict;
mod recorded;
mod sim;
mod transformers;
mod vidur;

pub use candle::CandleRunner;
pub use predict::{predictor, read_profile};
pub(crate) use recorded::parse_recording;
pub use recorded::{RecordedRunner, RecordingError};
pub use sim::SimRunner;
pub use transformers::TransformersRunner;
pub use vidur::trained_files;

use crate::lock::{ModelPin, RunPin};
use crate::metrics::{METRICS_VERSION, RUN_FORMAT, RunKind, RunMeta, RunRecord};
use crate::predictor::PredictorError;
use crate::predictor::kernels::KernelPredictorError;
use crate::predictor::regression::RegressionError;
use crate::predictor::vidur::VidurError;
use crate::profile::llmservingsim::KernelProfileError;
use crate::profile::vidur::VidurProfileError;
use crate::progress::Progress;
use crate::spec::{Dtype, Hardware};
use crate::worker::WorkerError;
use crate::workload::Workload;

/// What one run of a lock asks of a backend.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    pub run: &'a RunPin,
    pub workload: &'a Workload,
    pub model_name: &'a str,
    pub model: &'a ModelPin,
    pub dtype: Dtype,
    pub hardware: &'a Hardware,
    /// Which repeat of a measurement, from 0; 0 for a simulation.
    pub repeat: u32,
}

/// Serves a workload, really or simulated.
pub trait Backend {
    /// Serves all requests of the job and returns what happened to each.
    fn serve(&mut self, job: &Job<'_>, progress: &dyn Progress)
    -> Result<(RunRecord, RunMeta), BackendError>;
}

/// A backend could not serve.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum BackendError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] crate::engine::EngineError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Recording(#[from] RecordingError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Operators(#[from] PredictorError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Kernels(#[from] KernelPredictorError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    KernelProfile(#[from] KernelProfileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    VidurProfile(#[from] VidurProfileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Training(#[from] RegressionError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Vidur(#[from] VidurError),
    /// A predictor and a profile of another kind.
    #[error("the predictor cannot work: {why}")]
    #[diagnostic(code(xp::backend::predictor), help("{help}"))]
    Predictor { why: String, help: String },
}

/// What both kinds of run say of themselves; the machine's facts are the backend's to add.
fn meta(job: &Job<'_>, backend: &str, kind: RunKind, record: &RunRecord) -> RunMeta {
    RunMeta {
        format: RUN_FORMAT,
        xp_version: env!("CARGO_PKG_VERSION").to_owned(),
        metrics_version: METRICS_VERSION,
        run: None,
        kind,
        backend: backend.to_owned(),
        repeat: job.repeat,
        model: job.model_name.to_owned(),
        dtype: job.dtype,
        model_digest: job.model.sha256,
        workload_digest: job.run.workload.sha256,
        scheduler: job.run.scheduler.clone(),
        cluster: job.run.cluster.clone(),
        threads: job.hardware.threads,
        hardware: Vec::new(),
        fingerprint: None,
        reference_ns: None,
        speed: Vec::new(),
        worker: None,
        disturbed: None,
        requests_only: false,
        num_requests: record.requests.len() as u64,
        num_steps: record.steps.len() as u64,
        output_tokens: record
            .requests
            .iter()
            .map(|request| u64::from(request.num_decode_tokens_actual))
            .sum(),
        duration_ns: record.duration_ns(),
    }
}
