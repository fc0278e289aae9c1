use std::collections::BTreeMap;
use std::path::Path;

use super::error::VidurProfileError;
use super::op::VidurOp;
use super::rows::open;
use crate::store::ReadError;

/// One measurement of an operator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingRow {
    /// The operator's features ([`VidurOp::features`]); the second is 0 where there is one.
    pub x: [f64; 2],
    /// Its time, ms.
    pub ms: f64,
}

/// What every operator is trained with, in the order of the files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingSet {
    tables: BTreeMap<VidurOp, Vec<TrainingRow>>,
}

/// Fewest rows of an operator: two folds of one row each.
pub(crate) const MIN_ROWS: usize = 2;

impl TrainingSet {
    /// Operators with their rows, in the order of [`VidurOp`].
    pub fn tables(&self) -> impl Iterator<Item = (VidurOp, &[TrainingRow])> {
        self.tables.iter().map(|(op, rows)| (*op, rows.as_slice()))
    }

    /// Rows of an operator; none if it was not read.
    pub fn rows(&self, op: VidurOp) -> &[TrainingRow] {
        self.tables.get(&op).map(Vec::as_slice).unwrap_or_default()
    }

    /// Adds a measurement.
    pub fn push(&mut self, op: VidurOp, row: TrainingRow) {
        self.tables.entry(op).or_default().push(row);
    }

    /// Requires enough rows of each of `ops`, which are in the file `path`.
    pub(super) fn require(&self, ops: &[VidurOp], path: &Path) -> Result<(), VidurProfileError> {
        match ops.iter().find(|op| self.rows(**op).len() < MIN_ROWS) {
            Some(op) => Err(VidurProfileError::TooFew {
                path: path.to_owned(),
                op: op.name(),
                rows: self.rows(*op).len(),
                least: MIN_ROWS,
            }),
            None => Ok(()),
        }
    }
}

/// Reads rows that were picked before, as Vidur holds them in memory when it trains: `PREFIX__compute.csv`
/// with the operators of [`VidurOp::COMPUTE`], and `PREFIX__OP.csv` for others, each with the columns of
/// the operator's features and of its name. Files that are not there are left out.
///
/// # Errors
/// There is none of the files, or one of them is no such table.
pub fn read_filtered(folder: &Path, prefix: &str) -> Result<TrainingSet, VidurProfileError> {
    let mut set = TrainingSet::default();
    let compute = folder.join(format!("{prefix}__compute.csv"));
    if compute.exists() {
        read_file(&compute, &VidurOp::COMPUTE, &mut set)?;
    }
    for op in VidurOp::ALL {
        let path = folder.join(format!("{prefix}__{}.csv", op.name()));
        if path.exists() {
            read_file(&path, &[op], &mut set)?;
        }
    }
    if set.tables.is_empty() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there are no training rows of it");
        return Err(ReadError::Io { path: folder.join(format!("{prefix}__*.csv")), source }.into());
    }
    Ok(set)
}

/// Reads rows of operators that share their features.
fn read_file(path: &Path, ops: &[VidurOp], set: &mut TrainingSet) -> Result<(), VidurProfileError> {
    let mut table = open(path)?;
    let features = ops.first().map_or(&[][..], |op| op.features());
    let features = features.iter().map(|name| table.column(name)).collect::<Result<Vec<_>, _>>()?;
    let times = ops.iter().map(|op| table.column(op.name())).collect::<Result<Vec<_>, _>>()?;
    let mut count = 0;
    table.rows(|row| {
        count += 1;
        row.number_of_rows(count)?;
        let mut x = [0.0; 2];
        for (value, column) in x.iter_mut().zip(&features) {
            *value = row.number(*column)?;
        }
        for (op, column) in ops.iter().zip(&times) {
            set.push(*op, TrainingRow { x, ms: row.time(*column)? });
        }
        Ok(())
    })?;
    set.require(ops, path)
}
