//! A comparison's folder: `comparison.json`, `summary.md`, `tables/*.csv`.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::comparison::{COMPARISON_FORMAT, Comparison, TimelinePoint};
use super::error::CompareError;
use super::headline::evidence;
use super::summary::summary;
use super::verdict::judge;
use crate::metrics::METRICS_VERSION;
use crate::store;

/// Half a million requests fit.
const MAX_BYTES: u64 = 256 << 20;
/// Points of a timeline; xp draws some 120.
const MAX_POINTS: usize = 10_000;

const HEADLINE: [&str; 9] = [
    "metric",
    "stat",
    "measured_ns",
    "simulated_ns",
    "error_percent",
    "low_percent",
    "high_percent",
    "noise_percent",
    "verdict",
];
const PERCENTILES: [&str; 6] = ["metric", "stat", "n", "measured_ns", "simulated_ns", "error_percent"];
const BUDGET: [&str; 5] = ["metric", "stat", "policy_percent", "machine_percent", "predictor_percent"];
const REQUESTS: [&str; 9] = [
    "request_id",
    "num_prefill_tokens",
    "num_decode_tokens",
    "ttft_measured_ns",
    "ttft_simulated_ns",
    "tpot_measured_ns",
    "tpot_simulated_ns",
    "e2e_measured_ns",
    "e2e_simulated_ns",
];
const WHOLE_RUN: [&str; 3] = ["name", "measured", "simulated"];
const TIMELINE: [&str; 6] = ["run", "time_ns", "running", "waiting", "kv_percent", "tokens_per_s"];

/// Writes `summary.md`, `tables/*.csv` and `comparison.json` into `folder`, which exists.
pub fn write_comparison(folder: &Path, comparison: &Comparison) -> Result<(), CompareError> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        store::write_part(&path, bytes).map_err(|source| CompareError::Write { path, source })
    };
    let table = |name: &str, bytes: Result<Vec<u8>, csv::Error>| {
        let path = || folder.join(name);
        let bytes =
            bytes.map_err(|error| CompareError::Write { path: path(), source: io::Error::other(error) })?;
        write(name, &bytes)
    };
    table("tables/headline.csv", rows(&HEADLINE, &comparison.headline))?;
    if let Some(budget) = &comparison.budget {
        table("tables/budget.csv", rows(&BUDGET, &budget.rows))?;
    }
    table("tables/percentiles.csv", rows(&PERCENTILES, &comparison.percentiles))?;
    table("tables/requests.csv", rows(&REQUESTS, &comparison.requests))?;
    table("tables/whole_run.csv", rows(&WHOLE_RUN, &comparison.whole_run))?;
    let of = |run: &'static str, points: &[TimelinePoint]| -> Vec<TimelineRow> {
        points.iter().map(|point| TimelineRow::new(run, point)).collect()
    };
    let mut timeline = of("measured", &comparison.timeline_measured);
    timeline.extend(of("simulated", &comparison.timeline_simulated));
    table("tables/timeline.csv", rows(&TIMELINE, &timeline))?;
    write("summary.md", summary(comparison).as_bytes())?;
    let json = comparison_json(comparison).map_err(|error| CompareError::Write {
        path: folder.join("comparison.json"),
        source: error.into(),
    })?;
    write("comparison.json", &json)
}

/// The bytes of `comparison.json`.
pub fn comparison_json(comparison: &Comparison) -> serde_json::Result<Vec<u8>> {
    let mut json = serde_json::to_vec(comparison)?;
    json.push(b'\n');
    Ok(json)
}

#[derive(Serialize)]
struct TimelineRow {
    run: &'static str,
    time_ns: u64,
    running: f64,
    waiting: f64,
    kv_percent: f64,
    tokens_per_s: f64,
}

impl TimelineRow {
    fn new(run: &'static str, point: &TimelinePoint) -> Self {
        let TimelinePoint { time_ns, running, waiting, kv_percent, tokens_per_s } = *point;
        Self { run, time_ns, running, waiting, kv_percent, tokens_per_s }
    }
}

