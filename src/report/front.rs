//! First page of a run: verdict, one number, facts, headline table,
//! distributions, whole-run figures.

use serde::Serialize;

use super::axis::Axis;
use super::chart::{AxisView, Chart, MM, Mark};
use super::curve::{cdf_difference, cdf_steps, round};
use super::number::{NONE, count, error, fixed, limit, percent, plain, signed, significant};
use super::samples::{METRICS, Samples, unit};
use super::sentence::{Sentence, sentence, worst};
use super::text::{fit, serif_width, short_words, shorten};
use crate::compare::{Comparison, MetricRow, Verdict};

/// Width of a third of the page, and of the whole, in points.
pub(super) const THIRD: f64 = 54.0 * MM;

#[derive(Debug, Serialize)]
pub(super) struct Front {
    name: String,
    compared: String,
    title: String,
    lead: String,
    description: Option<String>,
    verdict: Verdict,
    number: String,
    number_size: f64,
    number_notes: [String; 3],
    foreign: bool,
    facts: Vec<Fact>,
    headline_note: String,
    headline: Vec<Row>,
    scale: Scale,
    noise_known: bool,
    distributions_note: String,
    distributions: Vec<Chart>,
    whole_run: Vec<Vec<Column>>,
}

#[derive(Debug, Serialize)]
struct Fact {
    head: String,
    lines: Vec<String>,
}

/// A row of the headline table; positions are fractions of the interval column.
#[derive(Debug, Serialize)]
struct Row {
    metric: String,
    unit: &'static str,
    starts_group: bool,
    stat: String,
    measured: String,
    simulated: String,
    error: String,
    interval: String,
    noise: String,
    verdict: Verdict,
    low: f64,
    high: f64,
    middle: f64,
    /// The interval or the error goes on beyond the column's left or right edge.
    beyond: [bool; 2],
    noise_band: Option<[f64; 2]>,
}

/// The interval column's axis.
#[derive(Debug, Serialize)]
struct Scale {
    ticks: Vec<(f64, String)>,
    limit: [f64; 2],
}

#[derive(Debug, Serialize)]
struct Column {
    head: String,
    measured: String,
    simulated: String,
    error: String,
}

impl Front {
    /// The page of a clean comparison.
    pub(super) fn of(c: &Comparison) -> Front {
        let told = sentence(c);
        let largest = worst(&c.headline);
        let number = largest.map_or(NONE.to_owned(), |row| error(row.error_percent));
        let number_size = match number.chars().count() {
            0..=5 => 38.0,
            6..=7 => 26.0,
            _ => 19.0,
        };
        let n = |verdict| c.headline.iter().filter(|row| row.verdict == verdict).count();
        let span = span(c);
        let noise_known = c.headline.iter().any(|row| row.noise_percent.is_some());
        let description = c
            .description
            .as_ref()
            .filter(|text| !text.is_empty())
            .map(|text| short_words(&shorten(text, 150), 30));
        let (distributions, log) = distributions(c, plot_height(c, &told, description.as_deref()));
        let repeats = match c.repeats {
            _ if c.recorded => "recorded".to_owned(),
            0 | 1 => "measured once".to_owned(),
            2 => "measured twice".to_owned(),
            n => format!("measured {} times", count(u64::from(n))),
        };
        let noise = match (noise_known, c.repeats) {
            (true, n @ 2..) => format!("Noise: half the spread of {n} measured runs, the grey bar."),
            (true, _) => "Noise: half the spread between measured runs, the grey bar.".to_owned(),
            (false, _) if c.recorded => {
                "Noise floor: not available, the measured side is a recording.".to_owned()
            }
            (false, 0 | 1) => "Noise floor: unknown, one measured run.".to_owned(),
            (false, _) => "Noise floor: unknown.".to_owned(),
        };
        let drift = match c.drift_percent {
            Some(drift) if drift.abs() >= 0.05 => {
                format!(" Machine drift since the profile: {}.", percent(drift))
            }
            _ => String::new(),
        };
        Front {
            name: shorten(&c.run, 48),
            compared: format!("{} {repeats}, {} simulated", shorten(&c.real, 24), shorten(&c.sim, 24)),
            title: told.title,
            lead: told.lead,
            description,
            verdict: c.verdict,
            number,
            number_size,
            number_notes: [
                largest.map_or("no headline statistic".to_owned(), |row| {
                    format!("largest headline error, {} {}", row.metric, row.stat)
                }),
                format!("limits ±{} and ±{}", plain(c.pass_percent), limit(c.warn_percent)),
                format!("{} pass, {} warn, {} fail", n(Verdict::Pass), n(Verdict::Warn), n(Verdict::Fail)),
            ],
            foreign: c.foreign_bundle,
            facts: c.facts.iter().take(4).map(|(head, lines)| fact(head, lines)).collect(),
            headline_note: format!(
                "Error is simulated over measured, minus one. Shaded: the ±{} limit. {noise}{drift}",
                limit(c.pass_percent)
            ),
            headline: rows(c, span),
            scale: scale(c.pass_percent, span),
            noise_known,
            distributions_note: format!(
                "Share of the {} at or below each value, in per cent.{} Strip: simulated share minus measured, in points.",
                match c.num_requests {
                    1 => "one request".to_owned(),
                    n => format!("{} requests", count(u64::from(n))),
                },
                if log { " Where noted, the axis is logarithmic." } else { "" },
            ),
            distributions,
            whole_run: c.whole_run[..c.whole_run.len().min(12)]
                .chunks(6)
                .map(|part| part.iter().map(column).collect())
                .collect(),
        }
    }
}

