use std::fmt::Display;
use std::ops::RangeInclusive;

use super::error::VidurError;

/// What a pipeline stage of a replica computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageShape {
    /// Layers of the model over pipeline stages.
    pub layers_per_stage: u32,
    pub num_q_heads: u32,
    pub num_kv_heads: u32,
    /// Whether a norm follows attention.
    pub post_attn_norm: bool,
    pub tensor_parallel: u32,
    pub pipeline_stages: u32,
}

/// Settings of the execution model, with Vidur's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VidurOptions {
    /// KV lengths are rounded up to multiples of it, tokens.
    pub kv_granularity: u64,
    /// Tokens of a batch, and of a request's KV, up to which times are kept once they are known. Beyond it
    /// they are predicted each time, to the same result.
    pub max_tokens: u64,
    /// As `max_tokens`, for the requests of a batch.
    pub max_batch_size: u64,
    /// As `max_tokens`, for the tokens of its prefill chunks together.
    pub max_prefill_chunk: u64,
    /// What several decodes cost above their look-up, with grouped-query attention.
    pub decode_batching_overhead: f64,
    /// What several prefills cost above their look-up, with grouped-query attention.
    pub prefill_batching_overhead: f64,
    /// CPU time to start an all-reduce, ms.
    pub nccl_launch_ms: f64,
    /// CPU skew between devices, ms times devices^1.25.
    pub nccl_skew_ms: f64,
    /// Whether the CPU's work between steps is part of a stage.
    pub cpu_overhead: bool,
}

impl Default for VidurOptions {
    fn default() -> Self {
        Self {
            kv_granularity: 64,
            max_tokens: 4096,
            max_batch_size: 128,
            max_prefill_chunk: 4096,
            decode_batching_overhead: 0.1,
            prefill_batching_overhead: 0.1,
            nccl_launch_ms: 0.02,
            nccl_skew_ms: 0.0,
            cpu_overhead: false,
        }
    }
}

/// Most of anything that is counted: tables have as many entries.
const MAX_COUNT: u64 = 1 << 20;

fn within<T: PartialOrd + Display + Copy>(
    name: &'static str,
    found: T,
    range: RangeInclusive<T>,
) -> Result<(), VidurError> {
    if range.contains(&found) {
        return Ok(());
    }
    let wanted = format!("a number from {} to {}", range.start(), range.end());
    Err(VidurError::Option { name, found: found.to_string(), wanted })
}

impl StageShape {
    pub(super) fn check(&self) -> Result<(), VidurError> {
        within("layers_per_stage", self.layers_per_stage, 1..=1 << 16)?;
        within("num_q_heads", self.num_q_heads, 1..=1 << 16)?;
        within("num_kv_heads", self.num_kv_heads, 1..=1 << 16)?;
        within("tensor_parallel", self.tensor_parallel, 1..=1 << 16)?;
        within("pipeline_stages", self.pipeline_stages, 1..=1 << 16)
    }

    /// Whether several query heads share KV: grouped-query attention.
    pub(super) fn is_grouped(&self) -> bool {
        self.num_q_heads > self.num_kv_heads
    }
}

impl VidurOptions {
    pub(super) fn check(&self) -> Result<(), VidurError> {
        within("kv_granularity", self.kv_granularity, 1..=MAX_COUNT)?;
        within("max_tokens", self.max_tokens, 1..=MAX_COUNT)?;
        within("max_batch_size", self.max_batch_size, 1..=MAX_COUNT)?;
        within("max_prefill_chunk", self.max_prefill_chunk, 1..=MAX_COUNT)?;
        within("decode_batching_overhead", self.decode_batching_overhead, 0.0..=1000.0)?;
        within("prefill_batching_overhead", self.prefill_batching_overhead, 0.0..=1000.0)?;
        within("nccl_launch_ms", self.nccl_launch_ms, 0.0..=1e6)?;
        within("nccl_skew_ms", self.nccl_skew_ms, 0.0..=1e6)
    }
}
