//! Step → duration, from a bundle.

mod after_chunk;
mod beside_chunk;
mod curve;
mod drifted;
mod grid;
mod interpolate;
pub mod kernels;
mod overhead;
mod padded;
mod pause;
pub mod regression;
pub mod vidur;

pub use drifted::Drifted;
pub use interpolate::Interpolate;
pub use overhead::WithOverhead;
pub use padded::PaddedSteps;

use crate::scheduler::Batch;

/// Where in a deployment a batch is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Pipeline stage, from 0.
    pub stage: u32,
    /// The stage is the last one.
    pub is_last: bool,
    /// Tokens of the step on all data-parallel ranks together, and on the one that has most.
    pub group_tokens: u64,
    pub group_most: u32,
    /// How long the stage had nothing to do before, ns.
    pub idle_ns: u64,
    /// Which step it is after the stage's last one with a prefill chunk, from 1; 0 if there was none.
    pub steps_since_chunk: u32,
    /// When it starts, ns from run start.
    pub now_ns: u64,
}

impl Place {
    /// Of a batch that is a step of its own on a single stage.
    pub fn whole(batch: &Batch, idle_ns: u64, now_ns: u64) -> Self {
        let tokens = batch.num_tokens();
        Self {
            stage: 0,
            is_last: true,
            group_tokens: u64::from(tokens),
            group_most: tokens,
            idle_ns,
            steps_since_chunk: 0,
            now_ns,
        }
    }
}

/// Counts the steps of a stage since its last one with a prefill chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinceChunk(u32);

impl SinceChunk {
    /// Which step after that one the next will be, from 1; 0 if there was none.
    pub fn next(self) -> u32 {
        self.0
    }

    /// The stage has computed a batch.
    pub fn add(&mut self, batch: &Batch) {
        self.0 = match (batch.chunks.is_empty(), self.0) {
            (false, _) => 1,
            (true, 0) => 0,
            (true, steps) => steps.saturating_add(1),
        };
    }
}

/// How long a step takes.
pub trait Predictor: Send + Sync {
    /// Duration of the step, ns, from the moment it is formed to the moment its tokens are out.
    fn step_ns(&self, batch: &Batch) -> u64;

    /// Duration of one pipeline stage of the step, ns, with the sending of what it yields unless it is the last.
    fn stage_ns(&self, batch: &Batch, _place: &Place) -> u64 {
        self.step_ns(batch)
    }
}

impl<P: Predictor + ?Sized> Predictor for Box<P> {
    fn step_ns(&self, batch: &Batch) -> u64 {
        (**self).step_ns(batch)
    }

    fn stage_ns(&self, batch: &Batch, place: &Place) -> u64 {
        (**self).stage_ns(batch, place)
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
