//! The lockfile: every pin, one fact a line. Resolve, read, write, staleness,
//! diff.

mod admit;
mod codec;
mod diff;
mod fact;
mod pins;
mod read;
mod resolve;
mod stale;
mod violation;
mod world;

pub use diff::{Change, LockDiff, diff};
pub use fact::{Impact, facts};
pub use pins::{
    BundlePin, FORMAT, HardwareFact, Lock, ModelPin, RunPin, SeedsPin, SetPin, SimPin, SpecPin, WorkloadPin,
};
pub use read::{LockError, lock_schema, parse, read};
pub use resolve::{ResolveError, Resolved, resolve, scheduler_config};
pub(crate) use resolve::{measured_backend, simulated_backend};
pub use stale::{Stale, staleness};
pub use world::ProjectFiles;
