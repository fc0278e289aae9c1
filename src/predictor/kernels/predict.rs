use super::KernelPredictorError;
use super::attention::Attention;
use super::curve::{Between, Curve};
use super::deployment::{Deployment, Network, Parallelism};
use super::experts::Experts;
use super::features::StepFeatures;
use crate::profile::llmservingsim::{DenseLayer, KernelProfile};

/// Most counts of tokens, over all data-parallel ranks, whose experts' durations are kept.
const MAX_KEPT: u32 = 1 << 16;
/// Bytes that go with a token to its experts: for each, its number and its weight.
const ROUTE_BYTES: f64 = 8.0;

/// How long a step takes, ns, by what takes it. The sum is the step's duration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepTime {
    /// Projections, norms, MLP, embedding.
    pub dense_ns: u64,
    pub attention_ns: u64,
    pub lm_head_ns: u64,
    pub sampler_ns: u64,
    /// Experts.
    pub moe_ns: u64,
    /// Collectives, and sends between stages.
    pub communication_ns: u64,
    /// The engine's own.
    pub overhead_ns: u64,
}

impl StepTime {
    /// Duration of the step, ns.
    pub fn total_ns(&self) -> u64 {
        [
            self.dense_ns,
            self.attention_ns,
            self.lm_head_ns,
            self.sampler_ns,
            self.moe_ns,
            self.communication_ns,
            self.overhead_ns,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    fn add(&mut self, other: &Self) {
        for (sum, ns) in [
            (&mut self.dense_ns, other.dense_ns),
            (&mut self.attention_ns, other.attention_ns),
            (&mut self.lm_head_ns, other.lm_head_ns),
            (&mut self.sampler_ns, other.sampler_ns),
            (&mut self.moe_ns, other.moe_ns),
            (&mut self.communication_ns, other.communication_ns),
            (&mut self.overhead_ns, other.overhead_ns),
        ] {
            *sum = sum.saturating_add(ns);
        }
    }
}

/// Layers of a pipeline stage.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stage {
    layers: f64,
    first: bool,
    last: bool,
}

/// Step → duration, from a kernel profile. The rules and what speaks for them are in `docs/vllm-model.md`.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelPredictor {
    stages: Vec<Stage>,
    /// Dense kernels of one layer, by tokens that run.
    block: Curve,
    embedding: Curve,
    final_norm: Curve,
    lm_head: Curve,
    sampler: Curve,
    attention: Attention,
    experts: Option<Experts>,
    /// Of one hidden state for each token, by tokens that run.
    all_reduce: Curve,
    /// All-reduces of a layer.
    reduces: f64,
    /// Bytes of the logits of a sequence, of a hidden state, and of what goes to the experts.
    logit_bytes: f64,
    hidden_bytes: f64,
    route_bytes: f64,
    parallel: Parallelism,
    network: Network,
    /// Tokens that run for each count up to the largest CUDA graph.
    padded: Vec<u32>,
    max_tokens: u32,
    max_sequences: u32,
    overhead_ns: u64,
}