fn fact(head: &str, lines: &[String]) -> Fact {
    const WIDTH: f64 = 38.0 * MM;
    let tidy = |line: &String| {
        // Trade marks and frequencies of processor names only take room.
        let line = line.replace("(R)", "").replace("(TM)", "").replace("(tm)", "").replace(" CPU @", ",");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let lines = lines
        .iter()
        .take(3)
        .enumerate()
        .map(|(index, line)| fit(&tidy(line), 8.0, index == 0, WIDTH))
        .collect();
    Fact { head: fit(head, 7.5, true, WIDTH), lines }
}

/// Half width of the interval column, per cent: room for every interval, but
/// never so wide that the limit can no longer be read.
fn span(c: &Comparison) -> f64 {
    let most = c
        .headline
        .iter()
        .flat_map(|row| [row.error_percent, row.low_percent, row.high_percent])
        .filter(|value| value.is_finite())
        .fold(0.0_f64, |most, value| most.max(value.abs()));
    if c.pass_percent > 0.0 {
        (most * 1.08).clamp(c.pass_percent * 5.0 / 3.0, c.pass_percent * 3.5)
    } else if most > 0.0 {
        most * 1.08
    } else {
        1.0
    }
}

fn at(value: f64, span: f64) -> f64 {
    round(((value / span).clamp(-1.0, 1.0) + 1.0) / 2.0)
}

fn scale(pass: f64, span: f64) -> Scale {
    let mut ticks = vec![(0.5, "0".to_owned())];
    if pass > 0.0 {
        let label = |value: f64| {
            let text = plain(value);
            if value > 0.0 { format!("+{text}") } else { text }
        };
        ticks.insert(0, (at(-pass, span), label(-pass)));
        ticks.push((at(pass, span), label(pass)));
    }
    Scale { ticks, limit: [at(-pass, span), at(pass, span)] }
}

fn rows(c: &Comparison, span: f64) -> Vec<Row> {
    c.headline
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let unit = unit(c, &row.metric);
            let starts_group = index == 0 || c.headline[index - 1].metric != row.metric;
            let (low, high) = (row.low_percent, row.high_percent);
            Row {
                metric: shorten(&row.metric, 8),
                unit: unit.symbol(),
                starts_group,
                stat: shorten(&row.stat, 8),
                measured: significant(row.measured_ns / unit.ns(), 4),
                simulated: significant(row.simulated_ns / unit.ns(), 4),
                error: percent(row.error_percent),
                interval: interval(row),
                noise: row.noise_percent.map_or(NONE.to_owned(), |noise| format!("±{}", noise_text(noise))),
                verdict: row.verdict,
                low: at(low, span),
                high: at(high, span),
                middle: at(row.error_percent, span),
                beyond: [low.min(row.error_percent) < -span, high.max(row.error_percent) > span],
                noise_band: row.noise_percent.map(|noise| [at(-noise, span), at(noise, span)]),
            }
        })
        .collect()
}

