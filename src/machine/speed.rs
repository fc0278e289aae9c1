//! How fast the machine is from one moment to the next, told by reference steps.
//!
//! A shared machine has states: for seconds or minutes, memory is a third slower, or cores share no cache. A few steps of
//! known work, timed every now and then through a profile and through a run, tell in which state each was, without a
//! look at what is profiled or served.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rows of the reference steps, from one that waits for memory to one that computes: decodes, and last prefill chunks.
pub const SPEED_ROWS: [u32; 6] = [1, 4, 8, 16, 64, 128];

/// Durations of the reference steps at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpeedPoint {
    /// Since the run's, or the profile's, start, ns.
    pub at_ns: u64,
    /// Of steps of 1, 4, 8, 16, 64 and 128 rows, ns.
    pub step_ns: [u64; SPEED_ROWS.len()],
}

/// Format of bundles and of runs from which on their reference steps are these.
const SINCE_FORMAT: u64 = 3;

/// Takes `speed` out of what an older bundle or run tells: reference steps of other rows are not to be compared with these.
/// Whether there was any.
pub fn forget_other_rows(format: u64, told: &mut serde_json::Value) -> bool {
    format < SINCE_FORMAT && told.as_object_mut().is_some_and(|fields| fields.remove("speed").is_some())
}

impl SpeedPoint {
    /// Means over moments, each smoothed; None of no moments.
    pub fn mean(points: &[Self]) -> Option<Self> {
        let count = u64::try_from(points.len()).ok().filter(|count| *count > 0)?;
        let mean =
            |row: usize| (0..points.len()).map(|index| middle_ns(points, index, row)).sum::<u64>() / count;
        Some(Self { at_ns: 0, step_ns: std::array::from_fn(mean) })
    }
}

/// Moments of which the middle one counts: a single reference step can be disturbed.
const SMOOTHED: usize = 3;

/// The middle duration of a reference step about a moment, ns.
fn middle_ns(points: &[SpeedPoint], index: usize, row: usize) -> u64 {
    let first = index.saturating_sub(SMOOTHED / 2).min(points.len().saturating_sub(SMOOTHED));
    let near = &points[first..points.len().min(first + SMOOTHED)];
    let mut ns: Vec<u64> = near.iter().map(|point| point.step_ns[row]).collect();
    ns.sort_unstable();
    u64::midpoint(ns[(ns.len() - 1) / 2], ns[ns.len() / 2])
}

/// How long steps take, against another time on the same machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// Of each moment the durations over those of the other time; smoothed.
    ratios: Vec<(u64, [f64; SPEED_ROWS.len()])>,
}

impl Drift {
    /// From reference steps of a time, by their moments, and those of the other time. None where either is not known.
    pub fn new(points: &[SpeedPoint], base: &SpeedPoint) -> Option<Self> {
        let known = |point: &SpeedPoint| point.step_ns.iter().all(|ns| *ns > 0);
        if points.is_empty() || !known(base) || !points.iter().all(known) {
            return None;
        }
        let smoothed = |index: usize| {
            let ratio = |row: usize| middle_ns(points, index, row) as f64 / base.step_ns[row] as f64;
            (points[index].at_ns, std::array::from_fn(ratio))
        };
        Some(Self { ratios: (0..points.len()).map(smoothed).collect() })
    }

    /// What a step of so many rows at a moment is to be multiplied by: between the rows of reference steps, in
    /// proportion to the logarithm.
    pub fn ratio(&self, at_ns: u64, rows: u32) -> f64 {
        let after = self.ratios.partition_point(|(at, _)| *at <= at_ns);
        let near = [after.saturating_sub(1), after.min(self.ratios.len() - 1)];
        let nearest = near.into_iter().min_by_key(|index| self.ratios[*index].0.abs_diff(at_ns));
        let ratios = &self.ratios[nearest.unwrap_or(0)].1;
        let above = SPEED_ROWS.partition_point(|known| *known < rows);
        if above == 0 || above == SPEED_ROWS.len() {
            return ratios[above.min(SPEED_ROWS.len() - 1)];
        }
        let [low, high] = [SPEED_ROWS[above - 1], SPEED_ROWS[above]].map(|rows| libm::log(f64::from(rows)));
        let share = (libm::log(f64::from(rows)) - low) / (high - low);
        ratios[above - 1] + share * (ratios[above] - ratios[above - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_ns: u64, step_ns: [u64; SPEED_ROWS.len()]) -> SpeedPoint {
        SpeedPoint { at_ns, step_ns }
    }

    #[test]
    fn states_are_told_apart_by_moment_and_by_rows() {
        let base = point(0, [100, 200, 250, 300, 1000, 2000]);
        let slow = [100, 220, 300, 390, 1400, 2400];
        let mut points: Vec<SpeedPoint> = (0..10).map(|i| point(i * 10, base.step_ns)).collect();
        points.extend((10..20).map(|i| point(i * 10, slow)));
        // A single disturbed moment is none of a state.
        points[3].step_ns = [900; SPEED_ROWS.len()];
        let drift = Drift::new(&points, &base).unwrap();
        for at in [0, 31, 60] {
            for rows in [1, 3, 16, 500] {
                assert!((drift.ratio(at, rows) - 1.0).abs() < 1e-12, "{at} {rows}");
            }
        }
        let found = |rows| drift.ratio(1_000, rows);
        assert_eq!([1, 4, 8, 16, 64, 4096].map(found), [1.0, 1.1, 1.2, 1.3, 1.4, 1.2]);
        assert!((found(2) - 1.05).abs() < 1e-12 && found(20) > 1.3 && found(20) < 1.4);
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let base = point(0, [1; 6]);
        assert_eq!(Drift::new(&[], &base), None);
        assert_eq!(Drift::new(&[point(0, [1, 1, 0, 1, 1, 1])], &base), None);
        assert_eq!(Drift::new(&[base], &point(0, [0; 6])), None);
        assert_eq!(Drift::new(&[base], &base).unwrap().ratio(u64::MAX, 0), 1.0);
        assert_eq!(SpeedPoint::mean(&[]), None);
        let mean = SpeedPoint::mean(&[point(4, [1, 2, 3, 4, 5, 6]), point(9, [3, 4, 5, 6, 7, 8])]).unwrap();
        assert_eq!(mean, point(0, [2, 3, 4, 5, 6, 7]));
    }
}
