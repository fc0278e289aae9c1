//! What holds in every step of every policy, on random workloads in virtual
//! time. The auditor knows the rules from their documentation alone: it keeps
//! its own account of every request and never asks a scheduler what it thinks.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::metrics::{RequestStatus, RunRecord};
use crate::progress::Silent;
use crate::scheduler::{BatchEntry, Policy, SchedulerConfig, build};
use crate::workload::{Workload, WorkloadRequest};

/// All policies; each must keep the rules below.
const POLICIES: [Policy; 1] = [Policy::Sarathi];

/// One request by the auditor's account.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    prompt: u32,
    output: u32,
    /// Whether it can ever run by the documented rules.
    possible: bool,
    running: bool,
    target: u32,
    context: u32,
    emitted: u32,
    preemptions: u32,
}

/// A machine with a virtual clock that checks every batch it is given.
struct Auditor<'a> {
    config: &'a SchedulerConfig,
    arrivals: Vec<u64>,
    accounts: Vec<Account>,
    now_ns: u64,
    /// How long steps take, over and over.
    durations: &'a [u64],
    steps: usize,
    preemptions: u32,
}

impl<'a> Auditor<'a> {
    fn new(config: &'a SchedulerConfig, workload: &Workload, durations: &'a [u64]) -> Self {
        let blocks = |tokens: u64| tokens.div_ceil(u64::from(config.block_size));
        let account = |request: &WorkloadRequest| {
            let (prompt, output) = (request.num_prefill_tokens, request.num_decode_tokens);
            let tokens = u64::from(prompt) + u64::from(output);
            let possible = prompt > 0
                && output > 0
                && tokens <= u64::from(config.max_context)
                && blocks(tokens - 1) <= u64::from(config.kv_blocks);
            Account { prompt, output, possible, target: prompt, ..Account::default() }
        };
        Self {
            config,
            arrivals: workload.requests.iter().map(|request| request.arrival_time_ns).collect(),
            accounts: workload.requests.iter().map(account).collect(),
            now_ns: 0,
            durations,
            steps: 0,
            preemptions: 0,
        }
    }

