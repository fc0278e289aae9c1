//! The stage DAG of a lock: what is stale and why, execute, resume.
//!
//! ```text
//! workload ─┬─▶ real (repeats) ─┐
//! profile ──┴─▶ sim ────────────┴─▶ compare ─▶ report
//! ```
//! A stage's key is the digest of its pinned inputs: a finished stage is
//! reused, a stale or damaged one redone, and the reason is told.

mod bundle;
mod device;
mod error;
mod event;
mod execute;
mod facts;
#[cfg(test)]
mod invalidation;
mod project;
mod record;
mod results;
mod session;
mod stages;
mod status;

pub use error::RunError;
pub use event::{Observer, Quiet, Stage};
pub use execute::{Outcome, execute};
pub use project::{Project, ProjectError, RunGuard};
pub use record::{Inputs, StageRecord, StageState, StageStore};
pub use results::comparisons;
pub use session::{LockMode, Request, Session, is_lock};
pub use stages::write_comparison;
pub use status::{StageStatus, status};
