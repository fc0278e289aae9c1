//! How sure an error is: the percentile bootstrap of Efron and Tibshirani, "An
//! Introduction to the Bootstrap", 1993, chapter 13.
//!
//! What is resampled are requests. A drawn request brings its values of all
//! runs along (all repeats and the simulation), because they share what makes
//! requests differ: their lengths and their place in the queue. What is left is
//! how much the error depends on which requests happened to be in the workload.
//! Requests of one queue are not independent, so the interval is a little
//! narrow, and it does not hold what differs from one repeat to the next: that
//! is told apart, as the noise floor.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;

use super::round::error_percent;
use crate::metrics::{percentile_of_sorted, rank_of};
use crate::store::Digest;

/// Percentiles of the headline, besides the mean, in per cent.
const PERCENTILES: [u32; 3] = [50, 90, 99];
/// Statistics of the headline: mean, P50, P90, P99.
pub(super) const STATISTICS: usize = 1 + PERCENTILES.len();
/// Resamples of a comparison.
pub(super) const RESAMPLES: u32 = 1000;
/// Share of resamples inside the interval.
const CONFIDENCE: f64 = 0.95;

/// Values of one run in ascending order, with the place that each has among the requests.
pub(super) struct Ranked {
    values: Vec<f64>,
    places: Vec<u32>,
}

impl Ranked {
    pub(super) fn new(values: &[f64]) -> Self {
        let mut places: Vec<u32> = (0..values.len() as u32).collect();
        places.sort_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]));
        Self { values: places.iter().map(|place| values[*place as usize]).collect(), places }
    }

    /// The values in ascending order.
    pub(super) fn sorted(&self) -> &[f64] {
        &self.values
    }
}

/// Ranks that the percentiles of `n` values are interpolated between, ascending, and where each percentile
/// finds its two.
struct Ranks {
    ascending: [usize; 2 * PERCENTILES.len()],
    /// Index into `ascending` of the lower and of the higher rank, and the way between them.
    of: [(usize, usize, f64); PERCENTILES.len()],
}

impl Ranks {
    fn new(n: usize) -> Self {
        let positions = PERCENTILES.map(|p| rank_of(n, f64::from(p) / 100.0));
        let mut ascending = [0; 2 * PERCENTILES.len()];
        for (pair, (rank, _)) in ascending.chunks_exact_mut(2).zip(positions) {
            pair.copy_from_slice(&[rank, (rank + 1).min(n - 1)]);
        }
        let found = ascending;
        ascending.sort_unstable();
        let index = |rank: usize| ascending.iter().position(|known| *known == rank).unwrap_or(0);
        let of = std::array::from_fn(|p| (index(found[2 * p]), index(found[2 * p + 1]), positions[p].1));
        Self { ascending, of }
    }

    /// The statistics of a run in which the request at place i counts `weights[i]` times; the
    /// weights add up to the number of requests. One walk over the sorted values, no sort.
    fn statistics(&self, run: &Ranked, weights: &[u32]) -> [f64; STATISTICS] {
        let mut picked = [0.0; 2 * PERCENTILES.len()];
        let (mut next, mut seen, mut sum) = (0, 0, 0.0);
        for (value, place) in run.values.iter().zip(&run.places) {
            let weight = weights[*place as usize];
            seen += weight as usize;
            sum += value * f64::from(weight);
            while next < picked.len() && self.ascending[next] < seen {
                picked[next] = *value;
                next += 1;
            }
        }
        let mut statistics = [sum / seen.max(1) as f64; STATISTICS];
        for (statistic, (low, high, fraction)) in statistics[1..].iter_mut().zip(self.of) {
            *statistic = picked[low] + fraction * (picked[high] - picked[low]);
        }
        statistics
    }
}

/// 95 % intervals of the error of mean, P50, P90 and P99, per cent: (low, high).
///
/// `real` (one or more) and `sim` hold one value a request, in the same order. Resample k draws
/// from stream k of ChaCha8 under `seed`, so the result does not depend on the number of threads.
pub(super) fn intervals(
    real: &[Ranked],
    sim: &Ranked,
    seed: &Digest,
    resamples: u32,
) -> [(f64, f64); STATISTICS] {
    let n = sim.values.len();
    let ranks = Ranks::new(n);
    let rng = ChaCha8Rng::from_seed(*seed.bytes());
    let errors: Vec<[f64; STATISTICS]> = (0..resamples)
        .into_par_iter()
        .map_init(
            || vec![0u32; n],
            |weights, resample| {
                let mut rng = rng.clone();
                rng.set_stream(resample.into());
                draw(&mut rng, weights);
                let simulated = ranks.statistics(sim, weights);
                let mut measured = [0.0; STATISTICS];
                for run in real {
                    for (total, statistic) in measured.iter_mut().zip(ranks.statistics(run, weights)) {
                        *total += statistic;
                    }
                }
                std::array::from_fn(|s| error_percent(measured[s] / real.len() as f64, simulated[s]))
            },
        )
        .collect();
    std::array::from_fn(|statistic| {
        let mut sorted: Vec<f64> = errors.iter().map(|errors| errors[statistic]).collect();
        sorted.sort_by(f64::total_cmp);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let at = |quantile| percentile_of_sorted(&sorted, quantile).unwrap_or(0.0);
        (at(tail), at(1.0 - tail))
    })
}

