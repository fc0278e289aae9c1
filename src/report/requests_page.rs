//! Second page of a run: error against percentile, one dot per request, the
//! worst requests, the state of both runs over time.

use serde::Serialize;

use super::axis::{Axis, Scale};
use super::budget::BudgetSection;
use super::callout::place;
use super::chart::{AxisView, Chart, MM, Mark};
use super::curve::{error_by_percentile, percentile, round, thin_dots};
use super::front::THIRD;
use super::number::{NONE, TimeUnit, count, limit, percent, plain, significant};
use super::samples::{METRICS, Samples, unit, values};
use crate::compare::{Comparison, RequestRow, TimelinePoint};

/// Most dots of one scatter plot, and most steps of a timeline's curve.
const MOST_DOTS: usize = 900;
const MOST_BINS: usize = 400;

#[derive(Debug, Serialize)]
pub(super) struct RequestsPage {
    percentiles_note: String,
    percentiles: Vec<Chart>,
    requests_note: String,
    scatters: Vec<Chart>,
    worst: Vec<Worst>,
    worst_units: [&'static str; 3],
    budget: Option<BudgetSection>,
    timeline_note: String,
    timeline: Vec<Panel>,
}

#[derive(Debug, Serialize)]
struct Worst {
    id: String,
    tokens_in: String,
    tokens_out: String,
    /// Measured and simulated TTFT, TPOT, E2E.
    values: [[String; 2]; 3],
    error: String,
}

/// One panel of the timeline.
#[derive(Debug, Serialize)]
pub(super) struct Panel {
    name: &'static str,
    unit: &'static str,
    peak_measured: String,
    peak_simulated: String,
    pub chart: Chart,
}

/// Heights of charts, so that all of them share a page.
struct Room {
    percentiles: f64,
    scatters: f64,
    /// Of one panel of the timeline.
    panels: f64,
}

/// Without an error budget, and with one.
const ALONE: Room = Room { percentiles: 37.0 * MM, scatters: 52.8 * MM, panels: 19.0 * MM };
const SHARED: Room = Room { percentiles: 30.0 * MM, scatters: 44.0 * MM, panels: 15.2 * MM };

impl RequestsPage {
    /// The page of a clean comparison.
    pub(super) fn of(c: &Comparison) -> RequestsPage {
        let samples: Vec<Samples> = METRICS.iter().map(|metric| Samples::of(c, metric)).collect();
        let worst = worst_requests(c);
        let ids: Vec<u32> = worst.iter().map(|row| row.request_id).collect();
        let ringed = match worst.len() {
            0 => String::new(),
            1 => " Ringed: the largest E2E error.".to_owned(),
            n => format!(" Ringed: the {} largest E2E errors.", super::number::word(n, false)),
        };
        let off = samples
            .iter()
            .flat_map(|s| s.pairs.iter().map(move |(_, m, sim)| (s, m.min(*sim))))
            .filter(|(s, least)| s.axis.scale == Scale::Log && *least <= 0.0)
            .count();
        let off = match off {
            0 => String::new(),
            n => format!(" {} of value zero not shown on a logarithmic axis.", super::number::word(n, true)),
        };
        let budget = BudgetSection::of(c);
        let room = if budget.is_some() { SHARED } else { ALONE };
        RequestsPage {
            percentiles_note: format!(
                "Line: error of each percentile from P1 to P99, in per cent. Bars: P50, P90 and P99 with their 95\u{202f}% \
                 intervals. Grey band: the ±{} limit.",
                limit(c.pass_percent)
            ),
            percentiles: percentile_charts(c, &samples, room.percentiles),
            requests_note: format!(
                "One dot per request, measured across and simulated up. Grey band: ±{}.{ringed}{off} Table: measured \
                 grey, simulated blue.",
                limit(c.pass_percent)
            ),
            scatters: samples
                .iter()
                .map(|s| scatter(s, c.pass_percent, &ids, THIRD, room.scatters))
                .collect(),
            worst: worst.iter().map(|row| worst_row(c, row)).collect(),
            worst_units: METRICS.map(|metric| unit(c, metric).symbol()),
            budget,
            timeline_note: match c.bin_ns {
                bin if c.recorded => format!(
                    "State of the simulated run, averaged over bins of {}. Of the recording it is not available.",
                    bin_text(bin, c)
                ),
                0 => "State of both runs.".to_owned(),
                bin => format!("State of both runs, averaged over bins of {}.", bin_text(bin, c)),
            },
            timeline: timeline(c, 174.0 * MM, room.panels),
        }
    }
}

/// Up to five requests with the largest relative E2E error, largest first.
fn worst_requests(c: &Comparison) -> Vec<RequestRow> {
    let mut rows: Vec<(f64, &RequestRow)> =
        c.requests.iter().filter_map(|row| Some((e2e_error(row)?, row))).collect();
    rows.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then(a.1.request_id.cmp(&b.1.request_id)));
    rows.into_iter().take(5).map(|(_, row)| row.clone()).collect()
}

