//! Sarathi: chunked prefill beside decodes under a token budget (Agrawal et
//! al., "Taming Throughput-Latency Tradeoff in LLM Inference with
//! Sarathi-Serve", OSDI 2024), with the queue discipline of Vidur's replica
//! scheduler of the same name (Agrawal et al., MLSys 2024).

use super::kv::KvStore;
use super::{Arrival, Batch, Rejected, Replica, RequestId, Scheduler, SchedulerConfig};

/// Stall-free batching: a prompt is prefilled in chunks that fill what the
/// decodes leave of the step's token budget, so no decode waits for a prompt.
///
/// Each step has a budget of `chunk_size` tokens:
///
/// 1. every running request in decode gets 1 token, in order of admission. When
///    its token needs a KV block and none is free, the request admitted last is
///    preempted, as often as it takes, be it the one that asked;
/// 2. running requests that have prefill left get the rest of the budget or
///    what they need. With one batch at a time there is at most one of them, and it is
///    the one admitted last: nobody is admitted before its prefill is done;
/// 3. while budget is left, waiting requests are admitted, first come first
///    served, each with its first chunk, as `max_batch_size` and the blocks above
///    the watermark allow. A step that preempted admits nobody: the queue then
///    begins with the last victim, and less is free than was taken from it.
///
/// With one batch at a time all who run get a token before anybody is admitted with
/// what is left, so never more than `chunk_size` requests run, the budget is never
/// exceeded, and whoever runs makes progress in every step.
#[derive(Debug)]
pub struct Sarathi<K> {
    chunk_size: u32,
    replica: Replica<K>,
    prefills: Vec<RequestId>,
    skipped: Vec<RequestId>,
}

