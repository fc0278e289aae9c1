//! Step and request records, metric definitions, the CSV contract, percentiles.

mod definitions;
mod error;
mod history;
mod meta;
mod packed_members;
mod read_run;
mod record;
mod replay;
mod row_reader;
mod row_writer;
#[cfg(test)]
pub(crate) mod sample_runs;
pub mod series;
mod statistics;
pub mod trace;
mod write_run;

pub use definitions::{DEFINITIONS, Definition, Metric, PERCENTILE_METHOD, SloLimits, TokenSpan, goodput};
pub use error::ContractError;
pub use meta::{RUN_FORMAT, RunKind, RunMeta, WorkerMeta, read_meta};
pub(crate) use read_run::parse_run;
pub use read_run::read_run;
pub use record::{RequestRecord, RequestStatus, RunRecord, StepLog, StepMember, StepView};
pub use replay::Replay;
pub use statistics::{Statistic, mean, percentile_of_sorted, rank_of};
pub use write_run::{digest_run, write_run};

/// Version of the metric definitions in this folder; pinned in every lock.
pub const METRICS_VERSION: u32 = 1;

/// Columns of `request_metrics.csv`.
const REQUEST_COLUMNS: [&str; 12] = [
    "request_id",
    "arrival_time_ns",
    "first_token_time_ns",
    "ttft_ns",
    "completion_time_ns",
    "num_prefill_tokens",
    "num_decode_tokens",
    "num_decode_tokens_actual",
    "status",
    "backend",
    "error_type",
    "error_msg",
];

/// Columns of `token_metrics.csv`.
const TOKEN_COLUMNS: [&str; 5] =
    ["request_id", "token_index", "token_time_ns", "token_latency_ns", "token_id"];

/// Columns of `steps.csv`.
const STEP_COLUMNS: [&str; 7] = ["step", "start_ns", "end_ns", "running", "waiting", "kv_blocks", "members"];

/// Columns of `steps.csv` where there are several replicas.
const REPLICA_STEP_COLUMNS: [&str; 8] =
    ["step", "start_ns", "end_ns", "running", "waiting", "kv_blocks", "members", "replica"];