fn interval(row: &MetricRow) -> String {
    if row.low_percent.is_finite() && row.high_percent.is_finite() {
        format!("{} to {}", error(row.low_percent), error(row.high_percent))
    } else {
        NONE.to_owned()
    }
}

fn noise_text(noise: f64) -> String {
    if noise >= 99.95 { fixed(noise, 0) } else { fixed(noise, 1) }
}

/// Height of the distributions that lets everything else stand on one page with
/// them, in points. Measured on a page with two lines of title, two of text, a
/// description, facts, twelve rows and one block of whole-run figures.
fn plot_height(c: &Comparison, told: &Sentence, description: Option<&str>) -> f64 {
    const COLUMN: f64 = 122.0 * MM;
    let lines = |text: &str, size: f64, semibold| (serif_width(text, size, semibold) * 1.04 / COLUMN).ceil();
    let mut height = 48.0 * MM;
    height -= 27.6 * (lines(&told.title, 20.0, true) - 2.0);
    height -= 14.5 * (lines(&told.lead, 9.5, false) - 2.0);
    height -= 13.0 * (description.map_or(0.0, |text| lines(text, 8.5, false)) - 1.0);
    height -= if c.foreign_bundle { 50.0 } else { 0.0 };
    height += if c.facts.is_empty() { 62.0 } else { 0.0 };
    height -= 15.5 * (c.headline.len() as f64 - 12.0);
    height -= 60.0 * (c.whole_run.len().min(12).div_ceil(6) as f64 - 1.0);
    height.clamp(20.0 * MM, 50.0 * MM)
}

/// The three distributions; whether one has a logarithmic axis.
fn distributions(c: &Comparison, height: f64) -> (Vec<Chart>, bool) {
    let samples: Vec<Samples> = METRICS.iter().map(|metric| Samples::of(c, metric)).collect();
    let gaps: Vec<_> = samples.iter().map(gap).collect();
    // One scale for the three strips, so that they can be compared.
    let most = gaps.iter().flatten().fold(5.0_f64, |most, (_, gap, _)| most.max(gap.abs()));
    let strip = Axis::panel(most).hi.min(100.0);
    let log = samples.iter().any(|s| s.axis.scale == super::axis::Scale::Log);
    (samples.iter().zip(gaps).map(|(s, gap)| distribution(s, gap, strip, THIRD, height)).collect(), log)
}

type Gap = (Vec<[f64; 2]>, f64, f64);

fn gap(s: &Samples) -> Option<Gap> {
    if s.is_empty() {
        return None;
    }
    let scaled = |values: &[f64]| values.iter().map(|v| s.scaled(*v)).collect::<Vec<_>>();
    Some(cdf_difference(&scaled(&s.measured), &scaled(&s.simulated), &s.axis))
}

/// The distribution of one metric alone, as a figure.
pub(super) fn distribution_figure(s: &Samples) -> Chart {
    let gap = gap(s);
    let most = gap.as_ref().map_or(5.0, |(_, gap, _)| gap.abs().max(5.0));
    distribution(s, gap, Axis::panel(most).hi.min(100.0), 100.0 * MM, 62.0 * MM)
}

