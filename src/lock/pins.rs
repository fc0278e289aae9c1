use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::codec;
use crate::catalog::ModelConfig;
use crate::scheduler::{ClusterConfig, SchedulerConfig};
use crate::spec::{Dtype, Experiment};
use crate::store::{Digest, FileDigest};

/// Version of the lock format this xp writes, and the newest it reads.
pub const FORMAT: u32 = 2;

/// A lockfile: the experiment with every default written out, and what every
/// moving part of it resolved to. No time stamps, host names or absolute paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lock {
    /// Version of the lock format.
    pub lock: u32,
    /// Version of xp that wrote it.
    pub xp: String,
    /// What results depend on besides pins.
    pub versions: Versions,
    pub spec: SpecPin,
    /// The experiment with every default.
    pub experiment: Experiment,
    pub seeds: SeedsPin,
    pub resolved_model: ModelPin,
    /// The bundle of all runs: none until it was measured or found, and where the matrix varies the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundlePin>,
    /// One run per cell of the matrix.
    #[serde(default)]
    pub runs: Vec<RunPin>,
}

/// Versions of what makes results. A new one may give others from the same pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Versions {
    /// The definitions of the metrics.
    pub metrics: u32,
    /// The files of a workload.
    pub workload: u32,
    /// How the engine serves a workload.
    pub engine: u32,
    /// How a workload is simulated.
    pub simulator: u32,
}

/// Where the experiment came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SpecPin {
    /// Path from the project's root.
    pub path: String,
    /// Digest of the experiment's meaning: comments and layout do not count.
    pub sha256: Digest,
    /// Presets of the command line that it was locked with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<String>,
    /// `--set` overrides it was locked with.
    #[serde(default)]
    pub overrides: Vec<String>,
}

/// One derived seed per pseudo-random stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SeedsPin {
    pub root: u64,
    pub prompts: u64,
    pub lengths: u64,
    pub arrivals: u64,
    pub sampling: u64,
    pub weights: u64,
    /// Of the router's draws, where a run has several replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<u64>,
}

/// What the model's source resolved to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModelPin {
    /// Commit a moving revision resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Digest of everything that decides what is computed and how fast: shape, number format, files.
    pub sha256: Digest,
    pub config: ModelConfig,
    #[serde(default)]
    pub files: Vec<FileDigest>,
}

impl ModelPin {
    /// What `sha256` has to be, with weights in this number format.
    pub(super) fn digest(&self, dtype: Dtype) -> Digest {
        Digest::of_json(&(&self.config, dtype, &self.files))
    }
}

/// The profiling bundle step durations come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BundlePin {
    /// The bundle's folder, from the project's root.
    pub path: String,
    /// Digest of the content of `bundle.json`, which holds the digests of the other files.
    pub sha256: Digest,
    /// Machine it was measured on.
    pub fingerprint: Digest,
    #[serde(default)]
    pub hardware: Vec<HardwareFact>,
    #[serde(default)]
    pub files: Vec<FileDigest>,
}

/// A fact about the machine a bundle was measured on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HardwareFact {
    pub name: String,
    pub value: String,
}

/// One cell of the matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunPin {
    /// Stable name: the experiment's, with a digest of the cell's settings when there are several.
    pub id: String,
    /// Settings of this cell.
    #[serde(default)]
    pub set: Vec<SetPin>,
    pub workload: WorkloadPin,
    /// Resolved settings of the measured engine's scheduler, which the simulator shares.
    pub scheduler: SchedulerConfig,
    /// Replicas and devices of the engine; one of each where it is not told.
    #[serde(default, skip_serializing_if = "ClusterConfig::is_single")]
    pub cluster: ClusterConfig,
    /// The recording that takes the place of a measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<RecordedPin>,
    /// The Python worker that measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerPin>,
    /// The bundle of this run alone, where the matrix varies the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundlePin>,
    /// The simulated result; simulation is deterministic, so a stranger can check it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sim: Option<SimPin>,
}

/// A setting of a matrix cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPin {
    pub path: String,
    pub value: Value,
}

/// A workload's content, pinned before it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WorkloadPin {
    /// Digest over the digests of its files.
    pub sha256: Digest,
    pub requests: u64,
    pub prefill_tokens: u64,
    pub decode_tokens: u64,
    /// The data files it reads, such as traces.
    #[serde(default)]
    pub files: Vec<FileDigest>,
}

/// The file that holds a recorded run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RecordedPin {
    /// Path in the data folder.
    pub path: String,
    pub bytes: u64,
    pub sha256: Digest,
}

/// What the Python worker of a `transformers` backend is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WorkerPin {
    /// Version of what xp and the worker say to one another.
    pub protocol: u32,
    /// Digest of the worker's program.
    pub script: Digest,
    /// The device it computes on, as `hardware` names it.
    pub device: String,
    /// The packages it runs on, with exact versions, and where they come from: lines of a requirements file.
    pub packages: Vec<String>,
}

/// Digest of a simulated result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SimPin {
    pub sha256: Digest,
    pub steps: u64,
}

impl Lock {
    /// The canonical text: same lock, same bytes.
    pub fn to_kdl(&self) -> String {
        let value = serde_json::to_value(self).expect("a lock is plain data");
        let mut text = format!(
            "// Written by `xp lock` from {}. Do not edit: change the experiment and lock again.\n",
            self.spec.path
        );
        codec::write(&mut text, &value);
        text
    }

    /// Digest of the pinned inputs: all facts but the simulated results and the version that wrote them.
    pub fn input_digest(&self) -> Digest {
        let mut inputs = self.clone();
        inputs.xp.clear();
        for run in &mut inputs.runs {
            run.sim = None;
        }
        Digest::of(inputs.to_kdl())
    }
}