/// A table with its header, which is there without rows too.
fn rows<T: Serialize>(columns: &[&str], rows: &[T]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(columns)?;
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// The versions alone: read first, because a newer format may have other fields.
#[derive(Deserialize)]
struct Versions {
    format: u64,
    metrics_version: u64,
}

/// Reads and checks a `comparison.json`: its form, its ranges, and that its
/// verdicts follow from its figures.
///
/// # Errors
/// The file is missing, larger than 256 MiB, newer than this xp, no comparison,
/// or holds what no comparison can.
pub fn read_comparison(path: &Path) -> Result<Comparison, CompareError> {
    parse_comparison(&path.display().to_string(), &store::read_bounded(path, MAX_BYTES)?)
}

/// Checks the bytes of a `comparison.json`; `file` is for messages.
///
/// # Errors
/// Those of [`read_comparison`], but for the file's.
pub fn parse_comparison(file: &str, bytes: &[u8]) -> Result<Comparison, CompareError> {
    let file = file.to_owned();
    let json = |error: serde_json::Error| {
        let text = error.to_string();
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
        CompareError::Json { file: file.clone(), line: error.line(), column: error.column(), message }
    };
    let versions: Versions = serde_json::from_slice(bytes).map_err(json)?;
    for (what, found, known) in [
        ("format", versions.format, COMPARISON_FORMAT),
        ("metrics_version", versions.metrics_version, METRICS_VERSION),
    ] {
        if found > u64::from(known) {
            return Err(CompareError::Version { file, what, found, known });
        }
    }
    let comparison: Comparison = serde_json::from_slice(bytes).map_err(json)?;
    match impossible(&comparison) {
        Some(what) => Err(CompareError::Content { file, what }),
        None => Ok(comparison),
    }
}

/// What no comparison can hold, in words.
fn impossible(comparison: &Comparison) -> Option<String> {
    let c = comparison;
    let checks = [
        (c.format > 0 && c.metrics_version > 0, "format and metrics_version count from 1"),
        (
            0.0 <= c.pass_percent && c.pass_percent <= c.warn_percent,
            "pass_percent and warn_percent are no thresholds",
        ),
        (
            c.repeats > 0 && c.timeline_repeat < c.repeats,
            "repeats count from 1, and timeline_repeat is one of them",
        ),
        (
            c.num_requests > 0 && c.requests.len() as u64 == u64::from(c.num_requests),
            "num_requests is not the number of requests",
        ),
        (
            c.requests.is_sorted_by(|a, b| a.request_id < b.request_id),
            "requests are not in the order of their ids",
        ),
        (!c.headline.is_empty(), "headline has no rows"),
        (c.bin_ns > 0, "bin_ns is 0"),
    ];
    if let Some((_, what)) = checks.into_iter().find(|(holds, _)| !holds) {
        return Some(what.to_owned());
    }
    for (name, points) in
        [("timeline_measured", &c.timeline_measured), ("timeline_simulated", &c.timeline_simulated)]
    {
        let spaced =
            (0u64..).zip(points).all(|(index, point)| Some(point.time_ns) == index.checked_mul(c.bin_ns));
        if points.len() > MAX_POINTS || !spaced {
            return Some(format!("{name} is not a row of bins of {} ns", c.bin_ns));
        }
        let values = points.iter().flat_map(|p| [p.running, p.waiting, p.kv_percent, p.tokens_per_s]);
        if let Some(value) = negative(values) {
            return Some(format!("{name} holds {value}"));
        }
    }
    for row in &c.requests {
        let times = [row.ttft_measured_ns, row.ttft_simulated_ns, row.e2e_measured_ns, row.e2e_simulated_ns];
        let tpot = [row.tpot_measured_ns, row.tpot_simulated_ns];
        if let Some(value) = negative(times.into_iter().chain(tpot.into_iter().flatten())) {
            return Some(format!("request {} holds {value}", row.request_id));
        }
        if tpot[0].is_some() != tpot[1].is_some() {
            return Some(format!("request {} has one TPOT", row.request_id));
        }
    }
    for row in &c.whole_run {
        if let Some(value) = negative([row.measured, row.simulated].into_iter()) {
            return Some(format!("{} is {value}", row.name));
        }
    }
    for row in &c.percentiles {
        if let Some(value) = negative([row.measured_ns, row.simulated_ns].into_iter()) {
            return Some(format!("{} {} is {value}", row.metric, row.stat));
        }
    }
    if c.budget.as_ref().is_some_and(|budget| !super::budget::fits(budget, &c.headline)) {
        return Some("the budget's parts are not those of the headline's errors".to_owned());
    }
    headline(c)
}

/// The first value that is negative or no number.
fn negative(mut values: impl Iterator<Item = f64>) -> Option<f64> {
    values.find(|value| !(value.is_finite() && *value >= 0.0))
}

fn headline(c: &Comparison) -> Option<String> {
    let with_tpot = c.requests.iter().filter(|row| row.tpot_measured_ns.is_some()).count();
    for row in &c.headline {
        let name = format!("{} {}", row.metric, row.stat);
        let positive = [row.measured_ns, row.simulated_ns].into_iter().chain(row.noise_percent);
        if let Some(value) = negative(positive) {
            return Some(format!("{name} holds {value}"));
        }
        let percents = [row.error_percent, row.low_percent, row.high_percent];
        if percents.iter().any(|percent| !percent.is_finite()) || row.low_percent > row.high_percent {
            return Some(format!("{name} has an error or an interval that is none"));
        }
        let requests = if row.metric == "TPOT" { with_tpot } else { c.requests.len() };
        if judge(&evidence(row, requests), c.pass_percent, c.warn_percent) != row.verdict {
            return Some(format!("the verdict on {name} does not follow from its figures"));
        }
    }
    let worst = c.headline.iter().map(|row| row.verdict).max();
    (worst != Some(c.verdict)).then(|| "the verdict is not the worst of the headline's".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::assemble::tests::input;
    use super::super::{Verdict, compare};
    use super::*;

    fn written(comparison: &Comparison) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write_comparison(dir.path(), comparison).unwrap();
        dir
    }

    #[test]
    fn a_comparison_reads_back_exactly_and_every_table_has_its_rows() {
        let made = compare(&input(20, 104)).unwrap();
        let dir = written(&made);
        assert_eq!(read_comparison(&dir.path().join("comparison.json")).unwrap(), made);
        let lines = |name: &str| {
            let text = std::fs::read_to_string(dir.path().join("tables").join(name)).unwrap();
            (text.lines().next().unwrap().to_owned(), text.lines().count() - 1)
        };
        assert_eq!(lines("headline.csv"), (HEADLINE.join(","), 12));
        assert_eq!(lines("requests.csv"), (REQUESTS.join(","), 20));
        assert_eq!(lines("percentiles.csv"), (PERCENTILES.join(","), 45));
        assert_eq!(lines("whole_run.csv"), (WHOLE_RUN.join(","), 6));
        assert_eq!(
            lines("timeline.csv"),
            (TIMELINE.join(","), made.timeline_measured.len() + made.timeline_simulated.len())
        );
    }

    #[test]
    fn a_changed_file_is_refused() {
        let made = compare(&input(20, 100)).unwrap();
        let dir = written(&made);
        let path = dir.path().join("comparison.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let cases = [
            ("\"format\":4", "\"format\":5", "has format 5, this xp knows 4"),
            ("\"metrics_version\":1", "\"metrics_version\":7", "has metrics_version 7, this xp knows 1"),
            ("\"repeats\":3", "\"repeats\":0", "repeats count from 1"),
            ("\"repeats\":3", "\"repeats\":-3", "invalid value"),
            ("\"pass_percent\":5.0", "\"pass_percent\":NaN", "expected value"),
            ("\"pass_percent\":5.0", "\"pass_percent\":1e999", "number out of range"),
            ("\"pass_percent\":5.0", "\"pass_percent\":-5.0", "no thresholds"),
            ("\"num_requests\":20", "\"num_requests\":21", "not the number of requests"),
            ("\"request_id\":1,", "\"request_id\":0,", "not in the order"),
            ("\"verdict\":\"pass\"", "\"verdict\":\"fail\"", "not the worst"),
            ("\"verdict\":\"pass\"}", "\"verdict\":\"warn\"}", "the verdict on TTFT Mean does not follow"),
            ("\"running\":", "\"running\":-", "timeline_measured holds -"),
            ("\"bin_ns\":", "\"bin_ns\":9", "row of bins"),
            ("\"sim\":", "\"extra\":1,\"sim\":", "unknown field `extra`"),
        ];
        for (good, bad, wanted) in cases {
            assert!(text.contains(good), "{good}");
            std::fs::write(&path, text.replacen(good, bad, 1)).unwrap();
            let error = read_comparison(&path).expect_err(wanted).to_string();
            assert!(error.contains(wanted) && error.contains("comparison.json"), "{good} → {bad}: {error}");
        }
        for bomb in [
            "[".repeat(200_000),
            "{\"facts\":".repeat(50_000),
            String::new(),
            text[..text.len() / 2].to_owned(),
        ] {
            std::fs::write(&path, bomb).unwrap();
            assert!(matches!(read_comparison(&path), Err(CompareError::Json { .. })));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read_comparison(&path), Err(CompareError::Read(_))));
    }

    #[test]
    fn values_that_json_cannot_say_never_get_there() {
        let made = compare(&input(6, 100)).unwrap();
        assert_eq!(impossible(&made), None);
        let mut changed = made.clone();
        changed.whole_run[0].measured = f64::NAN;
        assert_eq!(impossible(&changed).unwrap(), "Duration, s is NaN");
        let mut changed = made;
        changed.headline[0].verdict = Verdict::Fail;
        changed.verdict = Verdict::Fail;
        assert!(impossible(&changed).unwrap().contains("TTFT Mean"));
    }
}
