//! Rows of a CSV file, read one at a time and checked: a bounded record is all
//! that is held, and every complaint names file, line and column.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::ContractError;
use crate::store::{self, BoundedRecords, OutOfBounds};

/// No honest file of a run is larger.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Reads one CSV file row by row; `N` columns.
pub(super) struct RowReader<R, const N: usize> {
    file: String,
    columns: [&'static str; N],
    reader: csv::Reader<BoundedRecords<R>>,
    record: csv::ByteRecord,
    line: u64,
}

/// Opens a file of a run's folder; with it, what errors call it.
pub(super) fn open(folder: &Path, name: &str) -> Result<(File, String), ContractError> {
    let path = folder.join(name);
    let file = path.display().to_string();
    match store::open_file(&path) {
        Ok(source) => Ok((source, file)),
        Err(source) => Err(ContractError::Io { path, source }),
    }
}

impl<R: Read, const N: usize> RowReader<R, N> {
    /// Reads `source`, which errors call `file`; its header must be exactly `columns`, and its records
    /// have at most `max_record` bytes.
    pub(super) fn new(
        (source, file): (R, String),
        columns: [&'static str; N],
        max_record: usize,
    ) -> Result<Self, ContractError> {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(csv::Terminator::Any(b'\n'))
            .buffer_capacity(1 << 18)
            .from_reader(BoundedRecords::new(source, MAX_FILE_BYTES, max_record));
        let mut rows = Self { file, columns, reader, record: csv::ByteRecord::new(), line: 1 };
        rows.check_header()?;
        Ok(rows)
    }

    fn check_header(&mut self) -> Result<(), ContractError> {
        let found = self.read()?;
        if found && self.record.iter().eq(self.columns.iter().map(|column| column.as_bytes())) {
            return Ok(());
        }
        let cells: Vec<String> = self.record.iter().take(2 * N).map(shown).collect();
        let found = if found { cells.join(", ") } else { "missing: the file is empty".to_owned() };
        Err(ContractError::Header { file: self.file.clone(), found, wanted: self.columns.join(",") })
    }

    fn read(&mut self) -> Result<bool, ContractError> {
        let more = match self.reader.read_byte_record(&mut self.record) {
            Ok(more) => more,
            Err(error) => return Err(self.broken(error)),
        };
        let source = self.reader.get_ref();
        if source.ends_within_a_record() {
            return Err(ContractError::Truncated { file: self.file.clone() });
        }
        Ok(more)
    }

    /// What the file's own reader said.
    fn broken(&self, error: csv::Error) -> ContractError {
        let file = self.file.clone();
        let source = match error.into_kind() {
            csv::ErrorKind::Io(source) => source,
            kind => io::Error::other(format!("{kind:?}")),
        };
        match source.get_ref().and_then(|inner| inner.downcast_ref::<OutOfBounds>()) {
            Some(OutOfBounds::File { limit }) => ContractError::TooLarge { file, limit: *limit },
            Some(OutOfBounds::Record { line, limit }) => {
                ContractError::LineTooLong { file, line: *line, limit: *limit }
            }
            Some(OutOfBounds::EmptyLine { line }) => {
                ContractError::Row { file, line: *line, message: "the line is empty".to_owned() }
            }
            None => ContractError::Io { path: file.into(), source },
        }
    }

    /// Goes to the next row; false after the last.
    pub(super) fn advance(&mut self) -> Result<bool, ContractError> {
        if !self.read()? {
            return Ok(false);
        }
        self.line = self.record.position().map_or(0, csv::Position::line);
        if self.record.len() != N {
            return Err(self.bad_row(format!("{} cells instead of {N}", self.record.len())));
        }
        Ok(true)
    }

    /// The bytes of a cell.
    pub(super) fn bytes(&self, column: usize) -> &[u8] {
        self.record.get(column).unwrap_or_default()
    }

    /// A cell with text.
    pub(super) fn text(&self, column: usize) -> Result<&str, ContractError> {
        str::from_utf8(self.bytes(column)).map_err(|_| self.bad(column, "UTF-8 text"))
    }

    /// A cell with a whole number of 64 bits.
    pub(super) fn u64(&self, column: usize) -> Result<u64, ContractError> {
        parse_number(self.bytes(column)).ok_or_else(|| self.bad(column, "a whole number of 0 to 2^64 − 1"))
    }

    /// A cell with a whole number of 32 bits.
    pub(super) fn u32(&self, column: usize) -> Result<u32, ContractError> {
        parse_number(self.bytes(column))
            .and_then(|value| u32::try_from(value).ok())
            .ok_or_else(|| self.bad(column, "a whole number of 0 to 2^32 − 1"))
    }

    /// A cell with a whole number, or nothing.
    pub(super) fn optional(&self, column: usize) -> Result<Option<u64>, ContractError> {
        if self.bytes(column).is_empty() { Ok(None) } else { self.u64(column).map(Some) }
    }

    /// A complaint about a cell of this row.
    pub(super) fn bad(&self, column: usize, expected: impl Into<String>) -> ContractError {
        ContractError::Cell {
            file: self.file.clone(),
            line: self.line,
            column: self.columns[column],
            found: shown(self.bytes(column)),
            expected: expected.into(),
        }
    }

    /// A complaint about this row.
    pub(super) fn bad_row(&self, message: String) -> ContractError {
        ContractError::Row { file: self.file.clone(), line: self.line, message }
    }

    /// A complaint about the file, against the run's other files.
    pub(super) fn contradiction(&self, message: String) -> ContractError {
        ContractError::Contradiction { file: self.file.clone(), message }
    }
}

/// A cell for a message: short, and harmless on a terminal.
fn shown(cell: &[u8]) -> String {
    if cell.is_empty() {
        return "(nothing)".to_owned();
    }
    let text = String::from_utf8_lossy(&cell[..cell.len().min(160)]);
    let mut short: String = text.chars().take(40).collect();
    if short.len() < cell.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Digits alone: no sign, no leading zero, no overflow.
pub(super) fn parse_number(cell: &[u8]) -> Option<u64> {
    if cell.is_empty() || cell.len() > 20 || (cell[0] == b'0' && cell.len() > 1) {
        return None;
    }
    cell.iter().try_fold(0u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &[u8]) -> Result<Vec<(u64, String)>, ContractError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t.csv"), text).unwrap();
        let mut rows = RowReader::new(super::open(dir.path(), "t.csv")?, ["n", "what"], 64)?;
        let mut found = Vec::new();
        while rows.advance()? {
            found.push((rows.u64(0)?, rows.text(1)?.to_owned()));
        }
        Ok(found)
    }

    #[test]
    fn whole_rows_are_read_with_quoted_line_breaks() {
        let rows = open(b"n,what\n18446744073709551615,a\n0,\"b \"\"c\"\",\nd\"\n7,\n").unwrap();
        assert_eq!(rows, [(u64::MAX, "a".into()), (0, "b \"c\",\nd".into()), (7, String::new())]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let long = format!("n,what\n1,a\n2,{}\n", "a".repeat(70));
        let cases: [(&[u8], &str); 16] = [
            (b"", "columns are missing: the file is empty"),
            (b"n,wath\n", "line 1: the columns are \"n\", \"wath\""),
            (b"n,what\r\n1,a\r\n", "line 1: the columns are"),
            (b"n,what\n1,a", "does not end with a whole line"),
            (b"n,what\n1,\"a\n", "does not end with a whole line"),
            (b"n,what\n\n1,a\n", "line 2: the line is empty"),
            (b"n,what\n1,a\n1\n", "line 3: 1 cells instead of 2"),
            (b"n,what\n1,a,b\n", "line 2: 3 cells instead of 2"),
            (b"n,what\nNaN,a\n", "line 2, column n: \"NaN\" is not a whole number"),
            (b"n,what\n-1,a\n", "\"-1\" is not"),
            (b"n,what\n1.0,a\n", "\"1.0\" is not"),
            (b"n,what\n01,a\n", "\"01\" is not"),
            (b"n,what\n18446744073709551616,a\n", "\"18446744073709551616\" is not"),
            (b"n,what\n,a\n", "(nothing) is not"),
            (b"n,what\n1,\xff\n", "column what: \"\u{fffd}\" is not UTF-8"),
            (long.as_bytes(), "line 3: longer than 64 bytes"),
        ];
        for (text, wanted) in cases {
            let error = open(text).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("t.csv"), "{wanted}: {error}");
        }
    }
}
