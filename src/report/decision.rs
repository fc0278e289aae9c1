//! Cost against latency, measured and simulated, and whether both lead to the
//! same choice.

use serde::Serialize;

use super::axis::{Axis, Scale, log_label};
use super::chart::{AxisView, Chart, MM, Mark};
use super::curve::round;
use super::number::{NONE, TimeUnit, count, fixed, plain, significant};
use super::text::{clean, fit};
use crate::capacity::{Candidate, Choice, Fidelity, Point, Price, Regret, Standing, standings};

/// Width and height of the chart beside its table.
pub(super) const WIDTH: f64 = 112.0 * MM;
pub(super) const HEIGHT: f64 = 78.0 * MM;

/// What a section of cost against latency is made of.
pub(super) struct Decided<'a> {
    pub candidates: &'a [Candidate],
    /// Short names of the candidates.
    pub labels: &'a [String],
    pub fidelity: &'a Fidelity,
    /// Short name of the latency.
    pub metric: &'a str,
    pub limit_ns: Option<u64>,
    pub currency: &'a str,
    /// What the short names hold, such as `qps × chunk-size`.
    pub known_as: &'a str,
    /// A sentence on prices.
    pub price: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Decision {
    note: String,
    chart: Chart,
    choice_note: String,
    choices: Vec<ChoiceRow>,
    rank_note: String,
}

#[derive(Debug, Serialize)]
struct ChoiceRow {
    target: String,
    measured: String,
    simulated: String,
    regret: String,
    /// As measured, the simulator's choice is beyond the target.
    misses: bool,
}

impl Decision {
    pub(super) fn of(d: &Decided<'_>) -> Decision {
        let n = d.candidates.len();
        let equal = d.fidelity.equal_choices;
        let targets = d.fidelity.choices.len();
        let tau = |tau: Option<f64>| tau.map_or("undefined".to_owned(), |tau| fixed(tau, 2));
        Decision {
            note: "Each cell twice, joined by a line. Steps: cells that no other cell beats on both axes. Lower left \
                   is better."
                .to_owned(),
            chart: chart(d),
            choice_note: format!(
                "Cheapest cell under a P99 {} target, as {}. Regret: extra measured cost of the simulator’s choice, or \
                 the measured P99 {} where that choice misses the target.",
                d.metric,
                fit(&clean(d.known_as, 120), 8.0, false, 90.0 * MM),
                d.metric
            ),
            choices: d.fidelity.choices.iter().map(|choice| row(choice, d.labels)).collect(),
            rank_note: format!(
                "The same choice for {equal} of {targets} targets. Rank agreement over {} cells (Kendall τ-b): P99 {} \
                 {}, cost {}. {}",
                count(n as u64),
                d.metric,
                tau(d.fidelity.tau_latency),
                tau(d.fidelity.tau_cost),
                d.price
            ),
        }
    }
}

fn row(choice: &Choice, labels: &[String]) -> ChoiceRow {
    let name = |index: Option<u32>| match index.and_then(|index| labels.get(index as usize)) {
        Some(label) => fit(&clean(label, 60), 8.0, false, 13.0 * MM),
        None => "none".to_owned(),
    };
    let (regret, misses) = match choice.regret {
        Regret::Neither => (NONE.to_owned(), false),
        Regret::CostPercent(Some(percent)) => (super::number::percent(percent).replace('+', ""), false),
        Regret::CostPercent(None) => (NONE.to_owned(), false),
        Regret::MissesNs(ns) => (TimeUnit::show(ns as f64), true),
        Regret::Abstains => ("no choice".to_owned(), true),
    };
    ChoiceRow {
        target: TimeUnit::brief(choice.target_ns as f64),
        measured: name(choice.measured),
        simulated: name(choice.simulated),
        regret,
        misses,
    }
}

