//! Step and request records, metric definitions, the CSV contract, percentiles.

mod contract;
mod record;

pub use contract::{ContractError, RunKind, RunMeta, read_meta, read_run, write_run};
pub use record::{RequestRecord, RequestStatus, RunRecord, StepLog, StepMember, StepView};

/// Version of the metric definitions in this folder; pinned in every lock.
pub const METRICS_VERSION: u32 = 1;
