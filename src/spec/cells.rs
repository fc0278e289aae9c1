//! Expanding the matrix. A cell differs from the experiment in its workload, in
//! its hardware and in backends, so each distinct one of these is made and checked
//! once, and a cell is put together from them.

use serde::Deserialize;
use serde_json::Value;

use super::admission::View;
use super::check::check_hardware;
use super::devices::one_profile_of_several;
use super::diagnostic::Mistake;
use super::experiment::{Backend, Experiment, Hardware, Lengths, WorkloadSpec};
use super::matrix::{Cell, MAX_MATRIX_REQUESTS, MAX_RUNS, dimensions};
use super::path::{Target, resolve, set};
use super::place::{Finding, Places};
use super::schema::{Range, leaf, validator};
use super::violations::violations;
use super::{check_backend, check_workload};
use crate::catalog::ModelConfig;

const CODE: &str = "xp::spec::matrix";

/// Findings after which the other cells are not looked at.
const ENOUGH: usize = 20;

/// Workloads, hardware and backends that are wrong after which no other is made.
const ENOUGH_WRONG: usize = 200;

/// The cells of an experiment, and what is worth a warning in them.
#[derive(Debug)]
pub(super) struct Expansion {
    pub cells: Vec<Cell>,
    pub warnings: Vec<CellFinding>,
}

/// Something is wrong with a cell.
#[derive(Debug)]
pub(super) struct CellFinding {
    /// What the matrix varies is named by the axis's value.
    finding: Finding,
    /// The axis that has to do with it, if one has: axis and value.
    axis: Option<(usize, usize)>,
    /// Such as `workload.arrivals.qps=4`.
    cell: String,
}

impl CellFinding {
    /// The finding at the axis's value that causes it, else at the setting, with the cell's name.
    pub fn mistake(&self, places: &Places) -> Mistake {
        let mut finding = self.finding.clone();
        if self.axis.is_none() && !self.cell.is_empty() {
            finding.message = format!("{} (in the run with {})", finding.message, self.cell);
        }
        places.mistake(&finding)
    }

    /// The finding without a text to point into.
    pub fn unplaced(&self) -> Mistake {
        let Finding { code, message, help, .. } = &self.finding;
        let message =
            if self.cell.is_empty() { message.clone() } else { format!("{}: {message}", self.cell) };
        Mistake::new(code, message).help(help)
    }
}

/// An axis whose path was found.
struct Axis<'a> {
    path: &'a str,
    target: Target,
    values: &'a [Value],
}

/// What of an experiment a part replaces.
#[derive(Debug, Clone)]
enum Variant {
    Workload(Box<WorkloadSpec>),
    Hardware(Box<Hardware>),
    Backend(usize, Box<Backend>),
}

/// The workload, the hardware or a backend, and the dimensions that change it.
struct Part {
    /// Such as `/workload` or `/backends/0`.
    pointer: String,
    /// Indices into the axes, in their order.
    axes: Vec<usize>,
    /// Axes of the hardware, where the part's rules look at that too.
    sees: Vec<usize>,
    dimensions: Vec<usize>,
    /// Each value of each axis fits the schema by itself, so all of them do together.
    fits_schema: bool,
    /// By the values of its dimensions: what was made, and whether it is wrong.
    variants: Vec<Option<Option<Variant>>>,
}

impl Part {
    fn new(pointer: String, axes: Vec<usize>) -> Self {
        Self {
            pointer,
            axes,
            sees: Vec::new(),
            dimensions: Vec::new(),
            fits_schema: false,
            variants: Vec::new(),
        }
    }

    /// The axes that make it, and those that its rules look at besides.
    fn looks_at(&self) -> impl Iterator<Item = usize> + '_ {
        self.axes.iter().chain(&self.sees).copied()
    }
}

