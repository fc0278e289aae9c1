//! Holds a lock, or a report, against everything it pins: files are hashed again, what is deterministic is
//! derived again, results are looked up where they are kept. Nothing is written, nothing is downloaded, and
//! no digest is taken from a cache.

mod derived;
mod error;
mod lock;
mod report;
mod results;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

pub use error::VerifyError;
pub use lock::verify_lock;
pub use report::verify_report;

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The experiment inside the lock, by its digest.
    Experiment,
    /// Versions, seeds, settings: facts that follow from the experiment.
    Fact,
    /// A file of the model or its tokenizer.
    ModelFile,
    /// A file of the profiling bundle.
    BundleFile,
    /// A file that workloads read.
    DataFile,
    /// A run's workload, generated again.
    Workload,
    /// A run's simulation, made again.
    Simulation,
    /// A folder or file that a stage made, in its place.
    Output,
    /// A content of the store, or the record of a result there.
    Stored,
    /// The lock of a report.
    Lock,
    /// A comparison of a report, in the project.
    Comparison,
    /// The figures of a comparison, computed again from its runs.
    Figures,
    /// The pages of a report, drawn again from its data.
    Pages,
}

impl What {
    /// The words for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Fact => "fact",
            Self::ModelFile => "model file",
            Self::BundleFile => "bundle file",
            Self::DataFile => "data file",
            Self::Workload => "workload",
            Self::Simulation => "simulation",
            Self::Output => "output",
            Self::Stored => "stored content",
            Self::Lock => "lock",
            Self::Comparison => "comparison",
            Self::Figures => "figures",
            Self::Pages => "pages",
        }
    }
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Same,
    Differs,
    /// It, or what it takes to check it, is not here.
    Absent,
}

/// One thing, and what it came to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Check {
    pub what: What,
    pub name: String,
    pub outcome: Outcome,
    /// Why it is not the same; empty where it is.
    pub detail: String,
}

impl Check {
    fn same(what: What, name: impl Into<String>) -> Self {
        Self { what, name: name.into(), outcome: Outcome::Same, detail: String::new() }
    }

    fn differs(what: What, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what, name: name.into(), outcome: Outcome::Differs, detail: detail.into() }
    }

    fn absent(what: What, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what, name: name.into(), outcome: Outcome::Absent, detail: detail.into() }
    }

    /// Same where it holds, else different for this reason.
    fn of(holds: bool, what: What, name: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        match holds {
            true => Self::same(what, name),
            false => Self::differs(what, name, detail.into()),
        }
    }
}

/// Everything that was checked, by what it is and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Verified {
    pub checks: Vec<Check>,
}

impl Verified {
    fn of(mut checks: Vec<Check>) -> Self {
        checks.sort();
        checks.dedup();
        Self { checks }
    }

    /// How many checks of a kind came to this; of all kinds where none is given.
    pub fn count(&self, what: Option<What>, outcome: Outcome) -> usize {
        let matches = |check: &&Check| check.outcome == outcome && what.is_none_or(|what| what == check.what);
        self.checks.iter().filter(matches).count()
    }
}