impl<K: KvStore> Sarathi<K> {
    /// An idle scheduler.
    pub fn new(config: &SchedulerConfig, kv: K) -> Self {
        Self {
            chunk_size: config.chunk_size,
            replica: Replica::new(config, kv),
            prefills: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

impl<K: KvStore> Scheduler for Sarathi<K> {
    fn add(&mut self, arrival: &Arrival<'_>) -> Result<(), Rejected> {
        self.replica.add(arrival)
    }

    fn schedule(&mut self, batch: &mut Batch) {
        batch.clear();
        let replica = &mut self.replica;
        let room = replica.micro_batch();

        self.prefills.clear();
        self.skipped.clear();
        let group = replica.take_paused(room, &mut self.prefills, batch);
        let mut budget = self.chunk_size.saturating_sub(group.len() as u32);

        for &request in &self.prefills {
            if budget == 0 {
                self.skipped.push(request);
            } else {
                budget -= replica.prefill(request, budget, batch);
            }
        }
        replica.sort_paused(&self.skipped);

        if batch.preempted.is_empty() || replica.quirks.admits_after_preemption {
            while budget > 0 && group.len() + batch.chunks.len() < room && replica.can_admit() {
                let Some(request) = replica.admit() else { break };
                budget -= replica.prefill(request, budget, batch);
            }
        }
        replica.seal(group, batch);
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
    use crate::scheduler::KvBlocks;

    #[test]
    fn a_prompt_is_prefilled_in_chunks_and_its_last_chunk_emits() {
        assert_snapshot!(trace(&config(), &[(0, 20, 3)]), @r"
        step 0: p0[0..8] | 5 blocks
        step 1: p0[8..16] | 5 blocks
        step 2: p0[16..20]* | 5 blocks
        step 3: d0 | 6 blocks
        step 4: d0 | 6 blocks | done 0
        ");
    }

    #[test]
    fn one_output_token_needs_no_decode() {
        assert_snapshot!(trace(&config(), &[(0, 8, 1), (0, 3, 1)]), @r"
        step 0: p0[0..8]* | 2 blocks | done 0
        step 1: p1[0..3]* | 1 blocks | done 1
        ");
    }

    #[test]
    fn decodes_go_first_and_prefills_fill_the_budget() {
        assert_snapshot!(trace(&config(), &[(0, 4, 4), (0, 4, 6), (1, 10, 2), (1, 5, 2)]), @r"
        step 0: p0[0..4]* p1[0..4]* | 2 blocks
        step 1: d0 d1 p2[0..6] | 7 blocks
        step 2: d0 d1 p2[6..10]* p3[0..2] | 9 blocks
        step 3: d0 d1 d2 p3[2..5]* | 9 blocks | done 0 2
        step 4: d1 d3 | 4 blocks | done 3
        step 5: d1 | 3 blocks | done 1
        ");
    }

    #[test]
    fn a_full_batch_admits_nobody() {
        let config = SchedulerConfig { max_batch_size: 2, ..config() };
        assert_snapshot!(trace(&config, &[(0, 2, 2), (0, 2, 4), (0, 2, 2)]), @r"
        step 0: p0[0..2]* p1[0..2]* | 2 blocks
        step 1: d0 d1 | 2 blocks | done 0
        step 2: d1 p2[0..2]* | 2 blocks
        step 3: d1 d2 | 3 blocks | done 1 2
        ");
    }

    #[test]
    fn never_more_requests_run_than_the_budget_has_tokens() {
        let config = SchedulerConfig { chunk_size: 2, ..config() };
        assert_snapshot!(trace(&config, &[(0, 1, 3), (0, 1, 3), (1, 1, 2)]), @r"
        step 0: p0[0..1]* p1[0..1]* | 2 blocks
        step 1: d0 d1 | 2 blocks
        step 2: d0 d1 | 2 blocks | done 0 1
        step 3: p2[0..1]* | 1 blocks
        step 4: d2 | 1 blocks | done 2
        ");
    }

    #[test]
    fn the_first_in_the_queue_is_not_overtaken() {
        let config = SchedulerConfig { kv_blocks: 4, ..config() };
        assert_snapshot!(trace(&config, &[(0, 8, 2), (1, 12, 2), (1, 1, 1)]), @r"
        step 0: p0[0..8]* | 2 blocks
        step 1: d0 | 3 blocks | done 0
        step 2: p1[0..8] | 3 blocks
        step 3: p1[8..12]* p2[0..1]* | 4 blocks | done 2
        step 4: d1 | 4 blocks | done 1
        ");
    }

    #[test]
    fn admission_leaves_the_watermark_free_while_others_run() {
        let config = SchedulerConfig { kv_blocks: 4, watermark_blocks: 2, ..config() };
        assert_snapshot!(trace(&config, &[(0, 4, 3), (0, 8, 2), (0, 15, 2)]), @r"
        step 0: p0[0..4]* | 1 blocks
        step 1: d0 | 2 blocks
        step 2: d0 | 2 blocks | done 0
        step 3: p1[0..8]* | 2 blocks
        step 4: d1 | 3 blocks | done 1
        step 5: p2[0..8] | 4 blocks
        step 6: p2[8..15]* | 4 blocks
        step 7: d2 | 4 blocks | done 2
        ");
    }

    #[test]
    fn the_last_admitted_is_preempted_and_recomputes_what_it_generated() {
        let config = SchedulerConfig { kv_blocks: 4, ..config() };
        assert_snapshot!(trace(&config, &[(0, 4, 7), (0, 4, 7)]), @r"
        step 0: p0[0..4]* p1[0..4]* | 2 blocks
        step 1: d0 d1 | 4 blocks
        step 2: d0 d1 | 4 blocks
        step 3: d0 d1 | 4 blocks
        step 4: d0 d1 | 4 blocks
        step 5: d0 preempted 1 | 3 blocks
        step 6: d0 | 3 blocks | done 0
        step 7: p1[0..8] | 3 blocks
        step 8: p1[8..9]* | 3 blocks
        step 9: d1 | 3 blocks | done 1
        ");
    }

    #[test]
    fn a_prefill_in_progress_can_be_the_victim() {
        let config = SchedulerConfig { kv_blocks: 7, ..config() };
        assert_snapshot!(trace(&config, &[(0, 6, 5), (1, 20, 2)]), @r"
        step 0: p0[0..6]* | 2 blocks
        step 1: d0 p1[0..7] | 7 blocks
        step 2: d0 p1[7..14] | 7 blocks
        step 3: d0 preempted 1 | 3 blocks
        step 4: d0 | 3 blocks | done 0
        step 5: p1[0..8] | 5 blocks
        step 6: p1[8..16] | 5 blocks
        step 7: p1[16..20]* | 5 blocks
        step 8: d1 | 6 blocks | done 1
        ");
    }

    #[test]
    fn a_request_that_cannot_grow_preempts_itself_when_it_is_the_last() {
        let config = SchedulerConfig { kv_blocks: 3, ..config() };
        assert_snapshot!(trace(&config, &[(0, 5, 4), (0, 3, 4)]), @r"
        step 0: p0[0..5]* p1[0..3]* | 3 blocks
        step 1: d0 d1 | 3 blocks
        step 2: d0 preempted 1 | 2 blocks
        step 3: d0 | 2 blocks | done 0
        step 4: p1[0..5]* | 2 blocks
        step 5: d1 | 2 blocks | done 1
        ");
    }

    #[test]
    fn several_victims_return_in_order_of_arrival() {
        let config = SchedulerConfig { kv_blocks: 4, chunk_size: 10, ..config() };
        assert_snapshot!(trace(&config, &[(0, 4, 3), (0, 4, 3), (0, 1, 3), (0, 1, 3)]), @r"
        step 0: p0[0..4]* p1[0..4]* p2[0..1]* p3[0..1]* | 4 blocks
        step 1: d0 d1 preempted 3 2 | 4 blocks
        step 2: d0 d1 | 4 blocks | done 0 1
        step 3: p2[0..2]* p3[0..2]* | 2 blocks
        step 4: d2 d3 | 2 blocks | done 2 3
        ");
    }

    #[test]
    fn blocks_are_in_token_order_and_released_at_the_end() {
        let mut scheduler = Sarathi::new(&config(), KvBlocks::new(16, 4));
        scheduler
            .add(&Arrival { request: 3, prefill_tokens: 6, decode_tokens: 4, rank: 0, prefix: &[] })
            .expect("fits");
        assert_eq!(scheduler.blocks(3), [0_u32; 0]);
        let (mut batch, mut finished) = (Batch::default(), Vec::new());
        let mut held = Vec::new();
        while finished.is_empty() {
            scheduler.schedule(&mut batch);
            held.push(scheduler.blocks(3).to_vec());
            scheduler.complete(&mut batch, &mut finished);
        }
        assert_eq!(held, [vec![0, 1], vec![0, 1], vec![0, 1], vec![0, 1, 2]]);
        assert_eq!(scheduler.blocks(3), [0_u32; 0]);
    }
}
