use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::ContractError;
use super::record::RunRecord;
use super::{METRICS_VERSION, RequestRecord};
use crate::machine::{DisturbedSteps, SpeedPoint, forget_other_rows};
use crate::scheduler::{ClusterConfig, SchedulerConfig};
use crate::store::{self, Digest};

/// Version of `run_meta.json` and of the CSV files beside it.
pub const RUN_FORMAT: u32 = 3;

/// No honest `run_meta.json` is larger.
const MAX_META_BYTES: u64 = 1 << 20;

/// Whether an engine was timed, simulated, or timed elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    Measured,
    Simulated,
    /// Measured elsewhere, and read from a file: there are no steps and no tokens, only requests.
    Recorded,
}

/// `run_meta.json`: what a run was, for whoever reads its CSV files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunMeta {
    /// Version of this format.
    pub format: u32,
    pub xp_version: String,
    pub metrics_version: u32,
    /// Run id of the lock, of format 1. What a run measures or simulates does not depend on its name, and
    /// every experiment that asks for the same shares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    pub kind: RunKind,
    /// Name of the backend in the experiment.
    pub backend: String,
    /// Which repeat of a measurement, from 0; 0 for a simulation.
    pub repeat: u32,
    /// Catalog name of the model, its number format, and the digest of its shape and files.
    pub model: String,
    pub dtype: crate::spec::Dtype,
    pub model_digest: Digest,
    pub workload_digest: Digest,
    pub scheduler: SchedulerConfig,
    /// Replicas of a simulation, and how requests are shared out.
    #[serde(default, skip_serializing_if = "ClusterConfig::is_single")]
    pub cluster: ClusterConfig,
    pub threads: u32,
    /// Facts about the machine for people: name, value. Of a simulation: where its bundle was measured.
    pub hardware: Vec<(String, String)>,
    /// Digest of those that decide speed.
    pub fingerprint: Option<Digest>,
    /// Mean duration of the engine's reference step around the run, ns; of a simulation: while its bundle
    /// was measured. The same step on the same machine: a difference is the machine's.
    pub reference_ns: Option<u64>,
    /// How fast the machine was through the run: a difference from the bundle's is the machine's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub speed: Vec<SpeedPoint>,
    /// The Python worker that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerMeta>,
    /// What disturbed a measurement, and in which steps; none where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed: Option<DisturbedSteps>,
    /// A simulation that kept its requests alone: there are no files of steps and tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requests_only: bool,
    pub num_requests: u64,
    pub num_steps: u64,
    pub output_tokens: u64,
    /// End of the last step, ns from run start; of a recorded run its last token.
    pub duration_ns: u64,
}

/// What the Python worker of a measured run was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerMeta {
    /// Version of its Python.
    pub python: String,
    /// Packages and their versions, sorted by name.
    pub packages: Vec<(String, String)>,
    /// Threads that torch computed with.
    pub threads: u32,
    /// Name of the GPU it ran on; absent on a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Which of transformers' attention implementations ran.
    pub attention: String,
}

/// The versions alone: read first, because a newer format may have other fields.
#[derive(Deserialize)]
struct Versions {
    format: u64,
    metrics_version: u64,
}

impl RunMeta {
    /// Whether there are files of steps and tokens.
    pub fn has_steps(&self) -> bool {
        self.kind != RunKind::Recorded && !self.requests_only
    }

    /// The first of the run's totals that is not the record's: name, told here, counted there.
    pub(super) fn wrong_total(&self, record: &RunRecord) -> Option<(&'static str, u64, u64)> {
        let steps = if self.requests_only { self.num_steps } else { record.steps.len() as u64 };
        let duration_ns = match self.requests_only {
            true => self.duration_ns.max(record.duration_ns()),
            false => record.duration_ns(),
        };
        [
            ("num_requests", self.num_requests, record.requests.len() as u64),
            ("num_steps", self.num_steps, steps),
            ("output_tokens", self.output_tokens, output_tokens(&record.requests)),
            ("duration_ns", self.duration_ns, duration_ns),
        ]
        .into_iter()
        .find(|(_, told, counted)| told != counted)
    }
}

/// Output tokens of all requests.
pub(super) fn output_tokens(requests: &[RequestRecord]) -> u64 {
    requests.iter().map(|request| u64::from(request.num_decode_tokens_actual)).sum()
}

/// Reads `run_meta.json` alone.
pub fn read_meta(folder: &Path) -> Result<RunMeta, ContractError> {
    let path = folder.join("run_meta.json");
    parse_meta(&path.display().to_string(), &store::read_bounded(&path, MAX_META_BYTES)?)
}

/// Reads the bytes of `run_meta.json`, which errors call `file`.
pub(super) fn parse_meta(file: &str, bytes: &[u8]) -> Result<RunMeta, ContractError> {
    let file = file.to_owned();
    let json = |error: serde_json::Error| ContractError::Json {
        file: file.clone(),
        line: error.line(),
        column: error.column(),
        message: without_place(&error),
    };
    let versions: Versions = serde_json::from_slice(bytes).map_err(json)?;
    for (what, found, known) in [
        ("format", versions.format, RUN_FORMAT),
        ("metrics_version", versions.metrics_version, METRICS_VERSION),
    ] {
        if found > u64::from(known) {
            return Err(ContractError::Version { file, what, found, known });
        }
    }
    if versions.format == 0 || versions.metrics_version == 0 {
        let message = "format and metrics_version count from 1".to_owned();
        return Err(ContractError::Contradiction { file, message });
    }
    if versions.format < u64::from(RUN_FORMAT) {
        let mut told: serde_json::Value = serde_json::from_slice(bytes).map_err(json)?;
        if forget_other_rows(versions.format, &mut told) {
            return serde_json::from_value(told).map_err(json);
        }
    }
    serde_json::from_slice(bytes).map_err(json)
}

/// serde_json's message without its trailing place, which is told apart from it.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// Writes `run_meta.json`.
pub(super) fn write_meta(folder: &Path, meta: &RunMeta) -> Result<(), ContractError> {
    let path = folder.join("run_meta.json");
    let mut json = serde_json::to_vec_pretty(meta)
        .map_err(|error| ContractError::Record { message: error.to_string() })?;
    json.push(b'\n');
    store::write_part(&path, &json).map_err(|source| ContractError::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sample_runs::{meta_of, serve};

    #[test]
    fn an_older_run_forgets_its_other_reference_steps() {
        let meta = meta_of(&serve(&[(0, 4, 1)], 64, 8, |_, _| 7), RunKind::Measured);
        let mut json = serde_json::to_value(&meta).unwrap();
        json["speed"] = serde_json::json!([{ "at_ns": 5, "step_ns": [1, 2, 3, 4] }]);
        let read = |json: &serde_json::Value| parse_meta("run_meta.json", json.to_string().as_bytes());
        // Of this format it is a mistake.
        let error = read(&json).unwrap_err().to_string();
        assert!(error.contains("an array of length 6"), "{error}");
        json["format"] = 2.into();
        assert_eq!(read(&json).unwrap(), RunMeta { format: 2, ..meta });
    }
}
