//! The stage DAG of a lock: what is stale and why, execute, resume.
//!
//! ```text
//! workload ─┬─▶ real (repeats) ─┐
//! profile ──┴─▶ sim ────────────┴─▶ compare ─▶ report
//! ```
//! A stage's key is the digest of its pinned inputs: a finished stage is
//! reused, a stale or damaged one redone, and the reason is told.

mod bundle;
mod capacity;
mod device;
mod error;
mod event;
mod execute;
mod facts;
#[cfg(test)]
mod invalidation;
mod project;
mod reach;
mod record;
mod replays;
mod restore;
mod results;
mod session;
mod stages;
mod status;
mod steps;
mod transfer;
mod worker;
mod worktree;

pub use capacity::{Searched, search_capacity};
pub use error::RunError;
pub use event::{Observer, Quiet, Stage};
pub use execute::{Outcome, execute};
pub use facts::{Runs, compare_input};
pub use project::{Project, ProjectError, RunGuard};
pub use reach::{Known, Reach};
pub use record::{InputChange, Inputs, StageRecord, StageState, StageStore};
pub use replays::replay_all;
pub use results::comparisons;
pub use session::{LockMode, Request, Session, Upgrade, is_lock, versions};
pub use stages::{result_digest, write_comparison};
pub use status::{StageStatus, Standing, status};
#[cfg(test)]
pub(crate) use steps::steps_of;
pub use steps::{Step, profile_step, sim_step};
pub use transfer::{pull, push};
pub use worktree::{Repository, StorePlace, register, registered};
