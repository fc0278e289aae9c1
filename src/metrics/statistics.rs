//! Mean and percentiles. The percentile method is `linear`: definition 7 of
//! Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American
//! Statistician 50(4), 1996 (the default of NumPy and R).

/// A statistic of the headline table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    Mean,
    /// A percentile, in per cent.
    Percentile(u32),
}

impl Statistic {
    /// `Mean`, `P50`, `P99`.
    pub fn name(self) -> String {
        match self {
            Self::Mean => "Mean".to_owned(),
            Self::Percentile(p) => format!("P{p}"),
        }
    }

    /// The statistic of values sorted in ascending order; None of none.
    pub fn of_sorted(self, sorted: &[f64]) -> Option<f64> {
        match self {
            Self::Mean => mean(sorted),
            Self::Percentile(p) => percentile_of_sorted(sorted, f64::from(p) / 100.0),
        }
    }
}

/// Arithmetic mean; None of no values. Summed in the order given, so the same
/// order gives the same bits.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Where the `quantile` (0 to 1) of `n` ≥ 1 sorted values lies: the rank below
/// it, from 0, and how far it is on the way to the next: h = (n − 1) × quantile.
pub fn rank_of(n: usize, quantile: f64) -> (usize, f64) {
    let last = n.saturating_sub(1);
    let h = last as f64 * quantile.clamp(0.0, 1.0);
    let rank = (h.floor() as usize).min(last);
    (rank, h - rank as f64)
}

/// The `quantile` (0 to 1) of values sorted in ascending order, linearly
/// interpolated between the two closest ranks; None of no values.
pub fn percentile_of_sorted(sorted: &[f64], quantile: f64) -> Option<f64> {
    let (rank, fraction) = rank_of(sorted.len(), quantile);
    let low = *sorted.get(rank)?;
    let high = sorted.get(rank + 1).copied().unwrap_or(low);
    Some(low + fraction * (high - low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_definition_7_by_hand() {
        let values = [10.0, 20.0, 30.0, 40.0];
        // h = 3q: q = 0.5 gives 1.5, halfway from 20 to 30; q = 0.9 gives 2.7.
        for (quantile, wanted) in
            [(0.0, 10.0), (0.25, 17.5), (0.5, 25.0), (0.9, 37.0), (0.99, 39.7), (1.0, 40.0)]
        {
            let found = percentile_of_sorted(&values, quantile).unwrap();
            assert!((found - wanted).abs() < 1e-12, "{quantile}: {found}");
        }
        assert_eq!(percentile_of_sorted(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile_of_sorted(&[], 0.5), None);
    }

    #[test]
    fn statistics_have_the_names_of_the_headline() {
        let sorted = [1.0, 2.0, 6.0];
        assert_eq!(Statistic::Mean.of_sorted(&sorted), Some(3.0));
        assert_eq!(Statistic::Percentile(50).of_sorted(&sorted), Some(2.0));
        assert_eq!((Statistic::Mean.name(), Statistic::Percentile(99).name()), ("Mean".into(), "P99".into()));
        assert_eq!(Statistic::Mean.of_sorted(&[]), None);
    }
}
