//! Step → duration, from a bundle.
//! SKELETON.
#![allow(unused_variables)]
use crate::profile::Bundle;
use crate::scheduler::Batch;

/// How long a step takes.
pub trait Predictor: Send + Sync {
    /// Duration of the step, ns.
    fn step_ns(&self, batch: &Batch) -> u64;
}

#[derive(Debug)]
pub struct Interpolate {}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct PredictorError {}

impl Interpolate {
    pub fn new(bundle: &Bundle) -> Result<Self, PredictorError> {
        todo!()
    }
}

impl Predictor for Interpolate {
    fn step_ns(&self, batch: &Batch) -> u64 {
        todo!()
    }
}
