//! Durations while they are collected, and what is kept of them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::bundle::{AttentionPoint, Feature, OpCurve, OpPoint};
use super::plan::Pass;
use crate::model::{Op, OpTimer};

/// Times one pass operator by operator; all layers of it add up.
#[derive(Debug)]
pub(super) struct LapTimer {
    last: Instant,
    /// Building the batch, before the pass.
    pub batching_ns: u64,
    laps: [u64; Op::ALL.len()],
}

impl LapTimer {
    pub fn start() -> Self {
        Self { last: Instant::now(), batching_ns: 0, laps: [0; Op::ALL.len()] }
    }

    fn take(&mut self) -> u64 {
        let now = Instant::now();
        let ns = now.duration_since(self.last).as_nanos() as u64;
        self.last = now;
        ns
    }

    /// Whole pass, ns.
    pub fn total_ns(&self) -> u64 {
        self.batching_ns + self.laps.iter().sum::<u64>()
    }

    /// One operator over all layers, ns.
    pub fn op_ns(&self, op: Op) -> u64 {
        self.laps[op as usize]
    }
}

impl OpTimer for LapTimer {
    fn begin(&mut self) {
        self.batching_ns += self.take();
    }

    fn lap(&mut self, op: Op) {
        let ns = self.take();
        self.laps[op as usize] += ns;
    }
}

/// All durations of one thing, ns.
#[derive(Debug, Clone, Default)]
pub(super) struct Durations(Vec<f64>);

impl Durations {
    pub fn push(&mut self, ns: f64) {
        self.0.push(ns);
    }

    /// Median and median absolute deviation.
    pub fn median_and_mad(&self) -> (f64, f64) {
        let median = median(self.0.clone());
        (median, median_of(self.0.iter().map(|x| (x - median).abs())))
    }
}

fn median_of(values: impl Iterator<Item = f64>) -> f64 {
    median(values.collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Whose durations a pass contributes to: (chunk, KV) of a prefill, (batch, KV) of decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AttentionKey {
    Prefill(u32, u32),
    Decode(u32, u32),
}

/// Durations by operator and feature.
#[derive(Debug, Default)]
pub(super) struct Samples {
    curves: BTreeMap<(&'static str, u32), Durations>,
    attention: BTreeMap<AttentionKey, Durations>,
}

/// What each operator's time depends on.
pub(super) fn feature_of(op: Op) -> Option<Feature> {
    match op {
        Op::Attention => None,
        Op::LmHead | Op::Sampling => Some(Feature::Sequences),
        _ => Some(Feature::Tokens),
    }
}

/// Name of the engine's own work before a pass.
pub(super) const BATCHING: &str = "batching";
/// Name of the scheduler's work between two passes.
pub(super) const SCHEDULE: &str = "schedule";

impl Samples {
    /// Adds a pass that was timed over `num_layers` layers.
    pub fn add(&mut self, pass: &Pass, timer: &LapTimer, num_layers: usize) {
        for op in Op::ALL {
            let layers = if op.per_layer() { num_layers as f64 } else { 1.0 };
            let ns = timer.op_ns(op) as f64 / layers;
            let x = match feature_of(op) {
                None => {
                    let key = match (pass.prefills.first(), pass.decodes.first()) {
                        (Some(&(chunk, kv)), _) => AttentionKey::Prefill(chunk, kv),
                        (None, Some(&kv)) => AttentionKey::Decode(pass.decodes.len() as u32, kv),
                        (None, None) => continue,
                    };
                    self.attention.entry(key).or_default().push(ns);
                    continue;
                }
                Some(Feature::Sequences) if pass.num_sequences() == 0 => continue,
                Some(Feature::Sequences) => pass.num_sequences(),
                Some(Feature::Tokens | Feature::BatchSize) => pass.num_tokens(),
            };
            self.curves.entry((op.name(), x)).or_default().push(ns);
        }
        self.add_overhead(BATCHING, pass.batch_size(), timer.batching_ns as f64);
    }

    /// Adds a duration of the engine's own work around a step.
    pub fn add_overhead(&mut self, name: &'static str, batch_size: u32, ns: f64) {
        self.curves.entry((name, batch_size)).or_default().push(ns);
    }

    /// Medians of every operator over its feature.
    pub fn curves(&self) -> Vec<OpCurve> {
        let ops = Op::ALL.into_iter().filter_map(|op| Some((op.name(), feature_of(op)?, op.per_layer())));
        let overhead = [(SCHEDULE, Feature::BatchSize, false), (BATCHING, Feature::BatchSize, false)];
        ops.chain(overhead)
            .map(|(op, feature, per_layer)| {
                let range = self.curves.range((op, 0)..=(op, u32::MAX));
                let points = range.map(|((_, x), durations)| {
                    let (median_ns, mad_ns) = durations.median_and_mad();
                    OpPoint { x: *x, median_ns, mad_ns }
                });
                OpCurve { op: op.to_owned(), feature, per_layer, points: points.collect() }
            })
            .collect()
    }

    /// Medians of attention over its grids.
    pub fn attention(&self) -> Vec<AttentionPoint> {
        self.attention
            .iter()
            .map(|(key, durations)| {
                let (median_ns, mad_ns) = durations.median_and_mad();
                let (prefill_chunk, kv_prefill, n_decode, kv_decode) = match *key {
                    AttentionKey::Prefill(chunk, kv) => (chunk, kv, 0, 0),
                    AttentionKey::Decode(batch, kv) => (0, 0, batch, kv),
                };
                AttentionPoint { prefill_chunk, kv_prefill, n_decode, kv_decode, median_ns, mad_ns }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_those_of_the_book() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        let durations = Durations(vec![1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]);
        assert_eq!(durations.median_and_mad(), (2.0, 1.0));
    }
}