fn e2e_error(row: &RequestRow) -> Option<f64> {
    let error = 100.0 * (row.e2e_simulated_ns / row.e2e_measured_ns - 1.0);
    error.is_finite().then_some(error)
}

fn worst_row(c: &Comparison, row: &RequestRow) -> Worst {
    let pair = |metric: &str| {
        let unit = unit(c, metric).ns();
        values(row, metric).map_or([NONE.to_owned(), NONE.to_owned()], |(m, s)| {
            [significant(m / unit, 4), significant(s / unit, 4)]
        })
    };
    Worst {
        id: format!("#{}", row.request_id),
        tokens_in: count(u64::from(row.num_prefill_tokens)),
        tokens_out: count(u64::from(row.num_decode_tokens)),
        values: METRICS.map(pair),
        error: e2e_error(row).map_or(NONE.to_owned(), percent),
    }
}

fn percentile_charts(c: &Comparison, samples: &[Samples], height: f64) -> Vec<Chart> {
    let curves: Vec<_> = samples.iter().map(|s| error_by_percentile(&s.measured, &s.simulated)).collect();
    let span = percentile_span(c, &curves);
    samples.iter().zip(curves).map(|(s, curve)| percentile_chart(c, s, &curve, span, height)).collect()
}

/// Half height of the three charts: room for nine tenths of the curves' points.
fn percentile_span(c: &Comparison, curves: &[Vec<(u32, f64, f64)>]) -> f64 {
    let mut sizes: Vec<f64> = curves.iter().flatten().map(|(_, error, _)| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let most = if sizes.is_empty() { 0.0 } else { percentile(&sizes, 90.0) };
    let floor = if c.pass_percent > 0.0 { c.pass_percent * 1.5 } else { 1.0 };
    Axis::panel((most * 1.15).max(floor)).hi
}

fn percentile_chart(c: &Comparison, s: &Samples, curve: &[(u32, f64, f64)], span: f64, height: f64) -> Chart {
    let width = THIRD;
    if curve.is_empty() {
        return Chart::missing(s.metric, width, height, s.why_empty());
    }
    let x = Axis {
        lo: 0.0,
        hi: 100.0,
        scale: Scale::Linear,
        ticks: [1, 25, 50, 75, 99].map(|p| (f64::from(p), format!("P{p}"))).to_vec(),
    };
    let pass = c.pass_percent;
    let tick = |v: f64| {
        let text = plain(v);
        (v, if v > 0.0 { format!("+{text}") } else { text })
    };
    // The limit's own ticks only where they do not collide with the others.
    let mut ticks = vec![tick(-span), tick(0.0), tick(span)];
    if pass / span > 0.22 && pass / span < 0.8 {
        ticks.insert(1, tick(-pass));
        ticks.insert(3, tick(pass));
    }
    let y = Axis { lo: -span, hi: span, scale: Scale::Linear, ticks };
    let to = |p: f64, error: f64| [round(x.at(p)), round(y.at(error))];
    let bars: Vec<[f64; 4]> = c
        .headline
        .iter()
        .filter(|row| row.metric == s.metric)
        .filter_map(|row| {
            let p: f64 = row.stat.strip_prefix('P')?.parse().ok()?;
            let [at, middle] = to(p, row.error_percent);
            let end = |percent: f64| round(y.at(percent).clamp(0.0, 1.0));
            (row.error_percent.abs() <= span)
                .then(|| [at, end(row.low_percent), end(row.high_percent), middle])
        })
        .collect();
    let mut marks = vec![
        Mark::Area {
            points: vec![to(0.0, -pass), to(100.0, -pass), to(100.0, pass), to(0.0, pass)],
            style: "wash",
        },
        Mark::Line { points: vec![to(0.0, 0.0), to(100.0, 0.0)], style: "rule" },
        Mark::Line {
            points: curve.iter().map(|(p, error, _)| to(f64::from(*p), *error)).collect(),
            style: "simulated",
        },
        Mark::Bars { bars, style: "interval" },
    ];
    let off: Vec<&(u32, f64, f64)> = curve.iter().filter(|(_, error, _)| error.abs() > span).collect();
    let farthest = off.iter().copied().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    if let (Some((p, error, _)), Some((first, ..)), Some((last, ..))) = (farthest, off.first(), off.last()) {
        let range = if first == last { format!("P{p}") } else { format!("P{first} to P{last}") };
        let text = format!("off the scale, {range}: {}", percent(*error));
        // In the half that the curve leaves free, away from where it leaves the scale.
        let (anchor, at_x) = if *p < 50 { ("right", 1.0) } else { ("left", 0.02) };
        let at_y = if *error > 0.0 { 0.07 } else { 0.93 };
        marks.push(Mark::Text { at: [at_x, at_y], text, anchor });
    }
    let errors: Vec<f64> = curve.iter().map(|(_, error, _)| *error).collect();
    let (low, high) = (
        errors.iter().copied().fold(f64::INFINITY, f64::min),
        errors.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    );
    Chart {
        alt: format!(
            "Error of {} by percentile: from {} to {} between P1 and P99.",
            s.metric,
            percent(low),
            percent(high)
        ),
        title: s.metric.to_owned(),
        unit: String::new(),
        width,
        height,
        pad: [8.0 * MM, 3.0 * MM, 2.0 * MM, 4.2 * MM],
        x: AxisView::of(&x, None, false),
        y: AxisView::of(&y, None, true),
        marks,
        note: String::new(),
        strip: None,
        empty: None,
    }
}

/// Measured against simulated, with identity line and tolerance band.
pub(super) fn scatter(s: &Samples, pass: f64, named: &[u32], width: f64, height: f64) -> Chart {
    if s.is_empty() {
        return Chart::missing("", width, height, s.why_empty());
    }
    let at = |ns: f64| s.axis.at(s.scaled(ns));
    let dots: Vec<[f64; 2]> = s
        .pairs
        .iter()
        .filter(|(_, m, sim)| s.axis.scale == Scale::Linear || (*m > 0.0 && *sim > 0.0))
        .map(|(_, m, sim)| [at(*m), at(*sim)])
        .collect();
    let pad = [if s.axis.scale == Scale::Log { 10.5 } else { 8.0 } * MM, 3.0 * MM, 2.0 * MM, 7.8 * MM];
    let (w, h) = (width - pad[0] - pad[1], height - pad[2] - pad[3]);
    let rings: Vec<([f64; 2], String)> = named
        .iter()
        .filter_map(|id| s.pairs.iter().find(|pair| pair.0 == *id))
        .filter(|(_, m, sim)| s.axis.scale == Scale::Linear || (*m > 0.0 && *sim > 0.0))
        .map(|(id, m, sim)| ([at(*m), at(*sim)], format!("#{id}")))
        .collect();
    let cloud = thin_dots(&dots, MOST_DOTS);
    let shown: Vec<[f64; 2]> = cloud.few.iter().chain(&cloud.some).chain(&cloud.many).copied().collect();
    // Labels keep off the identity line as off dots.
    let line = (0..=80).map(|i| [f64::from(i) / 80.0; 2]);
    let shown: Vec<[f64; 2]> = shown.into_iter().chain(line).collect();
    let callouts = place(&rings, &shown, w, h);
    let band = |factor: f64| {
        [s.axis.lo, s.axis.hi].map(|v| {
            [
                round(s.axis.at(v)),
                round(if v * factor > 0.0 || s.axis.scale == Scale::Linear {
                    s.axis.at(v * factor)
                } else {
                    0.0
                }),
            ]
        })
    };
    let (under, over) = (band((1.0 - pass / 100.0).max(0.01)), band(1.0 + pass / 100.0));
    let mut marks = vec![
        Mark::Area { points: vec![under[0], under[1], over[1], over[0]], style: "band" },
        Mark::Line { points: vec![[0.0, 0.0], [1.0, 1.0]], style: "rule" },
    ];
    marks.extend(Mark::cloud(cloud));
    if !callouts.is_empty() {
        marks.push(Mark::Callouts { callouts });
    }
    let mut errors: Vec<f64> =
        s.pairs.iter().map(|(_, m, sim)| 100.0 * (sim / m - 1.0)).filter(|error| error.is_finite()).collect();
    errors.sort_by(f64::total_cmp);
    let median = if errors.is_empty() {
        String::new()
    } else {
        format!(" Median error of a request {}.", percent(percentile(&errors, 50.0)))
    };
    let label = format!(
        "{}, {}",
        s.metric,
        match s.axis.scale {
            Scale::Linear => s.unit.symbol().to_owned(),
            Scale::Log => "logarithmic".to_owned(),
        }
    );
    Chart {
        alt: format!(
            "Measured against simulated {} of {} requests.{median}",
            s.metric,
            count(s.pairs.len() as u64)
        ),
        title: String::new(),
        unit: String::new(),
        width,
        height,
        pad,
        x: AxisView::of(&s.axis, Some(label), true),
        y: AxisView::of(&s.axis, None, true),
        marks,
        note: String::new(),
        strip: None,
        empty: None,
    }
}

fn bin_text(bin: u64, c: &Comparison) -> String {
    let factor = merge_factor(c) as u64;
    TimeUnit::brief(bin.saturating_mul(factor) as f64)
}

/// Bins that share a step so that a curve has at most [`MOST_BINS`].
fn merge_factor(c: &Comparison) -> usize {
    c.timeline_measured.len().max(c.timeline_simulated.len()).div_ceil(MOST_BINS).max(1)
}

fn merged(points: &[TimelinePoint], factor: usize, value: fn(&TimelinePoint) -> f64) -> Vec<(f64, f64)> {
    points
        .chunks(factor)
        .map(|part| {
            let mean = part.iter().map(value).sum::<f64>() / part.len() as f64;
            (part[0].time_ns as f64, if mean.is_finite() { mean } else { 0.0 })
        })
        .collect()
}

/// One quantity of a bin.
type Quantity = fn(&TimelinePoint) -> f64;

/// The four panels on one time axis.
pub(super) fn timeline(c: &Comparison, width: f64, height: f64) -> Vec<Panel> {
    if c.timeline_measured.is_empty() && c.timeline_simulated.is_empty() {
        return Vec::new();
    }
    let factor = merge_factor(c);
    let bin = c.bin_ns as f64;
    let end = [&c.timeline_measured, &c.timeline_simulated]
        .into_iter()
        .filter_map(|points| points.last())
        .fold(0.0_f64, |end, point| end.max(point.time_ns as f64 + bin));
    let unit = TimeUnit::of([end]);
    let x = Axis::inside(end / unit.ns(), 6);
    let specs: [(&'static str, &'static str, Quantity); 4] = [
        ("Running", "requests", |p| p.running),
        ("Waiting", "requests", |p| p.waiting),
        ("KV use", "per cent of blocks", |p| p.kv_percent),
        ("Generated", "tokens/s", |p| p.tokens_per_s),
    ];
    let last = specs.len() - 1;
    specs
        .into_iter()
        .enumerate()
        .map(|(index, (name, unit_name, value))| {
            let measured = merged(&c.timeline_measured, factor, value);
            let simulated = merged(&c.timeline_simulated, factor, value);
            let peak = |points: &[(f64, f64)]| points.iter().fold(0.0_f64, |most, point| most.max(point.1));
            let y = Axis::panel(peak(&measured).max(peak(&simulated)));
            let steps = |points: &[(f64, f64)]| {
                let mut out: Vec<[f64; 2]> = Vec::with_capacity(2 * points.len());
                for (i, (time, value)) in points.iter().enumerate() {
                    let until = points.get(i + 1).map_or(time + bin * factor as f64, |next| next.0);
                    let level = round(y.at(*value));
                    out.push([round(x.at(time / unit.ns())), level]);
                    out.push([round(x.at((until / unit.ns()).min(x.hi))), level]);
                }
                out
            };
            let is_last = index == last;
            let label = is_last.then(|| format!("{} since the first arrival", spelled(unit)));
            let chart = Chart {
                alt: format!(
                    "{name} over time, {unit_name}: at most {} measured and {} simulated, over {}.",
                    significant(peak(&measured), 3),
                    significant(peak(&simulated), 3),
                    TimeUnit::show(end)
                ),
                title: String::new(),
                unit: String::new(),
                width: width - 28.0 * MM,
                height: if is_last { height + 6.0 * MM } else { height },
                pad: [8.0 * MM, 0.5 * MM, 2.0 * MM, if is_last { 7.5 * MM } else { 1.5 * MM }],
                x: AxisView { labels: is_last, ..AxisView::of(&x, label, false) },
                y: AxisView::of(&y, None, true),
                marks: vec![
                    Mark::Line { points: steps(&measured), style: "wide" },
                    Mark::Line { points: steps(&simulated), style: "thin" },
                ],
                note: String::new(),
                strip: None,
                empty: None,
            };
            Panel {
                name,
                unit: unit_name,
                peak_measured: match measured.is_empty() {
                    true => NONE.to_owned(),
                    false => significant(peak(&measured), 3),
                },
                peak_simulated: significant(peak(&simulated), 3),
                chart,
            }
        })
        .collect()
}

fn spelled(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Ns => "nanoseconds",
        TimeUnit::Us => "microseconds",
        TimeUnit::Ms => "milliseconds",
        TimeUnit::S => "seconds",
    }
}
