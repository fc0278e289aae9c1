//! `capacity.json`: every probe of every cell, and what follows from them. The
//! report draws it and computes nothing of its own.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cost::Price;
use super::fidelity::{Candidate, Fidelity};
use super::load::Load;
use super::objectives::{Objective, Objectives};
use super::pareto::{Point, Standing};
use super::search::{Disorder, Outcome, Probe, Range};
use crate::store::Digest;

/// Version of `capacity.json`.
pub const CAPACITY_FORMAT: u32 = 1;

/// Most cells of a search.
pub const MAX_CELLS: usize = 10_000;

/// A setting of a cell in the lock's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Dotted path, such as `backend.sarathi.chunk-size`.
    pub path: String,
    /// A text, a number or a truth value.
    pub value: Value,
}

/// A rate at which the cell was measured, and the simulation of the same requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Requests/s.
    pub qps: f64,
    pub measured: Load,
    pub simulated: Load,
}

/// A configuration, and what a search found of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// In which it differs from others: one for each axis of the document, in their order.
    pub settings: Vec<Setting>,
    /// Name of the hardware.
    pub hardware: String,
    /// Devices: tensor × pipeline × replicas.
    pub devices: u32,
    /// Price of one, per hour; none where it is not known.
    pub price_per_device_hour: Option<f64>,
    pub outcome: Outcome,
    /// Where a higher rate held after a lower one failed.
    pub disorder: Vec<Disorder>,
    /// In the order in which they were tried.
    pub probes: Vec<Probe>,
    /// Cost of a million output tokens at the highest rate that holds.
    pub cost_per_million: Option<f64>,
    /// Whether a rate that holds is among the operating points of all cells that no other beats on cost and latency.
    pub standing: Standing,
    pub measured: Vec<Measured>,
}

/// `capacity.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Version of this format.
    pub format: u32,
    /// Version of the metric definitions.
    pub metrics_version: u32,
    /// The experiment's name.
    pub name: String,
    pub description: Option<String>,
    /// What simulated, such as `vidur, profiled on this machine`.
    pub simulator: String,
    /// Of the model and the workload, for the head of a report.
    pub model: String,
    pub workload: String,
    /// Requests of each probe.
    pub requests: u64,
    pub objectives: Objectives,
    /// The latency that cost is held against: the first objective.
    pub latency: Objective,
    pub range: Range,
    /// Of all prices, such as `US$`.
    pub currency: String,
    /// Paths of the settings in which cells differ.
    pub axes: Vec<String>,
    pub cells: Vec<Cell>,
    /// Over all measured rates of all cells, in their order; none without one that has a cost and a latency.
    pub fidelity: Option<Fidelity>,
    /// Digest of the lock's inputs.
    pub lock_digest: Digest,
    pub xp_version: String,
}

/// Every rate that was seen to hold, of every cell that has a price: cell, rate, cost and latency there. In the
/// order of cells and probes.
pub(super) fn operating_points(cells: &[Cell], latency: Objective) -> Vec<(usize, f64, Point)> {
    let of_cell = |(index, cell): (usize, &Cell)| {
        let holding = cell.probes.iter().filter(|probe| probe.holds());
        let points = holding
            .filter_map(|probe| Some((index, probe.qps, cell.point_of(probe.answer.load()?, latency)?)));
        points.collect::<Vec<_>>()
    };
    cells.iter().enumerate().flat_map(of_cell).collect()
}

/// Whether a path is of a setting that belongs to the hardware: of itself, or of what simulates it.
fn is_of_hardware(path: &str) -> bool {
    let mut parts = path.split('.');
    match parts.next() {
        Some("hardware") => true,
        Some("backend") => {
            matches!(parts.nth(1), Some("profile" | "vidur" | "predictor" | "grid" | "overhead"))
        }
        _ => false,
    }
}

impl Capacity {
    /// Whether cells are of different hardware.
    pub fn has_several_hardware(&self) -> bool {
        self.cells.iter().any(|cell| cell.hardware != self.cells[0].hardware)
    }

    /// Axes that tell more than the hardware's name does: all, but settings of the hardware and its profile that have
    /// one value for each name, where there are several names.
    pub fn telling_axes(&self) -> Vec<usize> {
        let is_told = |axis: usize| {
            let mut of_name: HashMap<&str, &Value> = HashMap::new();
            is_of_hardware(&self.axes[axis])
                && self.cells.iter().all(|cell| {
                    let Some(setting) = cell.settings.get(axis) else { return false };
                    *of_name.entry(&cell.hardware).or_insert(&setting.value) == &setting.value
                })
        };
        let several = self.has_several_hardware();
        (0..self.axes.len()).filter(|axis| !several || !is_told(*axis)).collect()
    }

    /// Every rate that was seen to hold, of every cell that has a price: cell, rate, cost and latency there.
    pub fn operating_points(&self) -> Vec<(usize, f64, Point)> {
        operating_points(&self.cells, self.latency)
    }
}

impl Cell {
    /// Price and devices; none where the price is not known.
    pub fn price(&self) -> Option<Price> {
        Some(Price { per_device_hour: self.price_per_device_hour?, devices: self.devices })
    }

    /// The run at the highest rate that holds.
    pub fn highest_load(&self) -> Option<&Load> {
        let qps = self.outcome.highest_qps()?;
        self.probes.iter().find(|probe| probe.qps == qps)?.answer.load()
    }

    /// Cost and latency at the highest rate that holds.
    pub fn point(&self, latency: Objective) -> Option<Point> {
        self.point_of(self.highest_load()?, latency)
    }

    /// Cost and latency of a load.
    pub fn point_of(&self, load: &Load, latency: Objective) -> Option<Point> {
        let cost = super::cost::cost_per_million(&self.price()?, load.output_tokens_per_s)?;
        Some(Point { cost, latency_ns: load.percentiles(latency).p99_ns? })
    }

    /// Its measured rates that have a cost and a latency on both sides: rate and candidate.
    pub fn candidates(&self, latency: Objective) -> impl Iterator<Item = (f64, Candidate)> + '_ {
        self.measured.iter().filter_map(move |at| {
            let measured = self.point_of(&at.measured, latency)?;
            Some((at.qps, Candidate { measured, simulated: self.point_of(&at.simulated, latency)? }))
        })
    }
}
