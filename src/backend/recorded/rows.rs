//! CSV or JSON lines → rows of named cells. All text: what a cell means is said by its column.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::RecordingError;
use super::timing::Timings;
use crate::spec::RecordedColumns;
use crate::store::{BoundedRecords, OutOfBounds};

/// Longest row, in bytes.
const MAX_ROW: usize = 1 << 20;

/// Columns that a recording may have, in the order of [`names`].
pub(super) const COLUMNS: usize = 7;

/// A row of a recording.
pub(super) struct Row<'a> {
    pub line: u64,
    /// What each column holds; none where no column is named.
    pub cells: [Option<Cow<'a, str>>; COLUMNS],
}

/// The columns' names in the file: request, arrival, scheduled, first token, completion, prefill tokens,
/// decode tokens.
pub(super) fn names(columns: &RecordedColumns) -> [Option<&str>; COLUMNS] {
    [
        columns.request_id.as_deref(),
        Some(&columns.arrival),
        columns.scheduled.as_deref(),
        Some(&columns.first_token),
        Some(&columns.completion),
        columns.prefill_tokens.as_deref(),
        columns.decode_tokens.as_deref(),
    ]
}

/// Hands every row on.
pub(super) fn read(
    file: &str,
    text: &str,
    columns: &RecordedColumns,
    out: &mut Timings<'_>,
) -> Result<(), RecordingError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match [".jsonl", ".ndjson"].iter().any(|ending| file.ends_with(ending)) {
        true => json_lines(file, text, columns, out),
        false => csv_rows(file, text, columns, out),
    }
}

fn csv_rows(
    file: &str,
    text: &str,
    columns: &RecordedColumns,
    out: &mut Timings<'_>,
) -> Result<(), RecordingError> {
    let bounded = BoundedRecords::lenient(text.as_bytes(), u64::MAX, MAX_ROW);
    let mut reader = csv::ReaderBuilder::new().from_reader(bounded);
    let header = reader.headers().map_err(|error| broken(file, 1, &error))?.clone();
    let mut places = [None; COLUMNS];
    for (place, name) in places.iter_mut().zip(names(columns)) {
        let Some(name) = name else { continue };
        let mut found = header.iter().enumerate().filter(|(_, known)| known.trim() == name);
        *place = found.next().map(|(index, _)| index);
        if place.is_none() {
            let header = shorten(&header.iter().collect::<Vec<_>>().join(","));
            return Err(RecordingError::Column { file: file.to_owned(), column: name.to_owned(), header });
        }
        if found.next().is_some() {
            let message = format!("there are two columns `{}`", shorten(name));
            return Err(RecordingError::Row { file: file.to_owned(), line: 1, message });
        }
    }
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        if !reader.read_record(&mut record).map_err(|error| broken(file, line, &error))? {
            return Ok(());
        }
        let line = record.position().map_or(line, csv::Position::line);
        let cell = |place: Option<usize>| place.and_then(|at| record.get(at)).map(Cow::Borrowed);
        out.add(&Row { line, cells: places.map(cell) })?;
    }
}

fn json_lines(
    file: &str,
    text: &str,
    columns: &RecordedColumns,
    out: &mut Timings<'_>,
) -> Result<(), RecordingError> {
    for (line, row) in (1u64..).zip(text.lines()) {
        let refuse = |message: String| RecordingError::Row { file: file.to_owned(), line, message };
        if row.len() > MAX_ROW {
            return Err(refuse(format!("the row is longer than {MAX_ROW} bytes")));
        }
        if row.trim().is_empty() {
            continue;
        }
        let fields: Map<String, Value> = serde_json::from_str(row).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            refuse(format!("column {}: {message}", error.column()))
        })?;
        let mut cells: [Option<Cow<'_, str>>; COLUMNS] = Default::default();
        for (cell, name) in cells.iter_mut().zip(names(columns)) {
            let Some(name) = name else { continue };
            *cell = Some(match fields.get(name) {
                Some(Value::String(text)) => Cow::Owned(text.clone()),
                // The shortest decimal that is the number: what was written, up to 17 digits.
                Some(Value::Number(number)) => Cow::Owned(number.to_string()),
                Some(_) => return Err(refuse(format!("`{}` is neither a number nor a text", shorten(name)))),
                None => return Err(refuse(format!("there is no `{}`", shorten(name)))),
            });
        }
        out.add(&Row { line, cells })?;
    }
    Ok(())
}

fn broken(file: &str, line: u64, error: &csv::Error) -> RecordingError {
    let line = error.position().map_or(line, csv::Position::line);
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, the header has {expected_len}")
        }
        csv::ErrorKind::Io(source) if source.get_ref().is_some_and(|inner| inner.is::<OutOfBounds>()) => {
            format!("the row is longer than {MAX_ROW} bytes")
        }
        _ => error.to_string(),
    };
    RecordingError::Row { file: file.to_owned(), line, message }
}

/// A text of the file, short enough for a message.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
