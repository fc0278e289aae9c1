//! What others on the machine take from the engine, a little at a time.

use super::samples::{OUTLIER_MADS, median};

/// Cost of the moments in which a thread has to leave its processor to somebody else.
///
/// Short steps seldom see one and long steps always do, so neither leaving disturbed timings out nor keeping them treats both
/// alike. Instead the cost of one such switch is estimated from all timings, taken out of each, and given back to all
/// steps in proportion to their length.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Interference {
    /// Time that one switch costs, ns.
    pub switch_ns: f64,
    /// Time that is lost for each second of work, s.
    pub share: f64,
}

/// A switch that costs more is no ordinary one, ns.
const MOST_NS: f64 = 10e6;
/// Least spread that is believed of a step's durations, ns.
const LEAST_SPREAD_NS: f64 = 10e3;

impl Interference {
    /// From the durations of each step, ns, and the switches during each of them: the least squares of how they differ from
    /// the step's means, steps weighed by the inverse of their variance.
    pub fn of<'a>(steps: impl Iterator<Item = (&'a [f64], &'a [f64])>) -> Self {
        let (mut covariance, mut variance) = (0.0, 0.0);
        let (mut all_ns, mut all_switches) = (0.0, 0.0);
        for (durations, switches) in steps {
            all_ns += durations.iter().sum::<f64>();
            all_switches += switches.iter().sum::<f64>();
            let middle = median(durations.to_vec());
            let spread =
                median(durations.iter().map(|ns| (ns - middle).abs()).collect()).max(LEAST_SPREAD_NS);
            // What no switch explains is something else.
            let explained =
                |(ns, switches): &(f64, f64)| *ns <= middle + OUTLIER_MADS * spread + switches * MOST_NS;
            let pairs: Vec<(f64, f64)> =
                durations.iter().copied().zip(switches.iter().copied()).filter(explained).collect();
            let count = (pairs.len() as f64).max(1.0);
            let mean_ns = pairs.iter().map(|(ns, _)| ns).sum::<f64>() / count;
            let mean_switches = pairs.iter().map(|(_, switches)| switches).sum::<f64>() / count;
            for (ns, switches) in pairs {
                covariance += (switches - mean_switches) * (ns - mean_ns) / (spread * spread);
                variance += (switches - mean_switches).powi(2) / (spread * spread);
            }
        }
        let switch_ns = if variance > 0.0 { (covariance / variance).clamp(0.0, MOST_NS) } else { 0.0 };
        let lost_ns = all_switches * switch_ns;
        let worked_ns = (all_ns - lost_ns).max(all_ns / 2.0);
        Self { switch_ns, share: if worked_ns > 0.0 { lost_ns / worked_ns } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_switch_is_found_in_short_steps_and_long_ones() {
        // 1 ms steps of which every tenth is disturbed, and 100 ms steps that are always: 0.4 ms each time.
        let jitter = |i: usize| ((i * 7919) % 100) as f64 * 300.0;
        let short_switches: Vec<f64> = (0..200).map(|i| if i % 10 == 3 { 1.0 } else { 0.0 }).collect();
        let long_switches: Vec<f64> = (0..40).map(|i| 2.0 + (i % 4) as f64).collect();
        let durations = |base: f64, switches: &[f64]| -> Vec<f64> {
            (0..).zip(switches).map(|(i, switches)| base + jitter(i) + switches * 0.4e6).collect()
        };
        let (short, long) = (durations(1e6, &short_switches), durations(100e6, &long_switches));
        let steps = [(&short[..], &short_switches[..]), (&long[..], &long_switches[..])];
        let found = Interference::of(steps.into_iter());
        assert!((found.switch_ns / 0.4e6 - 1.0).abs() < 0.02, "{found:?}");
        let lost = 0.4e6 * (20.0 + 140.0);
        let worked = short.iter().chain(&long).sum::<f64>() - lost;
        assert!((found.share / (lost / worked) - 1.0).abs() < 0.02, "{found:?}");
    }

    #[test]
    fn nothing_is_lost_where_nobody_disturbs() {
        assert_eq!(Interference::of([].into_iter()), Interference::default());
        let calm = [(&[3.0, 5.0, 4.0][..], &[0.0, 0.0, 0.0][..])];
        assert_eq!(Interference::of(calm.into_iter()), Interference::default());
        // Faster with switches than without: noise.
        let odd = [(&[3e6, 5e6][..], &[1.0, 0.0][..])];
        assert_eq!(Interference::of(odd.into_iter()), Interference::default());
        // A stall that nothing explains.
        let stall = [(&[1e6, 1e6, 1.1e6, 500e6][..], &[0.0, 0.0, 1.0, 0.0][..])];
        assert!((Interference::of(stall.into_iter()).switch_ns - 0.1e6).abs() < 1.0);
    }
}
