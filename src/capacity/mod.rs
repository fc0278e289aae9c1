//! Capacity search: the highest request rate at which a configuration holds its
//! objectives, for every cell of a matrix; what a million output tokens cost
//! there; and whether a simulator would choose the configuration that
//! measurements choose.
//!
//! The room simulates nothing: whoever does is a [`Simulate`]. Definitions are in
//! `docs/capacity.md`.

mod assemble;
mod canonical;
mod cost;
mod document;
mod error;
mod explore;
mod fidelity;
mod files;
mod load;
mod objectives;
mod overload;
mod pareto;
#[cfg(test)]
pub(crate) mod sample_queue;
mod search;

pub use assemble::{MeasuredInput, Plan, PlannedCell, assemble};
pub use cost::{MAX_DEVICES, MAX_PRICE, Price, cost_per_million};
pub use document::{CAPACITY_FORMAT, Capacity, Cell, MAX_CELLS, Measured, Setting};
pub use error::CapacityError;
pub use explore::{Simulate, explore};
pub use fidelity::{Candidate, Choice, Fidelity, Regret, auto_targets, fidelity, kendall_tau_b};
pub use files::{capacity_json, parse_capacity, read_capacity, write_capacity};
pub use load::{Load, Percentiles};
pub use objectives::{Objective, Objectives};
pub use overload::{Overload, Watch};
pub use pareto::{Point, Standing, standings};
pub use search::{Answer, Disorder, Found, MAX_QPS, Outcome, Probe, Range, search};
