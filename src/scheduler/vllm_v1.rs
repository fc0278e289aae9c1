//! Today's vLLM (the "V1" engine core).

use std::collections::VecDeque;

use super::decodes::{DecodeGroup, Decoding};
use super::kv::KvStore;
use super::{Arrival, Batch, Chunk, Rejected, RequestId, Scheduler, SchedulerConfig};

/// Where a request stands; all in tokens, and counted ahead: a step's tokens are in it as soon as the
/// step is formed. Of one in decode, `context` and `remaining` are those at its prefill's end.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Context at which prefill ends and the next output token is emitted.
    target: u32,
    /// Tokens in the KV cache.
    context: u32,
    /// Output tokens still to be emitted.
    remaining: u32,
}

/// One token budget for prompts and decodes.
///
/// Each step has a budget of `chunk_size` tokens:
///
/// 1. running requests in order of admission get what they lack, one token in decode and the rest
///    of the prompt in prefill, as far as the budget goes. Blocks are taken for these tokens alone; when
///    there are too few, the request admitted last is preempted, be it the one that asked;
/// 2. a step that preempted nobody admits from the queue while there is budget and a place: blocks
///    of the prompt's beginning that are in the prefix cache are shared and not computed. The first
///    of the queue waits until there are blocks for its whole prompt, though it takes those of its
///    first chunk alone; nobody overtakes it.
///
/// A step may be formed before the one before it is complete. What that one yields is assumed: all but
/// the values of its tokens is known. A request whose last token is under way gets no share, and
/// keeps its blocks and its place until that step is complete.
///
/// There is no watermark.
#[derive(Debug)]
pub struct VllmV1<K> {
    chunk_size: u32,
    max_batch_size: u32,
    max_context: u32,
    kv: K,
    states: Vec<State>,
    waiting: VecDeque<RequestId>,
    decodes: DecodeGroup,
    /// Running requests in prefill, in order of admission; all of them after those in decode.
    prefills: VecDeque<RequestId>,
    /// Requests that hold blocks.
    num_running: u32,
}

impl<K: KvStore> VllmV1<K> {
    /// An idle scheduler.
    pub fn new(config: &SchedulerConfig, kv: K) -> Self {
        Self {
            chunk_size: config.chunk_size,
            max_batch_size: config.max_batch_size.min(config.chunk_size),
            max_context: config.max_context,
            decodes: DecodeGroup::new(kv.block_size()),
            kv,
            states: Vec::new(),
            waiting: VecDeque::new(),
            prefills: VecDeque::new(),
            num_running: 0,
        }
    }

    /// A block for every decode that needs one.
    fn grow_decodes(&mut self, batch: &mut Batch) {
        if self.decodes.growth() <= self.kv.free() {
            self.kv.grow(&self.decodes);
            return;
        }
        let mut rest: VecDeque<Decoding> = self.decodes.drain().into();
        while let Some(decoding) = rest.pop_front() {
            let grows = decoding.context.checked_rem(self.kv.block_size()) == Some(0);
            if grows && !self.make_room(1, |_| rest.pop_back(), batch) {
                self.preempt_decode(decoding, batch);
                break;
            }
            if grows {
                let allocated = self.kv.allocate(decoding.request, 1);
                debug_assert!(allocated, "a decode without its block");
            }
            self.decodes.push(decoding);
        }
    }

    /// Preempts requests, the one admitted last first, until `blocks` are free; false when there is
    /// nobody left to preempt. `decode` gives up the last of those in decode, if there is one that may.
    fn make_room(
        &mut self,
        blocks: u32,
        mut decode: impl FnMut(&mut Self) -> Option<Decoding>,
        batch: &mut Batch,
    ) -> bool {
        while self.kv.free() < blocks {
            if let Some(victim) = self.prefills.pop_back() {
                self.preempt_prefill(victim, batch);
            } else if let Some(victim) = decode(self) {
                self.preempt_decode(victim, batch);
            } else {
                return false;
            }
        }
        true
    }

    fn preempt_decode(&mut self, victim: Decoding, batch: &mut Batch) {
        // Prompt and generated tokens are one more than the context.
        self.states[victim.request as usize] =
            State { target: victim.context + 1, context: 0, remaining: victim.remaining };
        self.preempt(victim.request, victim.context, batch);
    }

