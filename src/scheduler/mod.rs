//! Batch policies and the KV block manager: pure, deterministic state
//! machines without I/O and without a clock of their own.
//!
//! The real engine drives a scheduler with a wall clock and a candle executor,
//! the simulator drives *the same code* with a virtual clock and a predicted
//! executor.
//!
//! | file | holds |
//! |---|---|
//! | `config.rs` | what a scheduler depends on |
//! | `cluster.rs` | how many there are, and how requests are shared out |
//! | `batch.rs` | what one step computes |
//! | `decodes.rs` | requests that decode in lockstep: why a step costs the same for one and for a thousand |
//! | `kv.rs`, `paged_kv.rs`, `prefix_cache.rs` | KV blocks, counted, told apart, or shared by prompts that begin alike |
//! | `replica.rs` | what all policies share: queue, admission, preemption, token counts; *read this first* |
//! | `router.rs` | which replica a request goes to |
//! | `paused.rs` | running requests between two steps |
//! | `sarathi.rs`, `vllm.rs`, … | policies: who goes next |
//!
//! # Adding a policy
//!
//! 1. Write `<name>.rs` with a struct that owns a [`Replica`] and implements
//!    [`Scheduler`]. All methods but [`schedule`](Scheduler::schedule) pass on
//!    to the replica, as in `sarathi.rs`. `schedule` clears the batch and then
//!    calls, in the policy's order: [`Replica::take_paused`] (1 token of each request in decode),
//!    [`Replica::prefill`] (a chunk of a request that runs), and
//!    [`Replica::admit`] (the next of the queue becomes a running request, which
//!    may prefill at once); [`Replica::seal`] ends it.
//!    A policy that counts tokens keeps its own budget.
//! 2. Add a variant to [`Policy`] with its paper, and an arm to `make`.
//! 3. `sim/properties.rs` runs every policy on random workloads and deployments:
//!    no token is lost or computed twice, times are causal, nobody starves. One
//!    that admits in order of arrival and preempts the last admitted joins
//!    `POLICIES` in `drive/properties.rs`, whose auditor knows these rules too.
//! 4. Pin down each rule of the policy with a small case by hand, as the
//!    snapshots in `sarathi.rs` do; [`Batch`] prints as `d0 d1 p2[16..32]*`.

mod batch;
mod cluster;
mod config;
mod decodes;
mod kv;
mod lightllm;
mod orca;
mod paged_kv;
mod paused;
mod prefix_cache;
mod replica;
mod router;
mod sarathi;
#[cfg(test)]
mod test_trace;
mod vllm;
mod vllm_v1;
mod whole_batch;

pub use batch::{Batch, BatchEntry, Chunk, Rejected};
pub use cluster::{ClusterConfig, RouterKind};
pub use config::{Compat, Policy, Quirks, SchedulerConfig};
pub use decodes::{DecodeGroup, Decodes};
pub use kv::{BlockCount, Cached, KvStore};
pub use paged_kv::KvBlocks;
pub use replica::Replica;
pub use router::{Load, Router};

/// Index of a request: its row in `trace_lengths.csv`, from 0.
pub type RequestId = u32;

/// A request that arrives at a scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    pub request: RequestId,
    /// Tokens of its prompt, at least 1.
    pub prefill_tokens: u32,
    /// Tokens to generate, at least 1.
    pub decode_tokens: u32,
    /// Grows with the time of arrival and is equal for equal times: the order in which policies that
    /// sort by arrival keep their requests.
    pub rank: u64,
    /// One id for each full KV block of the prompt, chained: equal ids mean prompts that are equal up to
    /// and with that block. Empty where nothing is known.
    pub prefix: &'a [u64],
}

impl Arrival<'_> {
    /// What any policy refuses: nothing to do, or more than the context.
    fn check(&self, max_context: u32) -> Result<(), Rejected> {
        let (prefill, decode) = (self.prefill_tokens, self.decode_tokens);
        if prefill == 0 || decode == 0 {
            return Err(Rejected::Empty);
        }
        if u64::from(prefill) + u64::from(decode) > u64::from(max_context) {
            return Err(Rejected::TooLong { tokens: prefill.saturating_add(decode), max_context });
        }
        Ok(())
    }
}

/// A batch policy over one replica's KV blocks.
///
/// Batches are completed in the order in which they were formed, and no more than
/// [`depth`](SchedulerConfig::depth) are under way at a time.
pub trait Scheduler: Send {
    /// A request arrives. Refused when it can never run: longer
    /// than the context or than the whole KV cache. An id must not come again before it is
    /// finished; ids are dense, since memory grows with the largest.
    fn add(&mut self, arrival: &Arrival<'_>) -> Result<(), Rejected>;

    /// Forms the next batch into `batch` (cleared first). An empty batch means
    /// that nothing can run until a request arrives or a batch under way is complete; it needs no
    /// completion.
    fn schedule(&mut self, batch: &mut Batch);

    /// The batch was executed: tokens are counted, finished requests freed.
    /// Their ids are appended to `finished` in batch order. Clears the batch.
    fn complete(&mut self, batch: &mut Batch, finished: &mut Vec<RequestId>);

    /// KV blocks that hold a running request's tokens, in order, those of the batches under way
    /// included. Empty for a request that holds none, and where blocks are only counted.
    fn blocks(&self, request: RequestId) -> &[u32];

    /// Requests admitted and not finished.
    fn num_running(&self) -> usize;

    /// Requests queued, preempted ones included.
    fn num_waiting(&self) -> usize;

    /// KV blocks in use.
    fn blocks_used(&self) -> u32;

    /// Tokens of a prompt with these block ids that are in the prefix cache.
    fn cached_prefix(&self, _prefix: &[u64]) -> u32 {
        0
    }
}

/// The scheduler a configuration names, idle, with KV blocks that can be computed with.
pub fn build(config: &SchedulerConfig) -> Box<dyn Scheduler> {
    make(config, KvBlocks::new(config.kv_blocks, config.block_size))
}

/// The same scheduler, deciding the same, where nobody asks which block is whose: for a simulation.
pub fn build_counted(config: &SchedulerConfig) -> Box<dyn Scheduler> {
    make(config, BlockCount::new(config.kv_blocks, config.block_size))
}

fn make<K: KvStore + 'static>(config: &SchedulerConfig, kv: K) -> Box<dyn Scheduler> {
    match config.policy {
        Policy::Sarathi => Box::new(sarathi::Sarathi::new(config, kv)),
        Policy::VllmV1 if config.prefix_caching => {
            let kv = prefix_cache::PrefixCache::new(config.kv_blocks, config.block_size);
            Box::new(vllm_v1::VllmV1::new(config, kv))
        }
        Policy::VllmV1 => Box::new(vllm_v1::VllmV1::new(config, kv)),
        Policy::Vllm => Box::new(vllm::Vllm::new(config, kv)),
        Policy::Orca => Box::new(orca::Orca::new(config, kv)),
        Policy::Lightllm => Box::new(lightllm::Lightllm::new(config, kv)),
        Policy::FasterTransformer | Policy::Static => Box::new(whole_batch::WholeBatch::new(config, kv)),
    }
}