/// Draws as many requests as there are, with replacement, and counts each.
fn draw(rng: &mut ChaCha8Rng, weights: &mut [u32]) {
    weights.fill(0);
    let n = weights.len() as u32;
    for _ in 0..n {
        weights[below(rng, n) as usize] += 1;
    }
}

/// A number below `n` ≥ 1, each equally likely (Lemire, "Fast Random Integer Generation in an
/// Interval", ACM TOMACS 29(1), 2019).
fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(n);
        if product as u32 >= n || product as u32 >= n.wrapping_neg() % n {
            return (product >> 32) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Statistic;

    fn noise(rng: &mut ChaCha8Rng) -> f64 {
        f64::from(rng.next_u32()) / f64::from(u32::MAX)
    }

    #[test]
    fn weighted_statistics_are_those_of_the_repeated_values() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for n in [1, 2, 3, 7, 50, 201] {
            let values: Vec<f64> = (0..n).map(|_| (noise(&mut rng) * 20.0).floor()).collect();
            let run = Ranked::new(&values);
            let mut weights = vec![0; n];
            draw(&mut rng, &mut weights);
            assert_eq!(weights.iter().sum::<u32>(), n as u32);
            let mut repeated: Vec<f64> = values
                .iter()
                .zip(&weights)
                .flat_map(|(value, weight)| vec![*value; *weight as usize])
                .collect();
            repeated.sort_by(f64::total_cmp);
            let found = Ranks::new(n).statistics(&run, &weights);
            let wanted = [
                Statistic::Mean,
                Statistic::Percentile(50),
                Statistic::Percentile(90),
                Statistic::Percentile(99),
            ];
            for (found, statistic) in found.into_iter().zip(wanted) {
                let wanted = statistic.of_sorted(&repeated).unwrap();
                assert!((found - wanted).abs() < 1e-9, "n = {n}, {statistic:?}: {found} instead of {wanted}");
            }
        }
    }

    #[test]
    fn draws_are_uniform() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0u32; 6];
        for _ in 0..6000 {
            counts[below(&mut rng, 6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    fn sample(seed: u64, n: usize) -> (Vec<f64>, Vec<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n)
            .map(|_| {
                let real = 50.0 + 100.0 * noise(&mut rng);
                (real, real * (1.0 + 0.2 * noise(&mut rng)))
            })
            .unzip()
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
        let (real, sim) = sample(5, 40);
        let (real, sim) = ([Ranked::new(&real)], Ranked::new(&sim));
        let on = |threads: usize, seed: &str| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| intervals(&real, &sim, &Digest::of(seed), 200))
                .map(|(low, high)| (low.to_bits(), high.to_bits()))
        };
        assert_eq!(on(1, "a"), on(3, "a"));
        assert_ne!(on(1, "a"), on(1, "b"));
    }

    #[test]
    fn the_interval_of_equal_runs_has_no_width_and_that_of_a_shift_is_the_shift() {
        let (real, _) = sample(5, 30);
        let shifted: Vec<f64> = real.iter().map(|value| value * 1.25).collect();
        let real = [Ranked::new(&real)];
        let same = intervals(&real, &Ranked::new(real[0].sorted()), &Digest::of("x"), 50);
        assert!(same.iter().all(|(low, high)| low <= high));
        for (low, high) in intervals(&real, &Ranked::new(&shifted), &Digest::of("x"), 50) {
            assert!((low - 25.0).abs() < 1e-9 && (high - 25.0).abs() < 1e-9, "{low} … {high}");
        }
    }

    /// The true error of the mean is 10 % by construction: about 95 % of the intervals must hold it.
    #[test]
    fn intervals_cover_the_true_error_about_as_often_as_they_say() {
        let trials = 120;
        let covered = (0..trials)
            .filter(|trial| {
                let (real, sim) = sample(1000 + trial, 40);
                let (real, sim) = ([Ranked::new(&real)], Ranked::new(&sim));
                let (low, high) = intervals(&real, &sim, &Digest::of(trial.to_string()), 200)[0];
                low <= 10.0 && 10.0 <= high
            })
            .count();
        assert!((105..=119).contains(&covered), "{covered} of {trials}");
    }
}
