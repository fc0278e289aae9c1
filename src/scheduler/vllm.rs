//! vLLM as first published (Kwon et al., "Efficient Memory Management for Large
//! Language Model Serving with PagedAttention", SOSP 2023), with the queue
//! discipline of Vidur's replica scheduler of that name.

use super::kv::KvStore;
use super::{Arrival, Batch, Rejected, Replica, RequestId, Scheduler, SchedulerConfig};

/// Prompts first: a step computes either whole prompts or one token of each running request.
///
/// 1. While the first of the queue fits (a place, blocks for its prompt above the watermark, and a
///    padded batch, requests × longest prompt, of at most `chunk_size` tokens), it is admitted with
///    its whole prompt. If any was, that is the step.
/// 2. Otherwise every running request gets one token, in order of arrival, preempting the last one
///    when a block is wanted and none is free.
///
/// A request that comes back after preemption may have grown over `chunk_size`; it is then admitted
/// alone.
#[derive(Debug)]
pub struct Vllm<K> {
    chunk_size: u32,
    replica: Replica<K>,
    prefills: Vec<RequestId>,
}

impl<K: KvStore> Vllm<K> {
    /// An idle scheduler.
    pub fn new(config: &SchedulerConfig, kv: K) -> Self {
        let chunk_size = config.chunk_size;
        let replica = Replica::new(config, kv).with_max_prompt(chunk_size);
        Self { chunk_size, replica, prefills: Vec::new() }
    }

    fn admit_prompts(&mut self, batch: &mut Batch) {
        let replica = &mut self.replica;
        let mut longest = 0;
        while let Some(next) = replica.next_waiting()
            && replica.can_admit()
            && batch.chunks.len() < replica.micro_batch()
        {
            longest = longest.max(replica.prefill_left(next));
            let padded = (batch.chunks.len() as u64 + 1) * u64::from(longest);
            let alone = batch.chunks.is_empty() && !replica.quirks.restarts_can_starve;
            if padded > u64::from(self.chunk_size) && !alone {
                break;
            }
            let Some(request) = replica.admit() else { break };
            replica.prefill(request, u32::MAX, batch);
        }
    }
}

impl<K: KvStore> Scheduler for Vllm<K> {
    fn add(&mut self, arrival: &Arrival<'_>) -> Result<(), Rejected> {
        self.replica.add(arrival)
    }

    fn schedule(&mut self, batch: &mut Batch) {
        batch.clear();
        self.admit_prompts(batch);
        let group = if batch.chunks.is_empty() {
            let room = self.replica.micro_batch();
            self.replica.sort_paused(&[]);
            self.replica.take_paused(room, &mut self.prefills, batch)
        } else {
            self.replica.empty_group()
        };
        debug_assert!(self.prefills.is_empty(), "a prompt in parts");
        self.replica.seal(group, batch);
    }

    fn complete(&mut self, batch: &mut Batch, finished: &mut Vec<RequestId>) {
        self.replica.complete(batch, finished);
    }

    fn blocks(&self, request: RequestId) -> &[u32] {
        self.replica.kv().blocks(request)
    }

    fn num_running(&self) -> usize {
        self.replica.num_running()
    }

    fn num_waiting(&self) -> usize {
        self.replica.num_waiting()
    }

    fn blocks_used(&self) -> u32 {
        self.replica.kv().used()
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::test_trace::{config, trace};
    use super::*;
    use crate::scheduler::Policy;

    fn vllm() -> SchedulerConfig {
        SchedulerConfig { policy: Policy::Vllm, chunk_size: 16, ..config() }
    }

    #[test]
    fn whole_prompts_go_before_decodes() {
        assert_snapshot!(trace(&vllm(), &[(0, 4, 3), (0, 6, 3), (1, 5, 2)]), @r"
        step 0: p0[0..4]* p1[0..6]* | 3 blocks
        step 1: p2[0..5]* | 5 blocks
        step 2: d0 d1 d2 | 6 blocks | done 2
        step 3: d0 d1 | 4 blocks | done 0 1
        ");
    }

    #[test]
    fn a_padded_batch_of_prompts_keeps_to_the_budget() {
        assert_snapshot!(trace(&vllm(), &[(0, 8, 1), (0, 2, 1), (0, 2, 1), (0, 16, 1)]), @r"
        step 0: p0[0..8]* p1[0..2]* | 3 blocks | done 0 1
        step 1: p2[0..2]* | 1 blocks | done 2
        step 2: p3[0..16]* | 4 blocks | done 3
        ");
    }

    #[test]
    fn the_last_is_preempted_and_comes_back_whole() {
        let config = SchedulerConfig { kv_blocks: 5, ..vllm() };
        assert_snapshot!(trace(&config, &[(0, 8, 8), (0, 8, 6)]), @r"
        step 0: p0[0..8]* p1[0..8]* | 4 blocks
        step 1: d0 preempted 1 | 3 blocks
        step 2: d0 | 3 blocks
        step 3: d0 | 3 blocks
        step 4: d0 | 3 blocks
        step 5: d0 | 4 blocks
        step 6: d0 | 4 blocks
        step 7: d0 | 4 blocks | done 0
        step 8: p1[0..9]* | 3 blocks
        step 9: d1 | 3 blocks
        step 10: d1 | 3 blocks
        step 11: d1 | 3 blocks
        step 12: d1 | 4 blocks | done 1
        ");
    }
}
