//! Published traces, read as they are: one file a format, rows in one shape.

mod azure;
mod mooncake;
mod rows;
mod sharegpt;
mod tables;

use std::path::Path;

use rows::Trace;
pub(crate) use rows::Traced;

use super::WorkloadError;
use super::data_file::data_file;
use super::lengths::MAX_TRACE;
use super::prompting::Prompting;
use crate::spec::{self, TraceFormat};
use crate::store::read_text_bounded;

/// Largest file of conversations that is read, in bytes.
const MAX_CONVERSATIONS: u64 = 1 << 30;

/// Longest line of a JSONL file, in bytes.
const MAX_LINE: usize = 1 << 20;

/// Tokens in a block of prefix ids, where the experiment does not say it.
const BLOCK: u32 = 16;
const MOONCAKE_BLOCK: u32 = 512;

/// Reads a trace, of which at most `requests` requests are wanted. With `arrives` its own arrivals are needed.
///
/// # Errors
/// With file, line and column.
pub(super) fn read(
    spec: &spec::Trace,
    requests: u32,
    arrives: bool,
    prompting: Option<Prompting<'_>>,
    root: &Path,
) -> Result<Traced, WorkloadError> {
    let limit = if spec.format == TraceFormat::Sharegpt { MAX_CONVERSATIONS } else { MAX_TRACE };
    let text = read_text_bounded(&data_file(root, &spec.path)?, limit)?;
    parse(spec, &text, requests, arrives, prompting)
}

/// The same of a text.
pub(crate) fn parse(
    spec: &spec::Trace,
    text: &str,
    requests: u32,
    arrives: bool,
    prompting: Option<Prompting<'_>>,
) -> Result<Traced, WorkloadError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let block =
        spec.block.unwrap_or(if spec.format == TraceFormat::Mooncake { MOONCAKE_BLOCK } else { BLOCK });
    let trace = Trace::new(&spec.path, spec.max_tokens, block);
    let trace = match spec.format {
        TraceFormat::Xp => tables::xp(trace, text, arrives)?,
        TraceFormat::Vidur => tables::vidur(trace, text, arrives)?,
        TraceFormat::Azure => azure::read(trace, text)?,
        TraceFormat::Mooncake => mooncake::read(trace, text, arrives)?,
        TraceFormat::Sharegpt => sharegpt::read(trace, text, requests, prompting)?,
    };
    trace.finish(requests, arrives.then_some(spec.time_scale))
}

#[cfg(test)]
mod tests;
