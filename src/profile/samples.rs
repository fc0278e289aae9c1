//! Durations while they are collected, and what is kept of them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::bundle::{AttentionPoint, Feature, OpCurve, OpPoint};
use super::plan::Pass;
use crate::machine::Drift;
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
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn push(&mut self, ns: f64) {
        self.0.push(ns);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Half of the mean's 95 % interval as a share of the mean, from the median absolute deviation (1.4826 of which are a
    /// standard deviation where durations are normal: Rousseeuw and Croux, 1993); infinite of fewer than three.
    pub fn interval(&self) -> f64 {
        1.96 * self.standard_error() / self.mean_and_mad().0.max(1.0)
    }

    /// The mean's standard error, ns, from the median absolute deviation; infinite of fewer than three.
    pub fn standard_error(&self) -> f64 {
        match self.0.len() {
            0..3 => f64::INFINITY,
            count => 1.4826 * self.mean_and_mad().1 / (count as f64).sqrt(),
        }
    }

    /// Mean without outliers, and median absolute deviation. What takes longer than any ordinary
    /// disturbance explains (eight deviations above the median) is no property of the machine.
    pub fn mean_and_mad(&self) -> (f64, f64) {
        let (longest, mad) = self.longest_and_mad();
        let (mut sum, mut count) = (0.0, 0.0_f64);
        for ns in self.0.iter().filter(|ns| **ns <= longest) {
            sum += ns;
            count += 1.0;
        }
        (sum / count.max(1.0), mad)
    }

    /// The longest duration that is no outlier, and the median absolute deviation.
    fn longest_and_mad(&self) -> (f64, f64) {
        let median = median(self.0.clone());
        let mad = median_of(self.0.iter().map(|x| (x - median).abs()));
        (median + OUTLIER_MADS * mad, mad)
    }

    /// What outliers took more than the mean of the others, and what all would have taken without that.
    fn lost_and_worked(&self) -> (f64, f64) {
        let ((mean, _), (longest, _)) = (self.mean_and_mad(), self.longest_and_mad());
        let lost = self.0.iter().filter(|ns| **ns > longest).map(|ns| ns - mean).sum::<f64>();
        (lost, self.0.iter().sum::<f64>() - lost)
    }
}

/// Deviations above the median from which a duration is an outlier.
const OUTLIER_MADS: f64 = 8.0;

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

/// All timings of one pass.
#[derive(Debug, Default)]
struct PassSamples {
    ops: [Durations; Op::ALL.len()],
    batching: Durations,
    total: Durations,
    /// Of each timing, when it was taken, ns from the profile's start.
    at_ns: Vec<u64>,
}

/// Mean and median absolute deviation of one operator in one pass, ns.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    mean_ns: f64,
    mad_ns: f64,
}

impl PassSamples {
    /// Operators of the pass, and batching, scaled so that they add up to the pass's mean: an outlier
    /// of one operator may be none of the whole.
    fn estimates(&self) -> ([Estimate; Op::ALL.len()], Estimate) {
        let estimate = |durations: &Durations| {
            let (mean_ns, mad_ns) = durations.mean_and_mad();
            Estimate { mean_ns, mad_ns }
        };
        let (mut ops, mut batching) =
            (std::array::from_fn(|op| estimate(&self.ops[op])), estimate(&self.batching));
        let sum: f64 = ops.iter().map(|op: &Estimate| op.mean_ns).sum::<f64>() + batching.mean_ns;
        let scale = if sum > 0.0 { self.total.mean_and_mad().0 / sum } else { 1.0 };
        for estimate in ops.iter_mut().chain([&mut batching]) {
            estimate.mean_ns *= scale;
        }
        (ops, batching)
    }
}

/// Everything that was timed, by pass.
#[derive(Debug, Default)]
pub(super) struct Samples {
    passes: BTreeMap<Pass, PassSamples>,
    schedule: BTreeMap<u32, Durations>,
}

/// Estimates of one operator at one value of its feature, one from each pass.
#[derive(Debug, Default)]
struct Point {
    /// Means and deviations from passes of decodes alone.
    decodes: (Durations, Durations),
    /// The same from passes with a prefill.
    prefills: (Durations, Durations),
}

impl Point {
    /// A small step of a run is nearly always decodes, and finds the caches as they leave them: where
    /// there are such passes, the others do not count.
    fn reduce(&self, x: u32) -> OpPoint {
        let (means, mads) = if self.decodes.0.is_empty() { &self.prefills } else { &self.decodes };
        OpPoint { x, mean_ns: means.mean_and_mad().0, mad_ns: mads.mean_and_mad().0 }
    }
}

/// Estimates of one operator by feature.
type ByFeature = BTreeMap<u32, Point>;

impl Samples {
    /// Adds a timing of a pass at a moment.
    pub fn add(&mut self, pass: &Pass, timer: &LapTimer, at_ns: u64) {
        let samples = self.passes.entry(pass.clone()).or_default();
        for op in Op::ALL {
            samples.ops[op as usize].push(timer.op_ns(op) as f64);
        }
        samples.batching.push(timer.batching_ns as f64);
        samples.total.push(timer.total_ns() as f64);
        samples.at_ns.push(at_ns);
    }

    /// Makes all timings those of one speed of the machine, by how far it was from that at their moments.
    pub fn level(&mut self, drift: &Drift) {
        for (pass, samples) in &mut self.passes {
            let all = samples.ops.iter_mut().chain([&mut samples.batching, &mut samples.total]);
            for durations in all {
                for (ns, at_ns) in durations.0.iter_mut().zip(&samples.at_ns) {
                    *ns /= drift.ratio(*at_ns, pass.num_tokens());
                }
            }
        }
    }

