use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers by row and column, each computed when it is first asked for. Threads may compute one twice,
/// to the same result.
#[derive(Debug)]
pub(super) struct LazyTable {
    cells: Vec<AtomicU64>,
    rows: u64,
    columns: u64,
}

/// Bits of a NaN that no arithmetic yields.
const EMPTY: u64 = u64::MAX;
/// Most cells of a table: 32 MiB.
const MAX_CELLS: u64 = 1 << 22;

impl LazyTable {
    /// Of so many rows and columns, as far as there is room: columns are cut first.
    pub fn new(rows: u64, columns: u64) -> Self {
        let rows = rows.clamp(1, MAX_CELLS);
        let columns = columns.clamp(1, MAX_CELLS / rows);
        Self { cells: (0..rows * columns).map(|_| AtomicU64::new(EMPTY)).collect(), rows, columns }
    }

    /// The number of a cell; outside of the table it is computed each time.
    pub fn get(&self, row: u64, column: u64, compute: impl FnOnce() -> f64) -> f64 {
        if row >= self.rows || column >= self.columns {
            return compute();
        }
        let Some(cell) = self.cells.get((row * self.columns + column) as usize) else { return compute() };
        // Nothing but the number itself is published, so no order is needed.
        match cell.load(Ordering::Relaxed) {
            EMPTY => {
                let value = compute();
                cell.store(value.to_bits(), Ordering::Relaxed);
                value
            }
            bits => f64::from_bits(bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_computed_once_and_what_is_outside_each_time() {
        let table = LazyTable::new(3, 4);
        for row in 0..5 {
            for column in 0..6 {
                let value = (row * 10 + column) as f64;
                assert_eq!(table.get(row, column, || value), value);
                let inside = row < 3 && column < 4;
                assert_eq!(table.get(row, column, || -1.0), if inside { value } else { -1.0 });
            }
        }
        assert_eq!(LazyTable::new(u64::MAX, u64::MAX).cells.len() as u64, MAX_CELLS);
        assert_eq!(LazyTable::new(0, 0).get(0, 0, || 7.0), 7.0);
    }
}
