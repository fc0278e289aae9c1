//! Batch policies and the KV block manager: pure, deterministic state
//! machines without I/O and without a clock of their own.
//!
//! The real engine drives a scheduler with a wall clock and a candle executor,
//! the simulator drives *the same code* with a virtual clock and a predicted
//! executor ([`drive`] is that one loop).

mod batch;
mod config;
mod drive;

pub use batch::{Batch, BatchEntry, Rejected};
pub use config::{Policy, SchedulerConfig};
pub use drive::{Machine, build, drive};

/// Index of a request: its row in `trace_lengths.csv`, from 0.
pub type RequestId = u32;

/// A batch policy over one replica's KV blocks.
///
/// Calls alternate: any number of [`add`](Scheduler::add), then
/// [`schedule`](Scheduler::schedule), and, when the batch was executed,
/// [`complete`](Scheduler::complete). A batch must be completed before the
/// next is formed.
pub trait Scheduler: Send {
    /// A request arrives with its prompt length and the number of tokens to
    /// generate (at least one each). Refused when it can never run: longer
    /// than the context or than the whole KV cache.
    fn add(&mut self, request: RequestId, prefill_tokens: u32, decode_tokens: u32) -> Result<(), Rejected>;

    /// Forms the next batch into `batch` (cleared first). An empty batch means
    /// that nothing can run until a request arrives.
    fn schedule(&mut self, batch: &mut Batch);

    /// The batch was executed: tokens are counted, finished requests freed.
    /// Their ids are appended to `finished` in batch order.
    fn complete(&mut self, batch: &Batch, finished: &mut Vec<RequestId>);

    /// KV blocks that hold a running request's tokens, in order. Empty for a
    /// request that holds none.
    fn blocks(&self, request: RequestId) -> &[u32];

    /// Requests admitted and not finished.
    fn num_running(&self) -> usize;

    /// Requests queued, preempted ones included.
    fn num_waiting(&self) -> usize;

    /// KV blocks in use.
    fn blocks_used(&self) -> u32;
}
