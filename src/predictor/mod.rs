//! Step → duration, from a bundle.

mod curve;
mod grid;
mod interpolate;
pub mod kernels;
pub mod regression;
pub mod vidur;

pub use interpolate::Interpolate;

use crate::scheduler::Batch;

/// How long a step takes.
pub trait Predictor: Send + Sync {
    /// Duration of the step, ns, from the moment it is formed to the moment its tokens are out.
    fn step_ns(&self, batch: &Batch) -> u64;
}

/// A bundle cannot predict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum PredictorError {
    /// An operator that every step has was not measured.
    #[error("the bundle has no durations of {op}")]
    #[diagnostic(code(xp::predictor::op), help("measure a new bundle with `xp profile`"))]
    NoOp { op: String },
}
