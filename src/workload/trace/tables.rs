//! Traces that are CSV files of token counts: xp's own, and Vidur's.

use super::rows::{At, Trace};
use crate::workload::table::{Row, Table};
use crate::workload::{WorkloadError, nanoseconds};

const PREFILL: &str = "num_prefill_tokens";
const DECODE: &str = "num_decode_tokens";

/// Columns `arrival_time_ns`, `num_prefill_tokens`, `num_decode_tokens`, and maybe `prefix_hash_ids`: an id for
/// each full block of the prompt, which stands for the block and all before it, separated by spaces or `;`.
pub(super) fn xp<'a>(mut trace: Trace<'a>, text: &str, arrives: bool) -> Result<Trace<'a>, WorkloadError> {
    const ARRIVAL: &str = "arrival_time_ns";
    const IDS: &str = "prefix_hash_ids";
    let table = Table::open(trace.file, text)?;
    let arrival = arrives.then(|| arrivals(&table, ARRIVAL)).transpose()?;
    let (prefill, decode, ids) = (table.column(PREFILL)?, table.column(DECODE)?, table.find(IDS));
    table.rows(|_, row| {
        let at = At { line: row.line(), prefill: PREFILL, decode: DECODE };
        let time = arrival.map(|column| row.time(column, 0)).transpose()?;
        let tokens = row.number(prefill)?;
        trace.push(at, tokens, row.number(decode)?, time)?;
        let Some(column) = ids else { return Ok(()) };
        let mut wrong = None;
        let found = row.text(column).split([' ', ';', '\t']).filter(|id| !id.is_empty()).map_while(|id| {
            let parsed = id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.parse().ok()).flatten();
            wrong = parsed.is_none().then_some(id);
            parsed
        });
        let found: Vec<u64> = found.collect();
        if let Some(id) = wrong {
            return Err(row.wrong(column, id, "is no id of a prefix"));
        }
        trace.push_ids(at.line, IDS, tokens, found.into_iter())
    })?;
    Ok(trace)
}

/// Columns `arrived_at` (seconds), `num_prefill_tokens` and `num_decode_tokens` of Vidur's processed traces; those
/// of lengths alone have no `arrived_at`. Other columns are ignored.
pub(super) fn vidur<'a>(mut trace: Trace<'a>, text: &str, arrives: bool) -> Result<Trace<'a>, WorkloadError> {
    const ARRIVAL: &str = "arrived_at";
    let table = Table::open(trace.file, text)?;
    let arrival = arrives.then(|| arrivals(&table, ARRIVAL)).transpose()?;
    let (prefill, decode) = (table.column(PREFILL)?, table.column(DECODE)?);
    table.rows(|_, row| {
        let at = At { line: row.line(), prefill: PREFILL, decode: DECODE };
        let time = arrival.map(|column| row.time(column, 9)).transpose()?;
        trace.push(at, row.number(prefill)?, row.number(decode)?, time)
    })?;
    Ok(trace)
}

/// The column of arrivals, which are needed.
fn arrivals(table: &Table<'_>, column: &str) -> Result<usize, WorkloadError> {
    table.column(column).map_err(|error| match error {
        WorkloadError::Column { file, column, header } => {
            let column = format!("{column}, and a trace without times needs `arrivals`");
            WorkloadError::Column { file, column, header }
        }
        other => other,
    })
}

impl Row<'_> {
    /// A time in units of 10^`exponent` ns.
    fn time(&self, column: usize, exponent: i32) -> Result<u64, WorkloadError> {
        let text = self.text(column);
        nanoseconds(text, exponent).map_err(|what| self.wrong(column, text, what))
    }
}
