use std::fmt;

use serde::{Deserialize, Serialize};

use crate::progress::{Progress, Silent};

/// A stage of the DAG, in the order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Workload,
    Profile,
    Sim,
    Real,
    Compare,
    Report,
}

impl Stage {
    /// Name of the stage and of its command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Profile => "profile",
            Self::Sim => "sim",
            Self::Real => "real",
            Self::Compare => "compare",
            Self::Report => "report",
        }
    }

    /// The stage of a name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Workload, Self::Profile, Self::Sim, Self::Real, Self::Compare, Self::Report];
        all.into_iter().find(|stage| stage.name() == name)
    }

    /// Whether its result is one file; else it is a folder.
    pub fn makes_a_file(self) -> bool {
        self == Self::Report
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Listens to a run. `cli/` renders it.
pub trait Observer: Sync {
    /// The lock was written, for these reasons.
    fn locked(&self, path: &str, reasons: &[String]);
    /// A stage begins, for this reason. `label` tells several of a kind apart (run, repeat).
    fn started(&self, stage: Stage, label: &str, reason: &str);
    /// The stage that began is done: what it made, and how long it took.
    fn finished(&self, stage: Stage, label: &str, what: &str, seconds: f64);
    /// A stage's result was at hand.
    fn reused(&self, stage: Stage, label: &str, what: &str);
    /// A stage's result was not in its place, for this reason, and was brought there from the store.
    fn restored(&self, stage: Stage, label: &str, what: &str, reason: &str);
    /// Something worth knowing that is no error.
    fn warned(&self, message: &str);
    /// Progress of the stage that is running.
    fn progress(&self) -> &dyn Progress;
}

/// Listens to nothing.
#[derive(Debug, Default)]
pub struct Quiet;

impl Observer for Quiet {
    fn locked(&self, _path: &str, _reasons: &[String]) {}
    fn started(&self, _stage: Stage, _label: &str, _reason: &str) {}
    fn finished(&self, _stage: Stage, _label: &str, _what: &str, _seconds: f64) {}
    fn reused(&self, _stage: Stage, _label: &str, _what: &str) {}
    fn restored(&self, _stage: Stage, _label: &str, _what: &str, _reason: &str) {}
    fn warned(&self, _message: &str) {}
    fn progress(&self) -> &dyn Progress {
        &Silent
    }
}