impl KernelPredictor {
    /// Prepares the tables. The profile is of one rank at the deployment's degree of tensor parallelism.
    pub fn new(profile: &KernelProfile, deployment: &Deployment) -> Result<Self, KernelPredictorError> {
        deployment.check()?;
        let Deployment { shape, parallel, network, max_tokens, max_sequences, .. } = deployment;
        if profile.tensor != parallel.tensor {
            return Err(KernelPredictorError::Degree { profile: profile.tensor, wanted: parallel.tensor });
        }
        let (experts, table) = (shape.experts, profile.experts.as_ref());
        let mlp = profile.dense.contains_key(&DenseLayer::GateUpProj);
        let experts = match (experts, table) {
            (Some(experts), Some(table)) if !mlp => {
                let (ranks, kept) =
                    (parallel.tensor * parallel.data, max_tokens.saturating_mul(parallel.data));
                Some(Experts::new(table, experts, ranks, parallel.expert, kept.min(MAX_KEPT)))
            }
            (None, None) => None,
            _ => return Err(KernelPredictorError::Experts { model: experts.is_some(), mlp }),
        };

        let most = deployment.graph_sizes.last().copied().unwrap_or_default().max(*max_tokens);
        let dense = |layer: DenseLayer| {
            let points = profile.dense.get(&layer).map_or(&[][..], Vec::as_slice);
            Curve::new(points, between(layer), most)
        };
        let mut block = Curve::zero(most as usize + 1);
        for layer in profile.dense.keys() {
            block.add(&dense(*layer), calls(*layer));
        }

        let hidden_bytes = f64::from(shape.hidden) * f64::from(shape.value_bytes);
        let no_network = || KernelPredictorError::Network;
        let mut all_reduce = Vec::with_capacity(most as usize + 1);
        for tokens in 0..=most {
            let bytes = f64::from(tokens) * hidden_bytes;
            all_reduce.push((tokens, network.all_reduce_ns(bytes, parallel.tensor).ok_or_else(no_network)?));
        }
        if parallel.data > 1 && network.link.is_none() {
            return Err(no_network());
        }
        if parallel.pipeline > 1 {
            network.send_ns(1.0).ok_or_else(no_network)?;
        }

        let layers = deployment.layers_of_stages();
        let last = layers.len() - 1;
        let stage = |(index, layers): (usize, u32)| Stage {
            layers: f64::from(layers),
            first: index == 0,
            last: index == last,
        };
        let per_token = shape.experts.map_or(0, |experts| experts.per_token);
        Ok(Self {
            stages: layers.into_iter().enumerate().map(stage).collect(),
            block,
            embedding: dense(DenseLayer::Embedding),
            final_norm: dense(DenseLayer::FinalLayerNorm),
            lm_head: Curve::new(&profile.lm_head, Between::Line, *max_sequences),
            sampler: Curve::new(&profile.sampler, Between::Line, *max_sequences),
            attention: Attention::new(&profile.attention, profile.skew.as_ref(), *max_sequences),
            experts,
            all_reduce: Curve::new(&all_reduce, Between::Line, most),
            // Behind attention and behind the MLP; data-parallel ranks get what experts yield another way.
            reduces: if parallel.data > 1 { 1.0 } else { 2.0 },
            logit_bytes: f64::from(shape.vocab) * f64::from(shape.value_bytes),
            hidden_bytes,
            route_bytes: hidden_bytes + f64::from(per_token) * ROUTE_BYTES,
            parallel: *parallel,
            network: network.clone(),
            padded: padded(&deployment.graph_sizes),
            max_tokens: *max_tokens,
            max_sequences: *max_sequences,
            overhead_ns: deployment.overhead_ns,
        })
    }

    /// Duration of the step from its first kernel to its tokens, through all stages, ns.
    pub fn step_ns(&self, step: &StepFeatures) -> u64 {
        self.step(step).total_ns()
    }

    /// The same by what takes it.
    pub fn step(&self, step: &StepFeatures) -> StepTime {
        let mut sum = self.stage(0, step);
        for stage in 1..self.stages.len() {
            sum.add(&self.stage(stage, step));
            sum.communication_ns = sum.communication_ns.saturating_add(self.send_ns(step));
        }
        sum
    }

    /// Pipeline stages.
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// What one stage takes; nothing for a stage that there is not. The engine's own time is the first's.
    pub fn stage(&self, stage: usize, step: &StepFeatures) -> StepTime {
        let Some(Stage { layers, first, last }) = self.stages.get(stage).copied() else {
            return StepTime::default();
        };
        let (tokens, all_tokens) = self.run(step);
        let mut dense = layers * self.block.at(tokens);
        let mut communication = layers * self.layer_communication_ns(tokens, all_tokens);
        if first {
            dense += self.embedding.at(tokens);
            communication += self.all_reduce.at(tokens);
        }
        let (mut lm_head, mut sampler) = (0.0, 0.0);
        if last {
            let sequences = step.sequences();
            dense += self.final_norm.at(tokens);
            lm_head = self.lm_head.at(sequences);
            sampler = self.sampler.at(sequences);
            communication += self.gather_ns(f64::from(sequences) * self.logit_bytes, self.parallel.tensor);
        }
        let moe = self.experts.as_ref().map_or(0.0, |experts| layers * experts.layer_ns(all_tokens));
        StepTime {
            dense_ns: whole(dense),
            attention_ns: whole(layers * self.attention.layer_ns(step)),
            lm_head_ns: whole(lm_head),
            sampler_ns: whole(sampler),
            moe_ns: whole(moe),
            communication_ns: whole(communication),
            overhead_ns: if first { self.overhead_ns } else { 0 },
        }
    }

