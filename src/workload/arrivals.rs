//! When requests arrive.

use std::path::Path;

use super::WorkloadError;
use super::data_file::data_file;
use super::lengths::MAX_TRACE;
use super::stream::Stream;
use super::table::Table;
use crate::spec::Arrivals;
use crate::store::read_text_bounded;

/// Latest arrival, ns: what readers with signed 64-bit integers hold.
const LATEST: u64 = i64::MAX as u64;

/// Gaps before each request (ns), the first from the run's start; a trace gives at most `requests`.
///
/// Poisson and gamma processes begin at time zero: the first request too comes after a gap.
/// Gaps are rounded to whole nanoseconds, and arrival times are their running sums.
pub(super) fn gaps(
    spec: &Arrivals,
    requests: u32,
    stream: &mut Stream,
    root: &Path,
) -> Result<Vec<u64>, WorkloadError> {
    match *spec {
        Arrivals::Static => Ok(vec![0; requests as usize]),
        Arrivals::Recorded => Err(WorkloadError::NoArrivals),
        Arrivals::Poisson { qps } => {
            let mean_ns = mean_gap_ns(qps)?;
            (0..requests).map(|index| whole(stream.exponential() * mean_ns, index)).collect()
        }
        Arrivals::Gamma { qps, cv } => {
            let mean_ns = mean_gap_ns(qps)?;
            if !(0.001..=1000.0).contains(&cv) {
                return Err(WorkloadError::parameter("cv", cv, "must be between 0.001 and 1000"));
            }
            // Mean = shape · scale, coefficient of variation = 1/√shape.
            let shape = 1.0 / (cv * cv);
            let scale_ns = mean_ns / shape;
            (0..requests).map(|index| whole(stream.gamma(shape) * scale_ns, index)).collect()
        }
        Arrivals::Trace { ref path } => {
            trace_gaps(path, &read_text_bounded(&data_file(root, path)?, MAX_TRACE)?, requests)
        }
    }
}

/// Gaps from arrival times that never decrease, both in ns: the first from the run's start.
pub(super) fn between(times: &[u64]) -> Vec<u64> {
    let before = std::iter::once(&0).chain(times);
    times.iter().zip(before).map(|(time, before)| time.saturating_sub(*before)).collect()
}

/// Arrival times from gaps, both in ns.
pub(super) fn times(gaps: &[u64]) -> Result<Vec<u64>, WorkloadError> {
    let mut now = 0;
    (0..)
        .zip(gaps)
        .map(|(request, gap)| {
            now = sum(now, *gap).ok_or(WorkloadError::Late { request })?;
            Ok(now)
        })
        .collect()
}

/// The arrival after `before`, ns; none when it is later than any clock reaches.
pub(super) fn sum(before: u64, gap: u64) -> Option<u64> {
    before.checked_add(gap).filter(|&time| time <= LATEST)
}

fn mean_gap_ns(qps: f64) -> Result<f64, WorkloadError> {
    if qps > 0.0 && qps.is_finite() {
        return Ok(1e9 / qps);
    }
    Err(WorkloadError::parameter("qps", qps, "must be a positive number"))
}

fn whole(gap_ns: f64, index: u32) -> Result<u64, WorkloadError> {
    let rounded = gap_ns.round();
    if (0.0..LATEST as f64).contains(&rounded) {
        return Ok(rounded as u64);
    }
    Err(WorkloadError::Late { request: index.into() })
}