/// The cells, or what is wrong with them. Rules about the model's shape are left aside without one.
pub(super) fn cells(
    experiment: &Experiment,
    shape: Option<&ModelConfig>,
) -> Result<Expansion, Vec<CellFinding>> {
    let mut base = experiment.clone();
    base.matrix.clear();
    if experiment.matrix.is_empty() {
        return Ok(Expansion {
            cells: vec![Cell { experiment: base, overrides: Vec::new() }],
            warnings: Vec::new(),
        });
    }
    let instance = serde_json::to_value(&base)
        .map_err(|error| refuse("/matrix", format!("the experiment has no JSON form: {error}"), ""))?;
    let mut axes = Vec::with_capacity(experiment.matrix.len());
    for (index, axis) in experiment.matrix.iter().enumerate() {
        let pointer = format!("/matrix/{index}/path");
        let target = resolve(&axis.path, &instance)
            .map_err(|wrong| refuse(&pointer, format!("{}: {}", axis.path, wrong.message), &wrong.help))?;
        axes.push(Axis { path: &axis.path, target, values: &axis.values });
    }
    let zips: Vec<Option<u32>> = experiment.matrix.iter().map(|axis| axis.zip).collect();
    let dimensions = dimensions(&zips);
    let mut lengths = Vec::with_capacity(dimensions.len());
    for bound in &dimensions {
        let length = axes[bound[0]].values.len();
        if bound.iter().any(|axis| axes[*axis].values.len() != length) {
            return Err(refuse("/matrix", "axes of a zip differ in length".to_owned(), ""));
        }
        lengths.push(length);
    }
    let count = lengths.iter().copied().fold(1, usize::saturating_mul);
    if count == 0 || count > MAX_RUNS {
        let message = format!("the matrix has {count} runs, from 1 to {MAX_RUNS} are possible");
        return Err(refuse("/matrix", message, ""));
    }
    let mut matrix =
        Matrix { instance, axes, dimensions, lengths, findings: Vec::new(), warnings: Vec::new(), wrong: 0 };
    let mut parts = matrix.parts()?;
    let mut cells = Vec::with_capacity(count);
    for index in 0..count {
        let choice = matrix.choice(index);
        let mut cell = base.clone();
        let mut whole = true;
        for part in &mut parts {
            match matrix.variant(part, &choice) {
                Some(Variant::Workload(workload)) => cell.workload = *workload,
                Some(Variant::Hardware(hardware)) => cell.hardware = *hardware,
                Some(Variant::Backend(index, backend)) => cell.backends[index] = *backend,
                None => whole = false,
            }
        }
        if let Some(shape) = shape.filter(|_| whole) {
            let mut found = Vec::new();
            View::of(&cell).findings(shape, &mut found);
            whole = !found.iter().any(|finding| !finding.warning);
            matrix.report(found, &choice);
        }
        if whole {
            cells.push(Cell { experiment: cell, overrides: matrix.overrides(&choice) });
        }
        if matrix.findings.len() >= ENOUGH || matrix.wrong >= ENOUGH_WRONG {
            break;
        }
    }
    if !matrix.findings.is_empty() {
        return Err(matrix.findings);
    }
    let requests: u64 = cells.iter().map(requests).sum();
    if requests > MAX_MATRIX_REQUESTS {
        let message = format!(
            "the runs of the matrix have {requests} requests, at most {MAX_MATRIX_REQUESTS} are held in memory"
        );
        return Err(refuse("/matrix", message, "lower `requests`, or split the experiment"));
    }
    let mut warnings = matrix.warnings;
    let of_cells = one_profile_of_several(&cells).into_iter();
    warnings.extend(of_cells.map(|finding| CellFinding { finding, axis: None, cell: String::new() }));
    Ok(Expansion { cells, warnings })
}

fn refuse(pointer: &str, message: String, help: &str) -> Vec<CellFinding> {
    let finding = Finding::new(pointer, CODE, message).help(help);
    vec![CellFinding { finding, axis: None, cell: String::new() }]
}

/// Requests that a cell has at least; a trace may have fewer rows than `requests` admits.
fn requests(cell: &Cell) -> u64 {
    let WorkloadSpec { lengths, trace, requests, .. } = &cell.experiment.workload;
    match (trace, lengths) {
        (Some(_), _) | (None, Some(Lengths::Trace { .. })) => 0,
        _ => requests.unwrap_or(0).into(),
    }
}

/// A matrix that is being expanded.
struct Matrix<'a> {
    /// The experiment without its matrix.
    instance: Value,
    axes: Vec<Axis<'a>>,
    /// Axes that go together, and how many values they have.
    dimensions: Vec<Vec<usize>>,
    lengths: Vec<usize>,
    findings: Vec<CellFinding>,
    warnings: Vec<CellFinding>,
    /// Workloads, hardware and backends that are wrong.
    wrong: usize,
}

