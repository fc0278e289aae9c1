//! The lockfile: every pin, one fact a line. Resolve, read, write, staleness,
//! diff.

mod admit;
mod canonical;
mod codec;
mod diff;
mod fact;
mod migrate;
mod pins;
mod read;
mod resolve;
mod resolved;
mod stale;
mod violation;
mod workloads;
mod world;

pub use diff::{Change, LockDiff, diff};
pub use fact::{Impact, facts};
pub use pins::{
    BundlePin, FORMAT, HardwareFact, Lock, ModelPin, RunPin, SeedsPin, SetPin, SimPin, SpecPin, Versions,
    WorkloadPin,
};
pub use read::{LockError, lock_schema, parse, read, read_any};
pub use resolve::{ResolveError, resolve, scheduler_config};
pub(crate) use resolve::{measured_backend, simulated_backend};
pub use resolved::{Extent, Resolved};
pub use stale::{Stale, staleness};
pub use world::ProjectFiles;
