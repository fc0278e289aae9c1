use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Batch policy by its name in the literature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Chunked prefill beside decodes under a token budget (Agrawal et al., "Taming
    /// Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve", OSDI 2024).
    Sarathi,
    /// Today's vLLM: one token budget for prompts and decodes, preemption by recompute, automatic
    /// prefix caching (vLLM's "V1" engine core, 2025).
    VllmV1,
    /// vLLM as first published: whole prompts before decodes (Kwon et al., "Efficient Memory
    /// Management for Large Language Model Serving with PagedAttention", SOSP 2023).
    Vllm,
    /// Iteration-level scheduling with a slot of the longest context for each request (Yu et al.,
    /// "Orca: A Distributed Serving System for Transformer-Based Generative Models", OSDI 2022).
    Orca,
    /// Token-level memory with admission by an estimate of its peak (the LightLLM server, 2023).
    Lightllm,
    /// Whole batches, from start to the end of their last request, with a slot of the longest
    /// context each (NVIDIA FasterTransformer).
    FasterTransformer,
    /// Whole batches with memory for exactly what each request needs: the `generate` call of a
    /// library that knows no scheduler.
    Static,
}

impl Policy {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Sarathi,
        Self::VllmV1,
        Self::Vllm,
        Self::Orca,
        Self::Lightllm,
        Self::FasterTransformer,
        Self::Static,
    ];

    /// Its name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sarathi => "sarathi",
            Self::VllmV1 => "vllm_v1",
            Self::Vllm => "vllm",
            Self::Orca => "orca",
            Self::Lightllm => "lightllm",
            Self::FasterTransformer => "faster_transformer",
            Self::Static => "static",
        }
    }

    /// Whether a prompt may be computed in several steps.
    pub fn chunks_prompts(self) -> bool {
        matches!(self, Self::Sarathi | Self::VllmV1)
    }

    /// Whether `chunk_size` bounds a step: the others take whole prompts, as many as are admitted.
    pub fn limits_steps(self) -> bool {
        !matches!(self, Self::Orca | Self::FasterTransformer | Self::Static)
    }

    /// Whether a request holds the same memory from admission to its end, however little of it is used.
    pub fn reserves(self) -> bool {
        matches!(self, Self::Orca | Self::FasterTransformer | Self::Static)
    }
}

/// Whose known mistakes a policy repeats, to be compared with results that have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compat {
    /// Nobody's: the policy as its paper describes it.
    #[default]
    None,
    /// Those of Vidur (microsoft/vidur 7d47513), decision for decision; `docs/simulator.md` lists them.
    Vidur,
}

/// Where Vidur's schedulers differ from the policies they are named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// A decode wants one free block even when its token needs none.
    pub decode_wants_free_block: bool,
    /// A step that preempted may admit, the victim itself included.
    pub admits_after_preemption: bool,
    /// A prompt preempted half-way comes back as a prompt of the part that was computed, its rest
    /// counted as output.
    pub preemption_cuts_prompts: bool,
    /// The watermark keeps a request out even when nothing runs.
    pub watermark_binds_idle: bool,
    /// A request that has grown over what a step may compute waits for ever, and so do those behind it.
    pub restarts_can_starve: bool,
    /// A whole batch frees the memory of those alone that finish together with its last.
    pub batch_end_leaks_slots: bool,
    /// A slot has no block for what the longest context has over whole blocks.
    pub slots_round_down: bool,
}

impl Compat {
    /// The differences it switches on.
    pub fn quirks(self) -> Quirks {
        let on = self == Self::Vidur;
        Quirks {
            decode_wants_free_block: on,
            admits_after_preemption: on,
            preemption_cuts_prompts: on,
            watermark_binds_idle: on,
            restarts_can_starve: on,
            batch_end_leaks_slots: on,
            slots_round_down: on,
        }
    }
}

/// Everything a scheduler depends on; each field is a fact of the lock. What is not given is not
/// written, so that a lock from before a field existed means the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SchedulerConfig {
    pub policy: Policy,
    /// Tokens a step may compute at most (prefill chunk budget).
    pub chunk_size: u32,
    /// Requests that may run at once.
    pub max_batch_size: u32,
    /// Tokens in a KV block.
    pub block_size: u32,
    /// KV blocks in the cache.
    pub kv_blocks: u32,
    /// Blocks kept free when a request is admitted while others run.
    pub watermark_blocks: u32,
    /// Longest prompt plus output of a request, in tokens.
    pub max_context: u32,
    /// Pipeline stages, each with its own batch at a time.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub pipeline_stages: u32,
    /// Decode steps after which `lightllm` looks at the queue again.
    #[serde(default = "ten", skip_serializing_if = "is_ten")]
    pub max_waiting_steps: u32,
    /// Blocks of finished requests serve later prompts that begin alike (`vllm_v1`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub prefix_caching: bool,
    /// A step is formed while the one before it runs (`vllm_v1`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub async_scheduling: bool,
    /// Whose known mistakes are repeated.
    #[serde(default, skip_serializing_if = "is_none")]
    pub compat: Compat,
}

pub(super) fn one() -> u32 {
    1
}

fn ten() -> u32 {
    10
}

pub(super) fn is_one(value: &u32) -> bool {
    *value == 1
}

fn is_ten(value: &u32) -> bool {
    *value == 10
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_none(compat: &Compat) -> bool {
    *compat == Compat::None
}

impl SchedulerConfig {
    /// A configuration with every optional setting at its default. `limits` is (tokens of a step,
    /// requests at once), `memory` (tokens in a block, blocks, watermark in blocks).
    pub fn new(policy: Policy, limits: (u32, u32), memory: (u32, u32, u32), max_context: u32) -> Self {
        Self {
            policy,
            chunk_size: limits.0,
            max_batch_size: limits.1,
            block_size: memory.0,
            kv_blocks: memory.1,
            watermark_blocks: memory.2,
            max_context,
            pipeline_stages: 1,
            max_waiting_steps: 10,
            prefix_caching: false,
            async_scheduling: false,
            compat: Compat::None,
        }
    }

    /// Batches that may be formed and not yet complete: one for each pipeline stage, and one that is
    /// formed ahead when scheduling is asynchronous.
    pub fn depth(&self) -> u32 {
        self.pipeline_stages.max(1) + u32::from(self.async_scheduling && self.policy == Policy::VllmV1)
    }

    /// Requests in one batch at most: those that may run, shared out over the pipeline's batches.
    pub fn micro_batch(&self) -> u32 {
        match self.policy {
            Policy::Sarathi | Policy::Vllm | Policy::Lightllm => {
                self.max_batch_size / self.pipeline_stages.max(1)
            }
            _ => self.max_batch_size,
        }
    }
}
