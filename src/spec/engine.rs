//! Engines: what is measured, what was recorded, and what is only simulated.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::experiment::{Dtype, Hardware};
use super::recording::RecordedColumns;
use super::units::{ByteSize, Duration, Percent};
use crate::scheduler::{Compat, Policy, RouterKind};

/// The settings that decide what an engine's scheduler does and on how many devices, of whatever kind of backend.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineSettings {
    pub name: String,
    pub scheduler: Policy,
    pub chunk_size: u32,
    pub max_batch_size: u32,
    pub block_size: u32,
    pub kv: KvSize,
    pub kv_format: KvFormat,
    pub watermark: Percent,
    pub max_context: Option<u32>,
    pub max_waiting_steps: u32,
    pub prefix_caching: bool,
    pub async_scheduling: bool,
    pub compat: Compat,
    /// Whether batches are replayed as CUDA graphs.
    pub cuda_graphs: bool,
    pub parallel: Parallel,
    pub replicas: Replicas,
}

/// What says how many KV blocks there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KvSize {
    /// Blocks of a replica.
    Blocks(u32),
    /// Memory of a replica.
    Memory(ByteSize),
    /// What a device has left of this share of its memory.
    Share(Percent),
}

/// On a GPU, tokens of a KV block are a multiple of this: FlashAttention reads keys in rows of so many tokens, none of
/// which may lie in two blocks.
pub const GPU_BLOCK_MULTIPLE: u32 = 32;

/// The number format of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvFormat {
    /// The model's.
    OfModel,
    /// f32 on a CPU, the model's on a GPU: as xp's own engine keeps them.
    WideOnCpu,
}

impl KvFormat {
    /// Bytes of a number on a device.
    pub fn element_bytes(self, dtype: Dtype, hardware: &Hardware) -> u64 {
        match self {
            Self::WideOnCpu if hardware.is_cpu() => size_of::<f32>() as u64,
            _ => dtype.bytes(),
        }
    }
}

/// Devices of one replica, `tensor × pipeline × data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Parallel {
    /// Devices that share each layer.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub tensor: u32,
    /// Stages that share out the layers.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub pipeline: u32,
    /// Ranks that hold the same attention, each with a scheduler of its own, and share the experts.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 1024))]
    pub data: u32,
    /// Whether a device holds whole experts instead of a slice of each.
    #[serde(default, skip_serializing_if = "is_false")]
    pub expert: bool,
}

impl Default for Parallel {
    fn default() -> Self {
        Self { tensor: 1, pipeline: 1, data: 1, expert: false }
    }
}

/// Copies of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Replicas {
    #[schemars(range(min = 1, max = 1024))]
    pub count: u32,
    /// Which of them a request goes to.
    #[serde(default)]
    pub router: RouterKind,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { count: 1, router: RouterKind::default() }
    }
}

fn one() -> u32 {
    1
}
fn is_one(value: &u32) -> bool {
    *value == 1
}
fn is_false(value: &bool) -> bool {
    !value
}
fn yes() -> bool {
    true
}
fn default_policy() -> Policy {
    Policy::Sarathi
}
fn default_chunk() -> u32 {
    256
}
fn default_batch() -> u32 {
    32
}
fn default_block() -> u32 {
    16
}
fn default_kv_memory() -> ByteSize {
    ByteSize(1 << 30)
}
fn default_watermark() -> Percent {
    Percent(1.0)
}
fn default_utilization() -> Percent {
    Percent(90.0)
}
/// Decode steps after which `lightllm` admits again, unless it is said.
const WAITING_STEPS: u32 = 10;

