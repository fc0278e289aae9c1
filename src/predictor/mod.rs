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

    /// Duration of one pipeline stage of the step, ns, with the sending of what it yields unless it is the last.
    fn stage_ns(&self, batch: &Batch, _stage: u32, _is_last: bool) -> u64 {
        self.step_ns(batch)
    }
}

/// A bundle cannot predict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum PredictorError {
    /// An operator that every step has was not measured.
    #[error("the bundle has no durations of {op}")]
    #[diagnostic(code(xp::predictor::op), help("measure a new bundle with `xp profile`"))]
    NoOp { op: String },
}
