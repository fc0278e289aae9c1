//! The simulator: where step durations come from, how they are predicted, what is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::experiment::{Backend, Experiment};
use super::units::Duration;

/// Settings of the simulator. The scheduler's settings are those of the engine it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SimBackend {
    /// What `compare` and `--set` call it.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"))]
    pub name: String,
    /// The bundle step durations come from.
    #[serde(default)]
    pub profile: ProfileSource,
    #[serde(default)]
    pub predictor: Predictor,
    /// Settings of the `linear` and `forest` predictors that are not chosen by cross-validation but said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<Grid>,
    /// What the engine takes in every step besides its kernels, where the profile does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Overhead>,
    /// What is kept of a simulation.
    #[serde(default, skip_serializing_if = "SimLog::is_default")]
    pub log: SimLog,
    /// Says that the profile is a folder of Vidur's, and which of its tables are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vidur: Option<Vidur>,
}

impl Experiment {
    /// The backend that is simulated: the one `compare` names, else the first.
    pub fn simulated(&self) -> Option<&SimBackend> {
        let named = self.compare.as_ref().map(|compare| compare.sim.as_str());
        self.backends.iter().find_map(|backend| match backend {
            Backend::Sim(sim) if named.is_none_or(|name| name == sim.name) => Some(sim),
            _ => None,
        })
    }

    /// Whether its matrix varies what the simulation reads its durations from.
    pub fn varies_profile(&self) -> bool {
        let Some(sim) = self.simulated() else { return false };
        let of_sim = format!("backend.{}.", sim.name);
        let settings = self.matrix.iter().filter_map(|axis| axis.path.strip_prefix(&of_sim));
        settings
            .map(|setting| setting.split('.').next())
            .any(|first| matches!(first, Some("profile" | "vidur")))
    }
}

/// Settings of a regression, with scikit-learn's names; each that is not said is chosen among Vidur's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grid {
    /// Of `linear`: highest degree of a polynomial's term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 6))]
    pub degree: Option<u32>,
    /// Of `linear`: a column of ones among the terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_bias: Option<bool>,
    /// Of `linear`: no squares, only products of different features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interaction_only: Option<bool>,
    /// Of `linear`: a constant, fitted by centring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit_intercept: Option<bool>,
    /// Of `forest`: number of trees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub estimators: Option<u32>,
    /// Of `forest`: deepest leaf of a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_depth: Option<u32>,
    /// Of `forest`: fewest rows of a node that is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1000000))]
    pub min_samples_split: Option<u32>,
}

impl Grid {
    /// The first setting of linear regressions, and the first of forests.
    pub(super) fn of_each(&self) -> (Option<&'static str>, Option<&'static str>) {
        let first = |settings: &[(bool, &'static str)]| {
            settings.iter().find_map(|(said, name)| said.then_some(*name))
        };
        let linear = first(&[
            (self.degree.is_some(), "degree"),
            (self.include_bias.is_some(), "include-bias"),
            (self.interaction_only.is_some(), "interaction-only"),
            (self.fit_intercept.is_some(), "fit-intercept"),
        ]);
        let forest = first(&[
            (self.estimators.is_some(), "estimators"),
            (self.max_depth.is_some(), "max-depth"),
            (self.min_samples_split.is_some(), "min-samples-split"),
        ]);
        (linear, forest)
    }
}

/// What is kept of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SimLog {
    /// Requests, steps with their members, and the time of every token.
    #[default]
    Steps,
    /// Requests alone: for simulations of millions of requests.
    Requests,
}

impl SimLog {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Tables in a profiling folder of Vidur's: `compute/DEVICE/MODEL/` and `network/NETWORK/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vidur {
    /// Folder of the device, such as `a100`.
    #[schemars(length(min = 1, max = 200))]
    pub device: String,
    /// Folder of the model; default: the model's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub model: Option<String>,
    /// Folder of the network, such as `a100_dgx`, where there are several devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub network: Option<String>,
    /// Devices of a node of that network.
    #[serde(default = "default_devices_per_node")]
    #[schemars(range(min = 1, max = 1024))]
    pub devices_per_node: u32,
    /// Whether the CPU's work between steps is modelled, from `cpu_overhead.csv`.
    #[serde(default)]
    pub cpu_overhead: bool,
}

fn default_devices_per_node() -> u32 {
    8
}

/// Time of every step that no profile has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Overhead {
    /// Added to every step.
    pub step: Duration,
    /// Where the number comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Where a profiling bundle comes from: `auto` measures on this machine, anything else is a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ProfileSource {
    #[default]
    Auto,
    /// A bundle's folder, relative to the project.
    Folder(String),
}

impl From<String> for ProfileSource {
    fn from(text: String) -> Self {
        if text == "auto" { Self::Auto } else { Self::Folder(text) }
    }
}

impl From<ProfileSource> for String {
    fn from(source: ProfileSource) -> Self {
        match source {
            ProfileSource::Auto => "auto".to_owned(),
            ProfileSource::Folder(folder) => folder,
        }
    }
}

/// How a step's duration is predicted from a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Predictor {
    /// Multilinear interpolation over the profile's grid.
    #[default]
    Interpolate,
    /// Kernels of a GPU put together as vLLM does: the one for kernel profiles.
    Kernels,
    /// Polynomials, as Vidur's linear regression: for a folder of Vidur's.
    Linear,
    /// Random forests, as Vidur's default: for a folder of Vidur's.
    Forest,
}
