//! Searches of cells → a document: costs, the Pareto front, decision fidelity.

use super::canonical::six_digits;
use super::cost::{Price, cost_per_million};
use super::document::{CAPACITY_FORMAT, Capacity, Cell, MAX_CELLS, Measured, Setting, operating_points};
use super::error::CapacityError;
use super::fidelity::{Candidate, Fidelity, auto_targets, fidelity};
use super::load::Load;
use super::objectives::{Objective, Objectives};
use super::pareto::{Standing, standings};
use super::search::{Found, Range, disorder};
use crate::metrics::METRICS_VERSION;
use crate::store::Digest;

/// A rate at which a cell was measured, and the simulation of the same requests.
pub type MeasuredInput = (f64, Load, Load);

/// A cell as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCell {
    /// One for each axis, in their order.
    pub settings: Vec<Setting>,
    pub hardware: String,
    /// Devices: tensor × pipeline × replicas.
    pub devices: u32,
    pub price_per_device_hour: Option<f64>,
    pub measured: Vec<MeasuredInput>,
}

/// A search as it was asked for; fields as in [`Capacity`].
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub name: String,
    pub description: Option<String>,
    pub simulator: String,
    pub model: String,
    pub workload: String,
    pub requests: u64,
    pub objectives: Objectives,
    pub range: Range,
    pub currency: String,
    pub axes: Vec<String>,
    pub cells: Vec<PlannedCell>,
    pub lock_digest: Digest,
    pub xp_version: String,
}

impl Plan {
    /// Whether it can be searched and written; ask before simulating anything.
    ///
    /// # Errors
    /// [`CapacityError::NoObjective`], [`CapacityError::Range`], and [`CapacityError::Plan`]: no cells or more than
    /// [`MAX_CELLS`], no requests, settings that are not those of the axes, no devices, or a price that is none.
    pub fn check(&self) -> Result<(), CapacityError> {
        if self.objectives.is_empty() {
            return Err(CapacityError::NoObjective);
        }
        if let Some(problem) = self.range.problem() {
            return Err(CapacityError::Range { problem });
        }
        let wrong = |what: String| Err(CapacityError::Plan { what });
        if self.cells.is_empty() || self.cells.len() > MAX_CELLS {
            return wrong(format!("it has {} cells", self.cells.len()));
        }
        if self.requests == 0 {
            return wrong("a probe has no requests".to_owned());
        }
        for (number, cell) in (1..).zip(&self.cells) {
            let paths = cell.settings.iter().map(|setting| &setting.path);
            let price =
                Price { per_device_hour: cell.price_per_device_hour.unwrap_or(0.0), devices: cell.devices };
            if !paths.eq(&self.axes) {
                return wrong(format!("the settings of cell {number} are not those of the axes"));
            }
            if !price.is_sound() {
                return wrong(format!(
                    "cell {number} has {} devices at {}",
                    price.devices, price.per_device_hour
                ));
            }
        }
        Ok(())
    }
}

/// The document of searches, one for each cell of the plan in its order.
///
/// # Errors
/// Those of [`Plan::check`], and [`CapacityError::Plan`] where there are not as many searches as cells.
pub fn assemble(plan: Plan, found: Vec<Found>) -> Result<Capacity, CapacityError> {
    plan.check()?;
    if plan.cells.len() != found.len() {
        return Err(CapacityError::Plan {
            what: format!("{} searches of {} cells", found.len(), plan.cells.len()),
        });
    }
    let latency = plan.objectives.primary();
    let mut cells: Vec<Cell> =
        plan.cells.into_iter().zip(found).map(|(planned, found)| cell(planned, found)).collect();
    for (cell, standing) in standings_of(&cells, latency).into_iter().enumerate() {
        cells[cell].standing = standing;
    }
    Ok(Capacity {
        format: CAPACITY_FORMAT,
        metrics_version: METRICS_VERSION,
        name: plan.name,
        description: plan.description,
        simulator: plan.simulator,
        model: plan.model,
        workload: plan.workload,
        requests: plan.requests,
        objectives: plan.objectives,
        latency,
        range: plan.range,
        currency: plan.currency,
        axes: plan.axes,
        fidelity: fidelity_of(&cells, &plan.objectives),
        cells,
        lock_digest: plan.lock_digest,
        xp_version: plan.xp_version,
    })
}

fn cell(planned: PlannedCell, found: Found) -> Cell {
    let measured = planned.measured.into_iter();
    let mut cell = Cell {
        settings: planned.settings,
        hardware: planned.hardware,
        devices: planned.devices,
        price_per_device_hour: planned.price_per_device_hour.map(six_digits),
        outcome: found.outcome,
        disorder: disorder(&found.probes),
        probes: found.probes,
        cost_per_million: None,
        standing: Standing::Apart,
        measured: measured
            .map(|(qps, measured, simulated)| Measured { qps: six_digits(qps), measured, simulated })
            .collect(),
    };
    cell.cost_per_million = cost_of(&cell);
    cell
}

/// Cost at the highest rate that holds.
pub(super) fn cost_of(cell: &Cell) -> Option<f64> {
    cost_per_million(&cell.price()?, cell.highest_load()?.output_tokens_per_s)
}

/// Standing of each cell: on the front if one of its operating points is, else dominated by the cell whose point beats
/// its own at the highest rate that holds.
pub(super) fn standings_of(cells: &[Cell], latency: Objective) -> Vec<Standing> {
    let points = operating_points(cells, latency);
    let of_points = standings(&points.iter().map(|(.., point)| Some(*point)).collect::<Vec<_>>());
    let mut out = vec![Standing::Apart; cells.len()];
    for ((cell, qps, _), standing) in points.iter().zip(of_points) {
        match standing {
            Standing::OnFront => out[*cell] = Standing::OnFront,
            Standing::DominatedBy(by) if out[*cell] != Standing::OnFront => {
                if cells[*cell].outcome.highest_qps() == Some(*qps) || out[*cell] == Standing::Apart {
                    out[*cell] = Standing::DominatedBy(points[by as usize].0 as u32);
                }
            }
            Standing::DominatedBy(_) | Standing::Apart => {}
        }
    }
    out
}

/// Decision fidelity over all measured rates, for the objective's limit and round targets.
pub(super) fn fidelity_of(cells: &[Cell], objectives: &Objectives) -> Option<Fidelity> {
    let latency = objectives.primary();
    let candidates: Vec<Candidate> =
        cells.iter().flat_map(|cell| cell.candidates(latency)).map(|(_, candidate)| candidate).collect();
    fidelity(&candidates, &auto_targets(&candidates, objectives.limit_ns(latency)))
}
