//! CSV files read strictly: every error has a file, a line and a column.

use super::WorkloadError;
use crate::store::{BoundedRecords, OutOfBounds};

/// Longest record, in bytes.
const MAX_RECORD: usize = 1 << 20;

/// A CSV file in memory with a header line.
pub(super) struct Table<'a> {
    file: &'a str,
    reader: csv::Reader<BoundedRecords<&'a [u8]>>,
    header: csv::StringRecord,
}

/// One row and where it is.
pub(super) struct Row<'a> {
    file: &'a str,
    line: u64,
    header: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
}

impl<'a> Table<'a> {
    /// Reads the header of `text`. `file` is shown in errors.
    pub fn open(file: &'a str, text: &'a str) -> Result<Self, WorkloadError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let bounded = BoundedRecords::lenient(text.as_bytes(), u64::MAX, MAX_RECORD);
        let mut reader = csv::ReaderBuilder::new().from_reader(bounded);
        let header = reader.headers().map_err(|error| row_error(file, 1, &error))?.clone();
        Ok(Self { file, reader, header })
    }

    /// Requires exactly these columns in this order.
    pub fn exactly(self, columns: &[&str]) -> Result<Self, WorkloadError> {
        if self.header.iter().eq(columns.iter().copied()) {
            return Ok(self);
        }
        let message = format!("the header must be {:?}", columns.join(","));
        Err(WorkloadError::Row { file: self.file.to_owned(), line: 1, message })
    }

    /// Index of a column, if it is there.
    pub fn find(&self, column: &str) -> Option<usize> {
        self.header.iter().position(|name| name.trim() == column)
    }

    /// Index of a column that must be there.
    pub fn column(&self, column: &str) -> Result<usize, WorkloadError> {
        self.find(column).ok_or_else(|| WorkloadError::Column {
            file: self.file.to_owned(),
            column: format!("`{column}`"),
            header: shorten(&self.header.iter().collect::<Vec<_>>().join(",")),
        })
    }

    /// Calls `each` for every row in order, with its index.
    pub fn rows(
        mut self,
        mut each: impl FnMut(usize, &Row<'_>) -> Result<(), WorkloadError>,
    ) -> Result<(), WorkloadError> {
        let mut record = csv::StringRecord::new();
        for index in 0.. {
            let line = self.reader.position().line();
            if !self.reader.read_record(&mut record).map_err(|error| row_error(self.file, line, &error))? {
                break;
            }
            let line = record.position().map_or(line, csv::Position::line);
            each(index, &Row { file: self.file, line, header: &self.header, record: &record })?;
        }
        Ok(())
    }
}

impl Table<'_> {
    /// What `read` makes of the first `most` rows, at least one. Rows that are not used are read too: a
    /// broken file is broken.
    pub fn first<T>(
        self,
        most: u32,
        mut read: impl FnMut(&Row<'_>) -> Result<T, WorkloadError>,
    ) -> Result<Vec<T>, WorkloadError> {
        let file = self.file;
        let mut out = Vec::new();
        self.rows(|index, row| {
            let value = read(row)?;
            if index < most as usize {
                out.push(value);
            }
            Ok(())
        })?;
        if out.is_empty() {
            let file = file.to_owned();
            return Err(WorkloadError::TooFew { file, what: "rows", rows: 0, requests: most });
        }
        Ok(out)
    }
}

impl Row<'_> {
    /// The line that it begins on, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// What a column holds.
    pub fn text(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default().trim()
    }

    /// An error that says what a text of a column is instead.
    pub fn wrong(&self, column: usize, text: &str, what: &str) -> WorkloadError {
        self.error(column, format!("{:?} {what}", shorten(text)))
    }

    /// A whole number without sign in a column.
    pub fn number(&self, column: usize) -> Result<u64, WorkloadError> {
        let text = self.text(column);
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong(column, text, "is not a whole number"));
        }
        text.parse().map_err(|_| self.error(column, format!("{} is too large", shorten(text))))
    }

    /// A whole number of at most `limit`, and at least `least`.
    pub fn bounded(&self, column: usize, least: u32, limit: u32) -> Result<u32, WorkloadError> {
        let number = self.number(column)?;
        match u32::try_from(number) {
            Ok(value) if (least..=limit).contains(&value) => Ok(value),
            _ => Err(self.error(column, format!("{number} is not between {least} and {limit}"))),
        }
    }

    /// Requires a column to hold `want`.
    pub fn expect(&self, column: usize, want: u64, why: &str) -> Result<(), WorkloadError> {
        let found = self.number(column)?;
        if found == want {
            return Ok(());
        }
        Err(self.error(column, format!("{found} should be {want}: {why}")))
    }

    /// An error at a column of this row.
    pub fn error(&self, column: usize, message: String) -> WorkloadError {
        WorkloadError::Cell {
            file: self.file.to_owned(),
            line: self.line,
            column: shorten(self.header.get(column).unwrap_or_default().trim()),
            message,
        }
    }
}

fn row_error(file: &str, line: u64, error: &csv::Error) -> WorkloadError {
    let line = error.position().map_or(line, csv::Position::line);
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "the row is not UTF-8".to_owned(),
        csv::ErrorKind::Io(source) if source.get_ref().is_some_and(|inner| inner.is::<OutOfBounds>()) => {
            format!("the row is longer than {MAX_RECORD} bytes")
        }
        _ => error.to_string(),
    };
    WorkloadError::Row { file: file.to_owned(), line, message }
}

/// A value from a file, short enough for a message.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
