//! A request's tokens are its own: the same however it is batched, chunked, preempted or cached. Real forward passes
//! under a virtual clock, on random schedules of every policy.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::loaded::CpuModel;
use super::*;
use crate::catalog::{self, ModelConfig};
use crate::drive::Machine;
use crate::model::{Activations, Decoder, PagedKv, Share, WeightReader, train_synthetic};
use crate::progress::Silent;
use crate::scheduler::{Batch, Policy, RequestId, Scheduler};
use crate::spec::Sampling;
use crate::workload::WorkloadRequest;

static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Tokenizer::from_bytes(&train_synthetic(1024).unwrap(), "tokenizer.json").unwrap());

/// One of each family: dense Qwen3, Qwen3 with experts, Llama. A random model whose output projection is its embedding
/// repeats its last token, whatever it attends to; so these have one of their own.
static MODELS: LazyLock<[Arc<Decoder>; 3]> = LazyLock::new(|| {
    let tiny = catalog::model("qwen3-tiny").unwrap().clone();
    let dense = ModelConfig { tie_word_embeddings: false, ..tiny };
    let experts = ModelConfig {
        model_type: "qwen3_moe".to_owned(),
        num_experts: Some(4),
        num_experts_per_tok: Some(2),
        moe_intermediate_size: Some(48),
        norm_topk_prob: Some(true),
        ..dense.clone()
    };
    let llama = ModelConfig {
        model_type: "llama".to_owned(),
        num_key_value_heads: 1,
        vocab_size: 512,
        ..dense.clone()
    };
    [dense, experts, llama].map(|config| {
        let weights = WeightReader::Synthetic { seed: 11 };
        Arc::new(Decoder::load(&config, &weights, Dtype::F32, 256).unwrap())
    })
});

/// A prompt is a beginning, which it may share, and an end.
#[derive(Debug, Clone)]
struct Asked {
    gap_ns: u64,
    /// Which beginning, and how many tokens of it.
    beginning: (u32, u32),
    /// Which end, and how many tokens of it.
    end: (u32, u32),
    outputs: u32,
}

impl Asked {
    fn prompt(&self, vocab_size: u32) -> Vec<u32> {
        let part = |(which, tokens): (u32, u32), salt: u32| {
            (0..tokens).map(move |at| (which * 397 + at * 61 + at * at * 7 + salt) % vocab_size)
        };
        part(self.beginning, 5).chain(part(self.end, 211)).collect()
    }
}

#[derive(Debug, Clone)]
struct Case {
    model: usize,
    policy: Policy,
    prefix_caching: bool,
    /// Tokens of a step, requests at once.
    limits: (u32, u32),
    block_size: u32,
    /// KV blocks beyond those that the longest request needs alone, and the watermark.
    spare: u32,
    watermark: u32,
    /// Tokens of context beyond the longest request.
    context: u32,
    sampling: Sampling,
    requests: Vec<Asked>,
    /// How long steps take, over and over.
    durations: Vec<u64>,
}

impl Case {
    fn config(&self) -> SchedulerConfig {
        let total = |asked: &Asked| asked.beginning.1 + asked.end.1 + asked.outputs;
        let longest = self.requests.iter().map(total).max().unwrap();
        let (chunk, batch) = self.limits;
        let chunk = if self.policy.chunks_prompts() { chunk } else { chunk.max(longest) };
        let block_size = if self.policy == Policy::Lightllm { 1 } else { self.block_size };
        let max_context = longest + self.context;
        // A slot is for the longest context.
        let alone = if self.policy.reserves() { max_context } else { longest }.div_ceil(block_size);
        let spare = if self.policy.reserves() { self.spare * alone / 3 } else { self.spare * 4 / block_size };
        SchedulerConfig {
            prefix_caching: self.prefix_caching && self.policy == Policy::VllmV1,
            ..SchedulerConfig::new(
                self.policy,
                (chunk, batch),
                (block_size, alone + spare, self.watermark),
                max_context,
            )
        }
    }

