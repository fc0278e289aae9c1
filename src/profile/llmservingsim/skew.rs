//! `skew.csv`: decodes of uneven KV lengths in one step.

use std::collections::BTreeMap;

use super::KernelProfileError;
use super::table::Table;

const COLUMNS: [&str; 14] = [
    "regime",
    "n",
    "nb",
    "ratio",
    "skew",
    "pc",
    "kp",
    "kvs",
    "kv_big",
    "kv_mean",
    "t_mean_us",
    "t_max_us",
    "t_skew_us",
    "alpha",
];

/// Largest count of decodes that is believed.
const MAX_STEP: u32 = 1 << 20;

/// Where the attention time of decodes with uneven KV lengths lies between that of as many decodes with all
/// the mean length (0) and with all the longest (1): one share for each number of decodes that was
/// profiled, ascending.
///
/// A share is a ratio of sums over all samples of its regime and number of decodes,
/// `Σ(t_skew − t_mean) / Σ(t_max − t_mean)`. The mean of the samples' own ratios would be of their noise:
/// where mean and longest differ little, a ratio is anything. Sums weigh samples by what is at stake. The
/// file's times are sums over repetitions, so nothing but ratios is taken from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Skew {
    /// Steps of decodes alone.
    pub pure: Vec<(u32, f64)>,
    /// Steps that hold a prefill chunk too.
    pub mixed: Vec<(u32, f64)>,
}

/// Reads the samples.
pub(super) fn read(table: &Table) -> Result<Skew, KernelProfileError> {
    let mut sums: [BTreeMap<u32, (f64, f64)>; 2] = Default::default();
    table.rows(&COLUMNS, |row| {
        let regime = match row.cell(0) {
            "pure" => 0,
            "mixed" => 1,
            _ => return Err(row.invalid(0, "`pure` or `mixed`")),
        };
        let decodes = row.count(1, 1, MAX_STEP)?;
        let [mean, longest, skewed] = [row.duration_ns(10)?, row.duration_ns(11)?, row.duration_ns(12)?];
        let (above, range) = sums[regime].entry(decodes).or_default();
        *above += skewed - mean;
        *range += longest - mean;
        Ok(())
    })?;
    let [pure, mixed] = sums.map(|regime| {
        // Where longer KV took no more time, there is nothing to correct.
        let share = |(above, range): (f64, f64)| if range > 0.0 { above / range } else { 0.0 };
        regime.into_iter().map(|(decodes, sums)| (decodes, share(sums))).collect()
    });
    Ok(Skew { pure, mixed })
}
