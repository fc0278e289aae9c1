//! Sarathi: chunked prefill beside decodes under a token budget (Agrawal et
//! al., "Taming Throughput-Latency Tradeoff in LLM Inference with
//! Sarathi-Serve", OSDI 2024), with the queue discipline of Vidur's replica
//! scheduler of the same name (Agrawal et al., MLSys 2024).

use super::{Batch, Rejected, Replica, RequestId, Scheduler, SchedulerConfig};

/// Stall-free batching: a prompt is prefilled in chunks that fill what the
/// decodes leave of the step's token budget, so no decode waits for a prompt.
///
/// Each step has a budget of `chunk_size` tokens:
///
/// 1. every running request in decode gets 1 token, in order of admission. When
///    its token needs a KV block and none is free, the request admitted last is
///    preempted, as often as it takes, be it the one that asked;
/// 2. the running request that has prefill left gets the rest of the budget or
///    what it needs. There is at most one, and it is the one admitted last:
///    nobody is admitted before its prefill is done;
/// 3. while budget is left, waiting requests are admitted, first come first
///    served, each with its first chunk, as `max_batch_size` and the blocks above
///    the watermark allow. A step that preempted admits nobody: the queue then
///    begins with the last victim, and less is free than was taken from it.
///
/// Since all who run get a token before anybody is admitted with what is left,
/// never more than `chunk_size` requests run, the budget is never exceeded, and
/// whoever runs makes progress in every step.
///
/// One thing differs from Vidur's scheduler: a decode asks for memory only when
/// its token needs a new block, where Vidur wants one free block for every decode.
#[derive(Debug)]
pub struct Sarathi {
    chunk_size: u32,
    replica: Replica,
}

impl Sarathi {
    /// An idle scheduler.
    pub fn new(config: &SchedulerConfig) -> Self {
        Self { chunk_size: config.chunk_size, replica: Replica::new(config) }
    }
}

impl Scheduler for Sarathi {
    fn add(&mut self, request: RequestId, prefill_tokens: u32, decode_tokens: u32) -> Result<(), Rejected> {
        self.replica.add(request, prefill_tokens, decode_tokens)
    }

    fn schedule(&mut self, batch: &mut Batch) {
        batch.clear();
        let replica = &mut self.replica;
        let mut budget = self.chunk_size;

        // Preemption shortens `running` from its end, so indexes below stay valid.
        let mut index = 0;
        while let Some(&request) = replica.running().get(index) {
            index += 1;
            if !replica.is_prefilling(request) && replica.decode(request, batch) {
                budget -= 1;
            }
        }

        if let Some(&last) = replica.running().last()
            && replica.is_prefilling(last)
        {
            budget -= replica.prefill(last, budget, batch);
        }

        if batch.preempted.is_empty() {
            while budget > 0
                && let Some(request) = replica.admit()
            {
                budget -= replica.prefill(request, budget, batch);
            }
        }
    }

    fn complete(&mut self, batch: &Batch, finished: &mut Vec<RequestId>) {
        self.replica.complete(batch, finished);
    }

    fn blocks(&self, request: RequestId) -> &[u32] {
        self.replica.kv().blocks(request)
    }

    fn num_running(&self) -> usize {
        self.replica.running().len()
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
    use std::fmt::Write;

    use insta::assert_snapshot;

    use super::*;
    use crate::scheduler::Policy;

    /// Chunks of 8 tokens, batches of 4, 16 blocks of 4 tokens, no watermark.
    fn config() -> SchedulerConfig {
        SchedulerConfig {
            policy: Policy::Sarathi,
            chunk_size: 8,
            max_batch_size: 4,
            block_size: 4,
            kv_blocks: 16,
            watermark_blocks: 0,
            max_context: 1000,
        }
    }

    /// Steps until nothing runs, one a line: the batch, blocks in use, who finished. Requests are
    /// (step before which they arrive, prompt, output) in order of arrival.
    fn trace(config: &SchedulerConfig, requests: &[(u32, u32, u32)]) -> String {
        let mut scheduler = Sarathi::new(config);
        let (mut batch, mut finished, mut text) = (Batch::default(), Vec::new(), String::new());
        let mut arrivals = (0..).zip(requests).peekable();
        for step in 0..100 {
            while let Some((id, (_, prefill, decode))) = arrivals.next_if(|(_, request)| request.0 <= step) {
                scheduler.add(id, *prefill, *decode).expect("fits");
            }
            scheduler.schedule(&mut batch);
            if batch.is_empty() {
                break;
            }
            write!(text, "step {step}: {batch} | {} blocks", scheduler.blocks_used()).expect("a string");
            finished.clear();
            scheduler.complete(&batch, &mut finished);
            let done: Vec<String> = finished.iter().map(|id| format!(" {id}")).collect();
            let done = if done.is_empty() { String::new() } else { format!(" | done{}", done.concat()) };
            writeln!(text, "{done}").expect("a string");
        }
        assert_eq!((scheduler.num_running(), scheduler.num_waiting(), scheduler.blocks_used()), (0, 0, 0));
        text
    }

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
        let mut scheduler = Sarathi::new(&config());
        scheduler.add(3, 6, 4).expect("fits");
        assert_eq!(scheduler.blocks(3), [0_u32; 0]);
        let (mut batch, mut finished) = (Batch::default(), Vec::new());
        let mut held = Vec::new();
        while finished.is_empty() {
            scheduler.schedule(&mut batch);
            held.push(scheduler.blocks(3).to_vec());
            scheduler.complete(&batch, &mut finished);
        }
        assert_eq!(held, [vec![0, 1], vec![0, 1], vec![0, 1], vec![0, 1, 2]]);
        assert_eq!(scheduler.blocks(3), [0_u32; 0]);
    }
}
