use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Batch policy by its name in the literature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Chunked prefill beside decodes under a token budget (Agrawal et al., "Taming
    /// Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve", OSDI 2024).
    Sarathi,
}

/// Everything a scheduler depends on; each field is a fact of the lock.
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
}
