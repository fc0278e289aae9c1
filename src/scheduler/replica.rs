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
//! # Batches
//!
//! What a batch computes of a prompt is counted when it is formed: the request's state is that
//! after all batches it is in. A decode's is counted when its batch is complete. Until a batch is complete its requests are in it
//! and nowhere else (its decodes in a *lane*, since a pipeline has several
//! batches under way); then they are *paused* until the next is formed, in
//! the order in which they stood in their batches. Those whose last token it
//! yields give up their blocks when it is complete.
//!
//! # Preemption is recompute
//!
//! A preempted request loses its blocks and returns to the front of the queue.
//! What it generated is kept and was already emitted: its new target is P + g,
//! prompt and generated tokens are prefilled again as one sequence, and the
//! chunk that reaches the target emits output token g + 1. A request preempted
//! during such a recompute keeps its target.
//!
//! The victim is always the last of the paused requests, which with one batch at
//! a time is the request admitted last. Because it goes to the front
//! of the queue and admission takes from there, the running requests in order
//! of admission followed by the waiting ones are then always in order of arrival.

use std::collections::VecDeque;

use super::config::Quirks;
use super::decodes::{DecodeGroup, Decoding};
use super::kv::KvStore;
use super::paused::{First, Paused, Running};
use super::{Arrival, Batch, Chunk, Rejected, RequestId, SchedulerConfig};

/// Where a request stands; all in tokens. Of one in decode, `context` and `remaining` are those at its
/// last prefill's end, since its group counts for it.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Context at which prefill ends and the next output token is emitted.
    target: u32,
    /// Tokens in the KV cache.
    context: u32,
    /// Output tokens still to be emitted.
    remaining: u32,
    /// When it arrived, as far as order goes.
    rank: u64,
}

/// Blocks that a request gets when it is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reserve {
    /// Those of its target; more as it decodes.
    Target,
    /// Those of its prompt and output.
    Whole,
    /// So many, whatever its length.
    Slot(u32),
}

/// The requests of one replica and its KV blocks. Everything is indexed by
/// request id, so memory grows with the largest id.
#[derive(Debug)]
pub struct Replica<K> {
    max_batch_size: u32,
    micro_batch: usize,
    max_context: u32,
    watermark: u32,
    /// Longest prompt, where prompts are not split.
    max_prompt: Option<u32>,
    reserve: Reserve,
    pub(super) quirks: Quirks,
    kv: K,
    states: Vec<State>,
    waiting: VecDeque<RequestId>,
    /// Requests that hold memory.
    num_running: u32,
    pub(super) paused: Paused,
    /// Decodes of batches under way.
    lanes: Vec<Option<DecodeGroup>>,
    /// Groups without members.
    spare: Vec<DecodeGroup>,
    /// Decodes that ended with a batch: it has told of them.
    ended: Vec<RequestId>,
}

