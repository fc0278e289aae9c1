//! Summary, CDF and histogram of values. Each value has a weight: one, or (of
//! a step function of time) how many nanoseconds it was held, so that a mean
//! is a mean over time.

use super::value::Value;
use crate::metrics::row_writer::push_number;

/// Points of a CDF after the first.
const CDF_POINTS: u128 = 1_000;

/// Percentiles of a summary, in per cent.
pub(super) const PERCENTILES: [u32; 4] = [50, 90, 95, 99];

/// Values in ascending order.
#[derive(Debug)]
pub(super) struct Distribution<T> {
    values: Vec<T>,
    /// The weights of the values up to and with each, summed up; empty where each value's weight is one.
    cumulative: Vec<u128>,
}

/// `summary.csv`'s figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Summary<T> {
    pub mean: f64,
    /// Of the population: the sum of squared distances from the mean over the weight, not less one.
    pub std: f64,
    pub min: T,
    /// [`PERCENTILES`], by definition 7 of Hyndman and Fan (1996).
    pub percentiles: [f64; 4],
    pub max: T,
}

impl<T: Value> Distribution<T> {
    /// Of values that count once each.
    pub fn of(mut values: Vec<T>) -> Self {
        values.sort_unstable_by(T::order);
        Self { values, cumulative: Vec::new() }
    }