fn distribution(s: &Samples, gap: Option<Gap>, strip_hi: f64, width: f64, height: f64) -> Chart {
    let Some((points, gap, place)) = gap else {
        return Chart::missing(s.metric, width, height, s.why_empty());
    };
    let scaled = |values: &[f64]| values.iter().map(|v| s.scaled(*v)).collect::<Vec<_>>();
    let share = Axis { ticks: quarter_ticks(), ..Axis::linear(0.0, 1.0) };
    let x = AxisView::of(&s.axis, None, false);
    let show = |ns: f64| format!("{} {}", significant(ns / s.unit.ns(), 3), s.unit.symbol());
    let median = |sorted: &[f64]| show(super::curve::percentile(sorted, 50.0));
    let place_ns = match s.axis.scale {
        super::axis::Scale::Linear => place * s.unit.ns(),
        super::axis::Scale::Log => place,
    };
    let note = if gap == 0.0 {
        "no gap".to_owned()
    } else {
        format!(
            "largest gap {} points at {}",
            signed(gap, if gap.abs() >= 99.95 { 0 } else { 1 }),
            show(place_ns)
        )
    };
    let pad = [8.0 * MM, 3.0 * MM, 2.0 * MM, 4.2 * MM];
    let difference = Axis {
        lo: -strip_hi,
        hi: strip_hi,
        scale: super::axis::Scale::Linear,
        ticks: [-strip_hi, strip_hi]
            .map(|v| (v, format!("{}{}", if v > 0.0 { "+" } else { "" }, plain(v))))
            .to_vec(),
    };
    let strip = Chart {
        alt: String::new(),
        title: String::new(),
        unit: String::new(),
        width,
        height: 10.0 * MM,
        pad: [pad[0], pad[1], 1.5 * MM, 1.0 * MM],
        x: AxisView { labels: false, ..x.clone() },
        y: AxisView::of(&difference, None, true),
        marks: vec![
            Mark::Line { points: vec![[0.0, 0.5], [1.0, 0.5]], style: "rule" },
            Mark::Area {
                points: points.iter().map(|[x, d]| [*x, round(difference.at(*d))]).collect(),
                style: "difference",
            },
        ],
        note: String::new(),
        strip: None,
        empty: None,
    };
    Chart {
        alt: format!(
            "Cumulative distribution of {} over {} requests. Median {} measured, {} simulated; {note}.",
            s.metric,
            s.pairs.len(),
            median(&s.measured),
            median(&s.simulated),
        ),
        title: s.metric.to_owned(),
        unit: s.unit_label().to_owned(),
        width,
        height,
        pad,
        x,
        y: AxisView::of(&share, None, true),
        marks: vec![
            Mark::Line { points: cdf_steps(&scaled(&s.measured), &s.axis), style: "measured" },
            Mark::Line { points: cdf_steps(&scaled(&s.simulated), &s.axis), style: "simulated" },
        ],
        note,
        strip: Some(Box::new(strip)),
        empty: None,
    }
}

/// Two curves without strip or note, for one of many charts on a page.
pub(super) fn small_distribution(s: &Samples, width: f64, height: f64) -> Chart {
    if s.is_empty() {
        return Chart::missing("", width, height, s.why_empty());
    }
    let mut chart = distribution(s, gap(s), 100.0, width, height);
    let label = match s.axis.scale {
        super::axis::Scale::Linear => Some(format!("{}, {}", s.metric, s.unit.symbol())),
        super::axis::Scale::Log => None,
    };
    let share = Axis { ticks: quarter_ticks().into_iter().step_by(2).collect(), ..Axis::linear(0.0, 1.0) };
    chart.pad = [6.0 * MM, 2.0 * MM, 1.5 * MM, if label.is_some() { 7.5 } else { 4.2 } * MM];
    chart.height += if label.is_some() { 3.3 * MM } else { 0.0 };
    chart.x.label = label;
    chart.y = AxisView::of(&share, None, true);
    (chart.title, chart.unit, chart.note, chart.strip) = Default::default();
    chart
}

fn quarter_ticks() -> Vec<(f64, String)> {
    [0.0, 0.25, 0.5, 0.75, 1.0].map(|v| (v, fixed(100.0 * v, 0))).to_vec()
}

fn column(figure: &crate::compare::WholeRun) -> Column {
    let ratio = 100.0 * (figure.simulated / figure.measured - 1.0);
    Column {
        head: fit(&figure.name, 7.5, true, 24.5 * MM),
        measured: significant(figure.measured, 4),
        simulated: significant(figure.simulated, 4),
        error: if ratio.is_finite() { percent(ratio) } else { NONE.to_owned() },
    }
}