    fn workload(&self) -> Workload {
        let mut arrival_time_ns = 0;
        let request = |asked: &Asked| {
            arrival_time_ns += asked.gap_ns;
            WorkloadRequest {
                prompt_id: 0,
                num_prefill_tokens: asked.beginning.1 + asked.end.1,
                num_decode_tokens: asked.outputs,
                inter_arrival_ns: asked.gap_ns,
                arrival_time_ns,
            }
        };
        Workload { requests: self.requests.iter().map(request).collect(), ..Workload::default() }
    }

    fn prompts(&self) -> Vec<Vec<u32>> {
        let vocab_size = MODELS[self.model].config().vocab_size;
        self.requests.iter().map(|asked| asked.prompt(vocab_size)).collect()
    }

    fn sampler(&self) -> Sampler {
        Sampler::new(&self.sampling, 77)
    }

    fn kv(&self, blocks: u32, block_size: u32) -> PagedKv {
        let config = MODELS[self.model].config();
        let [layers, heads, dim] =
            [config.num_hidden_layers, config.num_key_value_heads, config.head_dim].map(|n| n as usize);
        PagedKv::new(layers, blocks as usize, block_size as usize, heads, dim).unwrap()
    }

    /// Output tokens of each request, served alone: its prompt in one pass, then token by token.
    fn alone(&self) -> Vec<Vec<u32>> {
        let (model, sampler) = (&MODELS[self.model], self.sampler());
        let mut kv = self.kv(8, 16);
        let blocks: Vec<u32> = (0..8).collect();
        let mut serve = |(request, (prompt, asked)): (u32, (Vec<u32>, &Asked))| {
            let mut outputs = Vec::new();
            let (mut tokens, mut context) = (prompt, 0);
            for index in 0..asked.outputs {
                let share = Share { tokens: &tokens, context, blocks: &blocks, emits: true };
                let layers = model.config().num_hidden_layers as usize;
                let logits = model
                    .forward(&[share], &mut kv, &mut Activations::default(), layers, &mut NoTimer)
                    .unwrap();
                context += tokens.len() as u32;
                tokens = vec![sampler.sample(&logits, request, index)];
                outputs.extend_from_slice(&tokens);
            }
            outputs
        };
        (0..).zip(self.prompts().into_iter().zip(&self.requests)).map(&mut serve).collect()
    }

    /// The same from the engine's loop, and what happened on the way.
    fn served(&self, prefixes: &Prefixes) -> (Vec<Vec<u32>>, RunRecord, Seen) {
        let config = self.config();
        let mut model = CpuModel::new(MODELS[self.model].clone());
        model.reserve_kv(config.kv_blocks, config.block_size).unwrap();
        let prompts = self.prompts().into_iter().zip(&self.requests);
        let sequences: Vec<Sequence> =
            prompts.map(|(prompt, asked)| Sequence::new(prompt, asked.outputs as usize)).collect();
        let sampler = self.sampler();
        let requests = sequences.len();
        let mut machine = Virtual {
            executor: Executor::new(&mut model, sequences, &sampler, &TOKENIZER),
            block_size: config.block_size,
            now_ns: 0,
            durations: &self.durations,
            steps: 0,
            context: vec![0; requests],
            restarted: vec![false; requests],
            seen: Seen::default(),
        };
        let mut scheduler = scheduler::build(&config);
        let record =
            drive(scheduler.as_mut(), &self.workload(), Some(prefixes), &mut machine, &Silent).unwrap();
        (machine.executor.into_outputs(), record, machine.seen)
    }

    fn prefixes(&self) -> Prefixes {
        Prefixes::of_tokens(self.config().block_size, self.prompts().iter().map(Vec::as_slice))
    }
}

/// What happened in runs.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// Steps of several requests.
    batches: u32,
    /// Steps of prompts beside decodes.
    mixed: u32,
    /// Chunks that did not end a prompt.
    chunks: u32,
    preemptions: u32,
    /// Requests whose beginning was another's.
    shared: u32,
    /// The same, of one that has its share of the very step that computes the other's.
    shared_at_once: u32,
    /// Requests that found blocks of their own after a preemption.
    found_again: u32,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.batches += other.batches;
        self.mixed += other.mixed;
        self.chunks += other.chunks;
        self.preemptions += other.preemptions;
        self.shared += other.shared;
        self.shared_at_once += other.shared_at_once;
        self.found_again += other.found_again;
    }
}

