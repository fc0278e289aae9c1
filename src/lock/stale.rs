use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::diff::{Change, OtherRun, Runs, diff};
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
    /// The pinned bundle is missing, damaged, or another one.
    BundleGone { why: String },
    /// The lock pins another bundle, or other facts of it.
    Bundle(Change),
    /// The bundle was measured on another machine than this one.
    Hardware(Change),
    /// A run has other resolved settings.
    Run(Change),
    /// The lock does not have these runs.
    RunsMissing { runs: Vec<String> },
    /// The lock has runs that the experiment does not have.
    RunsLeft { runs: Vec<String> },
    /// Nothing is pinned of what simulating these runs gives.
    NotSimulated { runs: Vec<String> },
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
            | Self::BundleGone { .. }
            | Self::Format { .. }
            | Self::RunsMissing { .. }
            | Self::RunsLeft { .. }
            | Self::NotSimulated { .. } => None,
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
            Self::NoBundle => return write!(f, "no profiling bundle is pinned yet"),
            Self::RunsMissing { runs } => return write!(f, "not in the lock: {}", few(runs)),
            Self::RunsLeft { runs } => return write!(f, "not in the experiment: {}", few(runs)),
            Self::NotSimulated { runs } => {
                return write!(f, "no simulated result is pinned of {}", few(runs));
            }
            _ => {}
        }
        let Some(change) = self.change() else { return Ok(()) };
        let short =
            |value: &Option<String>| value.as_deref().map_or_else(|| "nothing".to_owned(), abbreviate);
        write!(f, "{}: locked {}, wanted {}", change.path, short(&change.old), short(&change.new))?;
        match &change.runs {
            Runs::These(runs) if runs.len() > 1 && change.path.starts_with("runs.*.") => {
                write!(f, " in {} runs", runs.len())
            }
            _ => Ok(()),
        }
    }
}

/// Runs by their names, the first of many.
fn few(runs: &[String]) -> String {
    const SHOWN: usize = 3;
    let noun = if runs.len() == 1 { "run" } else { "runs" };
    let names = runs.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match runs.len().saturating_sub(SHOWN) {
        0 => format!("{noun} {names}"),
        more => format!("{noun} {names} and {more} more"),
    }
}

/// Every reason why `locked` is out of date against `wanted`, gravest first.
/// Which version of xp wrote a lock is no reason by itself.
pub fn staleness(locked: &Lock, wanted: &Lock) -> Vec<Stale> {
    let ids = |runs: Vec<OtherRun>| runs.into_iter().map(|run| run.id).collect::<Vec<_>>();
    let mut reasons = Vec::new();
    if locked != wanted {
        let found = diff(locked, wanted);
        let (missing, left) = (ids(found.added_runs), ids(found.removed_runs));
        reasons.extend(found.changes.into_iter().filter(|change| change.path != "xp").map(classify));
        reasons.extend((!missing.is_empty()).then_some(Stale::RunsMissing { runs: missing }));
        reasons.extend((!left.is_empty()).then_some(Stale::RunsLeft { runs: left }));
    }
    reasons.extend(not_simulated(locked, wanted));
    reasons
}

/// Runs of both whose simulated result is not pinned: nothing else tells that it is missing.
fn not_simulated(locked: &Lock, wanted: &Lock) -> Option<Stale> {
    wanted.experiment.simulated()?;
    let known: HashSet<&str> = locked.runs.iter().map(|run| run.id.as_str()).collect();
    let missing = wanted.runs.iter().filter(|run| run.sim.is_none() && known.contains(run.id.as_str()));
    let runs: Vec<String> = missing.map(|run| run.id.clone()).collect();
    (!runs.is_empty()).then_some(Stale::NotSimulated { runs })
}

fn classify(change: Change) -> Stale {
    let path = change.path.as_str();
    match path.split('.').next().unwrap_or_default() {
        "experiment" => Stale::Experiment(change),
        "seeds" => Stale::Seed(change),
        "resolved-model" => Stale::Model(change),
        "bundle" if path == "bundle.fingerprint" => Stale::Hardware(change),
        "bundle" => Stale::Bundle(change),
        "runs" if path.ends_with(".bundle.fingerprint") => Stale::Hardware(change),
        "runs" if path.contains(".bundle.") => Stale::Bundle(change),
        "versions" => Stale::Version(change),
        "runs" if path.contains(".workload.") => Stale::Workload(change),
        "runs" if path.contains(".sim.") => Stale::Simulation(change),
        "runs" => Stale::Run(change),
        _ => Stale::Spec(change),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn runs_are_told_by_name_and_a_missing_simulation_is_noticed() {
        let wanted = samples::lock(5);
        let mut locked = wanted.clone();
        assert!(staleness(&locked, &wanted).is_empty());
        locked.runs.remove(4);
        locked.runs[0].id = "old".to_owned();
        locked.runs.iter_mut().for_each(|run| run.scheduler.chunk_size = 8);
        let told: Vec<String> = staleness(&locked, &wanted).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        runs.*.scheduler.chunk-size: locked 8, wanted 16 in 3 runs
        not in the lock: runs tiny-1, tiny-5
        not in the experiment: run old
        ");

        // What a session wants has the results that are locked: where there are none, both have none.
        let mut wanted = wanted;
        wanted.runs.iter_mut().for_each(|run| run.sim = None);
        let told: Vec<String> = staleness(&wanted, &wanted).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["no simulated result is pinned of runs tiny-1, tiny-2, tiny-3 and 2 more"]);
    }
}
