//! What is served, on how many ranks, and how they are connected.

use super::KernelPredictorError;

/// Most ranks of one kind that are believed.
const MAX_RANKS: u32 = 1024;
/// Most layers, experts, and values of a hidden state.
const MAX_SIZE: u32 = 1 << 24;
/// Most tokens of a step: a table of as many durations is kept.
pub const MAX_STEP: u32 = 1 << 20;
/// Most captured batch sizes.
const MAX_GRAPHS: usize = 4096;

/// The model, as far as its profile does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    pub layers: u32,
    /// Query heads, and heads of keys and values; tensor parallelism divides the first.
    pub heads: u32,
    pub kv_heads: u32,
    /// Values of a hidden state.
    pub hidden: u32,
    pub vocab: u32,
    /// Bytes of a value that ranks exchange: 2 for bf16.
    pub value_bytes: u32,
    pub experts: Option<ExpertShape>,
}

/// The experts of each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertShape {
    pub count: u32,
    /// Experts that a token goes to.
    pub per_token: u32,
}

/// Ranks of one replica: `tensor × pipeline × data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parallelism {
    pub tensor: u32,
    pub pipeline: u32,
    /// Ranks that hold the same attention and share the experts. 1 for models without experts, whose
    /// data-parallel ranks are replicas.
    pub data: u32,
    /// Whether a rank holds whole experts; else every rank holds a slice of each.
    pub expert: bool,
}

impl Default for Parallelism {
    fn default() -> Self {
        Self { tensor: 1, pipeline: 1, data: 1, expert: false }
    }
}

/// A link between two ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Bytes a second in one direction.
    pub bytes_per_second: u64,
    /// From a call to its first byte at the other side, ns.
    pub latency_ns: u64,
}

/// How ranks exchange values: measured durations where there are any, else a link.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Network {
    pub link: Option<Link>,
    /// All-reduce among the tensor-parallel ranks: bytes of the whole result, ascending, and ns.
    pub all_reduce: Vec<(u64, f64)>,
    /// From one rank to another: bytes, ascending, and ns.
    pub send: Vec<(u64, f64)>,
}

/// All that a prediction takes besides the profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    pub shape: ModelShape,
    pub parallel: Parallelism,
    pub network: Network,
    /// Batch sizes with a CUDA graph, in tokens, ascending; empty when the engine runs eagerly.
    pub graph_sizes: Vec<u32>,
    /// Most tokens and sequences of a step.
    pub max_tokens: u32,
    pub max_sequences: u32,
    /// What the engine itself takes in every step, and no kernel hides, ns.
    pub overhead_ns: u64,
}

/// The batch sizes that vLLM captures unless it is told otherwise: 1, 2, 4, then every 8 below 256 and every
/// 16 from there, up to twice the sequences of a step and 512.
pub fn vllm_graph_sizes(max_sequences: u32) -> Vec<u32> {
    let largest = max_sequences.saturating_mul(2).min(512);
    let sizes = [1, 2, 4].into_iter().chain((8..256).step_by(8)).chain((256..=512).step_by(16));
    sizes.take_while(|size| *size <= largest).collect()
}

impl Deployment {
    /// Whether the numbers can be of one deployment.
    pub(super) fn check(&self) -> Result<(), KernelPredictorError> {
        let refuse = |found: String, right: &str| {
            Err(KernelPredictorError::Deployment { found, right: right.to_owned() })
        };
        let Self { shape, parallel, .. } = self;
        for (name, value, most) in [
            ("layers", shape.layers, 1 << 16),
            ("heads", shape.heads, MAX_SIZE),
            ("kv_heads", shape.kv_heads, MAX_SIZE),
            ("hidden", shape.hidden, MAX_SIZE),
            ("vocab", shape.vocab, MAX_SIZE),
            ("value_bytes", shape.value_bytes, 16),
            ("tensor", parallel.tensor, MAX_RANKS),
            ("pipeline", parallel.pipeline, MAX_RANKS),
            ("data", parallel.data, MAX_RANKS),
            ("max_tokens", self.max_tokens, MAX_STEP),
            ("max_sequences", self.max_sequences, MAX_STEP),
        ] {
            if !(1..=most).contains(&value) {
                return refuse(format!("{name} is {value}"), &format!("between 1 and {most}"));
            }
        }
        if !shape.heads.is_multiple_of(parallel.tensor) {
            let found = format!("{} heads over {} tensor-parallel ranks", shape.heads, parallel.tensor);
            return refuse(found, "a degree that divides the heads");
        }
        if parallel.pipeline > shape.layers {
            let found = format!("{} layers over {} pipeline stages", shape.layers, parallel.pipeline);
            return refuse(found, "a layer for each stage at least");
        }
        match shape.experts {
            Some(experts)
                if !(1..=MAX_SIZE).contains(&experts.count) || experts.count < experts.per_token =>
            {
                return refuse(
                    format!("{} of {} experts", experts.per_token, experts.count),
                    "fewer than all",
                );
            }
            Some(ExpertShape { per_token: 0, .. }) => {
                return refuse("a token goes to no expert".to_owned(), "one expert at least");
            }
            Some(experts) if parallel.expert && experts.count < parallel.tensor * parallel.data => {
                let ranks = parallel.tensor * parallel.data;
                return refuse(
                    format!("{} experts over {ranks} ranks", experts.count),
                    "an expert for each rank",
                );
            }
            None if parallel.data > 1 || parallel.expert => {
                let found = "parallelism over experts of a model that has none".to_owned();
                return refuse(found, "data-parallel ranks of a dense model are replicas");
            }
            _ => {}
        }
        let ascending = self.graph_sizes.windows(2).all(|pair| pair[0] < pair[1]);
        if self.graph_sizes.len() > MAX_GRAPHS
            || !ascending
            || self.graph_sizes.first() == Some(&0)
            || self.graph_sizes.last().is_some_and(|last| *last > MAX_STEP)
        {
            return refuse("the captured batch sizes".to_owned(), "counts above 0 that ascend");
        }
        for (name, points) in [("all_reduce", &self.network.all_reduce), ("send", &self.network.send)] {
            let good = points.iter().all(|(_, ns)| ns.is_finite() && *ns >= 0.0);
            if !good || points.windows(2).any(|pair| pair[0].0 >= pair[1].0) || points.len() == 1 {
                return refuse(format!("the durations of {name}"), "two or more sizes that ascend");
            }
        }
        if self.network.link.is_some_and(|link| link.bytes_per_second == 0) {
            return refuse("a link of 0 bytes a second".to_owned(), "its bandwidth");
        }
        Ok(())
    }

    /// Layers of each pipeline stage: as even as can be; what is left over goes to the stages before the
    /// last, from the back, since the last also has the head. vLLM's `get_pp_indices` splits so.
    pub(super) fn layers_of_stages(&self) -> Vec<u32> {
        let stages = self.parallel.pipeline;
        let (each, left) = (self.shape.layers / stages, self.shape.layers % stages);
        let gets_one = |stage: u32| stages - 1 - stage >= 1 && stages - 1 - stage <= left;
        (0..stages).map(|stage| each + u32::from(gets_one(stage))).collect()
    }
}
