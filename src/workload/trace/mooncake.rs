//! Traces of Mooncake (FAST '25): JSON lines with the ids of blocks of 512
//! tokens, the last of which need not be full.

use serde::Deserialize;
use serde_json::Number;

use super::MAX_LINE;
use super::rows::{At, Trace};
use crate::workload::error::object;
use crate::workload::{WorkloadError, nanoseconds};

#[derive(Deserialize)]
struct Line {
    /// Milliseconds.
    timestamp: Option<Number>,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

/// Lines with `timestamp`, `input_length`, `output_length` and `hash_ids`; other fields are ignored.
pub(super) fn read<'a>(mut trace: Trace<'a>, text: &str, arrives: bool) -> Result<Trace<'a>, WorkloadError> {
    for (index, line) in text.lines().enumerate() {
        let at = At { line: index as u64 + 1, prefill: "input_length", decode: "output_length" };
        if line.len() > MAX_LINE {
            let message = format!("the line is longer than {MAX_LINE} bytes");
            return Err(WorkloadError::Row { file: trace.file.to_owned(), line: at.line, message });
        }
        if line.trim().is_empty() {
            continue;
        }
        let Line { timestamp, input_length, output_length, hash_ids } = object(trace.file, index + 1, line)?;
        let time = match (timestamp, arrives) {
            (_, false) => None,
            (Some(ms), true) => {
                let text = ms.to_string();
                let time = nanoseconds(&text, 6);
                Some(time.map_err(|what| trace.cell(at.line, "timestamp", format!("{text} {what}")))?)
            }
            (None, true) => {
                let message = "is missing: say `arrivals`".to_owned();
                return Err(trace.cell(at.line, "timestamp", message));
            }
        };
        trace.push(at, input_length, output_length, time)?;
        trace.push_ids(at.line, "hash_ids", input_length, hash_ids.into_iter())?;
    }
    Ok(trace)
}
