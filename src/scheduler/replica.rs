//! What every policy does the same way: the requests of one replica, their
//! queue, and the accounting of tokens and KV blocks. A policy (such as
//! [`Sarathi`](super::Sarathi)) decides only who goes next.
//!
//! # A request's life
//!
//! ```text
//!            admit               prefill … prefill      decode … decode
//! waiting ─────────────▶ running ────────────────────────────────────▶ finished
//!    ▲   blocks for the          emits with its last     emits each
//!    │   whole target            chunk                      │
//!    └──────────────── preempt: blocks freed, context 0 ────┘
//! ```
//!
//! *Context* is the number of the request's tokens whose keys and values are in
//! the KV cache; its *target* is the context at which prefill ends. For a new
//! request the target is the prompt's length P. The step that completes it
//! emits the first output token, so a request that has generated g tokens
//! decodes at context P + g − 1: the newest token is the step's input and
//! enters the cache with it. A request of P prompt and D output tokens
//! therefore never caches more than P + D − 1 tokens.
//!
//! # KV blocks
//!
//! Admission takes the blocks of the whole target at once, ⌈target / block size⌉,
//! so prefill never waits for memory. Decode takes one more block when its
//! token does not fit those it has. A running request holds
//! ⌈max(target, context) / block size⌉ blocks; a waiting or finished one none.
//!
//! Admission leaves the watermark free, unless nothing is running: then there is
//! nobody to protect from preemption, and waiting for memory would never end.
//!
//! # Preemption is recompute
//!
//! A preempted request loses its blocks and returns to the front of the queue.
//! What it generated is kept and was already emitted: its new target is P + g,
//! prompt and generated tokens are prefilled again as one sequence, and the
//! chunk that reaches the target emits output token g + 1. A request preempted
//! during such a recompute keeps its target.
//!
//! The victim is always the request admitted last. Because it goes to the front
//! of the queue and admission takes from there, the running requests in order
//! of admission followed by the waiting ones are always in order of arrival.

use std::collections::VecDeque;

use super::{Batch, BatchEntry, KvBlocks, Rejected, RequestId, SchedulerConfig};

/// Where a request stands; all in tokens.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Context at which prefill ends and the next output token is emitted.
    target: u32,
    /// Tokens in the KV cache.
    context: u32,
    /// Tokens that the request's blocks have room for.
    capacity: u32,
    /// Output tokens still to be emitted.
    remaining: u32,
}

/// The requests of one replica and its KV blocks. Everything is indexed by
/// request id, so memory grows with the largest id.
#[derive(Debug)]
pub struct Replica {
    max_batch_size: usize,
    max_context: u32,
    kv: KvBlocks,
    states: Vec<State>,
    /// In order of admission.
    running: Vec<RequestId>,
    waiting: VecDeque<RequestId>,
}

