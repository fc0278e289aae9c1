//! The typed experiment. Defaults live here; every one of them is written
//! into the lock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::engine::{CandleBackend, EngineBackend, EngineSettings, RecordedBackend, TransformersBackend};
use super::simulator::SimBackend;
use super::units::{Bandwidth, ByteSize, Duration, Percent};

/// One experiment: a model on hardware under a workload, measured and simulated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Experiment {
    /// Name of the experiment, its runs and its report: letters, digits, `-`, `_`, `.`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"))]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Root of every pseudo-random stream.
    #[serde(default = "default_seed")]
    #[schemars(range(min = 0, max = 18446744073709551615u64))]
    pub seed: u64,
    /// Folder that the paths of input files are relative to, itself relative to the project; default: the
    /// project's. `--set data=FOLDER` says where it is on this machine, and is recorded nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    pub model: Model,
    #[serde(default)]
    pub hardware: Hardware,
    pub workload: WorkloadSpec,
    /// At least one; names are unique.
    #[schemars(length(min = 1, max = 64))]
    pub backends: Vec<Backend>,
    #[serde(default)]
    pub slo: Slo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// The search for the highest request rate of each cell of the matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacitySpec>,
    /// Axes of the run matrix; their product is run. Empty: one run.
    #[serde(default)]
    pub matrix: Vec<Axis>,
    /// Most runs that the matrix may have; default 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50000))]
    pub max_runs: Option<u32>,
    /// Where the PDF goes, relative to the project; default `reports/<name>.pdf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}

fn default_seed() -> u64 {
    42
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Model {
    /// A name of the catalog, such as `qwen3-0.6b`; any name for weights from elsewhere.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/+-]{0,99}$"))]
    pub name: String,
    #[serde(default)]
    pub dtype: Dtype,
    #[serde(default)]
    pub source: Source,
}

/// Number format of the weights in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    #[default]
    F32,
    F16,
    Bf16,
}

/// Where the weights and the tokenizer come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// Real shapes, weights from the lock's seed, a tokenizer trained from text of the project's own.
    #[default]
    Synthetic,
    /// A folder with `config.json`, `*.safetensors` and `tokenizer.json`, relative to the project.
    Path { path: String },
    /// The shape of a `config.json` in the data folder, for the simulator; weights and tokenizer as of a
    /// synthetic model.
    Config { path: String },
    /// A repository in the local Hugging Face cache.
    Hf {
        /// `owner/name`.
        #[schemars(regex(
            pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
        ))]
        repo: String,
        /// Branch, tag or commit.
        #[serde(default = "default_revision")]
        #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$"))]
        revision: String,
    },
}

fn default_revision() -> String {
    "main".to_owned()
}

/// What it runs on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hardware {
    /// `cpu`, or another device, that is simulated, or that an engine runs on: a name of the catalog, or any name with
    /// the device's `memory`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"))]
    pub device: String,
    /// Compute threads.
    #[serde(default = "default_threads")]
    #[schemars(range(min = 1, max = 1024))]
    pub threads: u32,
    /// Memory of one device; of a device of the catalog what it says there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// What an hour of one device costs, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000000.0))]
    pub price_per_hour: Option<f64>,
    /// How devices are connected, where no profile says how long they take to exchange values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interconnect: Option<Interconnect>,
}

impl Hardware {
    /// Whether it is a CPU; every other device is a GPU.
    pub fn is_cpu(&self) -> bool {
        self.device == CPU
    }
}

/// The device that is no GPU.
pub(super) const CPU: &str = "cpu";

/// A link between two devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Interconnect {
    /// In one direction.
    pub bandwidth: Bandwidth,
    /// From a call to its first byte at the other side.
    pub latency: Duration,
    /// Where the two numbers come from: a data sheet, a measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

fn default_threads() -> u32 {
    2
}

impl Default for Hardware {
    fn default() -> Self {
        Self {
            device: "cpu".to_owned(),
            threads: default_threads(),
            memory: None,
            price_per_hour: None,
            interconnect: None,
        }
    }
}