/// Settings of the candle engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CandleBackend {
    /// What `compare`, `--set` and the matrix call it.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"))]
    pub name: String,
    #[serde(default = "default_policy")]
    pub scheduler: Policy,
    /// Tokens a step may compute at most.
    #[serde(default = "default_chunk")]
    #[schemars(range(min = 1, max = 1048576))]
    pub chunk_size: u32,
    /// Requests that may run at once.
    #[serde(default = "default_batch")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_batch_size: u32,
    /// Tokens in a KV block.
    #[serde(default = "default_block")]
    #[schemars(range(min = 1, max = 4096))]
    pub block_size: u32,
    /// Memory for the KV cache.
    #[serde(default = "default_kv_memory")]
    pub kv_memory: ByteSize,
    /// Share of the KV blocks kept free when a request is admitted.
    #[serde(default = "default_watermark")]
    pub watermark: Percent,
    /// Longest prompt plus output, in tokens; default: the model's context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16777216))]
    pub max_context: Option<u32>,
    /// Decode steps after which `lightllm` admits again; default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_waiting_steps: Option<u32>,
    /// Whether blocks of earlier requests serve prompts that begin alike.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prefix_caching: bool,
    #[serde(default)]
    pub sampling: Sampling,
}

impl CandleBackend {
    /// Its settings as an engine.
    pub fn settings(&self) -> EngineSettings {
        EngineSettings {
            name: self.name.clone(),
            scheduler: self.scheduler,
            chunk_size: self.chunk_size,
            max_batch_size: self.max_batch_size,
            block_size: self.block_size,
            kv: KvSize::Memory(self.kv_memory),
            kv_format: KvFormat::WideOnCpu,
            watermark: self.watermark,
            max_context: self.max_context,
            max_waiting_steps: self.max_waiting_steps.unwrap_or(WAITING_STEPS),
            prefix_caching: self.prefix_caching,
            async_scheduling: false,
            compat: Compat::None,
            cuda_graphs: true,
            parallel: Parallel::default(),
            replicas: Replicas::default(),
        }
    }
}

fn static_policy() -> Policy {
    Policy::Static
}
fn small_batch() -> u32 {
    8
}
fn default_step_timeout() -> Duration {
    Duration(120_000_000_000)
}
/// Tokens in a KV block of a cache that knows no blocks: what memory is counted in.
const COUNTED_BLOCK: u32 = 16;

/// Settings of Hugging Face transformers, which a Python worker runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TransformersBackend {
    /// What `compare`, `--set` and the matrix call it.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"))]
    pub name: String,
    /// `static`: whole batches, as a `generate` call computes them.
    #[serde(default = "static_policy")]
    pub scheduler: Policy,
    /// Requests of a batch; 1 serves them one at a time.
    #[serde(default = "small_batch")]
    #[schemars(range(min = 1, max = 4096))]
    pub max_batch_size: u32,
    /// Memory for keys and values, padding aside: a batch is as large as it holds.
    #[serde(default = "default_kv_memory")]
    pub kv_memory: ByteSize,
    /// Longest prompt plus output, in tokens; default: the model's context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16777216))]
    pub max_context: Option<u32>,
    /// File of package versions, one `name==version` a line, relative to the data folder; default: xp's list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<String>,
    /// The worker is ended, and the run fails, when a step takes longer.
    #[serde(default = "default_step_timeout")]
    pub step_timeout: Duration,
}

impl TransformersBackend {
    /// Its settings as an engine.
    pub fn settings(&self) -> EngineSettings {
        EngineSettings {
            name: self.name.clone(),
            scheduler: self.scheduler,
            // The policy takes prompts whole.
            chunk_size: default_chunk(),
            max_batch_size: self.max_batch_size,
            block_size: COUNTED_BLOCK,
            kv: KvSize::Memory(self.kv_memory),
            kv_format: KvFormat::OfModel,
            watermark: Percent(0.0),
            max_context: self.max_context,
            max_waiting_steps: WAITING_STEPS,
            prefix_caching: false,
            async_scheduling: false,
            compat: Compat::None,
            cuda_graphs: true,
            parallel: Parallel::default(),
            replicas: Replicas::default(),
        }
    }
}

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sampling {
    /// 0 is greedy.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: f64,
    /// Keep the k likeliest tokens; 0 keeps all.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1048576))]
    pub top_k: u32,
    /// Keep the likeliest tokens that together reach this probability.
    #[serde(default = "default_top_p")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: f64,
}

fn default_top_p() -> f64 {
    1.0
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0 }
    }
}

