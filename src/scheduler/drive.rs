//! SKELETON: the one loop of engine and simulator.
#![allow(unused_variables)]
use super::{Batch, Scheduler, SchedulerConfig};
use crate::metrics::RunRecord;
use crate::progress::Progress;
use crate::workload::Workload;

/// What executes batches: a clock and hands.
pub trait Machine {
    type Error;
    /// Now, ns from run start.
    fn now_ns(&mut self) -> u64;
    /// Lets time pass until `time_ns`, the next arrival.
    fn wait_until(&mut self, time_ns: u64);
    /// Executes a batch; on return its time has passed. Blocks of its requests are `scheduler.blocks(id)`.
    fn execute(&mut self, batch: &Batch, scheduler: &dyn Scheduler) -> Result<(), Self::Error>;
    /// The request is finished; whatever is kept for it may go.
    fn finished(&mut self, request: super::RequestId) {}
}

/// Serves a workload to its end.
pub fn drive<M: Machine>(
    scheduler: &mut dyn Scheduler,
    workload: &Workload,
    machine: &mut M,
    progress: &dyn Progress,
) -> Result<RunRecord, M::Error> {
    todo!()
}

/// The scheduler a configuration names.
pub fn build(config: &SchedulerConfig) -> Box<dyn Scheduler> {
    todo!()
}