/// A sentence on what devices cost.
pub(super) fn price_words(prices: &[&Price], currency: &str) -> String {
    let mut each: Vec<f64> = prices.iter().map(|price| price.per_device_hour).collect();
    each.sort_by(f64::total_cmp);
    each.dedup();
    match (each.first(), each.last()) {
        (Some(least), Some(most)) if least == most => {
            format!("Price: {} {currency} per device-hour.", significant(*least, 3))
        }
        (Some(least), Some(most)) => {
            format!(
                "Prices: {} to {} {currency} per device-hour.",
                significant(*least, 3),
                significant(*most, 3)
            )
        }
        _ => String::new(),
    }
}

/// An axis of latencies: logarithmic in ns, or linear in a unit.
#[derive(Debug, Clone)]
pub(super) struct LatencyAxis {
    pub axis: Axis,
    /// None on a logarithmic axis, whose ticks carry their units.
    pub unit: Option<TimeUnit>,
}

impl LatencyAxis {
    pub(super) fn of(values_ns: impl Iterator<Item = f64> + Clone) -> LatencyAxis {
        let positive = values_ns.filter(|ns| ns.is_finite() && *ns > 0.0);
        let (min, max) =
            (positive.clone().fold(f64::INFINITY, f64::min), positive.clone().fold(0.0, f64::max));
        if max > 8.0 * min {
            return LatencyAxis { axis: Axis::log(min, max, log_label), unit: None };
        }
        let unit = TimeUnit::of(positive);
        let least = if min.is_finite() { min } else { 0.0 };
        LatencyAxis { axis: Axis::linear(least / unit.ns(), max / unit.ns()), unit: Some(unit) }
    }

    pub(super) fn at(&self, ns: f64) -> f64 {
        round(self.axis.at(ns / self.unit.map_or(1.0, TimeUnit::ns)))
    }

    /// `P99 TTFT, s`, or `P99 TTFT (log)`.
    pub(super) fn label(&self, metric: &str) -> String {
        match self.unit {
            Some(unit) => format!("P99 {metric}, {}", unit.symbol()),
            None => format!("P99 {metric} (log)"),
        }
    }
}

/// An axis of plain positive numbers: logarithmic when they span more than `decade` times their least.
pub(super) fn number_axis(values: impl Iterator<Item = f64> + Clone, decade: f64) -> Axis {
    let positive = values.filter(|v| v.is_finite() && *v > 0.0);
    let (min, max) = (positive.clone().fold(f64::INFINITY, f64::min), positive.fold(0.0, f64::max));
    if max > decade * min {
        return Axis::log(min, max, |v| if v < 0.01 { significant(v, 1) } else { plain(v) });
    }
    Axis::linear(if min.is_finite() { min } else { 0.0 }, max)
}

/// Corners of the steps through points that no other beats, from the cheapest on.
pub(super) fn steps(points: &[Point], at: impl Fn(&Point) -> [f64; 2]) -> Vec<[f64; 2]> {
    let standing = standings(&points.iter().copied().map(Some).collect::<Vec<_>>());
    let mut front: Vec<&Point> = points
        .iter()
        .zip(standing)
        .filter(|(_, standing)| *standing == Standing::OnFront)
        .map(|(point, _)| point)
        .collect();
    front.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    front.dedup();
    let mut out: Vec<[f64; 2]> = Vec::with_capacity(front.len() * 2);
    for point in front {
        let [x, y] = at(point);
        if let Some([_, before]) = out.last().copied() {
            out.push([x, before]);
        }
        out.push([x, y]);
    }
    out
}