impl<K: KvStore> Replica<K> {
    /// An idle replica.
    pub fn new(config: &SchedulerConfig, kv: K) -> Self {
        Self {
            max_batch_size: config.max_batch_size,
            micro_batch: config.micro_batch() as usize,
            max_context: config.max_context,
            watermark: config.watermark_blocks,
            max_prompt: None,
            reserve: Reserve::Target,
            quirks: config.compat.quirks(),
            kv,
            states: Vec::new(),
            waiting: VecDeque::new(),
            num_running: 0,
            paused: Paused::default(),
            lanes: Vec::new(),
            spare: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Refuses prompts longer than this.
    pub fn with_max_prompt(self, tokens: u32) -> Self {
        Self { max_prompt: Some(tokens), ..self }
    }

    /// Reserves this many blocks for every request, whatever its length, from admission to end.
    pub fn with_slots(self, blocks: u32) -> Self {
        Self { reserve: Reserve::Slot(blocks.max(1)), ..self }
    }

    /// Reserves the blocks of its prompt and output for every request.
    pub fn with_whole_requests(self) -> Self {
        Self { reserve: Reserve::Whole, ..self }
    }

    /// Queues a request, or says why it can never run. See [`Scheduler::add`](super::Scheduler::add).
    pub fn add(&mut self, arrival: &Arrival<'_>) -> Result<(), Rejected> {
        let (prefill, decode) = (arrival.prefill_tokens, arrival.decode_tokens);
        arrival.check(self.max_context)?;
        let tokens = prefill + decode;
        if let Some(chunk_size) = self.max_prompt
            && prefill > chunk_size
        {
            return Err(Rejected::PromptTooLong { tokens: prefill, chunk_size });
        }
        // The last output token is never an input and needs no place in the cache.
        let needed = match self.reserve {
            Reserve::Slot(blocks) => blocks,
            Reserve::Whole | Reserve::Target => self.kv.blocks_for(tokens - 1),
        };
        if needed > self.kv.total() {
            return Err(Rejected::TooManyBlocks { needed, available: self.kv.total() });
        }
        let index = arrival.request as usize;
        if index >= self.states.len() {
            self.states.resize(index + 1, State::default());
        }
        self.states[index] = State { target: prefill, context: 0, remaining: decode, rank: arrival.rank };
        self.waiting.push_back(arrival.request);
        Ok(())
    }

    /// Requests admitted and not finished.
    #[inline]
    pub fn num_running(&self) -> usize {
        self.num_running as usize
    }

    /// Number of queued requests, preempted ones included.
    #[inline]
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The KV blocks, to look at.
    pub fn kv(&self) -> &K {
        &self.kv
    }

    /// Requests in one batch at most.
    #[inline]
    pub fn micro_batch(&self) -> usize {
        self.micro_batch
    }

    /// Prompt tokens that the request has yet to compute, or to compute again.
    #[inline]
    pub fn prefill_left(&self, request: RequestId) -> u32 {
        let state = &self.states[request as usize];
        state.target - state.context
    }

    /// Output tokens that a waiting or prefilling request has yet to emit.
    pub fn remaining(&self, request: RequestId) -> u32 {
        self.states[request as usize].remaining
    }

    /// The first of the queue.
    #[inline]
    pub fn next_waiting(&self) -> Option<RequestId> {
        self.waiting.front().copied()
    }

    /// Whether there is a place among the running and are blocks for the first of the queue: for its
    /// whole target above the watermark, or for its slot.
    pub fn can_admit(&self) -> bool {
        let Some(&request) = self.waiting.front() else { return false };
        let needed = self.needed(request);
        if self.reserve != Reserve::Target {
            return needed <= self.kv.free();
        }
        if self.num_running >= self.max_batch_size {
            return false;
        }
        let idle = self.num_running == 0 && !self.quirks.watermark_binds_idle;
        let watermark = if idle { 0 } else { u64::from(self.watermark) };
        u64::from(needed) + watermark <= u64::from(self.kv.free())
    }

    /// Starts the first of the queue. Only if [`can_admit`](Self::can_admit). Nobody overtakes it:
    /// when it does not fit, nobody does.
    pub fn admit(&mut self) -> Option<RequestId> {
        let request = self.waiting.pop_front()?;
        let needed = self.needed(request);
        let allocated = self.kv.allocate(request, needed);
        debug_assert!(allocated, "admitted without blocks");
        self.num_running += 1;
        Some(request)
    }

    /// Blocks that a waiting request gets when it is admitted.
    fn needed(&self, request: RequestId) -> u32 {
        let state = &self.states[request as usize];
        match self.reserve {
            Reserve::Target => self.kv.blocks_for(state.target),
            Reserve::Whole => self.kv.blocks_for(state.target.saturating_add(state.remaining - 1)),
            Reserve::Slot(blocks) => blocks,
        }
    }

    /// Blocks that the request holds when it runs, outside of a group or at its end.
    fn held(&self, request: RequestId) -> u32 {
        let state = &self.states[request as usize];
        match self.reserve {
            Reserve::Target | Reserve::Whole => self.kv.blocks_for(state.target.max(state.context)),
            Reserve::Slot(blocks) => blocks,
        }
    }

    /// Tokens in a block for the growth of decodes; 0 where they do not grow.
    fn growth_size(&self) -> u32 {
        if self.reserve == Reserve::Target { self.kv.block_size() } else { 0 }
    }

    /// Adds the request's next chunk of at most `budget` tokens (at least 1) to the batch; returns
    /// its length. Only for a running request with prefill to do.
    pub fn prefill(&mut self, request: RequestId, budget: u32, batch: &mut Batch) -> u32 {
        let state = &mut self.states[request as usize];
        debug_assert!(budget > 0 && state.context < state.target);
        let left = state.target - state.context;
        let tokens = left.min(budget);
        batch.chunks.push(Chunk { request, tokens, context: state.context, emits: tokens == left });
        state.context += tokens;
        if tokens == left {
            state.remaining -= 1;
        }
        tokens
    }

    /// A decode group without members.
    pub fn empty_group(&mut self) -> DecodeGroup {
        let block_size = self.growth_size();
        self.spare.pop().unwrap_or_else(|| DecodeGroup::new(block_size))
    }

    /// Takes paused requests, from the front, until the batch would have `room` shares: those in
    /// decode into the group that is returned, each with a block for its token, those in prefill into
    /// `prefills`. When a decode's token needs a block and none is free, paused requests are
    /// preempted, the last first, until one is; at worst the decode itself.
    pub fn take_paused(
        &mut self,
        room: usize,
        prefills: &mut Vec<RequestId>,
        batch: &mut Batch,
    ) -> DecodeGroup {
        let mut taken = self.empty_group();
        while taken.len() < room
            && let Some(first) = self.paused.pop_front()
        {
            match first {
                First::Prefill(request) => prefills.push(request),
                First::Decodes(group) => self.take_decodes(group, room, &mut taken, batch),
            }
        }
        taken
    }

    /// Takes all of a group at once where room and memory allow it without a further look.
    fn take_decodes(
        &mut self,
        mut group: DecodeGroup,
        room: usize,
        taken: &mut DecodeGroup,
        batch: &mut Batch,
    ) {
        let one_more = self.quirks.decode_wants_free_block && self.reserve == Reserve::Target;
        let wanted = group.growth() + u32::from(one_more);
        if taken.len() + group.len() > room || wanted > self.kv.free() {
            return self.take_decodes_singly(group, room, taken, batch);
        }
        self.kv.grow(&group);
        if taken.is_empty() {
            std::mem::swap(taken, &mut group);
        } else {
            group.drain().into_iter().for_each(|decoding| taken.push(decoding));
        }
        self.spare.push(group);
    }

    fn take_decodes_singly(
        &mut self,
        mut group: DecodeGroup,
        room: usize,
        taken: &mut DecodeGroup,
        batch: &mut Batch,
    ) {
        let mut rest: VecDeque<Decoding> = group.drain().into();
        while taken.len() < room
            && let Some(decoding) = rest.pop_front()
        {
            let grows = decoding.context.checked_rem(self.growth_size()) == Some(0);
            let one_more = self.quirks.decode_wants_free_block && self.reserve == Reserve::Target;
            let wanted = u32::from(grows || one_more);
            while self.kv.free() < wanted {
                let victim = self.paused.pop_back().or_else(|| rest.pop_back().map(Running::Decode));
                self.preempt(victim.unwrap_or(Running::Decode(decoding)), batch);
                if victim.is_none() {
                    break;
                }
            }
            // Whoever preempted itself holds nothing and is not taken.
            if batch.preempted.last() == Some(&decoding.request) && self.is_waiting_first(decoding.request) {
                continue;
            }
            if grows {
                let allocated = self.kv.allocate(decoding.request, 1);
                debug_assert!(allocated, "a decode without its block");
            }
            taken.push(decoding);
        }
        for decoding in rest {
            group.push(decoding);
        }
        if group.is_empty() {
            self.spare.push(group);
        } else {
            self.paused.push_front(group);
        }
    }

    fn is_waiting_first(&self, request: RequestId) -> bool {
        self.waiting.front() == Some(&request)
    }

    /// Sends a running request back to the front of the queue, without its blocks.
    fn preempt(&mut self, victim: Running, batch: &mut Batch) {
        let request = victim.request();
        let state = &mut self.states[request as usize];
        match victim {
            Running::Decode(decoding) => {
                state.context = decoding.context;
                state.remaining = decoding.remaining;
            }
            Running::Prefill(_) => {}
        }
        let held = self.held(request);
        let state = &mut self.states[request as usize];
        match victim {
            // Prompt and generated tokens, P + g, are one more than the context.
            Running::Decode(_) => state.target = state.context + 1,
            Running::Prefill(_) if self.quirks.preemption_cuts_prompts => {
                let cut = state.target - state.context;
                state.remaining += cut;
                state.target = state.context;
                batch.cut.push((request, cut));
            }
            Running::Prefill(_) => {}
        }
        state.context = 0;
        self.kv.release(request, held);
        self.num_running -= 1;
        self.waiting.push_front(request);
        batch.preempted.push(request);
    }

    /// Puts prefills that got no share back among the paused, and all of these in order of arrival.
    pub fn sort_paused(&mut self, prefills: &[RequestId]) {
        if prefills.is_empty() && self.paused.is_empty() {
            return;
        }
        let (states, block_size) = (&self.states, self.growth_size());
        self.paused.sort(prefills, |request| states[request as usize].rank, || DecodeGroup::new(block_size));
    }

    /// The batch is formed: decodes and chunks are under way.
    pub fn seal(&mut self, group: DecodeGroup, batch: &mut Batch) {
        batch.decodes = group.next_step();
        group.ending(&mut batch.ending);
        for chunk in &batch.chunks {
            if chunk.emits && self.states[chunk.request as usize].remaining == 0 {
                batch.ending.push(chunk.request);
            }
        }
        if batch.is_empty() {
            self.spare.push(group);
            return;
        }
        let lane = self.lanes.iter().position(Option::is_none).unwrap_or_else(|| {
            self.lanes.push(None);
            self.lanes.len() - 1
        });
        self.lanes[lane] = Some(group);
        batch.lane = lane as u32;
    }

    /// The batch was executed: requests that ended give up their blocks, the others are paused.
    /// Clears the batch. See [`Scheduler::complete`](super::Scheduler::complete).
    pub fn complete(&mut self, batch: &mut Batch, finished: &mut Vec<RequestId>) {
        let group = self.take_lane(batch);
        for &request in &batch.ending {
            self.release(request);
        }
        finished.extend_from_slice(&batch.ending);
        if group.is_empty() {
            self.spare.push(group);
        } else {
            self.paused.push_group(group);
        }
        for index in 0..batch.chunks.len() {
            let chunk = batch.chunks[index];
            if let Some(running) = self.after(&chunk) {
                let (block_size, spare) = (self.growth_size(), &mut self.spare);
                self.paused.push(running, || spare.pop().unwrap_or_else(|| DecodeGroup::new(block_size)));
            }
        }
        batch.clear();
    }

    /// The decodes of a batch under way, a step further and without those that end with it. Until then the group
    /// shares its members with the batch, so that neither copies them.
    pub fn take_lane(&mut self, batch: &mut Batch) -> DecodeGroup {
        // The batch gives up its view, so that the group need not copy its members to change them.
        batch.decodes = super::Decodes::default();
        let lane = self.lanes.get_mut(batch.lane as usize).and_then(Option::take);
        debug_assert!(lane.is_some() || batch.is_empty(), "completed twice");
        let Some(mut group) = lane else { return self.empty_group() };
        if !group.is_empty() {
            self.ended.clear();
            group.advance(&mut self.ended);
        }
        group
    }

    /// How a request goes on after a chunk; None when it ended with it.
    pub fn after(&self, chunk: &Chunk) -> Option<Running> {
        let state = &self.states[chunk.request as usize];
        let (request, context, remaining) = (chunk.request, state.context, state.remaining);
        match (chunk.emits, remaining) {
            (false, _) => Some(Running::Prefill(request)),
            (true, 0) => None,
            (true, _) => Some(Running::Decode(Decoding { request, context, remaining })),
        }
    }

    /// A request that ended gives up its blocks and its place.
    pub fn release(&mut self, request: RequestId) {
        let state = &mut self.states[request as usize];
        // Every decode since its last prefill put one token into the cache.
        state.context += state.remaining;
        state.remaining = 0;
        let held = self.held(request);
        self.kv.release(request, held);
        self.num_running -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{BlockCount, Policy};

    fn replica(max_context: u32, kv_blocks: u32, block_size: u32) -> Replica<BlockCount> {
        let config = SchedulerConfig::new(Policy::Sarathi, (8, 4), (block_size, kv_blocks, 0), max_context);
        Replica::new(&config, BlockCount::new(kv_blocks, block_size))
    }

    fn arrival(prefill_tokens: u32, decode_tokens: u32) -> Arrival<'static> {
        Arrival { request: 0, prefill_tokens, decode_tokens, rank: 0, prefix: &[] }
    }

    #[test]
    fn refuses_what_can_never_run() {
        let mut replica = replica(100, 5, 16);
        assert_eq!(replica.add(&arrival(0, 5)), Err(Rejected::Empty));
        assert_eq!(replica.add(&arrival(5, 0)), Err(Rejected::Empty));
        assert_eq!(replica.add(&arrival(60, 41)), Err(Rejected::TooLong { tokens: 101, max_context: 100 }));
        let huge = Rejected::TooLong { tokens: u32::MAX, max_context: 100 };
        assert_eq!(replica.add(&arrival(u32::MAX, u32::MAX)), Err(huge));
        // 5 blocks hold 80 tokens; of 70 + 12 the last is never cached.
        assert_eq!(replica.add(&arrival(70, 12)), Err(Rejected::TooManyBlocks { needed: 6, available: 5 }));
        assert_eq!(replica.add(&arrival(70, 11)), Ok(()));
        assert_eq!(replica.num_waiting(), 1);
    }

    #[test]
    fn refuses_all_when_there_is_no_cache() {
        for (kv_blocks, block_size) in [(0, 16), (5, 0), (u32::MAX, 0)] {
            let refused = replica(100, kv_blocks, block_size).add(&arrival(1, 1));
            assert!(matches!(refused, Err(Rejected::TooManyBlocks { available: 0, .. })), "{refused:?}");
        }
    }

    #[test]
    fn the_longest_request_of_all_fits_the_arithmetic() {
        let mut replica = replica(u32::MAX, 3, u32::MAX);
        assert_eq!(replica.add(&arrival(u32::MAX - 1, 1)), Ok(()));
        assert!(replica.can_admit());
        assert_eq!(replica.admit(), Some(0));
        let (mut batch, mut finished) = (Batch::default(), Vec::new());
        assert_eq!(replica.prefill(0, u32::MAX, &mut batch), u32::MAX - 1);
        let group = replica.empty_group();
        replica.seal(group, &mut batch);
        replica.complete(&mut batch, &mut finished);
        assert_eq!((finished, replica.kv().used()), (vec![0], 0));
    }
}
