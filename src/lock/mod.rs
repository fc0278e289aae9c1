//! The lockfile: every pin, one fact a line. Resolve, read, write, staleness,
//! diff.

mod codec;
mod diff;
mod diff_impact;
mod fact;
mod fact_rules;
mod merge;
mod merge_conflict;
mod merge_derived;
#[cfg(test)]
mod merge_tests;
mod merge_tree;
mod pins;
mod read;
mod resolve;
#[cfg(test)]
pub(crate) mod samples;
mod stage;
mod stale;
mod violation;

pub use fact::segments as names_of;
pub use diff::{Change, Invalidated, LockDiff, OtherRun, Runs, diff};
#[cfg(test)]
pub(crate) use diff_impact::row_of;
pub use fact_rules::Impact;
#[cfg(test)]
pub(crate) use fact_rules::rows;
pub use merge::{Labels, MergeConflict, Merged, merge};
pub use merge_conflict::{ConflictError, TextConflict, Version, conflicts, refuse as refuse_conflicts, take};
pub use pins::{
    BundlePin, FORMAT, HardwareFact, Lock, ModelPin, RunPin, SeedsPin, SetPin, SimPin, SpecPin, WorkloadPin,
};
pub use read::{LockError, lock_schema, parse, read};
pub use resolve::{ResolveError, Resolved, resolve, scheduler_config};
pub(crate) use resolve::{measured_backend, simulated_backend};
pub use stage::{Stage, Stages};
pub use stale::{Stale, staleness};
