//! A profiling bundle in memory. On disk: a folder with `bundle.json` and CSV
//! files; see `docs/bundle.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::machine::SpeedPoint;
use crate::store::{Digest, FileDigest};

/// Version of the bundle format this xp writes, and the newest it reads.
pub const BUNDLE_FORMAT: u32 = 3;

/// `bundle.json`: what was measured, where, and how well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleMeta {
    /// Version of this format.
    pub format: u32,
    /// Digest over the facts of the machine that decide speed (processor, vector instructions, cores, memory, compute threads).
    pub fingerprint: Digest,
    /// Those facts for people: name, value.
    pub hardware: Vec<(String, String)>,
    /// Catalog name of the model.
    pub model: String,
    /// Digest of the model's shape and number format (not of its weights' values).
    pub model_digest: Digest,
    pub num_layers: u32,
    /// Tokens in a KV block while measuring.
    pub block_size: u32,
    /// Largest step the grid covers.
    pub max_tokens: u32,
    pub max_batch_size: u32,
    pub max_context: u32,
    /// Engine name and version.
    pub engine: String,
    /// Most repetitions of a measurement: those that vary little are repeated less.
    pub repetitions: u32,
    /// Mean duration of the engine's reference step, ns.
    pub reference_ns: u64,
    /// Durations of the reference steps, on average: the speed of the machine that all of the bundle is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<SpeedPoint>,
    /// Noise floor: median absolute deviation of the reference step, repeated through the whole
    /// measurement, per cent of its mean.
    pub noise_percent: f64,
    /// Memory that all compute threads read together, 10⁹ bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gb_per_s: Option<f64>,
    /// Timings that something else on the machine disturbed, per cent of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed_percent: Option<f64>,
    /// Half of the 95 % interval of a step's mean, per cent of it: the largest of the grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_percent: Option<f64>,
    /// Time that others on the machine took in pieces too large for the mean of a step, per cent of the engine's own: a run
    /// will lose as much. Without steal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interference_percent: Option<f64>,
    /// Tokens or sequences that matrix products take together: a number above it takes as long as its next multiple does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_group: Option<u32>,
    /// The same for the tokens of a step that has many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub many_rows: Option<ManyRows>,
    /// Every other file of the bundle.
    pub files: Vec<FileDigest>,
}

/// How tokens are computed where there are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManyRows {
    /// So many are many: each thread computes some of them, with all weights.
    pub from: u32,
    /// What the threads take together at a time: a number of tokens takes as long as its next multiple does.
    pub group: u32,
}

/// What an operator's time depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Tokens of the step.
    Tokens,
    /// Sequences that yield a token (rows of logits).
    Sequences,
    /// Requests in the batch.
    BatchSize,
}

/// One measured point of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OpPoint {
    /// Value of the feature.
    pub x: u32,
    /// Mean duration without outliers, ns.
    pub mean_ns: f64,
    /// Spread: median absolute deviation, ns.
    pub mad_ns: f64,
}

/// An operator over its feature, `x` ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct OpCurve {
    /// Name in Vidur's vocabulary where it has one (`attn_pre_proj`, `mlp_up_proj`, …).
    pub op: String,
    pub feature: Feature,
    /// The duration is of one layer; multiply by the number of layers.
    pub per_layer: bool,
    pub points: Vec<OpPoint>,
}

/// Attention of one layer: either a prefill chunk over earlier KV, or a batch
/// of decodes over their mean KV.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionPoint {
    /// Tokens of the chunk; 0 for decode.
    pub prefill_chunk: u32,
    /// Tokens in the KV cache before the chunk; 0 for decode.
    pub kv_prefill: u32,
    /// Decoding requests; 0 for prefill.
    pub n_decode: u32,
    /// Mean tokens in the KV cache of a decoding request; 0 for prefill.
    pub kv_decode: u32,
    pub mean_ns: f64,
    pub mad_ns: f64,
}

/// A whole step measured end to end, for checking a predictor.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSample {
    /// (chunk tokens, KV tokens before) of each prefill in the step.
    pub prefills: Vec<(u32, u32)>,
    /// KV tokens before the step of each decode in it.
    pub decodes: Vec<u32>,
    /// Prefills that end their prompt and so yield a token.
    pub completing: u32,
    pub mean_ns: f64,
    pub mad_ns: f64,
}

/// What a step takes longer that follows a pause: meanwhile the caches came to hold others' data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PausePoint {
    /// Length of the pause, ms.
    pub idle_ms: u32,
    /// Mean of what the step took longer, ns.
    pub mean_ns: f64,
    pub mad_ns: f64,
}

/// What decodes take longer soon after a prefill chunk: it left other weights and keys in the caches than they do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AfterChunkPoint {
    /// Decodes of the step.
    pub batch_size: u32,
    /// Which step it is after the chunk's, from 1.
    pub steps: u32,
    /// Mean of what it took longer, ns.
    pub mean_ns: f64,
    pub mad_ns: f64,
}

/// What decodes add to a step with a prefill chunk: how much longer it took than a chunk of as many tokens as both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BesideChunkPoint {
    /// Decodes of the step.
    pub batch_size: u32,
    /// Tokens in the KV cache of each.
    pub kv_decode: u32,
    /// Tokens of the chunk.
    pub prefill_chunk: u32,
    /// Mean of what the step took longer, ns; 0 where it took less.
    pub mean_ns: f64,
    pub mad_ns: f64,
}

/// A bundle in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    pub meta: BundleMeta,
    pub curves: Vec<OpCurve>,
    pub attention: Vec<AttentionPoint>,
    /// Ascending; none in bundles of format 1.
    pub pauses: Vec<PausePoint>,
    /// By batch size and then steps, ascending; none in bundles that were measured before there were such.
    pub after_chunks: Vec<AfterChunkPoint>,
    /// By batch size and then KV tokens, ascending; none in bundles that were measured before there were such.
    pub beside_chunks: Vec<BesideChunkPoint>,
    pub steps: Vec<StepSample>,
}