    fn blocks_for(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.config.block_size)
    }

    /// Requests that were preempted: they lose everything but what they emitted.
    fn preempt(&mut self, batch: &Batch) {
        for &id in &batch.preempted {
            let last = self.accounts.iter().rposition(|account| account.running);
            assert_eq!(last, Some(id as usize), "the victim was not the one admitted last");
            let account = &mut self.accounts[id as usize];
            account.running = false;
            account.target = account.prompt + account.emitted;
            account.context = 0;
            account.preemptions += 1;
            self.preemptions += 1;
        }
    }

    /// Requests that have a share and did not run before; returns how many.
    fn admit(&mut self, batch: &Batch) -> usize {
        let mut admitted = 0;
        for entry in batch.entries() {
            let id = entry.request as usize;
            if self.accounts[id].running {
                continue;
            }
            assert!(self.arrivals[id] <= self.now_ns, "{id} ran before it arrived");
            let overtaken = self.accounts[..id]
                .iter()
                .position(|other| other.possible && !other.running && other.emitted < other.output);
            assert_eq!(overtaken, None, "{id} overtook");
            self.accounts[id].running = true;
            admitted += 1;
        }
        admitted
    }

    fn check_shares(&self, batch: &Batch) {
        let mut seen = BTreeSet::new();
        let mut tokens = 0_u64;
        for entry in batch.entries() {
            let account = &self.accounts[entry.request as usize];
            assert!(account.possible, "{entry} can never run");
            assert!(seen.insert(entry.request), "{entry} has two shares");
            assert!(entry.tokens > 0, "{entry} computes nothing");
            assert_eq!(entry.context, account.context, "{entry} skips or repeats tokens");
            assert_eq!(entry.is_prefill, account.context < account.target, "{entry}");
            if entry.is_prefill {
                assert!(entry.tokens <= account.target - account.context, "{entry} runs past its prefill");
                assert_eq!(entry.emits, entry.context + entry.tokens == account.target, "{entry}");
            } else {
                assert_eq!((entry.tokens, entry.emits), (1, true), "{entry}");
            }
            tokens += u64::from(entry.tokens);
        }
        assert!(tokens <= u64::from(self.config.chunk_size), "{batch}: over the budget");
        assert!(batch.preempted.iter().all(|id| !seen.contains(id)), "{batch}");
        // Decodes come first, each group in order of admission.
        let order = |entry: &BatchEntry| (entry.is_prefill, entry.request);
        assert!(batch.entries().is_sorted_by(|a, b| order(a) < order(b)), "{batch}: order");
    }

    fn check_blocks(&self, batch: &Batch, scheduler: &dyn Scheduler) {
        let shares: BTreeMap<_, _> = batch.entries().map(|entry| (entry.request, entry.tokens)).collect();
        let mut owners = BTreeMap::new();
        for (id, account) in (0..).zip(&self.accounts) {
            let blocks = scheduler.blocks(id);
            let after = account.context + shares.get(&id).copied().unwrap_or(0);
            let expected = if account.running { self.blocks_for(after.max(account.target)) } else { 0 };
            assert_eq!(blocks.len(), expected as usize, "{batch}: blocks of {id}");
            for block in blocks {
                assert!(*block < self.config.kv_blocks, "block {block} does not exist");
                assert_eq!(owners.insert(*block, id), None, "block {block} has two owners");
            }
        }
        assert_eq!(scheduler.blocks_used() as usize, owners.len());
    }

    /// No place is left empty that the rules would have filled.
    fn check_work(&self, batch: &Batch, scheduler: &dyn Scheduler, admitted: usize) {
        let running = self.accounts.iter().filter(|account| account.running).count();
        assert_eq!(scheduler.num_running(), running);
        assert!(running <= self.config.max_batch_size as usize);
        let free = self.config.kv_blocks - scheduler.blocks_used();
        if admitted > 0 && running > 1 {
            assert!(free >= self.config.watermark_blocks, "{batch}: admitted into the watermark");
        }
        assert_eq!(batch.len(), running, "{batch}: somebody who runs got nothing");
        if batch.num_tokens() == self.config.chunk_size {
            return;
        }
        let arrived = self.arrivals.iter().take_while(|time| **time <= self.now_ns).count();
        let waits =
            |account: &&Account| account.possible && !account.running && account.emitted < account.output;
        let mut waiting = self.accounts[..arrived].iter().filter(waits);
        assert_eq!(scheduler.num_waiting(), waiting.clone().count());
        if let Some(next) = waiting.next()
            && batch.preempted.is_empty()
            && running < self.config.max_batch_size as usize
        {
            assert!(
                self.blocks_for(next.target) + self.config.watermark_blocks > free,
                "{batch}: the next in the queue fits and was not admitted"
            );
        }
    }
}

impl Machine for Auditor<'_> {
    type Error = Infallible;

    fn now_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn wait_until(&mut self, time_ns: u64) {
        assert!(self.accounts.iter().all(|account| !account.running), "idle with work to do");
        assert!(time_ns > self.now_ns, "waits for the past");
        self.now_ns = time_ns;
    }

    fn execute(&mut self, batch: &Batch, scheduler: &dyn Scheduler) -> Result<(), Infallible> {
        self.preempt(batch);
        let admitted = self.admit(batch);
        self.check_shares(batch);
        self.check_blocks(batch, scheduler);
        self.check_work(batch, scheduler, admitted);
        for entry in batch.entries() {
            let account = &mut self.accounts[entry.request as usize];
            account.context += entry.tokens;
            account.emitted += u32::from(entry.emits);
        }
        self.now_ns += self.durations[self.steps % self.durations.len()];
        self.steps += 1;
        // Each preemption can cost a recompute of the whole context, and each of its tokens a step.
        let work: u64 = self
            .accounts
            .iter()
            .map(|account| {
                let tokens = u64::from(account.prompt) + u64::from(account.output);
                tokens * (u64::from(account.preemptions) + 1)
            })
            .sum();
        assert!(self.steps as u64 <= work, "more steps than tokens to compute: a livelock");
        Ok(())
    }

    fn finished(&mut self, id: RequestId) {
        let account = &mut self.accounts[id as usize];
        assert!(account.running && account.emitted == account.output, "{id} finished with {account:?}");
        account.running = false;
    }
}