/// Column `arrival_time_ns`, or else `inter_arrival_ns`; other columns are ignored.
pub(crate) fn trace_gaps(path: &str, text: &str, requests: u32) -> Result<Vec<u64>, WorkloadError> {
    let table = Table::open(path, text)?;
    let (times, gaps) = (table.find("arrival_time_ns"), table.find("inter_arrival_ns"));
    let Some(column) = times.or(gaps) else {
        return table.column("arrival_time_ns").map(|_| Vec::new());
    };
    let mut before = 0;
    table.first(requests, |row| {
        let value = row.number(column)?;
        let gap = match times {
            Some(_) if value < before => {
                return Err(row.error(column, format!("{value} is before the arrival above, {before}")));
            }
            Some(_) => value - before,
            None => value,
        };
        before = value;
        Ok(gap)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(spec: &Arrivals, n: u32) -> Vec<u64> {
        gaps(spec, n, &mut Stream::new(11, 0), Path::new(".")).unwrap()
    }

    /// Mean and coefficient of variation.
    fn moments(gaps: &[u64]) -> (f64, f64) {
        let n = gaps.len() as f64;
        let mean = gaps.iter().map(|&gap| gap as f64).sum::<f64>() / n;
        let variance = gaps.iter().map(|&gap| (gap as f64 - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn gaps_have_the_mean_and_the_variation_asked_for() {
        let (mean, cv) = moments(&draw(&Arrivals::Poisson { qps: 50.0 }, 100_000));
        assert!((mean / 2e7 - 1.0).abs() < 0.02 && (cv - 1.0).abs() < 0.02, "{mean} {cv}");
        for wanted in [0.25, 1.0, 2.0] {
            let (mean, cv) = moments(&draw(&Arrivals::Gamma { qps: 4.0, cv: wanted }, 100_000));
            assert!((mean / 2.5e8 - 1.0).abs() < 0.02, "cv {wanted}: mean {mean}");
            assert!((cv / wanted - 1.0).abs() < 0.02, "cv {wanted}: {cv}");
        }
        assert_eq!(draw(&Arrivals::Static, 3), [0, 0, 0]);
    }

    #[test]
    fn a_longer_workload_begins_like_a_shorter_one() {
        let spec = Arrivals::Gamma { qps: 4.0, cv: 3.0 };
        assert_eq!(draw(&spec, 100)[..10], draw(&spec, 10));
    }

    #[test]
    fn arrivals_beyond_any_clock_are_refused() {
        assert!(matches!(times(&[LATEST, 1]), Err(WorkloadError::Late { request: 1 })));
        assert!(matches!(times(&[u64::MAX]), Err(WorkloadError::Late { request: 0 })));
        assert_eq!(times(&[5, 0, 7]).unwrap(), [5, 5, 12]);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let found = gaps(&Arrivals::Poisson { qps: bad }, 1, &mut Stream::new(0, 0), Path::new("."));
            assert!(matches!(found, Err(WorkloadError::Parameter { .. })), "{bad}");
        }
        let slow = Arrivals::Poisson { qps: 1e-300 };
        assert!(matches!(
            gaps(&slow, 1, &mut Stream::new(0, 0), Path::new(".")),
            Err(WorkloadError::Late { .. })
        ));
    }

    #[test]
    fn traces_of_times_and_of_gaps_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(dir.path().join("t.csv"), text).unwrap();
            let spec = Arrivals::Trace { path: "t.csv".to_owned() };
            gaps(&spec, 3, &mut Stream::new(0, 0), dir.path()).map_err(|error| error.to_string())
        };
        assert_eq!(read("request_id,arrival_time_ns\n0,5\n1,5\n2,9\n3,99\n").unwrap(), [5, 0, 4]);
        assert_eq!(read("\u{feff}inter_arrival_ns\n5\n0\n4\n").unwrap(), [5, 0, 4]);
        assert_eq!(
            read("arrival_time_ns\n5\n4\n").unwrap_err(),
            "t.csv:3, column `arrival_time_ns`: 4 is before the arrival above, 5"
        );
        assert_eq!(read("when\n5\n").unwrap_err(), "t.csv:1: there is no column `arrival_time_ns`");
        assert_eq!(
            read("arrival_time_ns\n1e9\n").unwrap_err(),
            "t.csv:2, column `arrival_time_ns`: \"1e9\" is not a whole number"
        );
    }
}
