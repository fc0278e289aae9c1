//! The headline rows, with interval, noise floor and verdict, and the longer
//! table of percentiles without.

use super::align::Aligned;
use super::bootstrap::{Ranked, intervals};
use super::comparison::{MetricRow, PercentileRow};
use super::error::CompareError;
use super::round::{error_percent, round};
use super::verdict::{Evidence, judge};
use crate::metrics::{Metric, Statistic};
use crate::store::Digest;

/// Metrics that are judged.
pub(super) const METRICS: [Metric; 3] = [Metric::Ttft, Metric::Tpot, Metric::E2e];
/// Statistics that are judged, in the order in which the bootstrap yields them.
pub(super) const STATISTICS: [Statistic; 4] =
    [Statistic::Mean, Statistic::Percentile(50), Statistic::Percentile(90), Statistic::Percentile(99)];

/// How rows are computed.
pub(super) struct Method {
    pub pass_percent: f64,
    pub warn_percent: f64,
    pub seed: u64,
    pub resamples: u32,
}

/// One row a statistic of each judged metric. A metric without values (TPOT of one-token requests) has no rows.
pub(super) fn headline(aligned: &Aligned, method: &Method) -> Result<Vec<MetricRow>, CompareError> {
    let mut rows = Vec::new();
    for metric in METRICS {
        let real: Vec<Ranked> = aligned.real.iter().map(|run| Ranked::new(&run.values(metric))).collect();
        let sim = Ranked::new(&aligned.sim.values(metric));
        if sim.sorted().is_empty() {
            continue;
        }
        let seed = Digest::of(format!("{} {}", method.seed, metric.name()));
        let intervals = intervals(&real, &sim, &seed, method.resamples);
        for (statistic, interval) in STATISTICS.into_iter().zip(intervals) {
            rows.push(row(metric, statistic, &real, &sim, interval, method)?);
        }
    }
    Ok(rows)
}

fn row(
    metric: Metric,
    statistic: Statistic,
    real: &[Ranked],
    sim: &Ranked,
    (low, high): (f64, f64),
    method: &Method,
) -> Result<MetricRow, CompareError> {
    let repeats: Vec<f64> = real.iter().map(|run| statistic.of_sorted(run.sorted()).unwrap_or(0.0)).collect();
    let measured = repeats.iter().sum::<f64>() / repeats.len() as f64;
    let simulated = statistic.of_sorted(sim.sorted()).unwrap_or(0.0);
    if measured == 0.0 && simulated != 0.0 {
        let what = format!("{} {}", metric.name(), statistic.name());
        return Err(CompareError::ZeroMeasured { what, simulated });
    }
    let mut row = MetricRow {
        metric: metric.name().to_owned(),
        stat: statistic.name(),
        measured_ns: round(measured),
        simulated_ns: round(simulated),
        error_percent: round(error_percent(measured, simulated)),
        low_percent: round(low),
        high_percent: round(high),
        noise_percent: noise_percent(&repeats).map(round),
        verdict: super::Verdict::Warn,
    };
    row.verdict = judge(&evidence(&row, sim.sorted().len()), method.pass_percent, method.warn_percent);
    Ok(row)
}

/// What a row is judged by; `requests` have a value of its metric.
pub(super) fn evidence(row: &MetricRow, requests: usize) -> Evidence {
    Evidence {
        error: row.error_percent,
        low: row.low_percent,
        high: row.high_percent,
        noise: row.noise_percent,
        requests,
    }
}

/// Half the spread between repeats, per cent of their mean; None of one.
fn noise_percent(repeats: &[f64]) -> Option<f64> {
    if repeats.len() < 2 {
        return None;
    }
    let mean = repeats.iter().sum::<f64>() / repeats.len() as f64;
    let max = repeats.iter().copied().fold(f64::MIN, f64::max);
    let min = repeats.iter().copied().fold(f64::MAX, f64::min);
    Some(if mean > 0.0 { 100.0 * (max - min) / 2.0 / mean } else { 0.0 })
}

