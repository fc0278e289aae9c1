//! CSV files of a profile, row by row, whose mistakes are told with file, line and column.

use std::path::PathBuf;
use std::str::FromStr;

use super::KernelProfileError;
use crate::store::BoundedRecords;

/// Longest row, in bytes; those of profiles are below 200.
const MAX_ROW: usize = 4096;
/// Most rows: ten times the finest grid that was published.
const MAX_ROWS: u64 = 2_000_000;
/// Longest duration that is believed: an hour, µs.
const MAX_US: f64 = 3.6e9;

/// A CSV file in memory.
pub(super) struct Table {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// One row and where it is.
pub(super) struct Row<'a> {
    table: &'a Table,
    columns: &'a [&'a str],
    pub line: u64,
    cells: &'a csv::StringRecord,
}

impl Table {
    pub fn invalid(
        &self,
        at: (u64, u64),
        found: impl Into<String>,
        right: impl Into<String>,
    ) -> KernelProfileError {
        KernelProfileError::invalid(&self.path, at, found, right)
    }

    /// Requires these columns, in this order, and a row at least; calls `each` for every row.
    pub fn rows(
        &self,
        columns: &[&str],
        mut each: impl FnMut(&Row<'_>) -> Result<(), KernelProfileError>,
    ) -> Result<(), KernelProfileError> {
        let bounded = BoundedRecords::lenient(self.bytes.as_slice(), u64::MAX, MAX_ROW);
        let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(bounded);
        let broken = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            let right = format!("every row has the {} cells of the header, in UTF-8", columns.len());
            self.invalid((line, 1), format!("no such row: {error}"), right)
        };
        if !reader.headers().map_err(broken)?.iter().eq(columns.iter().copied()) {
            let right = format!("the first line is `{}`", columns.join(","));
            return Err(self.invalid((1, 1), "the columns are others", right));
        }
        let mut cells = csv::StringRecord::new();
        let mut rows = 0;
        while reader.read_record(&mut cells).map_err(broken)? {
            let line = cells.position().map_or(0, csv::Position::line);
            rows += 1;
            if rows > MAX_ROWS {
                return Err(self.invalid(
                    (line, 1),
                    "more rows than any profile has",
                    format!("at most {MAX_ROWS}"),
                ));
            }
            each(&Row { table: self, columns, line, cells: &cells })?;
        }
        match rows {
            0 => Err(self.invalid((1, 1), "the file has no rows", "a row for every point that was profiled")),
            _ => Ok(()),
        }
    }
}

impl Row<'_> {
    pub fn cell(&self, index: usize) -> &str {
        self.cells.get(index).unwrap_or_default()
    }

    /// A mistake in a cell.
    pub fn invalid(&self, index: usize, right: impl Into<String>) -> KernelProfileError {
        // Cells before it with their commas; quotes are not counted, which no profile has.
        let column: usize = (0..index).map(|before| self.cell(before).chars().count() + 1).sum();
        let text: String = self.cell(index).chars().take(60).collect();
        let found = format!("{} is {text:?}", self.columns[index]);
        self.table.invalid((self.line, column as u64 + 1), found, right)
    }

    /// A mistake in the row as a whole.
    pub fn misplaced(&self, found: impl Into<String>, right: impl Into<String>) -> KernelProfileError {
        self.table.invalid((self.line, 1), found, right)
    }

    /// A whole number between two others.
    pub fn count(&self, index: usize, least: u32, most: u32) -> Result<u32, KernelProfileError> {
        match u32::from_str(self.cell(index)) {
            Ok(count) if (least..=most).contains(&count) => Ok(count),
            _ => Err(self.invalid(index, format!("a whole number between {least} and {most}"))),
        }
    }

    /// A duration in µs, as ns.
    pub fn duration_ns(&self, index: usize) -> Result<f64, KernelProfileError> {
        match f64::from_str(self.cell(index)) {
            Ok(us) if us > 0.0 && us <= MAX_US => Ok(us * 1e3),
            _ => Err(self.invalid(index, format!("a duration in µs above 0, and at most {MAX_US}"))),
        }
    }
}
