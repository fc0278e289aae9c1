//! Metrics beyond a run's own files: everything that its record tells of
//! requests, tokens, batches and replicas, as figures, distributions and
//! series. [`Derived`] lists them.

mod catalogue;
mod distribution;
mod files;
mod flops;
mod lanes;
mod over_time;
mod per_batch;
mod per_request;
mod value;
mod windows;

pub use catalogue::{Derived, Entry, Of, Unit};
pub use files::write;
pub use flops::{ModelWork, PeakFlops};

use self::lanes::{Lane, Lanes};
use self::value::Value;
use super::history::{RequestHistory, StepOrder, request_histories};
use super::{RunMeta, RunRecord};

/// Bytes on a replica's devices, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub weight_bytes: u64,
    /// Of keys and values of one KV block, all layers.
    pub kv_block_bytes: u64,
}

/// What a run's files do not tell; metrics that need what is unknown have no values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Context {
    /// For MFU.
    pub model: Option<ModelWork>,
    /// For MFU: of a replica.
    pub peak_flops: Option<PeakFlops>,
    /// For memory in use.
    pub memory: Option<Memory>,
}

impl Context {
    /// What MFU takes.
    fn work(&self) -> Option<(ModelWork, PeakFlops)> {
        self.model.zip(self.peak_flops)
    }
}

/// What metrics are derived from.
struct Source<'a> {
    record: &'a RunRecord,
    meta: &'a RunMeta,
    context: &'a Context,
    order: StepOrder<'a>,
    histories: Vec<RequestHistory>,
    /// Ascending.
    replicas: Vec<u32>,
    /// End of the last step, or of the last token where there are no steps.
    end_ns: u64,
}

impl<'a> Source<'a> {
    fn of(record: &'a RunRecord, meta: &'a RunMeta, context: &'a Context) -> Self {
        let order = StepOrder::of(&record.steps);
        let histories = request_histories(record.requests.len(), &order);
        let replicas = order.replicas();
        let last_step = record.steps.iter().map(|step| step.end_ns).max().unwrap_or(0);
        let end_ns = last_step.max(record.duration_ns());
        Self { record, meta, context, order, histories, replicas, end_ns }
    }

    /// A metric's values.
    fn lanes_of(&self, derived: Derived) -> Lanes {
        match derived.entry().of {
            Of::Request => per_request::lanes(derived, &self.record.requests, &self.histories),
            Of::Token => per_batch::inter_token_latencies(self),
            Of::Batch => per_batch::lanes(derived, self),
            Of::Replica => over_time::replica_lanes(derived, self),
            Of::ReplicaWindow => windows::replica_lanes(derived, self),
            Of::RunWindow => windows::run_lanes(derived, self),
            Of::Run => over_time::counters(derived, self),
        }
    }

    /// A step function a replica, each `value` from the start.
    fn lanes<T: Value>(&self, value: T) -> Vec<Lane<T>> {
        self.replicas.iter().map(|replica| Lane::held(*replica, value)).collect()
    }

    /// Where a replica stands among all.
    fn place(&self, replica: u32) -> Option<usize> {
        self.replicas.binary_search(&replica).ok()
    }

    /// A replica's lane of all.
    fn lane<'l, T>(&self, lanes: &'l mut [Lane<T>], replica: u32) -> Option<&'l mut Lane<T>> {
        lanes.get_mut(self.place(replica)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RunKind;
    use crate::metrics::sample_runs::meta_of;

    /// Hands what metrics of a run are derived from to a test.
    pub(super) fn source_of(run: &RunRecord, context: &Context, test: impl FnOnce(&Source<'_>)) {
        let meta = meta_of(run, RunKind::Simulated);
        test(&Source::of(run, &meta, context));
    }

    /// Lanes of whole numbers.
    pub(super) fn whole(lanes: Lanes) -> Vec<Lane<u64>> {
        match lanes {
            Lanes::Whole(lanes) => lanes,
            Lanes::Real(_) => panic!("the metric has real values"),
        }
    }
}
