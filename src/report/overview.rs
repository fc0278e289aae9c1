//! The page before the runs of a matrix: how many pass, the error of every
//! run, the worst of them.

use serde::Serialize;

use super::axis::{Axis, Scale, time_axis};
use super::chart::{Chart, MM};
use super::decision::{Decided, Decision, price_words};
use super::front::small_distribution;
use super::number::{NONE, TimeUnit, count, error, limit, percent, word};
use super::prices::Prices;
use super::samples::Samples;
use super::sentence::worst;
use super::text::{fit, shorten};
use crate::capacity::{Candidate, Point, Price, auto_targets, cost_per_million, fidelity};
use crate::compare::{Comparison, MetricRow, Pin, Verdict};

/// Runs that get pages of their own.
pub(super) const MOST_RUNS: usize = 12;
/// Runs that fit the overview as rows, and as cells with numbers.
const MOST_ROWS: usize = 24;
const MOST_CELLS: usize = 60;
/// Cells without numbers fill a page.
const MOST_SMALL_CELLS: usize = 1_200;

#[derive(Debug, Serialize)]
pub(super) struct Overview {
    name: String,
    title: String,
    lead: String,
    verdict: Verdict,
    number: String,
    number_size: f64,
    number_notes: [String; 3],
    foreign: bool,
    rows_title: String,
    rows_note: String,
    rows: Vec<Row>,
    multiples_note: String,
    multiples: Vec<Multiple>,
    cells: Vec<Cell>,
    small: bool,
    cells_note: String,
    stats: [&'static str; 3],
    /// Cost against latency, where prices are known.
    decision: Option<Decision>,
}

/// The distribution of TTFT of one run among those of all, small.
#[derive(Debug, Serialize)]
struct Multiple {
    label: String,
    error: String,
    verdict: Verdict,
    chart: Chart,
}

/// One run as a row.
#[derive(Debug, Serialize)]
struct Row {
    label: String,
    requests: String,
    errors: [String; 3],
    /// Share of the heat map's colour, −1 to 1, of each error.
    heats: [f64; 3],
    worst: String,
    worst_where: String,
    verdict: Verdict,
    /// Index among the runs with pages.
    page: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Cell {
    label: String,
    error: String,
    heat: f64,
    verdict: Verdict,
}

/// The settings in which runs differ, which are pins named by a dotted path: last part of the name, and value.
fn varied(runs: &[Comparison]) -> Vec<Vec<(String, String)>> {
    let settings = |run: &Comparison| -> Vec<Pin> {
        run.pins.iter().filter(|pin| pin.name.contains('.') && !pin.name.contains(' ')).cloned().collect()
    };
    let all: Vec<Vec<Pin>> = runs.iter().map(settings).collect();
    let varies = |pin: &Pin| all.iter().any(|pins| !pins.contains(pin));
    let part = |pin: &Pin| (pin.name.rsplit('.').next().unwrap_or(&pin.name).to_owned(), pin.value.clone());
    all.iter().map(|pins| pins.iter().filter(|pin| varies(pin)).map(part).collect()).collect()
}

/// What the runs of one experiment are called: by the settings in which they
/// differ; by their ids where those do not tell them apart.
pub(super) fn labels(runs: &[Comparison]) -> Vec<String> {
    let joined = |parts: &Vec<(String, String)>| {
        parts.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    let named: Vec<String> = varied(runs).iter().map(joined).collect();
    let distinct: std::collections::BTreeSet<&String> = named.iter().collect();
    if distinct.len() == runs.len() && !distinct.contains(&String::new()) {
        return named;
    }
    runs.iter().map(|run| run.run.clone()).collect()
}

/// Order of the runs by how bad they are: verdict, then size of the worst error; ties by place.
pub(super) fn by_badness(runs: &[Comparison]) -> Vec<usize> {
    let error = |run: &Comparison| worst(&run.headline).map_or(0.0, |row| row.error_percent.abs());
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by(|a, b| {
        let (x, y) = (&runs[*a], &runs[*b]);
        y.verdict.cmp(&x.verdict).then(error(y).total_cmp(&error(x))).then(a.cmp(b))
    });
    order
}

/// The part that all ids share, up to a separator: the experiment's name.
fn common_name(runs: &[Comparison]) -> String {
    let first = &runs[0].run;
    let shared = first
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| runs.iter().all(|run| run.run.starts_with(&first[..*end])))
        .last()
        .unwrap_or(0);
    let cut = if runs.iter().all(|run| run.run.len() == shared) {
        shared
    } else {
        first[..shared].rfind(['-', '_', '/', '.', ' ']).unwrap_or(0)
    };
    if cut == 0 { format!("{} and others", shorten(first, 36)) } else { shorten(&first[..cut], 48) }
}

/// Cost and latency of every run that has a price, and what they decide; none where fewer than two have one.
fn decision(runs: &[Comparison], labels: &[String], prices: &Prices) -> Option<Decision> {
    let varied = varied(runs);
    let names: Vec<&str> = varied[0].iter().map(|(name, _)| name.as_str()).collect();
    let alike =
        varied.iter().all(|parts| parts.iter().map(|(name, _)| name.as_str()).eq(names.iter().copied()));
    let short = |index: usize| match alike && !names.is_empty() {
        true => varied[index].iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" × "),
        false => labels[index].clone(),
    };
    let candidate = |(run, price): (&Comparison, &Option<Price>)| {
        let row = p99(run, "TTFT")?;
        let output = run.whole_run.iter().find(|row| row.name == "Output, tokens/s")?;
        let point = |ns: f64, tokens_per_s: f64| {
            let cost = cost_per_million((*price).as_ref()?, tokens_per_s)?;
            // `as` saturates: a time is neither negative nor beyond 584 years.
            (ns.is_finite() && ns > 0.0).then_some(Point { cost, latency_ns: ns.ceil() as u64 })
        };
        let measured = point(row.measured_ns, output.measured)?;
        Some(Candidate { measured, simulated: point(row.simulated_ns, output.simulated)? })
    };
    let (mut candidates, mut named) = (Vec::new(), Vec::new());
    for (index, pair) in runs.iter().zip(&prices.runs).enumerate() {
        if let Some(found) = candidate(pair) {
            candidates.push(found);
            named.push(short(index));
        }
    }
    if candidates.len() < 2 {
        return None;
    }
    let limit = runs[0].slo.ttft_ns.filter(|_| runs.iter().all(|run| run.slo == runs[0].slo));
    let found = fidelity(&candidates, &auto_targets(&candidates, limit))?;
    let each: Vec<&Price> = prices.runs.iter().flatten().collect();
    let known_as = if alike && !names.is_empty() { names.join(" × ") } else { "its settings".to_owned() };
    Some(Decision::of(&Decided {
        candidates: &candidates,
        labels: &named,
        fidelity: &found,
        metric: "TTFT",
        limit_ns: limit,
        currency: &prices.currency,
        known_as: &known_as,
        price: price_words(&each, &prices.currency),
    }))
}

impl Overview {
    /// Of all runs (at least one), with their labels; `paged` are those with pages of their own.
    pub(super) fn of(
        runs: &[Comparison],
        labels: &[String],
        paged: &[usize],
        prices: Option<&Prices>,
    ) -> Overview {
        let order = by_badness(runs);
        let n = runs.len();
        let n_of = |verdict| runs.iter().filter(|run| run.verdict == verdict).count();
        let (pass, warn, fail) = (n_of(Verdict::Pass), n_of(Verdict::Warn), n_of(Verdict::Fail));
        let furthest = runs
            .iter()
            .zip(labels)
            .filter_map(|(run, label)| worst(&run.headline).map(|row| (row, label)))
            .reduce(|a, b| if b.0.error_percent.abs() > a.0.error_percent.abs() { b } else { a });
        let span = heat_span(runs);
        let number = furthest.map_or(NONE.to_owned(), |(row, _)| error(row.error_percent));
        let as_rows = n <= MOST_ROWS;
        let listed: Vec<usize> =
            if as_rows { (0..n).collect() } else { order.iter().copied().take(MOST_RUNS).collect() };
        let (multiples, axis) = multiples(if n <= MOST_RUNS { runs } else { &[] }, labels);
        let small = n > MOST_CELLS;
        let cells = if as_rows { &[][..] } else { &runs[..n.min(MOST_SMALL_CELLS)] };
        let same_limits = runs
            .iter()
            .all(|run| (run.pass_percent, run.warn_percent) == (runs[0].pass_percent, runs[0].warn_percent));
        Overview {
            name: common_name(runs),
            title: title(runs, pass, warn, fail),
            lead: lead(runs, n, paged.len()),
            verdict: order.first().map_or(Verdict::Pass, |index| runs[*index].verdict),
            number_size: if number.chars().count() <= 5 { 38.0 } else { 24.0 },
            number,
            number_notes: [
                furthest.map_or("no headline statistic".to_owned(), |(row, label)| {
                    fit(&format!("{} {} of {label}", row.metric, row.stat), 8.0, false, 42.0 * MM)
                }),
                if same_limits {
                    let first = &runs[0];
                    format!(
                        "limits ±{} and ±{}",
                        super::number::plain(first.pass_percent),
                        limit(first.warn_percent)
                    )
                } else {
                    "limits differ between runs".to_owned()
                },
                format!("{pass} pass, {warn} warn, {fail} fail"),
            ],
            foreign: runs.iter().any(|run| run.foreign_bundle),
            rows_title: if as_rows { "Runs".to_owned() } else { "The worst runs".to_owned() },
            rows_note: format!(
                "Error of the 99th percentiles, in per cent; colour saturates at ±{}. Worst: the headline statistic \
                 with the largest error.",
                limit(span)
            ),
            rows: listed
                .iter()
                .map(|index| row(&runs[*index], &labels[*index], span, *index, paged))
                .collect(),
            multiples_note: format!(
                "Share of requests at or below each TTFT, in per cent; one axis for all runs{}. Number: error of P99 TTFT.",
                if axis.scale == Scale::Log { ", logarithmic" } else { "" }
            ),
            multiples,
            cells: cells.iter().zip(labels).map(|(run, label)| cell(run, label, span)).collect(),
            small,
            cells_note: format!(
                "{} runs in order, each with its largest headline error{}. Colour saturates at ±{}: blue is too fast, \
                 orange too slow.{}",
                count(n as u64),
                if small { "" } else { ", in per cent" },
                limit(span),
                if n > MOST_SMALL_CELLS {
                    format!(" The first {} are drawn.", count(MOST_SMALL_CELLS as u64))
                } else {
                    String::new()
                }
            ),
            stats: ["TTFT P99", "TPOT P99", "E2E P99"],
            decision: prices.and_then(|prices| decision(runs, labels, prices)),
        }
    }
}

/// One small chart per run, and the axis they share.
fn multiples(runs: &[Comparison], labels: &[String]) -> (Vec<Multiple>, Axis) {
    let samples: Vec<Samples> = runs.iter().map(|run| Samples::of(run, "TTFT")).collect();
    let all: Vec<f64> = samples.iter().flat_map(|s| s.measured.iter().chain(&s.simulated)).copied().collect();
    let unit = TimeUnit::of(samples.iter().map(|s| s.unit.ns()));
    let axis = time_axis(&all, unit);
    let charts = samples.iter().zip(runs).zip(labels).map(|((s, run), label)| {
        let shared = Samples { axis: axis.clone(), unit, ..s.clone() };
        let p99 = p99(run, "TTFT");
        Multiple {
            label: fit(label, 7.5, true, 30.0 * MM),
            error: p99.map_or(NONE.to_owned(), |row| percent(row.error_percent)),
            verdict: p99.map_or(run.verdict, |row| row.verdict),
            chart: small_distribution(&shared, 39.0 * MM, 25.0 * MM),
        }
    });
    (charts.collect(), axis)
}

fn title(runs: &[Comparison], pass: usize, warn: usize, fail: usize) -> String {
    let n = runs.len();
    let bound = limit(runs[0].pass_percent);
    let bounds_agree = runs.iter().all(|run| run.pass_percent == runs[0].pass_percent);
    let real = if runs.iter().all(|run| run.real == runs[0].real) && !runs[0].real.contains(' ') {
        format!(" of {}", shorten(&runs[0].real, 22))
    } else {
        String::new()
    };
    let every = if n == 2 { "both runs".to_owned() } else { format!("all {n} runs") };
    if pass == n && bounds_agree {
        format!("The simulator is within {bound}{real} in {every}")
    } else if pass == n {
        format!("The simulator passes in {every}")
    } else if fail == 0 {
        format!("The simulator passes {pass} of {n} runs; {} with a warning", word(warn, false))
    } else if fail == n {
        format!("The simulator fails in {every}")
    } else {
        format!("The simulator fails in {fail} of {n} runs")
    }
}

fn lead(runs: &[Comparison], n: usize, paged: usize) -> String {
    let p99: Vec<f64> = runs
        .iter()
        .flat_map(|run| &run.headline)
        .filter(|row| row.stat == "P99" && row.error_percent.is_finite())
        .map(|row| row.error_percent)
        .collect();
    let (low, high) = (
        p99.iter().copied().fold(f64::INFINITY, f64::min),
        p99.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    );
    let range = if p99.is_empty() {
        String::new()
    } else {
        format!("Errors of the 99th percentiles run from {} to {}. ", percent(low), percent(high))
    };
    let pages = if paged == n {
        "Each run has its own pages below; pins and method are at the end.".to_owned()
    } else {
        format!("The worst {paged} have their own pages below; pins and method are at the end.")
    };
    range + &pages
}

/// Error at which the colours saturate: twice the wider limit, or ten per cent.
fn heat_span(runs: &[Comparison]) -> f64 {
    let warn = runs.iter().map(|run| run.warn_percent).fold(0.0, f64::max);
    if warn > 0.0 { 2.0 * warn } else { 10.0 }
}

fn heat(error: f64, span: f64) -> f64 {
    if error.is_finite() { super::curve::round((error / span).clamp(-1.0, 1.0)) } else { 0.0 }
}

fn p99<'a>(run: &'a Comparison, metric: &str) -> Option<&'a MetricRow> {
    run.headline.iter().find(|row| row.metric == metric && row.stat == "P99")
}