fn chart(d: &Decided<'_>) -> Chart {
    let all = d.candidates.iter().flat_map(|candidate| [candidate.measured, candidate.simulated]);
    let x = number_axis(all.clone().map(|point| point.cost), 8.0);
    let limit = d.limit_ns.map(|ns| ns as f64);
    let y = LatencyAxis::of(all.map(|point| point.latency_ns as f64));
    let at = |point: &Point| [round(x.at(point.cost)), y.at(point.latency_ns as f64)];
    let (measured, simulated): (Vec<Point>, Vec<Point>) =
        d.candidates.iter().map(|candidate| (candidate.measured, candidate.simulated)).unzip();
    let mut marks = Vec::new();
    marks.extend(
        limit
            .map(|ns| y.at(ns))
            .filter(|at| (0.0..=1.0).contains(at))
            .map(|at| Mark::Line { points: vec![[0.0, at], [1.0, at]], style: "limit" }),
    );
    let fronts = [steps(&measured, at), steps(&simulated, at)];
    for (points, style) in fronts.iter().zip(["front-measured", "front-simulated"]) {
        marks.push(Mark::Line { points: points.clone(), style });
    }
    for candidate in d.candidates {
        marks.push(Mark::Line {
            points: vec![at(&candidate.measured), at(&candidate.simulated)],
            style: "pair",
        });
    }
    marks.push(Mark::Circles { points: measured.iter().map(at).collect(), style: "measured" });
    marks.push(Mark::Circles { points: simulated.iter().map(at).collect(), style: "simulated" });
    let named = named_front(&measured, d.labels, &at);
    let dots: Vec<[f64; 2]> = measured.iter().chain(&simulated).map(at).collect();
    marks.extend(callouts(&named, &dots, &[&fronts[0], &fronts[1]]));
    marks.push(top_label(&y.label(d.metric)));
    frame(
        format!(
            "Cost per million output tokens against P99 {} of {} cells, measured and simulated.",
            d.metric,
            d.candidates.len()
        ),
        AxisView::of(&x, Some(cost_label(d.currency, &x)), true),
        AxisView::of(&y.axis, None, true),
        marks,
    )
}

/// Up to six points of the front with their names, evenly chosen.
fn named_front(
    points: &[Point],
    labels: &[String],
    at: &impl Fn(&Point) -> [f64; 2],
) -> Vec<([f64; 2], String)> {
    let standing = standings(&points.iter().copied().map(Some).collect::<Vec<_>>());
    let mut front: Vec<usize> =
        (0..points.len()).filter(|index| standing[*index] == Standing::OnFront).collect();
    front.sort_by(|a, b| points[*a].cost.total_cmp(&points[*b].cost));
    let every = front.len().div_ceil(6).max(1);
    let name = |index: &usize| fit(&clean(&labels[*index], 60), 7.0, false, 34.0 * MM);
    front.iter().step_by(every).map(|index| (at(&points[*index]), name(index))).collect()
}

/// Labels of points on a chart of [`frame`], off its dots and lines.
pub(super) fn callouts(
    named: &[([f64; 2], String)],
    dots: &[[f64; 2]],
    lines: &[&Vec<[f64; 2]>],
) -> Option<Mark> {
    let (width, height) = (WIDTH - PAD[0] - PAD[1], HEIGHT - PAD[2] - PAD[3]);
    let mut taken: Vec<[f64; 2]> = dots.to_vec();
    for pair in lines.iter().flat_map(|line| line.windows(2)) {
        // A dot every two points or so.
        let length = (pair[1][0] - pair[0][0]).abs() * width + (pair[1][1] - pair[0][1]).abs() * height;
        let n = (length / 2.0).ceil().clamp(1.0, 200.0);
        taken.extend((0..n as u32).map(|step| {
            let share = f64::from(step) / n;
            [0, 1].map(|side| pair[0][side] + share * (pair[1][side] - pair[0][side]))
        }));
    }
    let callouts = super::callout::place(named, &taken, width, height);
    (!callouts.is_empty()).then_some(Mark::Callouts { callouts })
}

/// The y axis' label, above it.
pub(super) fn top_label(label: &str) -> Mark {
    Mark::Text { at: [0.0, 1.045], text: label.to_owned(), anchor: "left" }
}

pub(super) fn cost_label(currency: &str, axis: &Axis) -> String {
    let log = if axis.scale == Scale::Log { " (log)" } else { "" };
    format!("{currency} per million output tokens{log}")
}

const PAD: [f64; 4] = [10.0 * MM, 3.0 * MM, 5.0 * MM, 8.0 * MM];

/// A chart of cost against latency.
pub(super) fn frame(alt: String, x: AxisView, y: AxisView, marks: Vec<Mark>) -> Chart {
    Chart {
        alt,
        title: String::new(),
        unit: String::new(),
        width: WIDTH,
        height: HEIGHT,
        pad: PAD,
        x,
        y,
        marks,
        note: String::new(),
        strip: None,
        empty: None,
    }
}