/// The engine's executor under a clock of its own.
struct Virtual<'a> {
    executor: Executor<'a>,
    block_size: u32,
    now_ns: u64,
    durations: &'a [u64],
    steps: usize,
    /// Tokens of each running request in the cache.
    context: Vec<u32>,
    restarted: Vec<bool>,
    seen: Seen,
}

impl Virtual<'_> {
    fn note(&mut self, batch: &Batch, scheduler: &dyn Scheduler) {
        let seen = &mut self.seen;
        seen.batches += u32::from(batch.len() > 1);
        seen.mixed += u32::from(!batch.decodes.is_empty() && !batch.chunks.is_empty());
        seen.chunks += batch.chunks.iter().filter(|chunk| !chunk.emits).count() as u32;
        seen.preemptions += batch.preempted.len() as u32;
        for &request in &batch.preempted {
            self.context[request as usize] = 0;
            self.restarted[request as usize] = true;
        }
        let written = self.written(batch, scheduler);
        for entry in batch.entries() {
            let request = entry.request as usize;
            if self.context[request] == 0 && entry.context > 0 {
                let blocks = &scheduler.blocks(entry.request)[..(entry.context / self.block_size) as usize];
                self.seen.shared_at_once += u32::from(blocks.iter().any(|block| written.contains_key(block)));
                match self.restarted[request] {
                    true => self.seen.found_again += 1,
                    false => self.seen.shared += 1,
                }
                assert_eq!(entry.context % self.block_size, 0, "{entry} shares a part of a block");
            } else {
                assert_eq!(entry.context, self.context[request], "{entry} skips or repeats tokens");
            }
        }
    }

    /// Who writes which block. Nobody writes where another has tokens.
    fn written(&self, batch: &Batch, scheduler: &dyn Scheduler) -> BTreeMap<u32, RequestId> {
        let mut written = BTreeMap::new();
        for entry in batch.entries() {
            let (first, last) = (entry.context, entry.context + entry.tokens - 1);
            for at in first / self.block_size..=last / self.block_size {
                let block = scheduler.blocks(entry.request)[at as usize];
                assert_eq!(written.insert(block, entry.request), None, "{batch}: two write block {block}");
            }
        }
        for (request, context) in (0..).zip(&self.context) {
            let held = &scheduler.blocks(request)[..context.div_ceil(self.block_size) as usize];
            for block in held {
                let writer = written.get(block).copied().unwrap_or(request);
                assert_eq!(writer, request, "{batch}: block {block} of {request} is overwritten");
            }
        }
        written
    }
}

impl Machine for Virtual<'_> {
    type Error = EngineError;

    fn now_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn wait_until(&mut self, time_ns: u64) {
        self.now_ns = time_ns;
    }

    fn execute(&mut self, batch: &Batch, scheduler: &dyn Scheduler) -> Result<(), EngineError> {
        self.note(batch, scheduler);
        self.executor.step(batch, |request| scheduler.blocks(request), &mut NoTimer)?;
        for entry in batch.entries() {
            self.context[entry.request as usize] = entry.context + entry.tokens;
        }
        self.now_ns += self.durations[self.steps % self.durations.len()];
        self.steps += 1;
        Ok(())
    }

    fn finished(&mut self, request: RequestId) {
        self.context[request as usize] = 0;
    }
}

fn samplings() -> impl Strategy<Value = Sampling> {
    let random = (0.01_f64..2.0, prop::sample::select(vec![0_u32, 5, 40]), 0.3_f64..1.0)
        .prop_map(|(temperature, top_k, top_p)| Sampling { temperature, top_k, top_p });
    prop_oneof![1 => Just(Sampling::default()), 2 => random]
}

fn requests() -> impl Strategy<Value = Vec<Asked>> {
    let gap = prop_oneof![2 => Just(0_u64), 1 => 1_u64..40];
    let asked = (gap, (0_u32..2, 0_u32..28), (0_u32..4, 1_u32..14), 1_u32..12);
    let asked = asked.prop_map(|(gap_ns, beginning, end, outputs)| Asked { gap_ns, beginning, end, outputs });
    prop::collection::vec(asked, 2..9)
}

