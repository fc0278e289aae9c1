//! What holds in every run of the event loop, of every policy and router, on random deployments and requests. The
//! witness keeps its own account of tokens and times, and never asks a scheduler what it thinks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::scheduler::{ClusterConfig, Policy, RouterKind, SchedulerConfig};

/// (gap to the request before, prompt, output)
type Request = (u64, u32, u32);

/// Checks every stage that starts.
struct Witness<'a> {
    config: &'a SchedulerConfig,
    /// How long stages take, over and over.
    durations: &'a [u64],
    asked: usize,
    /// Tokens in the KV cache by request, as far as batches that started put them there.
    context: BTreeMap<u32, u32>,
    /// How often a request began again.
    restarts: BTreeMap<u32, u32>,
    /// Output tokens by request.
    emitted: BTreeMap<u32, u32>,
    /// Whose a request is.
    owner: BTreeMap<u32, u32>,
    /// When each stage of each replica is free again.
    free: BTreeMap<(u32, u32), u64>,
    /// When a batch left the stage before, and which stage that was.
    left: BTreeMap<u64, (u32, u64)>,
    done: usize,
}

impl Witness<'_> {
    fn check_members(&mut self, stage: &Stage<'_>) {
        for entry in stage.batch.entries() {
            let id = stage.slots[entry.request as usize];
            assert_eq!(*self.owner.entry(id).or_insert(stage.replica), stage.replica, "{id} moved");
            let context = self.context.entry(id).or_default();
            // A scheduler that preempts may form no batch in which it says so.
            if entry.context == 0 && std::mem::take(context) > 0 {
                *self.restarts.entry(id).or_default() += 1;
            }
            assert_eq!(entry.context, *context, "{entry} of {id} skips or repeats tokens");
            assert!(entry.tokens > 0, "{entry} of {id} computes nothing");
            *context += entry.tokens;
            *self.emitted.entry(id).or_default() += u32::from(entry.emits);
        }
    }
}

impl Pace<Nanoseconds> for Witness<'_> {
    fn span(&mut self, _stage: &Stage<'_>) -> u64 {
        self.asked += 1;
        self.durations[self.asked % self.durations.len()]
    }

    fn started(&mut self, stage: &Stage<'_>, start: Moment, end: Moment) {
        assert!(start < end);
        let free = self.free.entry((stage.replica, stage.stage)).or_default();
        assert!(start.0 >= *free, "a stage runs two batches at once");
        *free = end.0;
        match self.left.insert(stage.batch_id, (stage.stage, end.0)) {
            None => assert_eq!(stage.stage, 0, "a batch began in the middle"),
            Some((before, left)) => {
                assert_eq!(stage.stage, before + 1);
                assert!(start.0 >= left, "a stage began before the one before it had ended");
            }
        }
        assert_eq!(stage.is_last, stage.stage + 1 == self.config.pipeline_stages);
        if stage.stage > 0 {
            return;
        }
        let batch = stage.batch;
        assert!(!batch.is_empty());
        assert!(batch.len() <= self.config.max_batch_size as usize, "{batch}");
        if self.config.policy.chunks_prompts() {
            let most = self.config.chunk_size.max(self.config.max_batch_size);
            assert!(batch.num_tokens() <= most, "{batch}");
        }
        self.check_members(stage);
    }

    fn formed(&mut self, _batch_id: u64, _queue: (u32, u32), kv_blocks: u32) {
        assert!(kv_blocks <= self.config.kv_blocks, "{kv_blocks} KV blocks in use");
    }

    fn done(&mut self, _request: u32, _outcome: &Outcome) {
        self.done += 1;
    }
}

/// Runs, and checks what became of the requests.
fn witness(
    config: &SchedulerConfig,
    cluster: &ClusterConfig,
    requests: &[Request],
    durations: &[u64],
) -> Vec<Outcome> {
    let mut arrival = 0;
    let asked: Vec<Asked<'_>> = requests
        .iter()
        .map(|&(gap, prefill_tokens, decode_tokens)| {
            arrival += gap;
            Asked { arrival: Moment(arrival), prefill_tokens, decode_tokens, prefix: &[] }
        })
        .collect();
    let mut witness = Witness {
        config,
        durations,
        asked: 0,
        context: BTreeMap::new(),
        restarts: BTreeMap::new(),
        emitted: BTreeMap::new(),
        owner: BTreeMap::new(),
        free: BTreeMap::new(),
        left: BTreeMap::new(),
        done: 0,
    };
    let outcomes = run::<Nanoseconds, _>(config, cluster, 5, &mut asked.iter().copied(), &mut witness);
    assert_eq!((outcomes.len(), witness.done), (asked.len(), asked.len()), "every request is told of once");
    for ((id, outcome), asked) in (0..).zip(&outcomes).zip(&asked) {
        let emitted = witness.emitted.get(&id).copied().unwrap_or_default();
        if outcome.rejected.is_some() {
            assert_eq!(
                (emitted, outcome.scheduled, outcome.completion),
                (0, None, None),
                "{id} was rejected"
            );
            continue;
        }
        assert_eq!(emitted, asked.decode_tokens, "{id} has as many tokens as it asked for");
        let times = [Some(asked.arrival), outcome.scheduled, outcome.first_token, outcome.completion];
        assert!(times.iter().all(Option::is_some), "{id} starved: {outcome:?}");
        assert!(times.is_sorted(), "{id}: {times:?}");
        assert!(outcome.first_token > outcome.scheduled, "{id} had a token at once");
        assert_eq!(witness.owner.get(&id), Some(&outcome.replica));
        assert_eq!(witness.restarts.get(&id).copied().unwrap_or_default(), outcome.preemptions, "{id}");
        if outcome.preemptions == 0 {
            // The last token is not in the cache: nothing follows it.
            let computed = asked.prefill_tokens + asked.decode_tokens - 1;
            assert_eq!(witness.context.get(&id), Some(&computed), "{id}");
        }
    }
    outcomes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn tokens_are_conserved_times_are_causal_and_nobody_starves(
        requests in prop::collection::vec((0_u64..2_000, 1_u32..60, 1_u32..12), 1..40),
        durations in prop::collection::vec(1_u64..500, 1..9),
        (chunk, batch, blocks, watermark) in (4_u32..40, 2_u32..6, 8_u32..40, 0_u32..3),
        (replicas, stages) in (1_u32..4, 1_u32..4),
        router in prop::sample::select(RouterKind::ALL.to_vec()),
    ) {
        for policy in Policy::ALL {
            let lightllm = policy == Policy::Lightllm;
            let block_size = if lightllm { 1 } else { 4 };
            let memory = (block_size, blocks * 4 / block_size, watermark);
            let config = SchedulerConfig {
                pipeline_stages: if lightllm { 1 } else { stages.min(batch) },
                ..SchedulerConfig::new(policy, (chunk.max(batch), batch), memory, 64)
            };
            let cluster = ClusterConfig { replicas, router, ..ClusterConfig::default() };
            let outcomes = witness(&config, &cluster, &requests, &durations);
            prop_assert_eq!(outcomes, witness(&config, &cluster, &requests, &durations), "{:?}", policy);
        }
    }
}
