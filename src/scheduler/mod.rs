//! Batch policies and the KV block manager: pure, deterministic state
//! machines without I/O and without a clock of their own.
//!
//! The real engine drives a scheduler with a wall clock and a candle executor,
//! the simulator drives *the same code* with a virtual clock and a predicted
//! executor (`drive/` is that one loop).
//!
//! | file | holds |
//! |---|---|
//! | `config.rs` | what a scheduler depends on |
//! | `batch.rs` | what one step computes |
//! | `kv_blocks.rs` | which KV blocks hold which request's tokens |
//! | `replica.rs` | what all policies share: queue, admission, preemption, token counts; *read this first* |
//! | `sarathi.rs` | a policy: who goes next |
//!
//! # Adding a policy
//!
//! 1. Write `<name>.rs` with a struct that owns a [`Replica`] and implements
//!    [`Scheduler`]. All methods but [`schedule`](Scheduler::schedule) pass on
//!    to the replica, as in `sarathi.rs`. `schedule` clears the batch and then
//!    calls, in the policy's order and for any running request at most once:
//!    [`Replica::decode`] (1 token), [`Replica::prefill`] (a chunk), and
//!    [`Replica::admit`] (the next of the queue becomes a running request, which
//!    may prefill at once). Each of them checks memory and writes the share.
//!    A policy that counts tokens keeps its own budget.
//! 2. Add a variant to [`Policy`] with its paper, and an arm to [`build`].
//! 3. Add the variant to `POLICIES` in `drive/properties.rs`: random workloads, with
//!    tight memory and without, then check that no token is lost or computed
//!    twice, that limits hold, that no block has two owners, that nobody
//!    overtakes, and that the run ends. A rule the new policy does not mean to
//!    keep (decodes first, say) is named there and can be made conditional.
//! 4. Pin down each rule of the policy with a small case by hand, as the
//!    snapshots in `sarathi.rs` do; [`Batch`] prints as `d0 d1 p2[16..32]*`.

mod batch;
mod config;
mod kv_blocks;
mod replica;
mod sarathi;

pub use batch::{Batch, BatchEntry, Rejected};
pub use config::{Policy, SchedulerConfig};
pub use kv_blocks::KvBlocks;
pub use replica::Replica;
pub use sarathi::Sarathi;

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
    /// than the context or than the whole KV cache. Each id comes once; ids
    /// are dense, since memory grows with the largest.
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

/// The scheduler a configuration names, idle.
pub fn build(config: &SchedulerConfig) -> Box<dyn Scheduler> {
    match config.policy {
        Policy::Sarathi => Box::new(Sarathi::new(config)),
    }
}