fn cases() -> impl Strategy<Value = Case> {
    // The policy with a cache as often as all others together.
    let policies: Vec<Policy> = [[Policy::VllmV1; 7], Policy::ALL].concat();
    let deployed = (0..MODELS.len(), prop::sample::select(policies), prop::bool::weighted(0.8));
    let chunk = prop_oneof![2 => 1_u32..40, 1 => 40_u32..200];
    let sizes = ((chunk, 1_u32..6), 1_u32..9, 0_u32..6, 0_u32..2, 0_u32..6);
    let durations = prop::collection::vec(0_u64..30, 1..5);
    (deployed, sizes, samplings(), requests(), durations).prop_map(
        |((model, policy, prefix_caching), sizes, sampling, requests, durations)| {
            let (limits, block_size, spare, watermark, context) = sizes;
            Case {
                model,
                policy,
                prefix_caching,
                limits,
                block_size,
                spare,
                watermark,
                context,
                sampling,
                requests,
                durations,
            }
        },
    )
}

#[test]
fn tokens_are_those_of_the_request_alone() {
    let seen = RefCell::new(Seen::default());
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) });
    let outcome = runner.run(&cases(), |case| {
        let (outputs, record, happened) = case.served(&case.prefixes());
        prop_assert!(record.requests.iter().all(|row| row.completion_time_ns.is_some()), "{record:?}");
        prop_assert_eq!(outputs, case.alone());
        seen.borrow_mut().add(happened);
        Ok(())
    });
    let seen = seen.into_inner();
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let Seen { batches, mixed, chunks, preemptions, shared, found_again, .. } = seen;
    let all = [batches, mixed, chunks, preemptions, shared, found_again];
    assert!(all.iter().all(|count| *count > 0), "the cases do not reach what they are meant to: {seen:?}");
}

/// Cases of the property, some hundredths of a second each.
const CASES: u32 = 96;

/// Two long prompts that differ in their first tokens, served one after the other.
fn one_after_the_other() -> Case {
    let asked = |gap_ns, which| Asked { gap_ns, beginning: (which, 16), end: (0, 3), outputs: 12 };
    Case {
        model: 0,
        policy: Policy::VllmV1,
        prefix_caching: true,
        limits: (64, 2),
        block_size: 4,
        spare: 16,
        watermark: 0,
        context: 0,
        sampling: Sampling { temperature: 0.5, ..Sampling::default() },
        requests: vec![asked(0, 0), asked(1_000, 1), asked(1_000, 0)],
        durations: vec![1],
    }
}

/// A request may share what the same step computes.
#[test]
fn blocks_are_shared_in_the_step_that_fills_them() {
    let mut case = one_after_the_other();
    case.requests.iter_mut().for_each(|asked| (asked.gap_ns, asked.beginning.0) = (0, 0));
    case.requests[2].end.0 = 1;
    case.limits = (64, 3);
    for model in 0..MODELS.len() {
        case.model = model;
        let (outputs, _, seen) = case.served(&case.prefixes());
        assert_eq!((seen.shared, seen.shared_at_once), (2, 2));
        assert_eq!(outputs, case.alone());
    }
}

/// What is found in the cache is read: the tokens of a request that is told another's ids are wrong.
#[test]
fn a_cache_that_is_told_lies_yields_other_tokens() {
    let case = one_after_the_other();
    let alone = case.alone();
    let (outputs, _, seen) = case.served(&case.prefixes());
    assert_eq!((&outputs, seen.shared), (&alone, 1));

    let prompts = case.prompts();
    let lies = Prefixes::of_tokens(4, [&prompts[0][..], &prompts[0], &prompts[0]]);
    let (outputs, _, seen) = case.served(&lies);
    assert_eq!(seen.shared, 2);
    assert_eq!((&outputs[0], &outputs[2]), (&alone[0], &alone[2]));
    assert_ne!(outputs[1], alone[1]);
}