impl Replica {
    /// An idle replica.
    pub fn new(config: &SchedulerConfig) -> Self {
        Self {
            max_batch_size: config.max_batch_size as usize,
            max_context: config.max_context,
            kv: KvBlocks::new(config.kv_blocks, config.block_size, config.watermark_blocks),
            states: Vec::new(),
            running: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Queues a request, or says why it can never run. See [`Scheduler::add`](super::Scheduler::add).
    pub fn add(&mut self, request: RequestId, prefill: u32, decode: u32) -> Result<(), Rejected> {
        if prefill == 0 || decode == 0 {
            return Err(Rejected::Empty);
        }
        let tokens = prefill.saturating_add(decode);
        if u64::from(prefill) + u64::from(decode) > u64::from(self.max_context) {
            return Err(Rejected::TooLong { tokens, max_context: self.max_context });
        }
        // The last output token is never an input and needs no place in the cache.
        let needed = self.kv.blocks_for(tokens - 1);
        if needed > self.kv.total() {
            return Err(Rejected::TooManyBlocks { needed, available: self.kv.total() });
        }
        let index = request as usize;
        if index >= self.states.len() {
            self.states.resize(index + 1, State::default());
        }
        self.states[index] = State { target: prefill, context: 0, capacity: 0, remaining: decode };
        self.waiting.push_back(request);
        Ok(())
    }

    /// Running requests in order of admission.
    #[inline]
    pub fn running(&self) -> &[RequestId] {
        &self.running
    }

    /// Number of queued requests, preempted ones included.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The KV blocks, to look at.
    pub fn kv(&self) -> &KvBlocks {
        &self.kv
    }

    /// Whether the running request has prefill to do, of its prompt or of a recompute.
    #[inline]
    pub fn is_prefilling(&self, request: RequestId) -> bool {
        let state = &self.states[request as usize];
        state.context < state.target
    }

    /// Starts the first waiting request if there is a place for it in the batch and blocks for its
    /// whole target above the watermark. Nobody overtakes it: when it does not fit, nobody does.
    pub fn admit(&mut self) -> Option<RequestId> {
        let &request = self.waiting.front()?;
        if self.running.len() >= self.max_batch_size {
            return None;
        }
        let state = &mut self.states[request as usize];
        let needed = self.kv.blocks_for(state.target);
        if !(self.running.is_empty() || self.kv.fits_above_watermark(needed))
            || !self.kv.allocate(request, needed)
        {
            return None;
        }
        state.capacity = needed.saturating_mul(self.kv.block_size());
        self.waiting.pop_front();
        self.running.push(request);
        Some(request)
    }

    /// Adds the request's next chunk of at most `budget` tokens (at least 1) to the batch; returns
    /// its length. Only for a running request with prefill to do.
    pub fn prefill(&mut self, request: RequestId, budget: u32, batch: &mut Batch) -> u32 {
        let state = &self.states[request as usize];
        debug_assert!(budget > 0 && state.context < state.target);
        let left = state.target - state.context;
        let tokens = left.min(budget);
        batch.entries.push(BatchEntry {
            request,
            tokens,
            context: state.context,
            is_prefill: true,
            emits: tokens == left,
        });
        tokens
    }

    /// Adds the request's next output token to the batch. If that takes a block and none is free,
    /// running requests are preempted, the one admitted last first, until one is; false when that
    /// took the request itself. Only for a running request without prefill to do, and in order of
    /// admission: who is in the batch already must not be a victim.
    #[inline]
    pub fn decode(&mut self, request: RequestId, batch: &mut Batch) -> bool {
        let state = &self.states[request as usize];
        debug_assert!(state.context >= state.target);
        let context = state.context;
        if context == state.capacity && !self.grow(request, batch) {
            return false;
        }
        batch.entries.push(BatchEntry { request, tokens: 1, context, is_prefill: false, emits: true });
        true
    }

    /// One more block for a running request, from a victim if need be. False when it was its own victim.
    fn grow(&mut self, request: RequestId, batch: &mut Batch) -> bool {
        while !self.kv.allocate(request, 1) {
            if self.preempt_last(batch).is_none_or(|victim| victim == request) {
                return false;
            }
        }
        let state = &mut self.states[request as usize];
        state.capacity = state.capacity.saturating_add(self.kv.block_size());
        true
    }

    /// Sends the request admitted last back to the front of the queue, without its blocks.
    fn preempt_last(&mut self, batch: &mut Batch) -> Option<RequestId> {
        let victim = self.running.pop()?;
        debug_assert!(batch.entries.iter().all(|entry| entry.request != victim), "a victim in the batch");
        let state = &mut self.states[victim as usize];
        // In decode, P + g is one more than the context; a prefill starts over with its old target.
        state.target = state.target.max(state.context + 1);
        state.context = 0;
        state.capacity = 0;
        self.kv.release(victim);
        self.waiting.push_front(victim);
        batch.preempted.push(victim);
        Some(victim)
    }

    /// The batch was executed. See [`Scheduler::complete`](super::Scheduler::complete).
    pub fn complete(&mut self, batch: &Batch, finished: &mut Vec<RequestId>) {
        let before = finished.len();
        for entry in &batch.entries {
            let state = &mut self.states[entry.request as usize];
            debug_assert_eq!(state.context, entry.context, "completed twice");
            state.context += entry.tokens;
            if entry.emits {
                state.remaining -= 1;
                if state.remaining == 0 {
                    self.kv.release(entry.request);
                    finished.push(entry.request);
                }
            }
        }
        if finished.len() > before {
            let states = &self.states;
            self.running.retain(|request| states[*request as usize].remaining > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Policy;

    fn replica(max_context: u32, kv_blocks: u32, block_size: u32) -> Replica {
        Replica::new(&SchedulerConfig {
            policy: Policy::Sarathi,
            chunk_size: 8,
            max_batch_size: 4,
            block_size,
            kv_blocks,
            watermark_blocks: 0,
            max_context,
        })
    }

    #[test]
    fn refuses_what_can_never_run() {
        let mut replica = replica(100, 5, 16);
        assert_eq!(replica.add(0, 0, 5), Err(Rejected::Empty));
        assert_eq!(replica.add(0, 5, 0), Err(Rejected::Empty));
        assert_eq!(replica.add(0, 60, 41), Err(Rejected::TooLong { tokens: 101, max_context: 100 }));
        let huge = Rejected::TooLong { tokens: u32::MAX, max_context: 100 };
        assert_eq!(replica.add(0, u32::MAX, u32::MAX), Err(huge));
        // 5 blocks hold 80 tokens; of 70 + 12 the last is never cached.
        assert_eq!(replica.add(0, 70, 12), Err(Rejected::TooManyBlocks { needed: 6, available: 5 }));
        assert_eq!(replica.add(0, 70, 11), Ok(()));
        assert_eq!(replica.num_waiting(), 1);
    }

    #[test]
    fn refuses_all_when_there_is_no_cache() {
        for (kv_blocks, block_size) in [(0, 16), (5, 0), (u32::MAX, 0)] {
            let refused = replica(100, kv_blocks, block_size).add(0, 1, 1);
            assert!(matches!(refused, Err(Rejected::TooManyBlocks { available: 0, .. })), "{refused:?}");
        }
    }

    #[test]
    fn the_longest_request_of_all_fits_the_arithmetic() {
        let mut replica = replica(u32::MAX, 3, u32::MAX);
        assert_eq!(replica.add(0, u32::MAX - 1, 1), Ok(()));
        assert_eq!(replica.admit(), Some(0));
        let (mut batch, mut finished) = (Batch::default(), Vec::new());
        assert_eq!(replica.prefill(0, u32::MAX, &mut batch), u32::MAX - 1);
        replica.complete(&batch, &mut finished);
        assert_eq!((finished, replica.kv().used()), (vec![0], 0));
    }
}