fn row(run: &Comparison, label: &str, span: f64, index: usize, paged: &[usize]) -> Row {
    let stats = ["TTFT", "TPOT", "E2E"].map(|metric| p99(run, metric));
    let most = worst(&run.headline);
    Row {
        label: fit(label, 8.5, false, 50.0 * MM),
        requests: count(u64::from(run.num_requests)),
        errors: stats.map(|row| row.map_or(NONE.to_owned(), |row| error(row.error_percent))),
        heats: stats.map(|row| row.map_or(0.0, |row| heat(row.error_percent, span))),
        worst: most.map_or(NONE.to_owned(), |row| percent(row.error_percent)),
        worst_where: most.map_or(String::new(), |row| format!("{} {}", row.metric, row.stat)),
        verdict: run.verdict,
        page: paged.iter().position(|paged| *paged == index),
    }
}

fn cell(run: &Comparison, label: &str, span: f64) -> Cell {
    let most = worst(&run.headline).map(|row| row.error_percent);
    Cell {
        label: fit(label, 6.5, false, 24.0 * MM),
        error: most.map_or(NONE.to_owned(), error),
        heat: most.map_or(0.0, |error| heat(error, span)),
        verdict: run.verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::matrix;
    use super::*;

    #[test]
    fn runs_are_called_by_the_settings_in_which_they_differ() {
        let runs = matrix(4);
        assert_eq!(labels(&runs)[3], "qps 4, chunk-size 512");
        let mut same = matrix(2);
        same.iter_mut().for_each(|run| run.pins.clear());
        assert_eq!(labels(&same), [same[0].run.clone(), same[1].run.clone()]);
        assert_eq!(common_name(&runs), "sweep");
    }

    #[test]
    fn the_worst_come_first_and_the_title_counts() {
        let mut runs = matrix(4);
        runs.iter_mut().for_each(|run| run.verdict = Verdict::Pass);
        runs[2].verdict = Verdict::Fail;
        runs[1].verdict = Verdict::Warn;
        let order = by_badness(&runs);
        assert_eq!(order[..2], [2, 1]);
        let overview = Overview::of(&runs, &labels(&runs), &order, None);
        assert_eq!(overview.title, "The simulator fails in 1 of 4 runs");
        assert_eq!((overview.rows.len(), overview.cells.len()), (4, 0));
        let many = matrix(200);
        let overview = Overview::of(&many, &labels(&many), &by_badness(&many)[..MOST_RUNS], None);
        assert_eq!((overview.rows.len(), overview.cells.len(), overview.small), (12, 200, true));
    }
}
