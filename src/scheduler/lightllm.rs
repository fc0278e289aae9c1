//! The scheduler of the LightLLM server, with the queue discipline of Vidur's
//! replica scheduler of that name.

use super::kv::KvStore;
use super::paused::Running;
use super::{Arrival, Batch, Rejected, Replica, RequestId, Scheduler, SchedulerConfig};

/// Memory is counted in tokens, and a request is admitted when the peak that it and the running ones
/// can reach fits into it: with requests in order of what they still have to emit, the most first,
/// the peak is the largest of *tokens held by the first i + remaining output of the i-th × i*.
///
/// 1. With nothing running, or after `max_waiting_steps` steps of decodes, prompts are admitted in
///    order while the step's `chunk_size` tokens, the places and the estimate allow. If any was,
///    that is the step.
/// 2. Otherwise every running request gets one token.
///
/// Runs without a pipeline, and with blocks of one token; the estimate is its watermark. Who runs alone
/// needs no estimate.
#[derive(Debug)]
pub struct Lightllm<K> {
    chunk_size: u32,
    max_waiting_steps: u32,
    /// Steps of decodes since the queue was looked at.
    waited: u32,
    replica: Replica<K>,
    prefills: Vec<RequestId>,
    /// (tokens held, output tokens still to come) of requests that run or shall.
    peaks: Vec<(u64, u64)>,
}

impl<K: KvStore> Lightllm<K> {
    /// An idle scheduler.
    pub fn new(config: &SchedulerConfig, kv: K) -> Self {
        let chunk_size = config.chunk_size;
        Self {
            chunk_size,
            max_waiting_steps: config.max_waiting_steps,
            waited: 0,
            replica: Replica::new(&SchedulerConfig { watermark_blocks: 0, ..config.clone() }, kv)
                .with_max_prompt(chunk_size),
            prefills: Vec::new(),
            peaks: Vec::new(),
        }
    }

    fn admit_prompts(&mut self, batch: &mut Batch) {
        let replica = &mut self.replica;
        self.peaks.clear();
        self.peaks.extend(replica.paused.iter().map(|running| match running {
            Running::Decode(decoding) => (u64::from(decoding.context) + 1, u64::from(decoding.remaining) - 1),
            Running::Prefill(request) => (0, u64::from(replica.remaining(request))),
        }));
        let mut budget = self.chunk_size;
        while let Some(next) = replica.next_waiting()
            && replica.can_admit()
            && batch.chunks.len() < replica.micro_batch()
        {
            let prompt = replica.prefill_left(next);
            let alone = replica.num_running() == 0 && !replica.quirks.restarts_can_starve;
            if prompt > budget && !alone {
                break;
            }
            self.peaks.push((u64::from(prompt) + 1, u64::from(replica.remaining(next)).saturating_sub(2)));
            self.peaks.sort_by_key(|(_, left)| std::cmp::Reverse(*left));
            let mut held = 0;
            let peak = (1_u64..).zip(&self.peaks).map(|(count, (tokens, left))| {
                held += tokens;
                left * count + held
            });
            if peak.max().unwrap_or(0) >= u64::from(replica.kv().total()) && !alone {
                break;
            }
            let Some(request) = replica.admit() else { break };
            budget = budget.saturating_sub(replica.prefill(request, u32::MAX, batch));
        }
    }
}

impl<K: KvStore> Scheduler for Lightllm<K> {
    fn add(&mut self, arrival: &Arrival<'_>) -> Result<(), Rejected> {
        self.replica.add(arrival)
    }

    fn schedule(&mut self, batch: &mut Batch) {
        batch.clear();
        let idle = self.replica.paused.is_empty();
        if idle || self.waited >= self.max_waiting_steps {
            self.admit_prompts(batch);
            if !idle || !batch.chunks.is_empty() {
                self.waited = 0;
            }
        }
        let group = if batch.chunks.is_empty() && !idle {
            self.waited += 1;
            self.replica.take_paused(usize::MAX, &mut self.prefills, batch)
        } else {
            self.replica.empty_group()
        };
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

    fn lightllm() -> SchedulerConfig {
        SchedulerConfig {
            policy: Policy::Lightllm,
            block_size: 1,
            kv_blocks: 24,
            max_waiting_steps: 2,
            chunk_size: 16,
            ..config()
        }
    }

    #[test]
    fn the_queue_waits_for_steps_of_decodes() {
        assert_snapshot!(trace(&lightllm(), &[(0, 4, 6), (1, 3, 4)]), @r"
        step 0: p0[0..4]* | 4 blocks
        step 1: d0 | 5 blocks
        step 2: d0 | 6 blocks
        step 3: p1[0..3]* | 9 blocks
        step 4: d0 d1 | 11 blocks
        step 5: d0 d1 | 13 blocks
        step 6: d0 d1 | 15 blocks | done 0 1
        ");
    }

    #[test]
    fn who_would_overflow_at_the_peak_waits() {
        assert_snapshot!(trace(&lightllm(), &[(0, 8, 6), (0, 8, 6)]), @r"
        step 0: p0[0..8]* | 8 blocks
        step 1: d0 | 9 blocks
        step 2: d0 | 10 blocks
        step 3: d0 | 11 blocks
        step 4: d0 | 12 blocks
        step 5: p1[0..8]* | 20 blocks
        step 6: d0 d1 | 22 blocks | done 0
        step 7: d1 | 10 blocks
        step 8: d1 | 11 blocks
        step 9: d1 | 12 blocks
        step 10: d1 | 13 blocks | done 1
        ");
    }
}
