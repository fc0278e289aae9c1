//! Requests of a trace as they are read: checked, clipped, and put in the order of their arrivals.

use std::ops::Range;

use super::super::generate::MAX_REQUESTS;
use super::super::lengths::MAX_TOKENS;
use super::super::prefixes::Prefixes;
use crate::workload::WorkloadError;

/// Latest arrival, ns: what readers with signed 64-bit integers hold.
const LATEST: u64 = i64::MAX as u64;

/// Most ids of prefixes that are held in memory.
const MAX_IDS: usize = 1 << 26;

/// Where a request stands in its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub line: u64,
    /// Names of the columns of prompt and output tokens.
    pub prefill: &'static str,
    pub decode: &'static str,
}

/// A trace that is being read.
#[derive(Debug)]
pub(super) struct Trace<'a> {
    pub file: &'a str,
    pub block: u32,
    max_tokens: Option<u32>,
    pairs: Vec<(u32, u32)>,
    /// Arrivals, ns; as many as pairs where the trace has them.
    arrivals: Vec<u64>,
    ids: Vec<u64>,
    /// Where each request's ids are.
    ranges: Vec<Range<usize>>,
    texts: Vec<String>,
    notes: Vec<String>,
}

/// The requests of a trace, in the order in which they are numbered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traced {
    /// Prompt and output tokens.
    pub pairs: Vec<(u32, u32)>,
    /// When they arrive, ns, never decreasing; none where arrivals come from elsewhere.
    pub arrivals: Option<Vec<u64>>,
    pub prefixes: Option<Prefixes>,
    /// Prompts, of a trace that has texts.
    pub texts: Option<Vec<String>>,
    /// What was done to the trace that a reader of it has to know.
    pub notes: Vec<String>,
}

impl<'a> Trace<'a> {
    pub fn new(file: &'a str, max_tokens: Option<u32>, block: u32) -> Self {
        Self {
            file,
            block: block.max(1),
            max_tokens,
            pairs: Vec::new(),
            arrivals: Vec::new(),
            ids: Vec::new(),
            ranges: Vec::new(),
            texts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a request. A longer one than `max-tokens` loses the end of its prompt, as Vidur does it:
    /// prefill − max(0, prefill + decode − max).
    pub fn push(
        &mut self,
        at: At,
        prefill: u64,
        decode: u64,
        arrival: Option<u64>,
    ) -> Result<(), WorkloadError> {
        if self.pairs.len() == MAX_REQUESTS as usize {
            let requests = self.pairs.len() as u64 + 1;
            return Err(WorkloadError::TooMany { requests, limit: MAX_REQUESTS.into() });
        }
        let bounded = |column: &'static str, tokens: u64| match u32::try_from(tokens) {
            Ok(value) if (1..=MAX_TOKENS).contains(&value) => Ok(value),
            _ => Err(self.cell(at.line, column, format!("{tokens} is not between 1 and {MAX_TOKENS}"))),
        };
        let (mut prefill, decode) = (bounded(at.prefill, prefill)?, bounded(at.decode, decode)?);
        if let Some(max) = self.max_tokens {
            if decode >= max {
                let message =
                    format!("{decode} output tokens leave no room for a prompt: max-tokens is {max}");
                return Err(self.cell(at.line, at.decode, message));
            }
            prefill = prefill.min(max - decode);
        }
        self.pairs.push((prefill, decode));
        self.arrivals.extend(arrival);
        Ok(())
    }

    /// Adds the prefix ids of the last request, one a block of its whole prompt; those of blocks that are not full
    /// any more are left out. `given` is the length of the prompt that the ids are of.
    pub fn push_ids(
        &mut self,
        line: u64,
        column: &'static str,
        given: u64,
        ids: impl Iterator<Item = u64>,
    ) -> Result<(), WorkloadError> {
        let start = self.ids.len();
        self.ids.extend(ids);
        let (found, most) = (self.ids.len() - start, given.div_ceil(self.block.into()));
        if found as u64 > most {
            let block = self.block;
            let message =
                format!("{found} ids for {given} tokens: in blocks of {block} there are {most} at most");
            return Err(self.cell(line, column, message));
        }
        if self.ids.len() > MAX_IDS {
            let message = format!("the file has more than {MAX_IDS} ids of prefixes");
            return Err(WorkloadError::Row { file: self.file.to_owned(), line, message });
        }
        let prefill = self.pairs.last().map_or(0, |pair| pair.0);
        let full = (prefill / self.block) as usize;
        self.ids.truncate(start + found.min(full));
        self.ranges.push(start..self.ids.len());
        Ok(())
    }

    /// Adds the prompt of the last request.
    pub fn push_text(&mut self, text: String) {
        self.texts.push(text);
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub fn max_tokens(&self) -> Option<u32> {
        self.max_tokens
    }

    pub fn cell(&self, line: u64, column: &str, message: String) -> WorkloadError {
        WorkloadError::Cell { file: self.file.to_owned(), line, column: column.to_owned(), message }
    }

    /// At most `requests` of the requests. With a `scale` in the order of their arrivals, which are multiplied by
    /// it; else in the order of the file.
    pub fn finish(mut self, requests: u32, scale: Option<f64>) -> Result<Traced, WorkloadError> {
        let rows = self.pairs.len();
        if rows == 0 {
            let (file, message) = (self.file.to_owned(), "there is no request in it".to_owned());
            return Err(WorkloadError::Row { file, line: 1, message });
        }
        let mut order: Vec<usize> = (0..rows).collect();
        if scale.is_some() {
            let late = self.arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count();
            if late > 0 {
                order.sort_by_key(|row| self.arrivals.get(*row));
                let (verb, plural) = if late == 1 { ("arrives", "") } else { ("arrive", "s") };
                self.notes.push(format!(
                    "{}: {late} request{plural} {verb} before the one above; all are taken in the order of their arrivals",
                    self.file
                ));
            }
        }
        order.truncate(requests as usize);
        let pick = |row: &usize| self.pairs[*row];
        let arrivals = scale.map(|scale| order.iter().map(|row| self.scaled(*row, scale)).collect());
        let prefixes = (!self.ids.is_empty()).then(|| {
            let mut prefixes = Prefixes::new(self.block);
            for row in &order {
                let range = self.ranges.get(*row).cloned().unwrap_or_default();
                prefixes.push(self.ids[range].iter().copied());
            }
            prefixes
        });
        Ok(Traced {
            pairs: order.iter().map(pick).collect(),
            arrivals: arrivals.transpose()?,
            prefixes,
            // Texts come without arrivals, so that they keep their order.
            texts: (!self.texts.is_empty()).then(|| {
                self.texts.truncate(order.len());
                std::mem::take(&mut self.texts)
            }),
            notes: self.notes,
        })
    }

    fn scaled(&self, row: usize, scale: f64) -> Result<u64, WorkloadError> {
        let time = self.arrivals.get(row).copied().unwrap_or(0);
        if scale == 1.0 {
            return Ok(time);
        }
        let scaled = (time as f64 * scale).round();
        match (0.0..LATEST as f64).contains(&scaled) {
            true => Ok(scaled as u64),
            false => Err(WorkloadError::Late { request: row as u64 }),
        }
    }
}