    /// Of values that are held for some ns each; those held for none do not count.
    pub fn of_held(mut held: Vec<(T, u64)>) -> Self {
        held.retain(|(_, ns)| *ns > 0);
        held.sort_unstable_by(|(one, _), (other, _)| one.order(other));
        let mut out = Self { values: Vec::new(), cumulative: Vec::new() };
        let mut total = 0;
        for (value, ns) in held {
            total += u128::from(ns);
            match (out.values.last(), out.cumulative.last_mut()) {
                (Some(last), Some(sum)) if last.order(&value).is_eq() => *sum = total,
                _ => {
                    out.values.push(value);
                    out.cumulative.push(total);
                }
            }
        }
        out
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The weight of all values.
    pub fn weight(&self) -> u128 {
        self.cumulative.last().copied().unwrap_or(self.values.len() as u128)
    }

    /// Each value with its weight, ascending.
    fn weighted(&self) -> impl Iterator<Item = (T, u128)> {
        let mut before = 0;
        self.values.iter().enumerate().map(move |(index, value)| {
            let up_to = self.cumulative.get(index).copied().unwrap_or(index as u128 + 1);
            let weight = up_to - before;
            before = up_to;
            (*value, weight)
        })
    }

    /// The value at a rank from 1 to the weight: the least whose cumulative weight reaches it.
    fn at_rank(&self, rank: u128) -> Option<T> {
        let index = match self.cumulative.is_empty() {
            true => usize::try_from(rank.saturating_sub(1)).ok()?,
            false => self.cumulative.partition_point(|up_to| *up_to < rank),
        };
        self.values.get(index).copied()
    }

    /// A percentile, interpolated linearly between the two closest ranks; None of no values.
    fn percentile(&self, percent: u32) -> Option<f64> {
        let h = self.weight().checked_sub(1)?.checked_mul(u128::from(percent))?;
        let (rank, fraction) = (h / 100 + 1, (h % 100) as f64 / 100.0);
        let low = self.at_rank(rank)?.real();
        let high = self.at_rank(rank + 1).map_or(low, T::real);
        Some(low + fraction * (high - low))
    }

    /// None of no values.
    pub fn summary(&self) -> Option<Summary<T>> {
        let (min, max) = (*self.values.first()?, *self.values.last()?);
        let total = self.weight() as f64;
        // Summed as distances from the least value: large times that hardly differ keep their digits.
        let least = min.real();
        let mean = self.weighted().map(|(value, weight)| (value.real() - least) * weight as f64).sum::<f64>()
            / total;
        let squares = self.weighted().map(|(value, weight)| {
            let distance = value.real() - least - mean;
            distance * distance * weight as f64
        });
        let std = (squares.sum::<f64>() / total).sqrt();
        let mut percentiles = [0.0; PERCENTILES.len()];
        for (out, percent) in percentiles.iter_mut().zip(PERCENTILES) {
            *out = self.percentile(percent)?;
        }
        Some(Summary { mean: least + mean, std, min, percentiles, max })
    }

    /// Points (share, value), at most 1,001: `value` is the least of which at least that share of all
    /// values is no larger, the first point being the smallest value. Of at most 1,000 values each is a point.
    pub fn cdf(&self) -> impl Iterator<Item = (f64, T)> {
        let weight = self.weight();
        let points = weight.min(CDF_POINTS);
        (0..=points).filter_map(move |point| {
            // Weight and points bound the product: 10^3 × the ns of all replicas.
            let rank = (point.checked_mul(weight)?).div_ceil(points.max(1)).max(1);
            Some((point as f64 / points as f64, self.at_rank(rank)?))
        })
    }

    /// Bins (from, to, weight), at most [`super::value::BINS`] of equal width between the extremes.
    pub fn histogram(&self) -> Vec<(T, T, u128)> {
        let (Some(min), Some(max)) = (self.values.first(), self.values.last()) else { return Vec::new() };
        let edges = T::edges(*min, *max);
        let mut bins: Vec<(T, T, u128)> = edges.windows(2).map(|pair| (pair[0], pair[1], 0)).collect();
        let last = bins.len().saturating_sub(1);
        let mut bin = 0;
        for (value, weight) in self.weighted() {
            while bin < last && value.order(&bins[bin].1).is_ge() {
                bin += 1;
            }
            if let Some((_, _, sum)) = bins.get_mut(bin) {
                *sum += weight;
            }
        }
        bins
    }
}

/// Appends a weight.
pub(super) fn push_weight(cell: &mut Vec<u8>, weight: u128) {
    match u64::try_from(weight) {
        Ok(weight) => push_number(cell, weight),
        Err(_) => cell.extend_from_slice(weight.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::{mean, percentile_of_sorted};

    #[test]
    fn figures_by_hand() {
        let found = Distribution::of(vec![40, 10, 30, 20u64]).summary().unwrap();
        assert_eq!((found.min, found.max, found.mean), (10, 40, 25.0));
        assert!((found.std - 125f64.sqrt()).abs() < 1e-12);
        for (found, wanted) in found.percentiles.iter().zip([25.0, 37.0, 38.5, 39.7]) {
            assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        }
        assert_eq!(Distribution::<u64>::of(Vec::new()).summary(), None);
        assert_eq!(Distribution::<f64>::of(Vec::new()).cdf().count(), 0);
        assert!(Distribution::<f64>::of(Vec::new()).histogram().is_empty());
    }

    #[test]
    fn a_value_counts_as_long_as_it_is_held() {
        // 0 for 75 ns, 4 for 25: the mean is 1, the median 0, and three quarters are 0.
        let held = Distribution::of_held(vec![(4u64, 20), (0, 75), (9, 0), (4, 5)]);
        let found = held.summary().unwrap();
        assert_eq!((found.mean, found.min, found.max, held.weight()), (1.0, 0, 4, 100));
        assert_eq!(found.percentiles[..2], [0.0, 4.0]);
        assert_eq!(held.cdf().filter(|(_, value)| *value == 0).map(|(share, _)| share).last(), Some(0.75));
        let bins = held.histogram();
        assert_eq!((bins[0], bins[4], bins.len()), ((0, 1, 75), (4, 5, 25), 5));
    }

    #[test]
    fn extreme_values_have_figures_too() {
        let all = Distribution::of_held(vec![(0, u64::MAX), (u64::MAX, u64::MAX), (1, u64::MAX)]);
        let found = all.summary().unwrap();
        assert!(found.mean.is_finite() && found.std.is_finite());
        assert_eq!(all.histogram().iter().map(|bin| bin.2).sum::<u128>(), 3 * u128::from(u64::MAX));
        assert_eq!(all.cdf().count(), 1_001);
        assert_eq!(
            Distribution::of(vec![f64::INFINITY, 1.0]).histogram().iter().map(|bin| bin.2).sum::<u128>(),
            2
        );
    }

    proptest! {
        #[test]
        fn the_summary_is_that_of_brute_force(values in prop::collection::vec(0u64..1_000_000, 1..300)) {
            let mut sorted: Vec<f64> = values.iter().map(|value| *value as f64).collect();
            sorted.sort_by(f64::total_cmp);
            let found = Distribution::of(values).summary().unwrap();
            let wanted = mean(&sorted).unwrap();
            let squares: Vec<f64> = sorted.iter().map(|value| (value - wanted) * (value - wanted)).collect();
            prop_assert!((found.mean - wanted).abs() < 1e-6);
            prop_assert!((found.std - mean(&squares).unwrap().sqrt()).abs() < 1e-6);
            for (percent, value) in PERCENTILES.iter().zip(found.percentiles) {
                let wanted = percentile_of_sorted(&sorted, f64::from(*percent) / 100.0).unwrap();
                prop_assert!((value - wanted).abs() < 1e-6, "P{percent}: {value} {wanted}");
            }
        }

        #[test]
        fn weights_are_as_good_as_repeated_values(held in prop::collection::vec((0u64..50, 0u64..9), 1..60)) {
            let repeated = held.iter().flat_map(|(value, times)| (0..*times).map(|_| *value)).collect();
            let (repeated, held) = (Distribution::of(repeated), Distribution::of_held(held));
            prop_assert_eq!(held.weight(), repeated.weight());
            prop_assert_eq!(held.cdf().collect::<Vec<_>>(), repeated.cdf().collect::<Vec<_>>());
            prop_assert_eq!(held.histogram(), repeated.histogram());
            match (held.summary(), repeated.summary()) {
                (Some(held), Some(repeated)) => {
                    prop_assert_eq!(held.percentiles, repeated.percentiles);
                    prop_assert!((held.mean - repeated.mean).abs() < 1e-9 && (held.std - repeated.std).abs() < 1e-9);
                }
                (held, repeated) => prop_assert_eq!(held, repeated),
            }
        }

        #[test]
        fn a_cdf_rises_to_one_through_values_that_are_there(values in prop::collection::vec(0u64..5_000, 1..3_000)) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let points: Vec<(f64, u64)> = Distribution::of(values).cdf().collect();
            prop_assert!(points.len() <= 1_001 && points.is_sorted());
            prop_assert_eq!(points[0], (0.0, sorted[0]));
            prop_assert_eq!(points.last().copied(), sorted.last().map(|max| (1.0, *max)));
            for (share, value) in points {
                let no_larger = sorted.partition_point(|other| *other <= value) as f64 / sorted.len() as f64;
                let smaller = sorted.partition_point(|other| *other < value) as f64 / sorted.len() as f64;
                prop_assert!(no_larger >= share - 1e-12 && (smaller < share || share == 0.0));
            }
        }

        #[test]
        fn every_value_is_in_its_bin(values in prop::collection::vec(0u64..10_000, 1..300)) {
            for (from, to, count) in Distribution::of(values.clone()).histogram() {
                let inside = values.iter().filter(|value| (from..to).contains(value)).count();
                prop_assert_eq!(inside as u128, count);
            }
            let reals: Vec<f64> = values.iter().map(|value| *value as f64 / 7.0).collect();
            let bins = Distribution::of(reals.clone()).histogram();
            prop_assert!(bins.len() <= 100);
            prop_assert_eq!(bins.iter().map(|bin| bin.2).sum::<u128>(), reals.len() as u128);
        }
    }
}
