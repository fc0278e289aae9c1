//! Whole batches, as served without a scheduler: FasterTransformer's, with the
//! queue discipline of Vidur's replica scheduler of that name, and those of a
//! library's `generate` call.

use std::collections::VecDeque;

use super::decodes::DecodeGroup;
use super::kv::KvStore;
use super::orca::slot_blocks;
use super::paused::Running;
use super::{Arrival, Batch, Policy, Rejected, Replica, RequestId, Scheduler, SchedulerConfig};

/// A batch is formed of the first requests of the queue, computes their whole prompts in its first step
/// and a token of each in every further one, and takes nobody in until its last request has ended.
///
/// `faster_transformer` gives each request a slot of the longest context until the batch ends;
/// `static` gives it the blocks for its prompt and output together. Requests that have ended are not
/// computed any more.
#[derive(Debug)]
pub struct WholeBatch<K> {
    replica: Replica<K>,
    /// Batches between two steps.
    pending: VecDeque<Whole>,
    /// Batches by the lane of their step under way.
    under_way: Vec<Option<Whole>>,
    /// A batch ends for the KV cache when its last request does.
    holds_slots: bool,
}

/// A batch from its first step to its last.
#[derive(Debug, Default)]
struct Whole {
    group: Option<DecodeGroup>,
    /// Requests that ended and still hold their slots.
    ended: Vec<RequestId>,
}

impl<K: KvStore> WholeBatch<K> {
    /// An idle scheduler.
    pub fn new(config: &SchedulerConfig, kv: K) -> Self {
        let holds_slots = config.policy == Policy::FasterTransformer;
        let replica = Replica::new(config, kv);
        let replica =
            if holds_slots { replica.with_slots(slot_blocks(config)) } else { replica.with_whole_requests() };
        Self { replica, pending: VecDeque::new(), under_way: Vec::new(), holds_slots }
    }
}

impl<K: KvStore> Scheduler for WholeBatch<K> {
    fn add(&mut self, arrival: &Arrival<'_>) -> Result<(), Rejected> {
        self.replica.add(arrival)
    }

    fn schedule(&mut self, batch: &mut Batch) {
        batch.clear();
        let mut whole = self.pending.pop_front().unwrap_or_default();
        let group = match whole.group.take() {
            Some(group) => group,
            None => {
                let replica = &mut self.replica;
                while batch.chunks.len() < replica.micro_batch() && replica.can_admit() {
                    let Some(request) = replica.admit() else { break };
                    replica.prefill(request, u32::MAX, batch);
                }
                replica.empty_group()
            }
        };
        self.replica.seal(group, batch);
        if !batch.is_empty() {
            let lane = batch.lane as usize;
            self.under_way.resize_with(self.under_way.len().max(lane + 1), || None);
            self.under_way[lane] = Some(whole);
        }
    }

    fn complete(&mut self, batch: &mut Batch, finished: &mut Vec<RequestId>) {
        let lane = batch.lane as usize;
        let mut group = self.replica.take_lane(batch);
        for chunk in &batch.chunks {
            if let Some(Running::Decode(decoding)) = self.replica.after(chunk) {
                group.push(decoding);
            }
        }
        finished.extend_from_slice(&batch.ending);
        let mut whole = self.under_way.get_mut(lane).and_then(Option::take).unwrap_or_default();
        if !self.holds_slots {
            batch.ending.iter().for_each(|request| self.replica.release(*request));
        } else if !group.is_empty() {
            if !self.replica.quirks.batch_end_leaks_slots {
                whole.ended.append(&mut batch.ending);
            }
        } else {
            let ended = whole.ended.drain(..).chain(batch.ending.drain(..));
            ended.for_each(|request| self.replica.release(request));
        }
        if !group.is_empty() {
            self.pending.push_back(Whole { group: Some(group), ..whole });
        }
        batch.clear();
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

    const ASKED: [(u32, u32, u32); 4] = [(0, 4, 2), (0, 10, 4), (1, 3, 2), (1, 5, 1)];

    #[test]
    fn a_batch_runs_to_its_end() {
        let config = SchedulerConfig { policy: Policy::Static, ..config() };
        assert_snapshot!(trace(&config, &ASKED), @r"
        step 0: p0[0..4]* p1[0..10]* | 6 blocks
        step 1: d0 d1 | 6 blocks | done 0
        step 2: d1 | 4 blocks
        step 3: d1 | 4 blocks | done 1
        step 4: p2[0..3]* p3[0..5]* | 3 blocks | done 3
        step 5: d2 | 1 blocks | done 2
        ");
    }

    #[test]
    fn slots_are_held_to_the_end_of_the_batch() {
        let config = SchedulerConfig { policy: Policy::FasterTransformer, max_context: 20, ..config() };
        assert_snapshot!(trace(&config, &ASKED), @r"
        step 0: p0[0..4]* p1[0..10]* | 10 blocks
        step 1: d0 d1 | 10 blocks | done 0
        step 2: d1 | 10 blocks
        step 3: d1 | 10 blocks | done 1
        step 4: p2[0..3]* p3[0..5]* | 10 blocks | done 3
        step 5: d2 | 10 blocks | done 2
        ");
    }
}