/// What is asked of the engine, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// For reports.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"))]
    pub name: String,
    /// Number of requests. For trace lengths: at most this many rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub requests: Option<u32>,
    /// Requests of a published trace; excludes `prompts` and `lengths`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// JSONL file with a `text` per line, relative to the project; excludes `lengths`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Lengths>,
    #[serde(default)]
    pub arrivals: Arrivals,
    /// Puts requests together into conversations; `lengths` then say what a turn adds, and `arrivals` when sessions
    /// begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Sessions>,
    /// Output tokens of every request; excludes a length distribution that says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub decode_tokens: Option<u32>,
    /// Whether prompts are messages in the model's chat template; their lengths count its tokens too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub chat_template: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// Conversations of several turns: each prompt is all that was said before, and something new.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sessions {
    /// Requests of a session.
    #[schemars(range(min = 1, max = 10000))]
    pub turns: u32,
    /// Mean of the exponential time from the arrival of one turn to that of the next.
    pub think_time: Duration,
    /// Tokens that begin every prompt of every session.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1048576))]
    pub system_prompt: u32,
    /// Tokens of the blocks by which prompts are known to begin alike.
    #[serde(default = "default_session_block")]
    #[schemars(range(min = 1, max = 4096))]
    pub block: u32,
}

fn default_session_block() -> u32 {
    16
}

/// A published trace, read as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Trace {
    /// A CSV or JSON file, relative to the data folder.
    pub path: String,
    #[serde(default)]
    pub format: TraceFormat,
    /// Factor of its arrival times: 0.5 is twice as fast.
    #[serde(default = "default_time_scale")]
    #[schemars(range(min = 0.000001, max = 1000000.0))]
    pub time_scale: f64,
    /// Most tokens of a request: prompts of longer ones are cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 2097152))]
    pub max_tokens: Option<u32>,
    /// Tokens that an id of a prefix stands for; default: 512 in a mooncake trace, 16 in others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub block: Option<u32>,
}

fn default_time_scale() -> f64 {
    1.0
}

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TraceFormat {
    /// CSV: `arrival_time_ns`, `num_prefill_tokens`, `num_decode_tokens`, maybe `prefix_hash_ids`.
    #[default]
    Xp,
    /// CSV of Vidur: `arrived_at` in seconds, `num_prefill_tokens`, `num_decode_tokens`.
    Vidur,
    /// CSV of the Azure LLM inference traces: `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`.
    Azure,
    /// JSON lines of Mooncake: `timestamp` in milliseconds, `input_length`, `output_length`, `hash_ids`.
    Mooncake,
    /// Conversations of ShareGPT in JSON: each reply is a request.
    Sharegpt,
}

/// Distribution of prompt and output lengths, in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Lengths {
    /// Every request alike.
    Fixed {
        #[schemars(range(min = 1, max = 1048576))]
        prefill: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 1048576))]
        decode: Option<u32>,
    },
    /// Total length uniform in [min, max], split by prefill-to-decode.
    Uniform {
        #[schemars(range(min = 2, max = 1048576))]
        min: u32,
        #[schemars(range(min = 2, max = 1048576))]
        max: u32,
        /// Prompt tokens per output token.
        #[serde(default = "default_ratio")]
        #[schemars(range(min = 0.000001, max = 1000000.0))]
        prefill_to_decode: f64,
    },
    /// Total length min + rank − 1 with rank Zipf-distributed over [1, max − min + 1]: P(rank) ∝ rank^−theta.
    Zipf {
        #[serde(default = "default_theta")]
        #[schemars(range(min = 0.0, max = 10.0))]
        theta: f64,
        #[schemars(range(min = 2, max = 1048576))]
        min: u32,
        #[schemars(range(min = 2, max = 1048576))]
        max: u32,
        #[serde(default = "default_ratio")]
        #[schemars(range(min = 0.000001, max = 1000000.0))]
        prefill_to_decode: f64,
    },
    /// Columns `num_prefill_tokens,num_decode_tokens` of a CSV file, relative to the project.
    Trace { path: String },
}

