//! Step and request records, metric definitions, the CSV contract, percentiles.

mod record;

pub use record::{RequestRecord, RequestStatus, RunRecord, StepLog, StepMember, StepView};

/// Version of the metric definitions in this folder; pinned in every lock.
pub const METRICS_VERSION: u32 = 1;
