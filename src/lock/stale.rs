use std::fmt;

use serde::Serialize;

use super::diff::{Change, diff};
use super::pins::Lock;
use crate::store::abbreviate;

/// Why a lock does not say what its experiment now means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Stale {
    /// There is no lock yet.
    NoLock { path: String },
    /// The lock on disk is none.
    Unreadable { path: String, why: String },
    /// The experiment says something else.
    Experiment(Change),
    /// A derived seed differs.
    Seed(Change),
    /// The model or its tokenizer resolved to other bytes.
    Model(Change),
    /// A workload has other content.
    Workload(Change),
    /// No bundle was measured yet.
    NoBundle,
    /// Runs whose simulated result is not pinned yet.
    NotSimulated { runs: usize, first: String },
    /// The pinned bundle is missing, damaged, or another one.
    BundleGone { why: String },
    /// The lock pins another bundle, or other facts of it.
    Bundle(Change),
    /// The bundle was measured on another machine than this one.
    Hardware(Change),
    /// A run was added, removed, or has other resolved settings.
    Run(Change),
    /// A simulation gives another result.
    Simulation(Change),
    /// This xp measures, simulates or defines metrics differently.
    Version(Change),
    /// The lock has an older format.
    Format { locked: u32, wanted: u32 },
    /// The lock was made from another file or with other overrides.
    Spec(Change),
}

impl Stale {
    fn change(&self) -> Option<&Change> {
        match self {
            Self::NoLock { .. }
            | Self::Unreadable { .. }
            | Self::NoBundle
            | Self::NotSimulated { .. }
            | Self::BundleGone { .. }
            | Self::Format { .. } => None,
            Self::Experiment(change)
            | Self::Seed(change)
            | Self::Model(change)
            | Self::Workload(change)
            | Self::Bundle(change)
            | Self::Hardware(change)
            | Self::Run(change)
            | Self::Simulation(change)
            | Self::Version(change)
            | Self::Spec(change) => Some(change),
        }
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLock { path } => return write!(f, "{path} does not exist yet"),
            Self::Unreadable { path, why } => return write!(f, "{path} cannot be read: {why}"),
            Self::BundleGone { why } => return write!(f, "bundle: {why}"),
            Self::Format { locked, wanted } => {
                return write!(f, "lock: locked format {locked}, wanted format {wanted}");
            }
            Self::NotSimulated { runs: 1, first } => return write!(f, "{first} is not simulated yet"),
            Self::NotSimulated { runs, first } => {
                return write!(f, "{runs} runs are not simulated yet, {first} is the first");
            }
            Self::NoBundle => return write!(f, "no profiling bundle is pinned yet"),
            _ => {}
        }
        let Some(change) = self.change() else { return Ok(()) };
        let short =
            |value: &Option<String>| value.as_deref().map_or_else(|| "nothing".to_owned(), abbreviate);
        write!(f, "{}: locked {}, wanted {}", change.path, short(&change.old), short(&change.new))
    }
}

/// Every reason why `locked` is out of date against `wanted`, gravest first.
/// Which version of xp wrote a lock is no reason by itself.
pub fn staleness(locked: &Lock, wanted: &Lock) -> Vec<Stale> {
    if locked == wanted {
        return Vec::new();
    }
    diff(locked, wanted).changes.into_iter().filter(|change| change.path != "xp").map(classify).collect()
}

fn classify(change: Change) -> Stale {
    let path = change.path.as_str();
    match path.split('.').next().unwrap_or_default() {
        "experiment" => Stale::Experiment(change),
        "seeds" => Stale::Seed(change),
        "resolved-model" => Stale::Model(change),
        "bundle" if path == "bundle.fingerprint" => Stale::Hardware(change),
        "bundle" => Stale::Bundle(change),
        "versions" => Stale::Version(change),
        "runs" if path.contains(".workload.") => Stale::Workload(change),
        "runs" if path.contains(".sim.") => Stale::Simulation(change),
        "runs" => Stale::Run(change),
        _ => Stale::Spec(change),
    }
}