/// Serves the workload under audit, checks the record, and returns it with the number of preemptions.
fn audit(config: &SchedulerConfig, workload: &Workload, durations: &[u64]) -> (RunRecord, u32) {
    let mut auditor = Auditor::new(config, workload, durations);
    let mut scheduler = build(config);
    let Ok(record) = drive(&mut *scheduler, workload, None, &mut auditor, &Silent);
    assert_eq!((scheduler.num_running(), scheduler.num_waiting(), scheduler.blocks_used()), (0, 0, 0));

    let times = record.steps.token_times(workload.requests.len());
    for ((row, account), times) in record.requests.iter().zip(&auditor.accounts).zip(&times) {
        let served = if account.possible { account.output } else { 0 };
        assert_eq!(row.status == RequestStatus::Ok, account.possible, "{row:?}");
        assert_eq!(row.error_type, if account.possible { "" } else { "rejected" });
        assert_eq!((row.num_decode_tokens_actual, times.len()), (served, served as usize));
        assert_eq!(
            (row.first_token_time_ns, row.completion_time_ns),
            (times.first().copied(), times.last().copied())
        );
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "token times decrease: {times:?}");
        assert!(times.first().is_none_or(|first| *first >= row.arrival_time_ns));
    }
    for step in 0..record.steps.len() {
        let step_view = record.steps.step(step);
        assert!(step_view.start_ns <= step_view.end_ns);
        assert!(step == 0 || record.steps.step(step - 1).end_ns <= step_view.start_ns);
    }
    (record, auditor.preemptions)
}

/// Requests as (time since the last arrival, prompt, output).
fn workload(requests: &[(u64, u32, u32)]) -> Workload {
    let mut arrival_time_ns = 0;
    let requests = requests.iter().map(|&(inter_arrival_ns, num_prefill_tokens, num_decode_tokens)| {
        arrival_time_ns += inter_arrival_ns;
        WorkloadRequest {
            prompt_id: 0,
            num_prefill_tokens,
            num_decode_tokens,
            inter_arrival_ns,
            arrival_time_ns,
        }
    });
    Workload { requests: requests.collect(), ..Workload::default() }
}

fn policies() -> impl Strategy<Value = Policy> {
    prop::sample::select(POLICIES.to_vec())
}

fn configs(kv_blocks: impl Strategy<Value = u32>) -> impl Strategy<Value = SchedulerConfig> {
    (policies(), 1_u32..40, 1_u32..10, 1_u32..9, kv_blocks, 0_u32..6, 20_u32..80).prop_map(
        |(policy, chunk_size, max_batch_size, block_size, kv_blocks, watermark_blocks, max_context)| {
            let memory = (block_size, kv_blocks, watermark_blocks);
            SchedulerConfig::new(policy, (chunk_size, max_batch_size), memory, max_context)
        },
    )
}

fn requests(most: usize) -> impl Strategy<Value = Vec<(u64, u32, u32)>> {
    let gaps = prop_oneof![2 => Just(0_u64), 1 => 1_u64..60];
    prop::collection::vec((gaps, 0_u32..50, 0_u32..30), 0..most)
}

fn durations() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![Just(vec![0]), prop::collection::vec(0_u64..30, 1..7)]
}

proptest! {
    /// From no memory at all to plenty.
    #[test]
    fn every_step_keeps_the_rules(
        config in configs(0_u32..60),
        requests in requests(24),
        durations in durations(),
    ) {
        audit(&config, &workload(&requests), &durations);
    }

    /// Every request fits alone, and hardly two together: preemption all the time, and no livelock.
    #[test]
    fn tight_memory_ends(
        mut config in configs(Just(0)),
        spare in 0_u32..3,
        requests in prop::collection::vec((0_u64..3, 1_u32..20, 1_u32..30), 2..16),
        durations in durations(),
    ) {
        config.max_context = 64;
        let longest = requests.iter().map(|(_, prompt, output)| prompt + output - 1).max().unwrap_or(1);
        config.kv_blocks = longest.div_ceil(config.block_size) + spare;
        let (record, _) = audit(&config, &workload(&requests), &durations);
        prop_assert!(record.requests.iter().all(|row| row.status == RequestStatus::Ok));
    }

    #[test]
    fn the_same_input_gives_the_same_run(
        config in configs(5_u32..40),
        requests in requests(16),
        durations in durations(),
    ) {
        let workload = workload(&requests);
        prop_assert_eq!(audit(&config, &workload, &durations), audit(&config, &workload, &durations));
    }
}

/// The strategy above does reach what it is meant to reach.
#[test]
fn tight_memory_preempts_in_every_policy() {
    for policy in POLICIES {
        let config = SchedulerConfig::new(policy, (16, 8), (4, 11, 1), 64);
        let (record, preemptions) = audit(&config, &workload(&[(0, 8, 25); 12]), &[3]);
        assert!(preemptions > 10, "{preemptions}");
        assert!(record.requests.iter().all(|row| row.num_decode_tokens_actual == 25));
    }
}