/// A kind of engine that xp does not run itself: settings of its own, and those of a server and its scheduler.
macro_rules! served {
    ($(#[$doc:meta])* $name:ident { $($(#[$own:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $name {
            /// What `compare`, `--set` and the matrix call it.
            #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"))]
            pub name: String,
            $($(#[$own])* pub $field: $type,)*
            #[serde(default = "default_policy")]
            pub scheduler: Policy,
            /// Tokens a step computes at most.
            #[serde(default = "default_chunk")]
            #[schemars(range(min = 1, max = 1048576))]
            pub chunk_size: u32,
            /// Requests that may run at once.
            #[serde(default = "default_batch")]
            #[schemars(range(min = 1, max = 65536))]
            pub max_batch_size: u32,
            /// Tokens in a KV block.
            #[serde(default = "default_block")]
            #[schemars(range(min = 1, max = 4096))]
            pub block_size: u32,
            /// KV blocks of a replica; excludes `kv-memory`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1, max = 1073741824))]
            pub kv_blocks: Option<u32>,
            /// Memory for the KV cache of a replica; default: what is left of a device's memory.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub kv_memory: Option<ByteSize>,
            /// Share of a device's memory that weights, activations and KV cache may take together.
            #[serde(default = "default_utilization")]
            pub memory_utilization: Percent,
            /// Share of the KV blocks kept free when a request is admitted.
            #[serde(default = "default_watermark")]
            pub watermark: Percent,
            /// Longest prompt plus output, in tokens; default: the model's context.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1, max = 16777216))]
            pub max_context: Option<u32>,
            /// Decode steps after which `lightllm` admits again; default 10.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1, max = 65536))]
            pub max_waiting_steps: Option<u32>,
            /// Whether blocks of earlier requests serve prompts that begin alike.
            #[serde(default)]
            pub prefix_caching: bool,
            /// Whether a step is formed while the one before it runs.
            #[serde(default)]
            pub async_scheduling: bool,
            /// Whose known mistakes the scheduler repeats.
            #[serde(default)]
            pub compat: Compat,
            /// Whether batches up to 512 tokens are replayed as CUDA graphs, padded to the next captured size.
            #[serde(default = "yes")]
            pub cuda_graphs: bool,
            #[serde(default)]
            pub parallel: Parallel,
            #[serde(default)]
            pub replicas: Replicas,
        }

        impl $name {
            /// Its settings as an engine.
            pub fn settings(&self) -> EngineSettings {
                EngineSettings {
                    name: self.name.clone(),
                    scheduler: self.scheduler,
                    chunk_size: self.chunk_size,
                    max_batch_size: self.max_batch_size,
                    block_size: self.block_size,
                    kv: match (self.kv_blocks, self.kv_memory) {
                        (Some(blocks), _) => KvSize::Blocks(blocks),
                        (None, Some(memory)) => KvSize::Memory(memory),
                        (None, None) => KvSize::Share(self.memory_utilization),
                    },
                    kv_format: KvFormat::OfModel,
                    watermark: self.watermark,
                    max_context: self.max_context,
                    max_waiting_steps: self.max_waiting_steps.unwrap_or(WAITING_STEPS),
                    prefix_caching: self.prefix_caching,
                    async_scheduling: self.async_scheduling,
                    compat: self.compat,
                    cuda_graphs: self.cuda_graphs,
                    parallel: self.parallel,
                    replicas: self.replicas,
                }
            }
        }
    };
}

served! {
    /// A run of an engine elsewhere, by when each of its requests came and was served. The scheduler's settings are
    /// those that the engine ran with: it is simulated with them.
    RecordedBackend {
        /// The recording: JSON lines if it ends in `.jsonl`, else CSV with a header; relative to the data folder.
        path: String,
        columns: RecordedColumns,
    }
}

served! {
    /// An engine that is simulated and not measured: a deployment that one may build.
    EngineBackend {}
}

impl RecordedBackend {
    /// One with defaults, for tests.
    #[cfg(test)]
    pub(crate) fn sample(name: &str) -> Self {
        serde_json::from_value(serde_json::json!({
            "name": name,
            "path": "recorded.csv",
            "columns": { "unit": "ns", "arrival": "arrival", "first-token": "first", "completion": "last" },
        }))
        .expect("a backend")
    }
}