/// The distributions of all metrics in numbers.
pub(super) fn percentiles(aligned: &Aligned) -> Vec<PercentileRow> {
    let statistics = [5, 10, 25, 50, 75, 90, 95, 99].map(Statistic::Percentile);
    let mut rows = Vec::new();
    for metric in [Metric::Ttft, Metric::Itl, Metric::Tpot, Metric::E2e, Metric::NormalizedLatency] {
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let real: Vec<Vec<f64>> = aligned.real.iter().map(|run| sorted(run.values(metric))).collect();
        let sim = sorted(aligned.sim.values(metric));
        // A recording has no gaps between tokens: nothing is measured, which is not zero.
        if real.iter().any(Vec::is_empty) {
            continue;
        }
        for statistic in [Statistic::Mean].into_iter().chain(statistics) {
            let Some(simulated) = statistic.of_sorted(&sim) else { continue };
            let repeats = real.iter().filter_map(|values| statistic.of_sorted(values));
            let measured = repeats.sum::<f64>() / real.len() as f64;
            rows.push(PercentileRow {
                metric: metric.name().to_owned(),
                stat: statistic.name(),
                n: sim.len() as u64,
                measured_ns: round(measured),
                simulated_ns: round(simulated),
                error_percent: (measured > 0.0 || simulated == 0.0)
                    .then(|| round(error_percent(measured, simulated))),
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::align::align;
    use super::*;
    use crate::metrics::RunRecord;
    use crate::metrics::sample_runs::serve;

    const METHOD: Method = Method { pass_percent: 5.0, warn_percent: 9.0, seed: 1, resamples: 100 };

    fn run(step_ns: u64) -> RunRecord {
        serve(&[(0, 4, 3); 6], 64, 8, |_, _| step_ns)
    }

    #[test]
    fn measured_is_the_mean_over_repeats_and_noise_half_their_spread() {
        let (first, second, sim) = (run(1000), run(1040), run(1071));
        let rows = headline(&align(&[&first, &second], &sim).unwrap(), &METHOD).unwrap();
        let names: Vec<String> = rows.iter().map(|row| format!("{} {}", row.metric, row.stat)).collect();
        assert_eq!(names[..5], ["TTFT Mean", "TTFT P50", "TTFT P90", "TTFT P99", "TPOT Mean"]);
        assert_eq!(rows.len(), 12);
        let ttft = &rows[0];
        assert_eq!((ttft.measured_ns, ttft.simulated_ns, ttft.error_percent), (1020.0, 1071.0, 5.0));
        assert_eq!((ttft.low_percent, ttft.high_percent), (5.0, 5.0));
        assert_eq!(ttft.noise_percent, Some(1.96078));
        assert_eq!(ttft.verdict, super::super::Verdict::Pass);
        assert_eq!(rows[8].measured_ns, 3060.0);
    }

    #[test]
    fn one_token_requests_have_no_tpot_and_one_repeat_no_noise() {
        let serve_one = |step_ns: u64| serve(&[(0, 4, 1)], 64, 8, move |_, _| step_ns);
        let (real, sim) = (serve_one(1000), serve_one(1010));
        let aligned = align(&[&real], &sim).unwrap();
        let rows = headline(&aligned, &METHOD).unwrap();
        assert_eq!(rows.len(), 8);
        assert!(rows.iter().all(|row| row.metric != "TPOT" && row.noise_percent.is_none()));
        assert!(
            rows.iter().all(|row| row.verdict == super::super::Verdict::Warn),
            "one request shows nothing"
        );
        assert!(percentiles(&aligned).iter().all(|row| row.metric != "TPOT" && row.metric != "ITL"));
    }

    #[test]
    fn nothing_measured_is_no_base_of_a_percentage() {
        let real = run(0);
        assert!(matches!(
            headline(&align(&[&real], &run(10)).unwrap(), &METHOD),
            Err(CompareError::ZeroMeasured { .. })
        ));
        let same = headline(&align(&[&real], &run(0)).unwrap(), &METHOD).unwrap();
        assert!(same.iter().all(|row| row.error_percent == 0.0));
    }

    #[test]
    fn the_percentiles_hold_itl_over_all_gaps() {
        let (real, sim) = (run(1000), run(900));
        let rows = percentiles(&align(&[&real], &sim).unwrap());
        let itl = rows.iter().find(|row| row.metric == "ITL" && row.stat == "P99").unwrap();
        assert_eq!(
            (itl.n, itl.measured_ns, itl.simulated_ns, itl.error_percent),
            (12, 1000.0, 900.0, Some(-10.0))
        );
    }
}
