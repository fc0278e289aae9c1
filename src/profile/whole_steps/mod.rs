//! How long whole steps of an engine take that computes padded batches, and that xp sees from outside alone.
//!
//! Such a batch is a rectangle: every row costs as much as the longest. A step's duration is a function of the
//! number of requests and the longest of them, and is measured as that.

mod measure;
mod read;

pub use measure::{StepSubject, measure_steps};
pub use read::{read_steps, write_steps};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::Digest;

/// Version of the format this xp writes, and the newest it reads.
pub const STEPS_FORMAT: u32 = 1;

/// The file that a folder of such a profile consists of.
pub const STEPS_FILE: &str = "steps.json";

/// `steps.json`: durations of whole steps, where they were measured, and how well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepProfile {
    /// Version of this format.
    pub format: u32,
    /// Digest over the facts of the machine that decide speed.
    pub fingerprint: Digest,
    /// Those facts for people: name, value.
    pub hardware: Vec<(String, String)>,
    /// Catalog name of the model.
    pub model: String,
    /// Digest of the model's shape and number format (not of its weights' values).
    pub model_digest: Digest,
    /// The engine: its name, its program and its packages.
    pub engine: String,
    /// Requests of a batch that are covered.
    pub max_batch_size: u32,
    /// Tokens of a request, prompt and output together, that are covered.
    pub max_context: u32,
    /// Repetitions of each measurement.
    pub repetitions: u32,
    /// Mean duration of the engine's reference step, ns.
    pub reference_ns: u64,
    /// Noise floor: median absolute deviation of the reference step, per cent of its mean.
    pub noise_percent: f64,
    /// Steps that compute whole prompts: `tokens` are those of the longest.
    pub prefill: Vec<StepPoint>,
    /// Steps that yield one more token of each request: `tokens` are those in the cache of the longest.
    pub decode: Vec<StepPoint>,
}

/// A measured step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepPoint {
    /// Requests of the batch.
    pub requests: u32,
    /// Tokens of the longest of them.
    pub tokens: u32,
    /// Mean duration without outliers, ns.
    pub mean_ns: u64,
    /// Median absolute deviation, ns.
    pub mad_ns: u64,
}

/// A profile whose durations follow formulas, for tests: a prefill of n requests of t tokens takes 100·n·t ns, a
/// decode 1000·n + n·t.
#[cfg(test)]
pub(crate) fn sample_steps() -> StepProfile {
    let points = |ns: fn(u64, u64) -> u64| {
        let point = move |requests: u32, tokens: u32| StepPoint {
            requests,
            tokens,
            mean_ns: ns(requests.into(), tokens.into()),
            mad_ns: 3,
        };
        [1, 2, 4].into_iter().flat_map(|n| [8, 64, 256].map(|tokens| point(n, tokens))).collect()
    };
    StepProfile {
        format: STEPS_FORMAT,
        fingerprint: Digest::of("machine"),
        hardware: vec![("cpu".to_owned(), "test".to_owned())],
        model: "m/odel".to_owned(),
        model_digest: Digest::of("model"),
        engine: "test".to_owned(),
        max_batch_size: 4,
        max_context: 256,
        repetitions: 3,
        reference_ns: 1000,
        noise_percent: 0.5,
        prefill: points(|n, t| 100 * n * t),
        decode: points(|n, t| 1000 * n + n * t),
    }
}