    /// How often a pass was timed, and how well its mean is known ([`Durations::interval`]).
    pub fn known(&self, pass: &Pass) -> (usize, f64) {
        self.passes.get(pass).map_or((0, f64::INFINITY), |of| (of.total.len(), of.total.interval()))
    }

    /// Time that outliers lost for each second of work, s: they are in no mean, and a run has as many.
    pub fn lost(&self) -> f64 {
        let (lost, worked) = self
            .passes
            .values()
            .map(|of| of.total.lost_and_worked())
            .fold((0.0, 0.0), |(lost, worked), (of_lost, of_worked)| (lost + of_lost, worked + of_worked));
        if worked > 0.0 { lost / worked } else { 0.0 }
    }

    /// Adds the scheduler's time for a step of so many requests.
    pub fn add_schedule(&mut self, batch_size: u32, ns: f64) {
        self.schedule.entry(batch_size).or_default().push(ns);
    }

    /// Every operator over its feature, and attention over its grids; passes ran `num_layers` layers.
    pub fn reduce(&self, num_layers: usize) -> (Vec<OpCurve>, Vec<AttentionPoint>) {
        let mut by_op: BTreeMap<&str, ByFeature> = BTreeMap::new();
        let mut attention = Vec::new();
        for (pass, samples) in &self.passes {
            let (ops, batching) = samples.estimates();
            let mut add = |name, x, estimate: Estimate, layers: f64| {
                let point = by_op.entry(name).or_default().entry(x).or_default();
                let (means, mads) =
                    if pass.prefills.is_empty() { &mut point.decodes } else { &mut point.prefills };
                means.push(estimate.mean_ns / layers);
                mads.push(estimate.mad_ns / layers);
            };
            for op in Op::ALL {
                let estimate = ops[op as usize];
                let layers = if op.per_layer() { num_layers as f64 } else { 1.0 };
                match feature_of(op) {
                    Some(Feature::Sequences) if pass.num_sequences() == 0 => {}
                    Some(Feature::Sequences) => add(op.name(), pass.num_sequences(), estimate, layers),
                    Some(Feature::Tokens | Feature::BatchSize) => {
                        add(op.name(), pass.num_tokens(), estimate, layers)
                    }
                    None if !pass.is_uniform() => {}
                    None => attention.push(attention_point(pass, estimate, layers)),
                }
            }
            add(BATCHING, pass.batch_size(), batching, 1.0);
        }
        for (batch_size, durations) in &self.schedule {
            let (mean, mad) = durations.mean_and_mad();
            let point = by_op.entry(SCHEDULE).or_default().entry(*batch_size).or_default();
            point.decodes.0.push(mean);
            point.decodes.1.push(mad);
        }
        let ops = Op::ALL.into_iter().filter_map(|op| Some((op.name(), feature_of(op)?, op.per_layer())));
        let overhead = [(SCHEDULE, Feature::BatchSize, false), (BATCHING, Feature::BatchSize, false)];
        let curves = ops
            .chain(overhead)
            .map(|(op, feature, per_layer)| {
                let points = by_op.get(op).into_iter().flatten().map(|(x, point)| point.reduce(*x));
                OpCurve { op: op.to_owned(), feature, per_layer, points: points.collect() }
            })
            .collect();
        (curves, attention)
    }
}

/// A pass of the grid is one prefill chunk, or decodes of equal KV length.
fn attention_point(pass: &Pass, estimate: Estimate, layers: f64) -> AttentionPoint {
    let (prefill_chunk, kv_prefill) = pass.prefills.first().copied().unwrap_or_default();
    AttentionPoint {
        prefill_chunk,
        kv_prefill,
        n_decode: pass.decodes.len() as u32,
        kv_decode: pass.decodes.first().copied().unwrap_or_default(),
        mean_ns: estimate.mean_ns / layers,
        mad_ns: estimate.mad_ns / layers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::SpeedPoint;

    #[test]
    fn means_leave_out_outliers() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        let durations = Durations(vec![1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]);
        assert_eq!(durations.mean_and_mad(), (25.0 / 7.0, 1.0));
        let disturbed = Durations(vec![1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 900.0]);
        assert_eq!(disturbed.mean_and_mad(), (16.0 / 6.0, 1.0));
    }

    #[test]
    fn what_outliers_took_is_lost() {
        let disturbed = Durations(vec![1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 900.0]);
        let (lost, worked) = disturbed.lost_and_worked();
        assert!((lost - (900.0 - 16.0 / 6.0)).abs() < 1e-9 && (worked + lost - 916.0).abs() < 1e-9);
        assert_eq!(Durations(vec![5.0; 9]).lost_and_worked(), (0.0, 45.0));
        assert_eq!(Samples::default().lost(), 0.0);
    }

    #[test]
    fn timings_of_two_states_become_those_of_one() {
        let point =
            |at_ns, scale: u64| SpeedPoint { at_ns, step_ns: [10, 12, 13, 15, 50, 90].map(|ns| ns * scale) };
        let speed: Vec<SpeedPoint> = (0..20).map(|i| point(i * 100, if i < 10 { 2 } else { 3 })).collect();
        let drift = Drift::new(&speed, &point(0, 2)).unwrap();
        let mut samples = Samples::default();
        let pass = Pass::decode(4, 32);
        for at_ns in [50, 300, 1_500, 1_900] {
            let mut timer = LapTimer::start();
            timer.batching_ns = if at_ns < 1_000 { 600 } else { 900 };
            samples.add(&pass, &timer, at_ns);
        }
        samples.level(&drift);
        let of = &samples.passes[&pass];
        assert_eq!((&of.batching.0, &of.total.0), (&vec![600.0; 4], &vec![600.0; 4]));
    }
}
