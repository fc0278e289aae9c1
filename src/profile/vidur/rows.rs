//! Rows of a table whose columns are found by name, read one at a time; every complaint names file,
//! line and column.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::VidurProfileError;
use crate::store::{BoundedRecords, Digest, ReadError, open_file};

/// Largest table, in bytes: the largest that Vidur publishes has some 30 MB.
const MAX_FILE: u64 = 256 << 20;
/// Longest row, in bytes.
const MAX_ROW: usize = 64 << 10;
/// Most columns of a row: Vidur's have up to 60.
const MAX_COLUMNS: usize = 4096;
/// Most rows of one model and parallelism: they are held, and trained with.
const MAX_ROWS: usize = 1 << 18;
/// Longest duration that is believed: an hour, ms.
const MAX_MS: f64 = 3.6e6;
/// Largest feature that is believed: bytes of a message, the square of a chunk.
const MAX_FEATURE: f64 = (1_u64 << 48) as f64;

/// A table that is being read.
pub(super) struct Table<R> {
    path: PathBuf,
    reader: csv::Reader<BoundedRecords<R>>,
    header: Vec<String>,
}

/// One row and where it is.
pub(super) struct Row<'a> {
    path: &'a Path,
    header: &'a [String],
    line: u64,
    cells: &'a csv::StringRecord,
}

/// What a row must say in a column.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Count(u64),
    Flag(bool),
    Text(String),
}