    /// What a step takes from one stage to the next, ns: hidden states and residuals, a slice from each
    /// tensor-parallel rank to its peer, which gather them there.
    pub fn send_ns(&self, step: &StepFeatures) -> u64 {
        let bytes = f64::from(self.run(step).0) * self.hidden_bytes;
        let sent = self.network.send_ns(2.0 * bytes / f64::from(self.parallel.tensor)).unwrap_or_default();
        whole(sent + 2.0 * self.gather_ns(bytes, self.parallel.tensor))
    }

    /// Whether all that the step depends on lies within what was profiled. Beyond, durations are continued.
    pub fn covers(&self, step: &StepFeatures) -> bool {
        let [chunk, kv_before, kv] = self.attention.reach();
        step.tokens() <= self.max_tokens
            && step.sequences() <= self.max_sequences
            && step.decode_kv().1 <= kv
            && step
                .chunks()
                .iter()
                .all(|piece| f64::from(piece.tokens) <= chunk && f64::from(piece.kv_before) <= kv_before)
    }

    /// Tokens that run on this rank, and on all ranks that share the experts.
    fn run(&self, step: &StepFeatures) -> (u32, u64) {
        if self.parallel.data == 1 {
            let tokens = self.pad(step.tokens()).unwrap_or(step.tokens());
            return (tokens, u64::from(tokens));
        }
        // Ranks run graphs together or not at all, and then of one size.
        let (all, most) = step.group();
        match self.pad(most) {
            Some(tokens) => (tokens, u64::from(tokens) * u64::from(self.parallel.data)),
            None => (step.tokens(), all),
        }
    }

    /// The smallest captured batch size that holds the tokens.
    fn pad(&self, tokens: u32) -> Option<u32> {
        self.padded.get(tokens as usize).copied()
    }

    fn gather_ns(&self, bytes: f64, ranks: u32) -> f64 {
        self.network.gather_ns(bytes, ranks).unwrap_or_default()
    }

    /// Collectives of one layer. Data-parallel ranks gather all tokens before the experts, and each gets the
    /// sum of what concerns its own behind them. With tensor parallelism besides, each of its ranks has a
    /// part of the tokens there, and gathers the others' afterwards.
    fn layer_communication_ns(&self, tokens: u32, all_tokens: u64) -> f64 {
        let Parallelism { tensor, data, .. } = self.parallel;
        let mut sum = self.reduces * self.all_reduce.at(tokens);
        if data > 1 {
            let all = all_tokens as f64;
            sum += self.gather_ns(all * self.route_bytes, data * tensor)
                + self.gather_ns(all * self.hidden_bytes, data * tensor)
                + self.gather_ns(f64::from(tokens) * self.hidden_bytes, tensor);
        }
        sum
    }
}

/// Times a kernel runs in a layer. The profiler notes the mean of a kernel's calls.
fn calls(layer: DenseLayer) -> f64 {
    match layer {
        // Not of a layer: once in a step.
        DenseLayer::Embedding | DenseLayer::FinalLayerNorm => 0.0,
        // Before attention and before the MLP; of queries and of keys.
        DenseLayer::LayerNorm | DenseLayer::QkNorm => 2.0,
        _ => 1.0,
    }
}

fn between(layer: DenseLayer) -> Between {
    match layer {
        DenseLayer::QkvProj | DenseLayer::OProj | DenseLayer::GateUpProj | DenseLayer::DownProj => {
            Between::Stair
        }
        _ => Between::Line,
    }
}

/// For each count up to the largest captured size, the captured size that runs.
fn padded(sizes: &[u32]) -> Vec<u32> {
    let mut padded = Vec::with_capacity(sizes.last().map_or(0, |last| *last as usize + 1));
    for &size in sizes {
        if padded.is_empty() {
            padded.push(0);
        }
        padded.resize(size as usize + 1, size);
    }
    padded
}

/// Rounded by addition: a conversion to an integer truncates, on every machine alike.
fn whole(ns: f64) -> u64 {
    (ns.max(0.0) + 0.5) as u64
}
