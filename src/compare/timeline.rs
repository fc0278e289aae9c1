//! A run over time: what was running, waiting and in the KV cache, averaged
//! over time bins.

use std::collections::BTreeMap;

use super::comparison::TimelinePoint;
use super::round::round;
use crate::metrics::{RunRecord, StepView};

/// Bins of the longer run.
const BINS: u64 = 120;

/// Width of a bin so that runs of these durations have at most some 120, ns.
pub(super) fn bin_width(durations_ns: impl Iterator<Item = u64>) -> u64 {
    durations_ns.max().unwrap_or(0).div_ceil(BINS).max(1)
}

/// The repeat (from 0) of median duration; of an even number the shorter of the two in the middle.
pub(super) fn median_repeat(real: &[&RunRecord]) -> usize {
    let mut order: Vec<usize> = (0..real.len()).collect();
    order.sort_by_key(|index| (real[*index].duration_ns(), *index));
    order.get(order.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

/// Sums over one bin, in ns × quantity.
#[derive(Clone, Copy, Default)]
struct Bin {
    running: f64,
    waiting: f64,
    kv_blocks: f64,
    tokens: f64,
}

/// One point a bin from the run's start to the end of its last step.
///
/// A step's state also holds between the step before and its start, from the moment that one of its
/// requests was there: that is the engine's own time. Before that the engine was idle. The tokens of
/// a step are spread over it evenly.
pub(super) fn timeline(run: &RunRecord, bin_ns: u64, kv_blocks_total: u32) -> Vec<TimelinePoint> {
    let bin_ns = bin_ns.max(1);
    let duration_ns = run.steps.duration_ns();
    let mut bins = vec![Bin::default(); duration_ns.div_ceil(bin_ns) as usize];
    let mut before: BTreeMap<u32, u64> = BTreeMap::new();
    let until = states_end(run);
    for (step, until) in run.steps.iter().zip(until) {
        let before = before.entry(step.replica).or_default();
        let from = busy_from(run, &step, *before);
        spread(&mut bins, bin_ns, from, until, |bin, overlap| {
            bin.running += overlap * f64::from(step.running);
            bin.waiting += overlap * f64::from(step.waiting);
            bin.kv_blocks += overlap * f64::from(step.kv_blocks);
        });
        let tokens = step.members.iter().filter(|member| member.emits).count() as f64;
        let rate = tokens / step.end_ns.saturating_sub(step.start_ns).max(1) as f64;
        let start = step.start_ns.min(step.end_ns.saturating_sub(1));
        spread(&mut bins, bin_ns, start, step.end_ns, |bin, overlap| bin.tokens += overlap * rate);
        *before = until;
    }
    (0u64..)
        .zip(&bins)
        .map(|(index, bin)| {
            let time_ns = index * bin_ns;
            let width = bin_ns.min(duration_ns - time_ns) as f64;
            let mean = |sum: f64| round(sum / width);
            TimelinePoint {
                time_ns,
                running: mean(bin.running),
                waiting: mean(bin.waiting),
                kv_percent: mean(100.0 * bin.kv_blocks / f64::from(kv_blocks_total.max(1))),
                tokens_per_s: mean(1e9 * bin.tokens),
            }
        })
        .collect()
}

/// When the state of each step ends: with the step, or with the start of the next one where a pipeline holds several.
fn states_end(run: &RunRecord) -> Vec<u64> {
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    let mut ends = vec![0; run.steps.len()];
    for index in (0..run.steps.len()).rev() {
        let step = run.steps.step(index);
        let next = next.entry(step.replica).or_insert(u64::MAX);
        ends[index] = step.end_ns.min((*next).max(step.start_ns));
        *next = step.start_ns;
    }
    ends
}

/// When the engine turned to a step's requests: at the end of the step before, or when the first of them arrived.
fn busy_from(run: &RunRecord, step: &StepView<'_>, before_ns: u64) -> u64 {
    let arrivals = step.members.iter().filter_map(|member| run.requests.get(member.request as usize));
    let first = arrivals.map(|request| request.arrival_time_ns).min().unwrap_or(step.start_ns);
    first.clamp(before_ns.min(step.start_ns), step.start_ns)
}

/// Calls `add` with each bin that [from, to) touches, and how many ns of it.
fn spread(bins: &mut [Bin], bin_ns: u64, from: u64, to: u64, mut add: impl FnMut(&mut Bin, f64)) {
    let mut at = from;
    while at < to {
        let index = at / bin_ns;
        let end = to.min((index + 1).saturating_mul(bin_ns));
        if let Some(bin) = bins.get_mut(index as usize) {
            add(bin, (end - at) as f64);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sample_runs::serve;

    #[test]
    fn states_are_averaged_over_time_and_idle_time_is_zero() {
        // Busy from 0 to 200 with one request, idle until 400, then two requests to 600.
        let run = serve(&[(0, 4, 2), (400, 4, 2), (400, 4, 2)], 64, 8, |_, _| 100);
        let points = timeline(&run, 150, 8);
        let column = |of: fn(&TimelinePoint) -> f64| points.iter().map(of).collect::<Vec<_>>();
        assert_eq!(column(|point| point.time_ns as f64), [0.0, 150.0, 300.0, 450.0]);
        assert_eq!(column(|point| point.running), [1.0, 0.333333, 0.666667, 2.0]);
        assert_eq!(column(|point| point.kv_percent), [12.5, 4.16667, 8.33333, 25.0]);
        let tokens: f64 = points.iter().map(|point| point.tokens_per_s * 150e-9).sum();
        assert!((tokens - 6.0).abs() < 1e-4, "no token is lost: {tokens}");
    }

    #[test]
    fn time_between_steps_is_the_engines_own_when_a_request_was_there() {
        let mut run = serve(&[(0, 4, 1), (0, 4, 1)], 4, 1, |_, _| 100);
        let steps: Vec<_> = run.steps.iter().map(|step| (step.members.to_vec(), step.running)).collect();
        run.steps = Default::default();
        for (index, (members, running)) in (0..).zip(steps) {
            run.steps.push(index * 200, index * 200 + 100, members, (running, 0), (1, 0));
        }
        assert_eq!(timeline(&run, 300, 1)[0].running, 1.0);
    }

    #[test]
    fn bins_fit_any_duration() {
        assert_eq!(bin_width([0, 0].into_iter()), 1);
        assert_eq!(bin_width([12_000, 11].into_iter()), 100);
        assert_eq!(bin_width([12_001].into_iter()), 101);
        let instant = serve(&[(0, 4, 1)], 64, 8, |_, _| 0);
        assert!(timeline(&instant, 1, 0).is_empty());
        let late = serve(&[(u64::MAX - 10, 4, 1)], 64, 8, |_, _| 10);
        let points = timeline(&late, bin_width([u64::MAX].into_iter()), 8);
        assert!(points.len() <= 120 && points.iter().all(|point| point.tokens_per_s.is_finite()));
    }

    #[test]
    fn the_middle_repeat_is_shown() {
        let run = |step_ns: u64| serve(&[(0, 4, 1)], 64, 8, move |_, _| step_ns);
        let (slow, fast, middle) = (run(9), run(1), run(5));
        assert_eq!(median_repeat(&[&slow, &fast, &middle]), 2);
        assert_eq!(median_repeat(&[&slow, &fast]), 1);
        assert_eq!(median_repeat(&[&slow]), 0);
    }
}
