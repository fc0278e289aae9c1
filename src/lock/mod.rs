//! The lockfile: every pin, one fact a line. Resolve, read, write, staleness,
//! diff.

mod admit;
mod bundles;
mod canonical;
mod codec;
mod data_folder;
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
mod migrate;
mod pins;
mod read;
mod resolve;
mod resolved;
#[cfg(test)]
pub(crate) mod samples;
mod stage;
mod stale;
mod violation;
mod workloads;
mod world;

pub use bundles::ProfileUse;
pub(crate) use canonical::parse as parse_canonical;
pub(crate) use codec::{read as read_facts, write as write_facts};
pub use data_folder::{data_folder, find_data_folder};
pub use diff::{Change, Invalidated, LockDiff, OtherRun, Runs, diff};
#[cfg(test)]
pub(crate) use diff_impact::row_of;
pub use fact::segments as names_of;
pub use fact_rules::Impact;
#[cfg(test)]
pub(crate) use fact_rules::rows;
pub use merge::{Labels, MergeConflict, Merged, merge};
pub use merge_conflict::{ConflictError, TextConflict, Version, conflicts, refuse as refuse_conflicts, take};
pub use pins::{
    BundlePin, FORMAT, HardwareFact, Lock, ModelPin, RecordedPin, RunPin, SeedsPin, SetPin, SimPin, SpecPin,
    Versions, WorkerPin, WorkloadPin,
};
pub(crate) use read::parse_kdl_text;
pub use read::{LockError, MAX_LOCK_BYTES, lock_schema, parse, read, read_any, read_side};
pub(crate) use resolve::{Measured, measured_backend};
pub use resolve::{ResolveError, resolve, scheduler_config};
pub use resolved::{Extent, Resolved};
pub use stage::{Stage, Stages};
pub use stale::{Stale, staleness};
pub(crate) use workloads::writes_texts;
pub use world::ProjectFiles;
