//! Prompts, lengths and arrivals: what is asked of an engine, and when.
//!
//! [`generate`] makes a workload from its spec and three seeds: the same bytes on every machine,
//! so that a lock can pin its digest before a file is written.

mod arrivals;
mod contract;
mod data_file;
mod decimal;
mod error;
mod generate;
mod lengths;
mod prefixes;
mod prompting;
mod prompts;
mod read;
pub mod seed;
mod sessions;
mod stream;
mod table;
mod trace;

pub(crate) use arrivals::trace_gaps;
pub use contract::{FORMAT as WORKLOAD_VERSION, Seeds, WorkloadMeta, digest, workload_files, write_workload};
pub use data_file::data_file;
pub(crate) use decimal::nanoseconds;
pub use error::WorkloadError;
pub use generate::{generate, generate_with_notes, prefixes_of_texts, with_texts};
pub(crate) use lengths::trace_lengths;
pub use prefixes::Prefixes;
pub(crate) use prompting::Prompting;
pub(crate) use prompts::texts;
pub(crate) use read::parse_workload;
pub use read::read_workload;
pub(crate) use trace::parse as parse_trace;

/// A workload in memory: row i of each vector belongs to request i.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    pub requests: Vec<WorkloadRequest>,
    /// Prompt texts; `requests[i].prompt_id` indexes them. Empty when only lengths are known.
    pub prompts: Vec<String>,
    /// What prompts have in common, where it is known: of each request.
    pub prefixes: Option<Prefixes>,
}

/// One request of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkloadRequest {
    /// Index into [`Workload::prompts`].
    pub prompt_id: u32,
    /// Prompt length in tokens.
    pub num_prefill_tokens: u32,
    /// Output tokens to generate.
    pub num_decode_tokens: u32,
    /// Time from the previous request's arrival (or the run's start), ns.
    pub inter_arrival_ns: u64,
    /// Time from the run's start, ns; never decreasing.
    pub arrival_time_ns: u64,
}
