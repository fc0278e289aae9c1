use std::io;
use std::path::{Path, PathBuf};

use super::project::ProjectError;
use super::session::LockMode;
use crate::backend::BackendError;
use crate::capacity::CapacityError;
use crate::compare::CompareError;
use crate::lock::{LockError, ResolveError, Stale};
use crate::metrics::ContractError;
use crate::profile::{FormatError, ProfileError};
use crate::report::ReportError;
use crate::spec::SpecErrors;
use crate::store::{FetchError, ResultError, TransferError};
use crate::workload::WorkloadError;

/// A run could not go on. What was finished before stays finished.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RunError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Spec(#[from] SpecErrors),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Profiles(#[from] FormatError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Contract(#[from] ContractError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Compare(#[from] CompareError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Capacity(#[from] CapacityError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    StoredResult(#[from] ResultError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Transfer(#[from] TransferError),
    /// Results are not copied from a folder to itself.
    #[error("{} is the project's own store", folder.display())]
    #[diagnostic(code(xp::run::same_store), help("name another store's folder"))]
    SameStore { folder: PathBuf },
    /// A folder with other things in it, or with nothing to pull.
    #[error("{} is no store", folder.display())]
    #[diagnostic(
        code(xp::run::no_store),
        help(
            "a store has `results/` and `objects/`; a project's is `.xp/store`, and `xp store push` fills a new or empty folder"
        )
    )]
    NoStore { folder: PathBuf },
    /// The system refused a file.
    #[error("cannot read or write {}", path.display())]
    #[diagnostic(
        code(xp::run::io),
        help(
            "is there space, and may the folder be read and written? what is finished stays finished: run the command again to go on"
        )
    )]
    Io { path: PathBuf, source: io::Error },
    /// `--locked` or `--frozen` without a lock.
    #[error("{path} does not exist")]
    #[diagnostic(code(xp::run::no_lock), help("make it with `xp lock`"))]
    NoLock { path: String, source: io::Error },
    /// Two experiments of one name would overwrite each other's lock.
    #[error("{lock} is the lock of {other}, not of {spec}")]
    #[diagnostic(
        code(xp::run::lock_taken),
        help("locks are named after the experiment's file: give one of the two files another name")
    )]
    LockTaken { lock: String, spec: String, other: String },
    /// Another process wrote the lock since it was read.
    #[error("{path} was changed by another process meanwhile")]
    #[diagnostic(
        code(xp::run::lock_changed),
        help("nothing of the lock was overwritten: run the command again")
    )]
    LockChanged { path: String },
    /// The experiment's file is gone.
    #[error("{path} does not exist")]
    #[diagnostic(
        code(xp::run::no_spec),
        help("{}", if *from_lock { "the lock was made from it; `--frozen` uses the lock alone" } else { "`xp init` writes a file to start from" })
    )]
    NoSpec { path: String, from_lock: bool, source: io::Error },
    /// The mode forbids to change a lock that is out of date.
    #[error("{path} is out of date:{reasons}")]
    #[diagnostic(code(xp::run::stale_lock), help("{help}"))]
    StaleLock { path: String, reasons: String, help: &'static str },
    /// A pinned bundle is not on disk.
    #[error("the pinned bundle {path} is missing or damaged: {why}")]
    #[diagnostic(
        code(xp::run::bundle_gone),
        help("bring the folder back, or lock again to measure a new one")
    )]
    BundleGone { path: String, why: String },
    /// A bundle is of something else than the experiment.
    #[error("the bundle cannot be simulated from: {why}")]
    #[diagnostic(
        code(xp::run::bundle_unfit),
        help(
            "name a bundle of this model that covers the experiment, or measure one with `profile \"auto\"`"
        )
    )]
    BundleUnfit { why: String },
    /// The command needs two backends to compare.
    #[error("the experiment compares nothing")]
    #[diagnostic(
        code(xp::run::no_compare),
        help("add `compare real=\"…\" sim=\"…\"` and a simulated backend")
    )]
    NoCompare,
    /// Nothing says which rates are tried.
    #[error("the experiment asks for no capacity search")]
    #[diagnostic(
        code(xp::run::no_capacity),
        help("add `capacity min-qps=0.5 max-qps=64`, an `slo`, and a simulated backend")
    )]
    NoCapacity,
    /// Arrivals that cannot be scaled.
    #[error("the arrivals of {run} have no rate: all requests come at once")]
    #[diagnostic(
        code(xp::run::no_rate),
        help("take arrivals that are spread over time: `arrivals \"poisson\" qps=1`")
    )]
    NoRate { run: String },
    /// The requests arrive over more than a day.
    #[error("measuring {run} would take {hours} hours: that is when its last request arrives")]
    #[diagnostic(
        code(xp::run::too_long),
        help(
            "raise the arrival rate or ask for fewer requests; up to 24 hours are measured, and `xp sim` takes any"
        )
    )]
    TooLong { run: String, hours: u64 },
    /// Simulation is deterministic, so this is a change of the simulator or of the lock.
    #[error("simulating {run} gives {found}, the lock pins {pinned}")]
    #[diagnostic(
        code(xp::run::sim_differs),
        help("the lock was edited, or another version of xp made it: lock again, and compare anew")
    )]
    SimDiffers { run: String, pinned: String, found: String },
    /// A lock that was edited: what its runs are is not known.
    #[error("the lock pins {pinned} runs, its experiment has {cells}")]
    #[diagnostic(code(xp::run::other_runs), help("the lock was edited: lock its experiment again"))]
    OtherRuns { pinned: usize, cells: usize },
    /// `--out` names one folder.
    #[error("the matrix has {runs} runs, `--out` takes one")]
    #[diagnostic(code(xp::run::out_of_matrix), help("leave `--out` away, or pick a cell with --set"))]
    OutOfMatrix { runs: usize },
}

impl RunError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(super) fn stale(mode: LockMode, path: String, reasons: &[Stale]) -> Self {
        let mut text = String::new();
        for reason in reasons.iter().take(20) {
            text.push_str("\n  ");
            text.push_str(&reason.to_string());
        }
        let help = match mode {
            LockMode::Frozen => {
                "the lock does not derive what it pins: it was edited, or files it pins changed"
            }
            _ => "`xp lock` brings it up to date",
        };
        Self::StaleLock { path, reasons: text, help }
    }
}
