//! What the scheduler costs: the engine's own loop over a machine that does nothing.

use std::convert::Infallible;
use std::time::Instant;

use super::plan::Limits;
use crate::drive::{Machine, drive};
use crate::progress::Silent;
use crate::scheduler::{self, Batch, Policy, Scheduler, SchedulerConfig};
use crate::workload::{Workload, WorkloadRequest};

/// Time stands still and work is free: what is left of a run is scheduling.
struct Idle;

impl Machine for Idle {
    type Error = Infallible;

    fn now_ns(&mut self) -> u64 {
        0
    }

    fn wait_until(&mut self, _time_ns: u64) {}

    fn execute(&mut self, _batch: &Batch, _scheduler: &dyn Scheduler) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Output tokens of each request: steps over which the cost is averaged.
const STEPS: u32 = 64;

/// Mean time that forming, completing and logging a step of `batch_size` decodes takes, ns.
pub(super) fn schedule_ns(limits: &Limits, batch_size: u32) -> f64 {
    let kv_blocks = batch_size.saturating_mul((STEPS + 2).div_ceil(limits.block_size) + 1);
    let config = SchedulerConfig::new(
        Policy::Sarathi,
        (batch_size.max(limits.chunk_size), batch_size),
        (limits.block_size, kv_blocks, 0),
        STEPS + 2,
    );
    let request = WorkloadRequest {
        prompt_id: 0,
        num_prefill_tokens: 1,
        num_decode_tokens: STEPS,
        inter_arrival_ns: 0,
        arrival_time_ns: 0,
    };
    let workload = Workload { requests: vec![request; batch_size as usize], ..Workload::default() };
    let mut scheduler = scheduler::build(&config);
    let started = Instant::now();
    let Ok(record) = drive(scheduler.as_mut(), &workload, None, &mut Idle, &Silent);
    started.elapsed().as_nanos() as f64 / record.steps.len().max(1) as f64
}