impl Matrix<'_> {
    /// Index of the value of each dimension in cell `index`.
    fn choice(&self, index: usize) -> Vec<usize> {
        let mut rest = index;
        let mut choice = vec![0; self.lengths.len()];
        for (value, length) in choice.iter_mut().zip(&self.lengths).rev() {
            *value = rest % length;
            rest /= length;
        }
        choice
    }

    /// Index of the value of an axis.
    fn value(&self, axis: usize, choice: &[usize]) -> usize {
        self.dimensions
            .iter()
            .position(|bound| bound.contains(&axis))
            .map_or(0, |dimension| choice[dimension])
    }

    fn overrides(&self, choice: &[usize]) -> Vec<(String, Value)> {
        let value = |index: usize| self.axes[index].values[self.value(index, choice)].clone();
        (0..self.axes.len()).map(|index| (self.axes[index].path.to_owned(), value(index))).collect()
    }

    /// What the axes change.
    fn parts(&self) -> Result<Vec<Part>, Vec<CellFinding>> {
        let mut parts: Vec<Part> = Vec::new();
        for (index, axis) in self.axes.iter().enumerate() {
            let keys = &axis.target.keys;
            let depth = match keys[0].as_str() {
                "workload" | "hardware" if keys.len() > 1 => 1,
                "backends" if keys.len() > 2 => 2,
                _ => {
                    let message = format!("the matrix cannot vary {}", axis.path);
                    return Err(refuse(
                        &format!("/matrix/{index}/path"),
                        message,
                        "vary `workload.…`, `hardware.…` or a backend",
                    ));
                }
            };
            let pointer: String = keys[..depth].iter().map(|key| format!("/{key}")).collect();
            match parts.iter_mut().find(|part| part.pointer == pointer) {
                Some(part) => part.axes.push(index),
                None => parts.push(Part::new(pointer, vec![index])),
            }
        }
        self.let_backends_see_hardware(&mut parts);
        for part in &mut parts {
            let changes =
                |bound: &Vec<usize>| bound.iter().any(|axis| part.looks_at().any(|own| own == *axis));
            let changing = self.dimensions.iter().enumerate().filter(|(_, bound)| changes(bound));
            part.dimensions = changing.map(|(dimension, _)| dimension).collect();
            part.variants =
                vec![None; part.dimensions.iter().map(|dimension| self.lengths[*dimension]).product()];
            part.fits_schema = self.fits_schema(part);
        }
        Ok(parts)
    }

    /// Which profiles a simulated backend may name, and which blocks xp's engine may use, depends on the device: each is
    /// checked with every one.
    fn let_backends_see_hardware(&self, parts: &mut Vec<Part>) {
        let Some(hardware) = parts.iter().find(|part| part.pointer == "/hardware") else { return };
        let axes = hardware.axes.clone();
        let backends = self.instance.get("backends").and_then(Value::as_array);
        for (index, backend) in backends.into_iter().flatten().enumerate() {
            if backend.get("kind").is_none_or(|kind| kind != "sim" && kind != "candle") {
                continue;
            }
            let pointer = format!("/backends/{index}");
            let sees = axes.clone();
            match parts.iter_mut().find(|part| part.pointer == pointer) {
                Some(part) => part.sees = sees,
                None => parts.push(Part { sees, ..Part::new(pointer, Vec::new()) }),
            }
        }
    }

    /// Whether each value of each axis fits the schema, for each kind that other axes give the part. A
    /// setting's type and range depend on nothing else, so then they fit together too.
    fn fits_schema(&self, part: &Part) -> bool {
        let is_kind = |axis: &usize| self.axes[*axis].target.keys.last().is_some_and(|key| key == "kind");
        let (kinds, others): (Vec<usize>, Vec<usize>) = part.axes.iter().partition(|axis| is_kind(axis));
        let with = |mut instance: Value, axis: usize, value: usize| {
            set(&mut instance, &self.axes[axis].target, self.axes[axis].values[value].clone(), |_| false);
            instance
        };
        let of_kinds: usize = kinds.iter().map(|axis| self.axes[*axis].values.len()).product();
        (0..of_kinds).all(|mut rest| {
            let mut instance = self.instance.clone();
            for axis in &kinds {
                instance = with(instance, *axis, rest % self.axes[*axis].values.len());
                rest /= self.axes[*axis].values.len();
            }
            let fits = |axis: usize, value: usize| validator().is_valid(&with(instance.clone(), axis, value));
            validator().is_valid(&instance)
                && others.iter().all(|axis| {
                    let Axis { target, values, .. } = &self.axes[*axis];
                    let range = leaf(&instance, &target.pointer()).and_then(Range::of);
                    let plainly = |value| range.is_some_and(|range| range.admits(value));
                    (0..values.len()).all(|value| plainly(&values[value]) || fits(*axis, value))
                })
        })
    }

    /// The part in a cell; nothing when it is wrong, which is reported.
    fn variant(&mut self, part: &mut Part, choice: &[usize]) -> Option<Variant> {
        let slot = part
            .dimensions
            .iter()
            .fold(0, |slot, dimension| slot * self.lengths[*dimension] + choice[*dimension]);
        if part.variants[slot].is_none() {
            let made = self.made(part, choice);
            self.wrong += usize::from(made.is_none());
            part.variants[slot] = Some(made);
        }
        part.variants[slot].clone().flatten()
    }

    fn made(&mut self, part: &Part, choice: &[usize]) -> Option<Variant> {
        let before = self.instance.pointer(&part.pointer)?.clone();
        let hardware = (!part.sees.is_empty()).then(|| self.instance.get("hardware").cloned()).flatten();
        for index in part.looks_at() {
            let value = self.axes[index].values[self.value(index, choice)].clone();
            set(&mut self.instance, &self.axes[index].target, value, |_| false);
        }
        let mut found = Vec::new();
        let index = part.pointer.strip_prefix("/backends/").and_then(|index| index.parse::<usize>().ok());
        match index {
            Some(index) => check_backend::backend(&self.instance, index, &mut found),
            None if part.pointer == "/hardware" => check_hardware(&self.instance, &mut found),
            None => check_workload::workload(&self.instance, &mut found),
        }
        if !part.fits_schema && !validator().is_valid(&self.instance) {
            found.extend(violations(&self.instance, None));
        }
        let instance = self.instance.pointer_mut(&part.pointer)?;
        let made = match index {
            Some(index) => {
                Backend::deserialize(&*instance).map(|backend| Variant::Backend(index, Box::new(backend)))
            }
            None if part.pointer == "/hardware" => {
                Hardware::deserialize(&*instance).map(|hardware| Variant::Hardware(Box::new(hardware)))
            }
            None => {
                WorkloadSpec::deserialize(&*instance).map(|workload| Variant::Workload(Box::new(workload)))
            }
        };
        *instance = before;
        if let (Some(hardware), Some(place)) = (hardware, self.instance.get_mut("hardware")) {
            *place = hardware;
        }
        match made {
            Ok(made) if found.is_empty() => return Some(made),
            Err(error) if found.is_empty() => found.push(Finding::new("", CODE, error.to_string())),
            _ => {}
        }
        self.report(found, choice);
        None
    }

    /// Adds findings of a cell that no earlier cell had.
    fn report(&mut self, findings: Vec<Finding>, choice: &[usize]) {
        for mut finding in findings {
            let about = |pointer: &str| self.axes.iter().position(|axis| axis.target.pointer() == pointer);
            let mut of_axis = None;
            let also = finding.also.iter_mut().map(|also| &mut also.pointer);
            for pointer in std::iter::once(&mut finding.pointer).chain(also) {
                let Some(axis) = about(pointer) else { continue };
                let value = self.value(axis, choice);
                *pointer = format!("/matrix/{axis}/values/{value}");
                of_axis = of_axis.or(Some((axis, value)));
            }
            let told = if finding.warning { &self.warnings } else { &self.findings };
            if told.iter().any(|other| other.axis == of_axis && other.finding.message == finding.message) {
                continue;
            }
            let settings = self.overrides(choice);
            let cell: Vec<String> = settings.iter().map(|(path, value)| format!("{path}={value}")).collect();
            let found = CellFinding { axis: of_axis, cell: cell.join(", "), finding };
            if !found.finding.warning {
                self.findings.push(found);
            } else if self.warnings.len() < ENOUGH {
                self.warnings.push(found);
            }
        }
    }
}
