//! The request rows of a comparison, one metric at a time, with the unit and
//! the axis that every chart of the metric shares.

use super::axis::{Axis, Scale, time_axis};
use super::number::TimeUnit;
use crate::compare::{Comparison, RequestRow};

/// Metrics that have charts, in the order of the pages.
pub(super) const METRICS: [&str; 3] = ["TTFT", "TPOT", "E2E"];

/// Measured and simulated values of one metric. ns.
#[derive(Clone)]
pub(super) struct Samples {
    pub metric: &'static str,
    /// Request id, measured, simulated; requests without the metric left out.
    pub pairs: Vec<(u32, f64, f64)>,
    /// Ascending.
    pub measured: Vec<f64>,
    pub simulated: Vec<f64>,
    /// Unit of the headline group, so that charts and table agree.
    pub unit: TimeUnit,
    pub axis: Axis,
}

/// Measured and simulated value of a request's metric, if it has both.
pub(super) fn values(row: &RequestRow, metric: &str) -> Option<(f64, f64)> {
    let (measured, simulated) = match metric {
        "TTFT" => (row.ttft_measured_ns, row.ttft_simulated_ns),
        "TPOT" => (row.tpot_measured_ns?, row.tpot_simulated_ns?),
        "E2E" => (row.e2e_measured_ns, row.e2e_simulated_ns),
        _ => return None,
    };
    (is_time(measured) && is_time(simulated)).then_some((measured, simulated))
}

/// A length of time that can be drawn: finite, and less than thirty million years.
fn is_time(ns: f64) -> bool {
    ns.abs() < 1e24
}

/// The unit a metric is shown in: that of its headline rows, else of its request rows.
pub(super) fn unit(comparison: &Comparison, metric: &str) -> TimeUnit {
    let rows: Vec<f64> = comparison
        .headline
        .iter()
        .filter(|row| row.metric == metric)
        .flat_map(|row| [row.measured_ns, row.simulated_ns])
        .collect();
    if rows.iter().any(|value| *value > 0.0) {
        return TimeUnit::of(rows);
    }
    TimeUnit::of(comparison.requests.iter().filter_map(|row| values(row, metric)).flat_map(|(m, s)| [m, s]))
}

impl Samples {
    pub(super) fn of(comparison: &Comparison, metric: &'static str) -> Samples {
        let pairs: Vec<(u32, f64, f64)> = comparison
            .requests
            .iter()
            .filter_map(|row| values(row, metric).map(|(m, s)| (row.request_id, m, s)))
            .collect();
        let mut measured: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
        let mut simulated: Vec<f64> = pairs.iter().map(|pair| pair.2).collect();
        measured.sort_by(f64::total_cmp);
        simulated.sort_by(f64::total_cmp);
        let unit = unit(comparison, metric);
        let all: Vec<f64> = measured.iter().chain(&simulated).copied().collect();
        let axis = time_axis(&all, unit);
        Samples { metric, pairs, measured, simulated, unit, axis }
    }

    /// A value in ns in the axis's own terms.
    pub(super) fn scaled(&self, ns: f64) -> f64 {
        match self.axis.scale {
            Scale::Linear => ns / self.unit.ns(),
            Scale::Log => ns,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// What a chart's head says after the metric's name.
    pub(super) fn unit_label(&self) -> &'static str {
        match self.axis.scale {
            Scale::Linear => self.unit.symbol(),
            Scale::Log => "log scale",
        }
    }

    /// Why a chart is missing.
    pub(super) fn why_empty(&self) -> &'static str {
        if self.metric == "TPOT" {
            "No request has a second output token, so there is no time per output token."
        } else {
            "No request finished in every run."
        }
    }
}
