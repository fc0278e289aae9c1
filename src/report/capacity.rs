//! The pages of a capacity search: the best cell, cost against latency, all
//! cells, how latency grows with load.

mod cells;
mod curves;
mod words;

use serde::Serialize;

use self::cells::CellTable;
use self::curves::Curves;
use self::words::Words;
use super::chart::{AxisView, Chart, MM, Mark};
use super::curve::round;
use super::decision::{
    Decided, Decision, LatencyAxis, callouts, cost_label, frame, number_axis, price_words, steps, top_label,
};
use super::number::{NONE, count, significant};
use super::text::{clean, fit, shorten};
use crate::capacity::{Candidate, Capacity, Cell, Point, Price, Standing};

/// Cells of the front that are listed beside the chart.
const MOST_FRONT: usize = 14;

#[derive(Debug, Serialize)]
pub(super) struct CapacityPages {
    name: String,
    title: String,
    lead: String,
    number: String,
    number_size: f64,
    number_unit: String,
    number_notes: Vec<String>,
    /// Head and lines, four of them.
    facts: Vec<(String, Vec<String>)>,
    cost: Option<CostSection>,
    decision: Option<Decision>,
    curves: Option<Curves>,
    table: CellTable,
    method: Vec<String>,
}

/// Cost against latency of all rates that hold.
#[derive(Debug, Serialize)]
struct CostSection {
    note: String,
    chart: Chart,
    currency: String,
    front_note: String,
    front: Vec<[String; 3]>,
    rest: String,
}

impl CapacityPages {
    pub(super) fn of(capacity: &Capacity) -> CapacityPages {
        let words = Words::of(capacity);
        let best = words.best();
        let (number, number_unit) = match best {
            Some(cell) => match cell.cost_per_million {
                Some(cost) => (significant(cost, 3), format!("{} per million output tokens", words.currency)),
                None => (
                    cell.outcome.highest_qps().map_or(NONE.to_owned(), |qps| significant(qps, 3)),
                    "requests/s".to_owned(),
                ),
            },
            None => ("0".to_owned(), words.of_all_hold()),
        };
        CapacityPages {
            name: words.name.clone(),
            title: words.title(),
            lead: words.lead(),
            number_size: if number.chars().count() <= 5 { 38.0 } else { 24.0 },
            number,
            number_unit,
            number_notes: best.map_or_else(Vec::new, |cell| words.number_notes(cell)),
            facts: words.facts(),
            cost: cost_section(&words),
            decision: decision(&words),
            curves: Curves::of(&words),
            table: CellTable::of(&words),
            method: words.method(),
        }
    }

    /// Title of a document that holds nothing else.
    pub(super) fn document_title(&self) -> String {
        format!("xp capacity: {}", shorten(&self.name, 80))
    }
}

