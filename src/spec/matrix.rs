//! The matrix: product of its axes, in the order written, the first the
//! slowest; axes of a zip go together.

use serde_json::Value;

use super::cells::{CellFinding, cells};
use super::diagnostic::SpecErrors;
use super::experiment::Experiment;

/// Most runs of a matrix, unless the experiment says another number.
pub const MAX_RUNS_DEFAULT: usize = 10_000;

/// Most runs that an experiment may ask for: a lock of them is still read.
pub const MAX_RUNS: usize = 50_000;

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

/// The cells of an experiment; one when its matrix is empty.
///
/// # Errors
/// A path leads nowhere, there are more than [`MAX_RUNS`] cells or more than [`MAX_MATRIX_REQUESTS`] requests,
/// or a cell is no valid experiment.
pub fn expand(experiment: &Experiment) -> Result<Vec<Cell>, SpecErrors> {
    let refused = |findings: Vec<CellFinding>| {
        SpecErrors::new(&experiment.name, findings.iter().map(CellFinding::unplaced).collect())
    };
    cells(experiment, None).map(|expansion| expansion.cells).map_err(refused)
}

/// Factors of the product, in the order of their first axes: indices of the axes that go together.
pub(super) fn dimensions<Z: Copy + PartialEq>(zips: &[Option<Z>]) -> Vec<Vec<usize>> {
    let mut out: Vec<(Option<Z>, Vec<usize>)> = Vec::new();
    for (axis, zip) in zips.iter().enumerate() {
        match out.iter_mut().find(|(other, _)| zip.is_some() && other == zip) {
            Some((_, bound)) => bound.push(axis),
            None => out.push((*zip, vec![axis])),
        }
    }
    out.into_iter().map(|(_, bound)| bound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_of_a_zip_are_one_dimension() {
        assert_eq!(dimensions::<u32>(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(
            dimensions(&[None, Some(1), Some(2), Some(1), None]),
            [vec![0], vec![1, 3], vec![2], vec![4]]
        );
    }
}
