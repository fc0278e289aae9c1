//! Orca's iteration-level scheduling (Yu et al., OSDI 2022).

use super::kv::KvStore;
use super::{Arrival, Batch, Rejected, Replica, RequestId, Scheduler, SchedulerConfig};

/// Selective batching over slots: every running request gets a share of every step, and a waiting one
/// joins with its whole prompt as soon as there is a place and a slot of blocks for the longest
/// context. Memory is never short once a request runs.
#[derive(Debug)]
pub struct Orca<K> {
    replica: Replica<K>,
    prefills: Vec<RequestId>,
}

/// Blocks of one slot: those of the longest context.
pub(super) fn slot_blocks(config: &SchedulerConfig) -> u32 {
    match config.block_size {
        0 => u32::MAX,
        size if config.compat.quirks().slots_round_down => config.max_context / size,
        size => config.max_context.div_ceil(size),
    }
}

impl<K: KvStore> Orca<K> {
    /// An idle scheduler.
    pub fn new(config: &SchedulerConfig, kv: K) -> Self {
        let replica = Replica::new(config, kv).with_slots(slot_blocks(config));
        Self { replica, prefills: Vec::new() }
    }
}

impl<K: KvStore> Scheduler for Orca<K> {
    fn add(&mut self, arrival: &Arrival<'_>) -> Result<(), Rejected> {
        self.replica.add(arrival)
    }

    fn schedule(&mut self, batch: &mut Batch) {
        batch.clear();
        let replica = &mut self.replica;
        let room = replica.micro_batch();
        let group = replica.take_paused(room, &mut self.prefills, batch);
        while group.len() + batch.chunks.len() < room && replica.can_admit() {
            let Some(request) = replica.admit() else { break };
            replica.prefill(request, u32::MAX, batch);
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
    use crate::scheduler::{Compat, Policy};

    #[test]
    fn a_slot_holds_the_longest_context() {
        let config = SchedulerConfig { policy: Policy::Orca, max_context: 33, ..config() };
        assert_eq!(slot_blocks(&config), 9);
        assert_eq!(slot_blocks(&SchedulerConfig { compat: Compat::Vidur, ..config.clone() }), 8);
        assert_eq!(slot_blocks(&SchedulerConfig { block_size: 0, ..config }), u32::MAX);
    }

    #[test]
    fn a_request_joins_when_there_is_a_slot_for_the_longest_context() {
        // 16 blocks of 4 tokens are two slots of 32 tokens.
        let config = SchedulerConfig { policy: Policy::Orca, max_context: 32, ..config() };
        assert_snapshot!(trace(&config, &[(0, 4, 2), (0, 20, 4), (0, 9, 2), (1, 3, 1)]), @r"
        step 0: p0[0..4]* p1[0..20]* | 16 blocks
        step 1: d0 d1 | 16 blocks | done 0
        step 2: d1 p2[0..9]* | 16 blocks
        step 3: d1 d2 | 16 blocks | done 1 2
        step 4: p3[0..3]* | 8 blocks | done 3
        ");
    }
}
