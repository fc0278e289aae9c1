//! Rows of a recording → the times of each request, on the run's clock.

use super::RecordingError;
use super::rows::{COLUMNS, Row, names, shorten};
use crate::metrics::{RequestRecord, RequestStatus, RunRecord};
use crate::spec::RecordedColumns;
use crate::workload::{Workload, nanoseconds};

/// Index of each column among [`names`].
const REQUEST: usize = 0;
const ARRIVAL: usize = 1;
const SCHEDULED: usize = 2;
const FIRST_TOKEN: usize = 3;
const COMPLETION: usize = 4;
const PREFILL: usize = 5;
const DECODE: usize = 6;

/// Requests that are named when they are missing.
const NAMED: usize = 5;

/// When a request came and was served, ns on the recording's own clock.
#[derive(Debug, Clone, Copy)]
struct Timing {
    line: u64,
    arrival: u64,
    first_token: u64,
    completion: u64,
    /// Output tokens that were generated.
    tokens: u32,
}

/// What was recorded so far.
pub(super) struct Timings<'a> {
    file: &'a str,
    columns: [Option<&'a str>; COLUMNS],
    exponent: i32,
    workload: &'a Workload,
    rows: usize,
    found: Vec<Option<Timing>>,
}

impl<'a> Timings<'a> {
    pub fn new(file: &'a str, columns: &'a RecordedColumns, workload: &'a Workload) -> Self {
        Self {
            file,
            columns: names(columns),
            exponent: columns.unit.exponent(),
            workload,
            rows: 0,
            found: vec![None; workload.requests.len()],
        }
    }

    /// Adds a row.
    pub fn add(&mut self, row: &Row<'_>) -> Result<(), RecordingError> {
        let id = match row.cells[REQUEST] {
            Some(_) => self.whole(row, REQUEST)?,
            // Without ids the rows are in the workload's order.
            None => self.rows as u64,
        };
        self.rows += 1;
        let known =
            usize::try_from(id).ok().and_then(|index| Some((index, self.workload.requests.get(index)?)));
        let Some((index, request)) = known else {
            let message = format!("request {id}: the workload has {} requests", self.found.len());
            return Err(self.refuse(
                row,
                REQUEST,
                message,
                "requests are numbered from 0 in the order of arrival",
            ));
        };
        if let Some(first) = &self.found[index] {
            let message = format!("request {id} is in line {} already", first.line);
            return Err(self.refuse(row, REQUEST, message, "each request is recorded once"));
        }
        let arrival = self.time(row, ARRIVAL)?;
        let first_token = self.time(row, FIRST_TOKEN)?;
        let completion = self.time(row, COMPLETION)?;
        const ORDER: &str = "all times of a recording are of one clock, in the unit that `columns` says";
        if first_token < arrival {
            return Err(self.refuse(row, FIRST_TOKEN, "is before the arrival".to_owned(), ORDER));
        }
        if completion < first_token {
            return Err(self.refuse(row, COMPLETION, "is before the first token".to_owned(), ORDER));
        }
        // A server's clock may say that a request was scheduled a little before its client sent it.
        if row.cells[SCHEDULED].is_some() && self.time(row, SCHEDULED)? > first_token {
            return Err(self.refuse(row, SCHEDULED, "is after the first token".to_owned(), ORDER));
        }
        const TOKENS: &str = "a recording is of the very requests of the workload";
        if row.cells[PREFILL].is_some() {
            let (found, asked) = (self.whole(row, PREFILL)?, request.num_prefill_tokens);
            if found != u64::from(asked) {
                let message = format!("{found} prompt tokens, the workload's request {id} has {asked}");
                return Err(self.refuse(row, PREFILL, message, TOKENS));
            }
        }
        let asked = request.num_decode_tokens;
        let tokens = match row.cells[DECODE] {
            None => asked,
            Some(_) => {
                let found = self.whole(row, DECODE)?;
                match u32::try_from(found) {
                    Ok(tokens) if (1..=asked).contains(&tokens) => tokens,
                    _ => {
                        let message =
                            format!("{found} output tokens, the workload's request {id} asks for {asked}");
                        return Err(self.refuse(row, DECODE, message, TOKENS));
                    }
                }
            }
        };
        self.found[index] = Some(Timing { line: row.line, arrival, first_token, completion, tokens });
        Ok(())
    }

    /// The run. Its clock is the workload's: the first request to arrive does so when the workload says.
    pub fn record(self) -> Result<RunRecord, RecordingError> {
        let missing: Vec<usize> =
            (0..self.found.len()).filter(|index| self.found[*index].is_none()).collect();
        if !missing.is_empty() || self.found.is_empty() {
            let named: Vec<String> = missing.iter().take(NAMED).map(usize::to_string).collect();
            let more = match missing.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let what = if missing.len() == 1 { "request" } else { "requests" };
            let missing = format!("{what} {}{more}", named.join(", "));
            return Err(RecordingError::Incomplete { file: self.file.to_owned(), rows: self.rows, missing });
        }
        let all = || self.found.iter().flatten().zip(&self.workload.requests);
        let start = all().min_by_key(|(timing, _)| timing.arrival);
        let (start, offset) =
            start.map_or((0, 0), |(timing, request)| (timing.arrival, request.arrival_time_ns));
        let on_clock = |time: u64| (time - start).saturating_add(offset);
        let requests = (0u32..).zip(all()).map(|(request_id, (timing, request))| RequestRecord {
            request_id,
            arrival_time_ns: on_clock(timing.arrival),
            first_token_time_ns: Some(on_clock(timing.first_token)),
            completion_time_ns: Some(on_clock(timing.completion)),
            num_prefill_tokens: request.num_prefill_tokens,
            num_decode_tokens: request.num_decode_tokens,
            num_decode_tokens_actual: timing.tokens,
            status: RequestStatus::Ok,
            error_type: String::new(),
            error_msg: String::new(),
        });
        Ok(RunRecord { requests: requests.collect(), ..RunRecord::default() })
    }

    fn time(&self, row: &Row<'_>, column: usize) -> Result<u64, RecordingError> {
        let text = row.cells[column].as_deref().unwrap_or_default();
        nanoseconds(text, self.exponent).map_err(|what| {
            let message = format!("{:?} {what}", shorten(text));
            self.refuse(row, column, message, "a time is a decimal number in the unit that `columns` says")
        })
    }

    fn whole(&self, row: &Row<'_>, column: usize) -> Result<u64, RecordingError> {
        let text = row.cells[column].as_deref().unwrap_or_default().trim();
        let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_whole.then(|| text.parse().ok()).flatten().ok_or_else(|| {
            let message = format!("{:?} is not a whole number", shorten(text));
            self.refuse(row, column, message, "ids and numbers of tokens are whole numbers without a sign")
        })
    }

    fn refuse(&self, row: &Row<'_>, column: usize, message: String, help: &'static str) -> RecordingError {
        match self.columns[column] {
            Some(name) => RecordingError::Cell {
                file: self.file.to_owned(),
                line: row.line,
                column: shorten(name),
                message,
                help,
            },
            None => RecordingError::Row { file: self.file.to_owned(), line: row.line, message },
        }
    }
}