    fn preempt_prefill(&mut self, victim: RequestId, batch: &mut Batch) {
        let context = std::mem::take(&mut self.states[victim as usize].context);
        self.preempt(victim, context, batch);
    }

    fn preempt(&mut self, victim: RequestId, context: u32, batch: &mut Batch) {
        self.kv.keep(victim, context);
        self.kv.release(victim, self.kv.blocks_for(context));
        self.num_running -= 1;
        self.waiting.push_front(victim);
        batch.preempted.push(victim);
    }

    /// The next chunks of requests in prefill; returns what is left of the budget.
    fn continue_prefills(&mut self, mut budget: u32, batch: &mut Batch) -> u32 {
        while budget > 0
            && let Some(request) = self.prefills.pop_front()
        {
            let state = self.states[request as usize];
            let tokens = (state.target - state.context).min(budget);
            let needed = self.kv.blocks_for(state.context + tokens) - self.kv.blocks_for(state.context);
            if !self.make_room(needed, |_| None, batch) {
                self.preempt_prefill(request, batch);
                break;
            }
            budget -= tokens;
            if !self.compute(request, tokens, needed, batch) {
                self.prefills.push_front(request);
            }
        }
        budget
    }

    /// Adds a chunk to the batch, over so many new blocks. Whether it ends the request's prefill.
    fn compute(&mut self, request: RequestId, tokens: u32, new_blocks: u32, batch: &mut Batch) -> bool {
        let allocated = self.kv.allocate(request, new_blocks);
        debug_assert!(allocated, "a chunk without its blocks");
        let state = &mut self.states[request as usize];
        let context = state.context;
        state.context += tokens;
        let emits = state.context == state.target;
        batch.chunks.push(Chunk { request, tokens, context, emits });
        self.kv.keep(request, state.context);
        if emits {
            state.remaining -= 1;
            if state.remaining == 0 {
                batch.ending.push(request);
            } else {
                let (context, remaining) = (state.context, state.remaining);
                self.decodes.push(Decoding { request, context, remaining });
            }
        }
        emits
    }

    fn admit(&mut self, mut budget: u32, batch: &mut Batch) {
        while budget > 0
            && self.num_running < self.max_batch_size
            && let Some(&request) = self.waiting.front()
        {
            let target = self.states[request as usize].target;
            // The last token is computed even when all are cached: it yields the next.
            let cached = self.kv.cached(request, target - 1);
            let missing = self.kv.blocks_for(target) - cached.blocks;
            if u64::from(missing) + u64::from(cached.free) > u64::from(self.kv.free()) {
                break;
            }
            self.waiting.pop_front();
            self.num_running += 1;
            self.kv.share(request, cached.blocks);
            let context = cached.blocks * self.kv.block_size();
            let tokens = (target - context).min(budget);
            let needed = self.kv.blocks_for(context + tokens) - cached.blocks;
            self.states[request as usize].context = context;
            budget -= tokens;
            if !self.compute(request, tokens, needed, batch) {
                self.prefills.push_back(request);
            }
        }
    }
}

impl<K: KvStore> Scheduler for VllmV1<K> {
    fn add(&mut self, arrival: &Arrival<'_>) -> Result<(), Rejected> {
        arrival.check(self.max_context)?;
        let tokens = arrival.prefill_tokens + arrival.decode_tokens;
        let needed = self.kv.blocks_for(tokens - 1);
        if needed > self.kv.total() {
            return Err(Rejected::TooManyBlocks { needed, available: self.kv.total() });
        }
        let index = arrival.request as usize;
        if index >= self.states.len() {
            self.states.resize(index + 1, State::default());
        }
        self.states[index] =
            State { target: arrival.prefill_tokens, context: 0, remaining: arrival.decode_tokens };
        self.kv.introduce(arrival.request, arrival.prefix);
        self.waiting.push_back(arrival.request);
        Ok(())
    }

    fn schedule(&mut self, batch: &mut Batch) {
        batch.clear();
        self.grow_decodes(batch);
        batch.decodes = self.decodes.next_step();
        let budget = self.chunk_size - self.decodes.len() as u32;
        if !self.decodes.is_empty() {
            self.decodes.advance(&mut batch.ending);
        }
        let budget = self.continue_prefills(budget, batch);
        if batch.preempted.is_empty() {
            self.admit(budget, batch);
        }
    }