/// Columns and what rows must say in them.
pub(super) type Filter = Vec<(&'static str, Wanted)>;

/// Opens a file.
pub(super) fn file(path: &Path) -> Result<File, VidurProfileError> {
    open_file(path).map_err(|source| ReadError::Io { path: path.to_owned(), source }.into())
}

/// Opens a table.
pub(super) fn open(path: &Path) -> Result<Table<File>, VidurProfileError> {
    Table::new(file(path)?, path)
}

impl<R: Read> Table<R> {
    /// Reads the line of column names of `source`, which errors call `path`.
    pub(super) fn new(source: R, path: &Path) -> Result<Self, VidurProfileError> {
        let bounded = BoundedRecords::lenient(source, MAX_FILE, MAX_ROW);
        let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(bounded);
        let header = reader.headers().map_err(|error| broken(path, error))?;
        if header.is_empty() || header.len() > MAX_COLUMNS {
            let message = format!("{} columns; a table has 1 to {MAX_COLUMNS}", header.len());
            return Err(VidurProfileError::Table { path: path.to_owned(), line: 1, message });
        }
        let header = header.iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_owned());
        let header = header.collect();
        Ok(Self { path: path.to_owned(), reader, header })
    }

    /// The column of a name; None if there is none.
    ///
    /// # Errors
    /// There are two.
    pub(super) fn find(&self, name: &str) -> Result<Option<usize>, VidurProfileError> {
        let mut found = self.header.iter().enumerate().filter(|(_, column)| *column == name);
        let first = found.next().map(|(index, _)| index);
        match found.next() {
            Some(_) => Err(VidurProfileError::Column {
                path: self.path.clone(),
                problem: "two are called",
                column: name.to_owned(),
                hint: "one of them would be right: nothing tells which is meant".to_owned(),
            }),
            None => Ok(first),
        }
    }

    /// The column of a name.
    pub(super) fn column(&self, name: &str) -> Result<usize, VidurProfileError> {
        self.find(name)?.ok_or_else(|| {
            let mut nearest: Vec<&String> = self.header.iter().collect();
            // The sort keeps the file's order among those that are equally far off.
            nearest.sort_by_cached_key(|column| strsim::levenshtein(column, name));
            let shown: Vec<String> =
                nearest.into_iter().take(NEAREST).map(|column| shortened(column)).collect();
            let (count, shown) = (self.header.len(), shown.join(", "));
            VidurProfileError::Column {
                path: self.path.clone(),
                problem: "there is no",
                column: name.to_owned(),
                hint: format!("of the file's {count} columns these are nearest: {shown}"),
            }
        })
    }

    /// Calls `each` for every row in order.
    pub(super) fn rows(
        &mut self,
        mut each: impl FnMut(&Row<'_>) -> Result<(), VidurProfileError>,
    ) -> Result<(), VidurProfileError> {
        let mut cells = csv::StringRecord::new();
        while self.reader.read_record(&mut cells).map_err(|error| broken(&self.path, error))? {
            let line = cells.position().map_or(0, csv::Position::line);
            each(&Row { path: &self.path, header: &self.header, line, cells: &cells })?;
        }
        Ok(())
    }

    /// Calls `each` for every row that the filter lets through, in order, and for none twice that says the
    /// same in every column.
    ///
    /// # Errors
    /// No row is let through: the error says what the rows hold.
    pub(super) fn matching(
        mut self,
        filter: &Filter,
        mut each: impl FnMut(&Row<'_>) -> Result<(), VidurProfileError>,
    ) -> Result<(), VidurProfileError> {
        let columns = filter.iter().map(|(name, _)| self.column(name)).collect::<Result<Vec<_>, _>>()?;
        let mut seen = BTreeSet::new();
        let mut others = Others::default();
        self.rows(|row| {
            let mut fits = true;
            for (column, (_, wanted)) in columns.iter().zip(filter) {
                fits &= row.is(*column, wanted)?;
            }
            if !fits {
                others.add(&columns, row);
            } else if seen.insert(row.digest()) {
                row.number_of_rows(seen.len())?;
                each(row)?;
            }
            Ok(())
        })?;
        if seen.is_empty() {
            let wanted: Vec<String> = filter.iter().map(|(name, wanted)| wanted.phrase(name)).collect();
            let names: Vec<&str> = filter.iter().map(|(name, _)| *name).collect();
            let hint = others.phrase(&names);
            return Err(VidurProfileError::NoRows { path: self.path, wanted: wanted.join(", "), hint });
        }
        Ok(())
    }
}

/// What the CSV reader said.
fn broken(path: &Path, error: csv::Error) -> VidurProfileError {
    let line = error.position().map_or(0, csv::Position::line);
    let message = match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() != io::ErrorKind::Other => {
            return ReadError::Io { path: path.to_owned(), source: error }.into();
        }
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} cells and the first line {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "the row is not UTF-8".to_owned(),
        kind => format!("{kind:?}"),
    };
    VidurProfileError::Table { path: path.to_owned(), line, message }
}

/// What rows that were not let through say, as far as there is room to tell it.
#[derive(Debug, Default)]
struct Others {
    found: BTreeSet<Vec<String>>,
    more: bool,
}

/// Columns that an error lists.
const NEAREST: usize = 5;
/// Rows that an error lists.
const MAX_OTHERS: usize = 8;

impl Others {
    fn add(&mut self, columns: &[usize], row: &Row<'_>) {
        if self.found.len() == MAX_OTHERS && self.more {
            return;
        }
        let key = columns.iter().map(|column| shortened(row.cell(*column))).collect();
        if self.found.len() < MAX_OTHERS {
            self.found.insert(key);
        } else {
            self.more |= !self.found.contains(&key);
        }
    }

    fn phrase(&self, names: &[&str]) -> String {
        if self.found.is_empty() {
            return "the file has no rows at all".to_owned();
        }
        let rows = self.found.iter().map(|cells| cells.join(", "));
        let rows: Vec<String> = rows.map(|cells| format!("({cells})")).collect();
        let more = if self.more { ", and more" } else { "" };
        format!("there are rows with ({}) = {}{more}", names.join(", "), rows.join("; "))
    }
}

/// Enough of a cell to recognise it.
fn shortened(cell: &str) -> String {
    cell.chars().take(60).collect()
}

impl Wanted {
    fn phrase(&self, name: &str) -> String {
        match self {
            Self::Count(count) => format!("{name} {count}"),
            Self::Flag(flag) => format!("{name} {flag}"),
            Self::Text(text) => format!("{name} {text}"),
        }
    }
}

impl Row<'_> {
    fn cell(&self, column: usize) -> &str {
        self.cells.get(column).unwrap_or_default().trim()
    }

    /// The digest of what the row says, so that `1` and `1.0` are the same.
    fn digest(&self) -> Digest {
        let mut said = Vec::new();
        for cell in self.cells {
            match cell.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => {
                    said.push(0);
                    said.extend((number + 0.0).to_le_bytes());
                }
                _ => {
                    said.push(1);
                    said.extend((cell.len() as u64).to_le_bytes());
                    said.extend(cell.as_bytes());
                }
            }
        }
        Digest::of(said)
    }

    fn invalid(&self, column: usize, wanted: &'static str) -> VidurProfileError {
        VidurProfileError::Value {
            path: self.path.to_owned(),
            line: self.line,
            column: self.header[column].clone(),
            found: shortened(self.cell(column)),
            wanted,
        }
    }

    /// Refuses the row if it is one too many.
    pub(super) fn number_of_rows(&self, number: usize) -> Result<(), VidurProfileError> {
        if number <= MAX_ROWS {
            return Ok(());
        }
        let message = format!("more than {MAX_ROWS} rows describe the same model");
        Err(VidurProfileError::Table { path: self.path.to_owned(), line: self.line, message })
    }

    fn is(&self, column: usize, wanted: &Wanted) -> Result<bool, VidurProfileError> {
        Ok(match wanted {
            Wanted::Count(count) => self.count(column)? == *count,
            Wanted::Flag(flag) => self.flag(column)? == *flag,
            Wanted::Text(text) => self.cell(column) == text,
        })
    }

    /// A whole number, perhaps written as pandas writes columns with gaps: `4.0`.
    pub(super) fn count(&self, column: usize) -> Result<u64, VidurProfileError> {
        let cell = self.cell(column);
        if let Ok(count) = cell.parse::<u64>()
            && count as f64 <= MAX_FEATURE
        {
            return Ok(count);
        }
        match cell.parse::<f64>() {
            Ok(number) if (0.0..=MAX_FEATURE).contains(&number) && number.fract() == 0.0 => Ok(number as u64),
            _ => Err(self.invalid(column, "a whole number, 0 or more,")),
        }
    }

    fn flag(&self, column: usize) -> Result<bool, VidurProfileError> {
        match self.cell(column) {
            "True" | "true" | "1" => Ok(true),
            "False" | "false" | "0" => Ok(false),
            _ => Err(self.invalid(column, "True or False")),
        }
    }

    /// A number, 0 or more.
    pub(super) fn number(&self, column: usize) -> Result<f64, VidurProfileError> {
        match self.cell(column).parse::<f64>() {
            Ok(number) if (0.0..=MAX_FEATURE).contains(&number) => Ok(number + 0.0),
            _ => Err(self.invalid(column, "a number from 0 to 2^48")),
        }
    }

    /// A duration in ms.
    pub(super) fn time(&self, column: usize) -> Result<f64, VidurProfileError> {
        match self.cell(column).parse::<f64>() {
            Ok(ms) if (0.0..=MAX_MS).contains(&ms) => Ok(ms + 0.0),
            _ => Err(self.invalid(column, "a duration in ms from 0 to 3600000")),
        }
    }

    /// A duration in ms; 0 where nothing was measured.
    pub(super) fn time_or_none(&self, column: Option<usize>) -> Result<f64, VidurProfileError> {
        match column {
            None => Ok(0.0),
            Some(column) if matches!(self.cell(column), "" | "NaN" | "nan" | "NA") => Ok(0.0),
            Some(column) => self.time(column),
        }
    }

    /// A refusal of what a column of the row says.
    pub(super) fn refuse(&self, column: usize, wanted: &'static str) -> VidurProfileError {
        self.invalid(column, wanted)
    }
}
