//! The matrix: product of its axes, in the order written, the first the slowest.

use serde::Deserialize;
use serde_json::Value;

use super::check::{self, MAX_CELLS};
use super::diagnostic::{Mistake, SpecErrors};
use super::experiment::{Experiment, Lengths};
use super::path::{Target, resolve, set};
use super::place::{Finding, Places};
use super::schema::validator;
use super::violations::violations;

/// Findings after which the other cells are not looked at.
const ENOUGH: usize = 20;

/// Most requests of all cells together: the workloads of a lock are held in memory.
pub const MAX_MATRIX_REQUESTS: u64 = 20_000_000;

/// One cell of the matrix: its settings, and the experiment with them applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Its matrix is empty.
    pub experiment: Experiment,
    /// Path and value for each axis.
    pub overrides: Vec<(String, Value)>,
}

/// Something is wrong with a cell.
#[derive(Debug)]
pub(super) struct CellFinding {
    finding: Finding,
    /// The axis whose value it is about, if it is one's: axis and value.
    axis: Option<(usize, usize)>,
    /// Such as `workload.arrivals.qps=4`.
    cell: String,
}

/// The cells of an experiment; one when its matrix is empty.
///
/// # Errors
/// A path leads nowhere, there are more than 10,000 cells or more than [`MAX_MATRIX_REQUESTS`] requests,
/// or a cell is no valid experiment.
pub fn expand(experiment: &Experiment) -> Result<Vec<Cell>, SpecErrors> {
    cells(experiment).map_err(|findings| {
        let mistake = |found: &CellFinding| {
            let Finding { code, message, help, .. } = &found.finding;
            let message =
                if found.cell.is_empty() { message.clone() } else { format!("{}: {message}", found.cell) };
            Mistake::new(code, message).help(help)
        };
        SpecErrors::new(&experiment.name, findings.iter().map(mistake).collect())
    })
}

impl CellFinding {
    fn of_matrix(finding: Finding) -> Self {
        Self { finding, axis: None, cell: String::new() }
    }

    /// The finding at the axis's value that causes it, else at the setting, with the cell's name.
    pub(super) fn mistake(&self, places: &Places) -> Mistake {
        if let Some((axis, value)) = self.axis {
            let pointer = format!("/matrix/{axis}/values/{value}");
            return places.mistake_at(&self.finding, places.nearest(&pointer));
        }
        let mut finding = self.finding.clone();
        if !self.cell.is_empty() {
            finding.message = format!("{} (in the run with {})", finding.message, self.cell);
        }
        places.mistake(&finding)
    }
}

/// An axis whose path was found.
struct Axis<'a> {
    path: &'a str,
    target: Target,
    values: &'a [Value],
}

/// The cells, or what is wrong with them.
pub(super) fn cells(experiment: &Experiment) -> Result<Vec<Cell>, Vec<CellFinding>> {
    let mut base = experiment.clone();
    base.matrix.clear();
    if experiment.matrix.is_empty() {
        return Ok(vec![Cell { experiment: base, overrides: Vec::new() }]);
    }
    const CODE: &str = "xp::spec::matrix";
    let refuse = |finding| vec![CellFinding::of_matrix(finding)];
    let base = serde_json::to_value(base).map_err(|error| {
        refuse(Finding::new("/matrix", CODE, format!("the experiment has no JSON form: {error}")))
    })?;
    let mut axes: Vec<Axis> = Vec::with_capacity(experiment.matrix.len());
    for (index, axis) in experiment.matrix.iter().enumerate() {
        let target = resolve(&axis.path, &base).map_err(|wrong| {
            refuse(
                Finding::new(
                    format!("/matrix/{index}/path"),
                    CODE,
                    format!("{}: {}", axis.path, wrong.message),
                )
                .help(wrong.help),
            )
        })?;
        axes.push(Axis { path: &axis.path, target, values: &axis.values });
    }
    let count = axes.iter().map(|axis| axis.values.len()).fold(1, usize::saturating_mul);
    if count == 0 || count > MAX_CELLS {
        let message = format!("the matrix has {count} runs, from 1 to {MAX_CELLS} are possible");
        return Err(refuse(Finding::new("/matrix", CODE, message)));
    }
    let mut cells = Vec::with_capacity(count);
    let mut findings: Vec<CellFinding> = Vec::new();
    for index in 0..count {
        let choice = choice(index, &axes);
        let mut instance = base.clone();
        for (axis, value) in axes.iter().zip(&choice) {
            set(&mut instance, &axis.target, axis.values[*value].clone(), |_| false);
        }
        let overrides = || {
            axes.iter().zip(&choice).map(|(axis, value)| (axis.path.to_owned(), axis.values[*value].clone()))
        };
        let wrong = wrong(&instance);
        match Experiment::deserialize(&instance) {
            Ok(experiment) if wrong.is_empty() => {
                cells.push(Cell { experiment, overrides: overrides().collect() })
            }
            Ok(_) => report(&mut findings, wrong, &axes, &choice),
            Err(error) if wrong.is_empty() => {
                report(&mut findings, vec![Finding::new("", CODE, error.to_string())], &axes, &choice);
            }
            Err(_) => report(&mut findings, wrong, &axes, &choice),
        }
        if findings.len() >= ENOUGH {
            break;
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let requests: u64 = cells.iter().map(requests).sum();
    if requests > MAX_MATRIX_REQUESTS {
        let message = format!(
            "the runs of the matrix have {requests} requests, at most {MAX_MATRIX_REQUESTS} are held in memory"
        );
        let finding = Finding::new("/matrix", CODE, message).label("too many together");
        return Err(refuse(finding.help("lower `requests`, or split the experiment")));
    }
    Ok(cells)
}

/// Requests that a cell has at least; a trace may have fewer rows than `requests` admits.
fn requests(cell: &Cell) -> u64 {
    match cell.experiment.workload.lengths {
        Some(Lengths::Trace { .. }) => 0,
        _ => cell.experiment.workload.requests.into(),
    }
}

/// Index of the value of each axis in cell `index`.
fn choice(index: usize, axes: &[Axis]) -> Vec<usize> {
    let mut rest = index;
    let mut choice = vec![0; axes.len()];
    for (value, axis) in choice.iter_mut().zip(axes).rev() {
        *value = rest % axis.values.len();
        rest /= axis.values.len();
    }
    choice
}

fn wrong(instance: &Value) -> Vec<Finding> {
    let mut findings = check::contradictions(instance);
    if !validator().is_valid(instance) {
        findings.extend(violations(instance, None));
    }
    findings
}

/// Adds findings of a cell that no earlier cell had.
fn report(out: &mut Vec<CellFinding>, findings: Vec<Finding>, axes: &[Axis], choice: &[usize]) {
    for finding in findings {
        let about = |pointer: &str| axes.iter().position(|axis| axis.target.pointer() == pointer);
        let also = finding.also.as_ref().and_then(|(pointer, _)| about(pointer));
        let axis = about(&finding.pointer).or(also).map(|axis| (axis, choice[axis]));
        let known = out.iter().any(|other| other.axis == axis && other.finding.message == finding.message);
        if !known {
            let settings =
                axes.iter().zip(choice).map(|(axis, value)| format!("{}={}", axis.path, axis.values[*value]));
            let cell = settings.collect::<Vec<_>>().join(", ");
            out.push(CellFinding { finding, axis, cell });
        }
    }
}