fn default_ratio() -> f64 {
    4.0
}

fn default_theta() -> f64 {
    0.6
}

/// When requests arrive.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Arrivals {
    /// All at once, at time zero.
    #[default]
    Static,
    /// Exponential gaps of mean 1/qps.
    Poisson {
        #[schemars(range(min = 0.000001, max = 1000000000.0))]
        qps: f64,
    },
    /// Gamma-distributed gaps of mean 1/qps and coefficient of variation cv.
    Gamma {
        #[schemars(range(min = 0.000001, max = 1000000000.0))]
        qps: f64,
        #[schemars(range(min = 0.01, max = 100.0))]
        cv: f64,
    },
    /// Column `arrival_time_ns` (or `inter_arrival_ns`) of a CSV file, relative to the project.
    Trace { path: String },
    /// When the workload's trace says.
    Recorded,
}

/// Something that serves the workload, really or simulated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Backend {
    /// The project's own engine on candle.
    Candle(CandleBackend),
    /// Hugging Face transformers in a Python worker.
    Transformers(TransformersBackend),
    /// The discrete-event simulator.
    Sim(SimBackend),
    /// A run that was measured elsewhere, read from a file.
    Recorded(RecordedBackend),
    /// An engine that is not run here: its settings alone, to be simulated.
    Engine(EngineBackend),
}

impl Backend {
    /// The name `compare` refers to.
    pub fn name(&self) -> &str {
        match self {
            Self::Candle(backend) => &backend.name,
            Self::Transformers(backend) => &backend.name,
            Self::Sim(backend) => &backend.name,
            Self::Recorded(backend) => &backend.name,
            Self::Engine(backend) => &backend.name,
        }
    }

    /// The engine's settings, of a backend that stands for one.
    pub fn engine(&self) -> Option<EngineSettings> {
        match self {
            Self::Candle(candle) => Some(candle.settings()),
            Self::Transformers(transformers) => Some(transformers.settings()),
            Self::Recorded(recorded) => Some(recorded.settings()),
            Self::Engine(engine) => Some(engine.settings()),
            Self::Sim(_) => None,
        }
    }
}

/// Service-level objectives; a request meets the SLO when it meets each that is given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Slo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_p99: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot_p99: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e_p99: Option<Duration>,
}

/// Which two backends are compared, and when that passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Compare {
    /// Name of the measured backend.
    pub real: String,
    /// Name of the simulated backend.
    pub sim: String,
    #[serde(default = "default_pass")]
    pub pass: Percent,
    #[serde(default = "default_warn")]
    pub warn: Percent,
    /// Measured runs; two or more show the noise floor.
    #[serde(default = "default_repeats")]
    #[schemars(range(min = 1, max = 100))]
    pub repeats: u32,
}

fn default_pass() -> Percent {
    Percent(5.0)
}
fn default_warn() -> Percent {
    Percent(9.0)
}
fn default_repeats() -> u32 {
    3
}

/// Which request rates are tried, and what has to hold besides the service-level objectives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CapacitySpec {
    /// Lowest rate, requests a second.
    #[schemars(range(min = 0.000001, max = 1000000.0))]
    pub min_qps: f64,
    /// Highest rate, requests a second.
    #[schemars(range(min = 0.000001, max = 1000000.0))]
    pub max_qps: f64,
    /// The lowest rate that fails is at most so much above the highest that holds.
    #[serde(default = "default_tolerance")]
    pub tolerance: Percent,
    /// Limit of the P99 of scheduling delay: arrival to the start of a request's first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_p99: Option<Duration>,
}

fn default_tolerance() -> Percent {
    Percent(2.0)
}

/// One axis of the matrix: a dotted path into the experiment and its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Axis {
    /// Such as `workload.arrivals.qps` or `backend.sarathi.chunk-size`.
    pub path: String,
    #[schemars(length(min = 1, max = 100000))]
    pub values: Vec<serde_json::Value>,
    /// Axes with the same number go together: the first value of each, then the second, and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32))]
    pub zip: Option<u32>,
}