fn cost_section(words: &Words<'_>) -> Option<CostSection> {
    let capacity = words.capacity;
    let operating = capacity.operating_points();
    if operating.is_empty() {
        return None;
    }
    let metric = capacity.latency.metric();
    let points: Vec<Point> = operating.iter().map(|(.., point)| *point).collect();
    let x = number_axis(points.iter().map(|point| point.cost), 8.0);
    let limit = capacity.objectives.limit_ns(capacity.latency).map(|ns| ns as f64);
    let y =
        LatencyAxis::of(points.iter().map(|point| point.latency_ns as f64).chain(limit.map(|ns| 1.1 * ns)));
    let at = |point: &Point| [round(x.at(point.cost)), y.at(point.latency_ns as f64)];
    let on_front: Vec<usize> = words
        .order
        .iter()
        .copied()
        .filter(|cell| capacity.cells[*cell].standing == Standing::OnFront)
        .collect();
    let highest = |cell: &Cell| cell.point(capacity.latency);
    let every = on_front.len().div_ceil(6).max(1);
    let named: Vec<([f64; 2], String)> = on_front
        .iter()
        .step_by(every)
        .filter_map(|cell| Some((at(&highest(&capacity.cells[*cell])?), words.short(*cell, 7.0, 34.0 * MM))))
        .collect();
    let dots: Vec<[f64; 2]> = points.iter().map(at).collect();
    let mut marks: Vec<Mark> = limit
        .map(|ns| y.at(ns))
        .map(|at| Mark::Line { points: vec![[0.0, at], [1.0, at]], style: "limit" })
        .into_iter()
        .collect();
    let front = steps(&points, at);
    marks.push(Mark::Line { points: front.clone(), style: "front-simulated" });
    marks.push(Mark::Circles { points: dots.clone(), style: "other" });
    marks.push(Mark::Circles {
        points: capacity.cells.iter().filter_map(highest).map(|point| at(&point)).collect(),
        style: "simulated",
    });
    // One cell needs no name.
    if capacity.cells.len() > 1 {
        marks.extend(callouts(&named, &dots, &[&front]));
    }
    marks.push(top_label(&y.label(metric)));
    let beaten =
        capacity.cells.iter().filter(|cell| matches!(cell.standing, Standing::DominatedBy(_))).count();
    let prices: Vec<Price> = capacity.cells.iter().filter_map(Cell::price).collect();
    Some(CostSection {
        note: format!(
            "{} Steps: points that no other beats on both axes. Dashed: the limit of P99 {metric}. Lower left is better.",
            match capacity.cells.len() {
                1 => "Every rate that holds; larger: the highest.",
                _ => "Every rate that holds, of every cell; larger: the highest of each cell.",
            }
        ),
        chart: frame(
            format!(
                "Cost per million output tokens against P99 {metric} at {} rates of {} cells; {} on the front.",
                count(points.len() as u64),
                count(capacity.cells.len() as u64),
                count(on_front.len() as u64)
            ),
            AxisView::of(&x, Some(cost_label(&words.currency, &x)), true),
            AxisView::of(&y.axis, None, true),
            marks,
        ),
        currency: words.currency.clone(),
        front_note: if capacity.cells.len() == 1 {
            "At the highest rate that holds.".to_owned()
        } else {
            format!(
                "At the highest rate that holds; cells as {}.",
                fit(&words.known_as, 8.0, false, 90.0 * MM)
            )
        },
        front: on_front.iter().take(MOST_FRONT).map(|cell| words.front_row(*cell)).collect(),
        rest: words.rest(
            on_front.len().saturating_sub(MOST_FRONT),
            beaten,
            &price_words(&prices.iter().collect::<Vec<_>>(), &words.currency),
        ),
    })
}

fn decision(words: &Words<'_>) -> Option<Decision> {
    let capacity = words.capacity;
    let fidelity = capacity.fidelity.as_ref()?;
    let (mut candidates, mut labels): (Vec<Candidate>, Vec<String>) = (Vec::new(), Vec::new());
    let mut prices: Vec<Price> = Vec::new();
    for (index, cell) in capacity.cells.iter().enumerate() {
        for (qps, candidate) in cell.candidates(capacity.latency) {
            candidates.push(candidate);
            let rate = significant(qps, 2);
            labels.push(if capacity.cells.len() > 1 { format!("{} at {rate}", index + 1) } else { rate });
        }
        prices.extend(cell.price());
    }
    let known_as = if capacity.cells.len() > 1 { "cell at requests/s" } else { "requests/s" };
    Some(Decision::of(&Decided {
        candidates: &candidates,
        labels: &labels,
        fidelity,
        metric: capacity.latency.metric(),
        limit_ns: capacity.objectives.limit_ns(capacity.latency),
        currency: &words.currency,
        known_as,
        price: price_words(&prices.iter().collect::<Vec<_>>(), &words.currency),
    }))
}

/// A value of a setting as text that can be set.
fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => clean(text, 40),
        other => clean(&other.to_string(), 40),
    }
}