    fn complete(&mut self, batch: &mut Batch, finished: &mut Vec<RequestId>) {
        for &request in &batch.ending {
            let state = self.states[request as usize];
            // Every decode since its last prefill put one token into the cache.
            self.kv.release(request, self.kv.blocks_for(state.context + state.remaining));
            self.kv.forget(request);
            self.num_running -= 1;
        }
        finished.append(&mut batch.ending);
        batch.clear();
    }

    fn blocks(&self, request: RequestId) -> &[u32] {
        self.kv.blocks(request)
    }

    fn num_running(&self) -> usize {
        self.num_running as usize
    }

    fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    fn blocks_used(&self) -> u32 {
        self.kv.used()
    }

    fn cached_prefix(&self, prefix: &[u64]) -> u32 {
        self.kv.cached_prefix(prefix)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::test_trace::{config, trace, trace_with};
    use super::*;
    use crate::scheduler::Policy;

    fn v1() -> SchedulerConfig {
        SchedulerConfig { policy: Policy::VllmV1, ..config() }
    }

    #[test]
    fn decodes_and_chunks_share_a_budget_and_chunks_take_their_own_blocks() {
        assert_snapshot!(trace(&v1(), &[(0, 4, 4), (0, 20, 3), (1, 2, 2)]), @r"
        step 0: p0[0..4]* p1[0..4] | 2 blocks
        step 1: d0 p1[4..11] | 5 blocks
        step 2: d0 p1[11..18] | 7 blocks
        step 3: d0 p1[18..20]* p2[0..2]* | 8 blocks | done 0
        step 4: d1 d2 | 7 blocks | done 2
        step 5: d1 | 6 blocks | done 1
        ");
    }

    #[test]
    fn the_first_of_the_queue_waits_for_blocks_for_its_whole_prompt() {
        let config = SchedulerConfig { kv_blocks: 5, ..v1() };
        assert_snapshot!(trace(&config, &[(0, 8, 3), (1, 12, 2), (1, 1, 1)]), @r"
        step 0: p0[0..8]* | 2 blocks
        step 1: d0 | 3 blocks
        step 2: d0 | 3 blocks | done 0
        step 3: p1[0..8] | 2 blocks
        step 4: p1[8..12]* p2[0..1]* | 4 blocks | done 2
        step 5: d1 | 4 blocks | done 1
        ");
    }

    #[test]
    fn the_last_admitted_is_preempted_and_computed_again() {
        let config = SchedulerConfig { kv_blocks: 4, ..v1() };
        assert_snapshot!(trace(&config, &[(0, 4, 7), (0, 4, 7)]), @r"
        step 0: p0[0..4]* p1[0..4]* | 2 blocks
        step 1: d0 d1 | 4 blocks
        step 2: d0 d1 | 4 blocks
        step 3: d0 d1 | 4 blocks
        step 4: d0 d1 | 4 blocks
        step 5: d0 preempted 1 | 3 blocks
        step 6: d0 | 3 blocks | done 0
        step 7: p1[0..8] | 2 blocks
        step 8: p1[8..9]* | 3 blocks
        step 9: d1 | 3 blocks | done 1
        ");
    }

    #[test]
    fn a_step_formed_ahead_assumes_what_the_one_before_yields() {
        let config = SchedulerConfig { async_scheduling: true, ..v1() };
        assert_snapshot!(trace(&config, &[(0, 10, 3), (1, 4, 2)]), @r"
        step 0: p0[0..8] | 2 blocks
        step 1: p0[8..10]* p1[0..4]* | 4 blocks
        step 2: d0 d1 | 5 blocks
        step 3: d0 | 5 blocks | done 1
        step 4:  | 3 blocks | done 0
        step 5:  | 0 blocks
        step 6:  | 0 blocks
        step 7:  | 0 blocks
        step 8:  | 0 blocks
        step 9:  | 0 blocks
        step 10:  | 0 blocks
        step 11:  | 0 blocks
        step 12:  | 0 blocks
        step 13:  | 0 blocks
        step 14:  | 0 blocks
        step 15:  | 0 blocks
        step 16:  | 0 blocks
        step 17:  | 0 blocks
        step 18:  | 0 blocks
        step 19:  | 0 blocks
        step 20:  | 0 blocks
        step 21:  | 0 blocks
        step 22:  | 0 blocks
        step 23:  | 0 blocks
        step 24:  | 0 blocks
        step 25:  | 0 blocks
        step 26:  | 0 blocks
        step 27:  | 0 blocks
        step 28:  | 0 blocks
        step 29:  | 0 blocks
        step 30:  | 0 blocks
        step 31:  | 0 blocks
        step 32:  | 0 blocks
        step 33:  | 0 blocks
        step 34:  | 0 blocks
        step 35:  | 0 blocks
        step 36:  | 0 blocks
        step 37:  | 0 blocks
        step 38:  | 0 blocks
        step 39:  | 0 blocks
        step 40:  | 0 blocks
        step 41:  | 0 blocks
        step 42:  | 0 blocks
        step 43:  | 0 blocks
        step 44:  | 0 blocks
        step 45:  | 0 blocks
        step 46:  | 0 blocks
        step 47:  | 0 blocks
        step 48:  | 0 blocks
        step 49:  | 0 blocks
        step 50:  | 0 blocks
        step 51:  | 0 blocks
        step 52:  | 0 blocks
        step 53:  | 0 blocks
        step 54:  | 0 blocks
        step 55:  | 0 blocks
        step 56:  | 0 blocks
        step 57:  | 0 blocks
        step 58:  | 0 blocks
        step 59:  | 0 blocks
        step 60:  | 0 blocks
        step 61:  | 0 blocks
        step 62:  | 0 blocks
        step 63:  | 0 blocks
        step 64:  | 0 blocks
        step 65:  | 0 blocks
        step 66:  | 0 blocks
        step 67:  | 0 blocks
        step 68:  | 0 blocks
        step 69:  | 0 blocks
        step 70:  | 0 blocks
        step 71:  | 0 blocks
        step 72:  | 0 blocks
        step 73:  | 0 blocks
        step 74:  | 0 blocks
        step 75:  | 0 blocks
        step 76:  | 0 blocks
        step 77:  | 0 blocks
        step 78:  | 0 blocks
        step 79:  | 0 blocks
        step 80:  | 0 blocks
        step 81:  | 0 blocks
        step 82:  | 0 blocks
        step 83:  | 0 blocks
        step 84:  | 0 blocks
        step 85:  | 0 blocks
        step 86:  | 0 blocks
        step 87:  | 0 blocks
        step 88:  | 0 blocks
        step 89:  | 0 blocks
        step 90:  | 0 blocks
        step 91:  | 0 blocks
        step 92:  | 0 blocks
        step 93:  | 0 blocks
        step 94:  | 0 blocks
        step 95:  | 0 blocks
        step 96:  | 0 blocks
        step 97:  | 0 blocks
        step 98:  | 0 blocks
        step 99:  | 0 blocks
        ");
    }

    #[test]
    fn a_cached_beginning_is_not_computed_again() {
        let config = SchedulerConfig { prefix_caching: true, chunk_size: 16, ..v1() };
        let asked = [
            (0, 10, 2, &[1, 2][..]),
            // The same two blocks, while the first request still runs.
            (1, 11, 2, &[1, 2]),
            // All of its blocks are cached, and its last token is computed all the same.
            (4, 8, 1, &[1, 2]),
            (4, 12, 1, &[1, 7, 8]),
        ];
        assert_snapshot!(trace_with(&config, &asked), @r"
        step 0: p0[0..10]* | 3 blocks
        step 1: d0 p1[8..11]* | 4 blocks | done 0
        step 2: d1 | 3 blocks | done 1
        step 3:  | 0 blocks
        step 4: p2[4..8]* p3[4..12]* | 4 blocks | done 2 3
        ");
    }

    #[test]
    fn what_was_used_least_recently_makes_room() {
        let config = SchedulerConfig { prefix_caching: true, kv_blocks: 4, chunk_size: 16, ..v1() };
        let asked = [
            (0, 8, 1, &[1, 2][..]),
            (2, 8, 1, &[3, 4]),
            (4, 5, 1, &[5]),
            (6, 9, 1, &[3, 4]),
            (8, 9, 1, &[1, 2]),
        ];
        assert_snapshot!(trace_with(&config, &asked), @r"
        step 0: p0[0..8]* | 2 blocks | done 0
        step 1:  | 0 blocks
        step 2: p1[0..8]* | 2 blocks | done 1
        step 3:  | 0 blocks
        step 4: p2[0..5]* | 2 blocks | done 2
        step 5:  | 0 blocks
        step 6: p3[8..9]* | 3 blocks | done 3
        step 7:  | 0 blocks
        step 8: p4[0..9]* | 3 blocks | done 4
        ");
    }
}
