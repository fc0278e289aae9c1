//! What serves a workload: one trait, one file per backend.

mod candle;
mod sim;

pub use candle::CandleRunner;
pub use sim::SimRunner;

use crate::lock::{ModelPin, RunPin};
use crate::metrics::{RunMeta, RunRecord};
use crate::progress::Progress;
use crate::spec::Dtype;
use crate::workload::Workload;

/// What one run of a lock asks of a backend.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    pub run: &'a RunPin,
    pub workload: &'a Workload,
    pub model_name: &'a str,
    pub model: &'a ModelPin,
    pub dtype: Dtype,
    pub threads: u32,
    /// Which repeat of a measurement, from 0; 0 for a simulation.
    pub repeat: u32,
}

/// Serves a workload, really or simulated.
pub trait Backend {
    /// Serves all requests of the job and returns what happened to each.
    fn serve(&mut self, job: &Job<'_>, progress: &dyn Progress) -> Result<(RunRecord, RunMeta), BackendError>;
}

/// A backend could not serve.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum BackendError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] crate::engine::EngineError),
}
