//! How percentiles grow with load, for the best cells.

use serde::Serialize;

use super::super::chart::{AxisView, Chart, MM, Mark};
use super::super::curve::round;
use super::super::decision::{LatencyAxis, number_axis};
use super::super::number::TimeUnit;
use super::words::{Words, rate};
use crate::capacity::{Cell, Objective, Probe};

/// Cells that are drawn, side by side.
const MOST: usize = 3;
/// Values beyond so many limits (or least values, where those are beyond the limit) are off the scale.
const BEYOND: f64 = 4.0;

#[derive(Debug, Serialize)]
pub(super) struct Curves {
    note: String,
    /// Names of the cells, over their columns.
    heads: Vec<String>,
    /// By objective, then by cell.
    rows: Vec<Vec<Chart>>,
}

impl Curves {
    pub(super) fn of(words: &Words<'_>) -> Option<Curves> {
        let cells: Vec<(usize, &Cell)> =
            words.order.iter().take(MOST).map(|index| (*index, &words.capacity.cells[*index])).collect();
        let rows: Vec<Vec<Chart>> = words
            .capacity
            .objectives
            .set()
            .take(3)
            .map(|(objective, limit_ns)| row(&cells, objective, limit_ns as f64))
            .collect();
        let heads = cells.iter().map(|(index, cell)| {
            let name = words.short(*index, 8.0, 26.0 * MM);
            format!("{name}, {} requests/s", rate(&cell.outcome))
        });
        Some(Curves {
            note: format!(
                "P99 at every rate tried{}. Filled: all objectives met; hollow: one is missed; square: stopped early, or \
                 off the scale. Dashed: the limit. Upright: the highest rate that holds.",
                match words.order.len() {
                    1 => "",
                    n if n <= MOST => ", by cell",
                    _ => ", of the first three cells of the table",
                }
            ),
            heads: heads.collect(),
            rows,
        })
    }
}

/// P99 of a probe in ns, if it ran to its end.
fn value(probe: &Probe, objective: Objective) -> Option<f64> {
    Some(probe.answer.load()?.percentiles(objective).p99_ns? as f64)
}

fn row(cells: &[(usize, &Cell)], objective: Objective, limit_ns: f64) -> Vec<Chart> {
    let probes = cells.iter().flat_map(|(_, cell)| &cell.probes);
    let all: Vec<f64> = probes.filter_map(|probe| value(probe, objective)).collect();
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    let most = BEYOND * if least.is_finite() { limit_ns.max(least) } else { limit_ns };
    let inside = all.into_iter().filter(|ns| *ns <= most).chain([0.8 * limit_ns, 1.2 * limit_ns]);
    let y = LatencyAxis::of(inside.collect::<Vec<_>>().into_iter());
    let limit_ns = (limit_ns, most);
    cells.iter().map(|(_, cell)| chart(cell, objective, limit_ns, &y)).collect()
}

fn chart(cell: &Cell, objective: Objective, (limit_ns, most): (f64, f64), y: &LatencyAxis) -> Chart {
    let mut probes: Vec<&Probe> = cell.probes.iter().collect();
    probes.sort_by(|a, b| a.qps.total_cmp(&b.qps));
    let x = number_axis(probes.iter().map(|probe| probe.qps), 8.0);
    let inside = |probe: &Probe| value(probe, objective).filter(|ns| *ns <= most);
    let at = |probe: &&Probe| Some([round(x.at(probe.qps)), y.at(inside(probe)?)]);
    let placed = |holds: bool| -> Vec<[f64; 2]> {
        probes.iter().filter(|probe| probe.holds() == holds).filter_map(at).collect()
    };
    let off: Vec<[f64; 2]> = probes
        .iter()
        .filter(|probe| at(probe).is_none())
        .map(|probe| [round(x.at(probe.qps)), 0.97])
        .collect();
    let limit = y.at(limit_ns);
    let highest = cell.outcome.highest_qps();
    let mut marks = vec![Mark::Line { points: vec![[0.0, limit], [1.0, limit]], style: "limit" }];
    marks.extend(highest.map(|qps| {
        let x = round(x.at(qps));
        Mark::Line { points: vec![[x, 0.0], [x, 1.0]], style: "rule" }
    }));
    marks.push(Mark::Line { points: probes.iter().filter_map(at).collect(), style: "thin" });
    marks.push(Mark::Circles { points: placed(true), style: "held" });
    marks.push(Mark::Circles { points: placed(false), style: "failed" });
    marks.push(Mark::Circles { points: off, style: "stopped" });
    let label = y.label(objective.metric());
    let log = if x.scale == super::super::axis::Scale::Log { " (log)" } else { "" };
    marks.push(super::super::decision::top_label(&label));
    let at_highest = cell.highest_load().and_then(|load| load.percentiles(objective).p99_ns);
    Chart {
        alt: format!(
            "P99 {} at {} request rates, limit {}; {}.",
            objective.metric(),
            probes.len(),
            TimeUnit::show(limit_ns),
            match (highest, at_highest) {
                (Some(_), Some(ns)) => {
                    format!(
                        "{} at {} requests/s, the highest that holds",
                        TimeUnit::show(ns as f64),
                        rate(&cell.outcome)
                    )
                }
                _ => "no rate holds".to_owned(),
            }
        ),
        title: String::new(),
        unit: String::new(),
        width: 54.0 * MM,
        height: 42.0 * MM,
        pad: [10.0 * MM, 2.0 * MM, 5.0 * MM, 7.5 * MM],
        x: AxisView::of(&x, Some(format!("requests/s{log}")), false),
        y: AxisView::of(&y.axis, None, true),
        marks,
        note: String::new(),
        strip: None,
        empty: None,
    }
}
