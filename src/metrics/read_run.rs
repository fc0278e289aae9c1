//! The strict reader of a run's folder: the files are checked by themselves
//! and against each other, so that what is compared is what was run.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::error::ContractError;
use super::meta::{RunKind, RunMeta, output_tokens, parse_meta, read_meta};
use super::packed_members::unpack;
use super::record::{RequestRecord, RequestStatus, RunRecord, StepLog, StepMember};
use super::row_reader::{RowReader, open};
use super::{REPLICA_STEP_COLUMNS, REQUEST_COLUMNS, STEP_COLUMNS, TOKEN_COLUMNS};

/// Longest record of request and token files.
const MAX_ROW: usize = 1 << 20;
/// Longest record of `steps.csv`: some 60,000 members.
const MAX_STEP_ROW: usize = 2 << 20;

/// Reads a run's folder and checks it.
///
/// # Errors
/// A file is missing, larger than 4 GiB, cut off, has other columns, a value
/// that is no whole number, or contradicts itself or another file of the run.
pub fn read_run(folder: &Path) -> Result<(RunRecord, RunMeta), ContractError> {
    let meta = read_meta(folder)?;
    let record = read_record(&meta, |name| open(folder, name))?;
    Ok((record, meta))
}

/// Checks a run whose files are in memory: `run_meta.json`, and the CSV files by name.
pub(crate) fn parse_run<'a>(
    meta: &[u8],
    file: impl Fn(&str) -> &'a [u8],
) -> Result<(RunRecord, RunMeta), ContractError> {
    let meta = parse_meta("run_meta.json", meta)?;
    let record = read_record(&meta, |name| Ok((file(name), name.to_owned())))?;
    Ok((record, meta))
}

/// Reads the CSV files, each of which `open` yields with what errors call it.
fn read_record<R: Read>(
    meta: &RunMeta,
    open: impl Fn(&str) -> Result<(R, String), ContractError>,
) -> Result<RunRecord, ContractError> {
    let requests =
        read_requests(RowReader::new(open("request_metrics.csv")?, REQUEST_COLUMNS, MAX_ROW)?, meta)?;
    if !meta.has_steps() {
        return without_steps(meta, requests);
    }
    let file = open("steps.csv")?;
    let steps = match meta.cluster.num_schedulers() > 1 {
        true => read_steps(RowReader::new(file, REPLICA_STEP_COLUMNS, MAX_STEP_ROW)?, meta, &requests)?,
        false => read_steps(RowReader::new(file, STEP_COLUMNS, MAX_STEP_ROW)?, meta, &requests)?,
    };
    let tokens = RowReader::new(open("token_metrics.csv")?, TOKEN_COLUMNS, MAX_ROW)?;
    let token_ids = read_tokens(tokens, meta, &requests, &steps)?;
    Ok(RunRecord { requests, steps, token_ids })
}

/// A run without steps is its requests.
fn without_steps(meta: &RunMeta, requests: Vec<RequestRecord>) -> Result<RunRecord, ContractError> {
    let record = RunRecord { requests, ..RunRecord::default() };
    match meta.wrong_total(&record) {
        None => Ok(record),
        Some((total, told, counted)) => {
            let message = format!("{total} is {told} here, request_metrics.csv has {counted}");
            Err(ContractError::Contradiction { file: "run_meta.json".to_owned(), message })
        }
    }
}

fn read_requests(
    mut rows: RowReader<impl Read, 12>,
    meta: &RunMeta,
) -> Result<Vec<RequestRecord>, ContractError> {
    let mut requests = Vec::new();
    while rows.advance()? {
        if requests.len() as u64 == meta.num_requests {
            return Err(rows.bad_row(format!("run_meta.json tells of {} requests", meta.num_requests)));
        }
        requests.push(read_request(&rows, requests.len() as u64, meta)?);
    }
    for (total, told, counted) in [
        ("requests", meta.num_requests, requests.len() as u64),
        ("output tokens", meta.output_tokens, output_tokens(&requests)),
    ] {
        if told != counted {
            return Err(
                rows.contradiction(format!("run_meta.json tells of {told} {total}, it holds {counted}"))
            );
        }
    }
    Ok(requests)
}

fn read_request(
    rows: &RowReader<impl Read, 12>,
    index: u64,
    meta: &RunMeta,
) -> Result<RequestRecord, ContractError> {
    let request_id = rows.u32(0)?;
    if u64::from(request_id) != index {
        return Err(rows.bad(0, format!("{index}: requests are numbered from 0, in order, each once")));
    }
    let status = match rows.bytes(8) {
        b"ok" => RequestStatus::Ok,
        b"error" => RequestStatus::Error,
        _ => return Err(rows.bad(8, "ok or error")),
    };
    let request = RequestRecord {
        request_id,
        arrival_time_ns: rows.u64(1)?,
        first_token_time_ns: rows.optional(2)?,
        completion_time_ns: rows.optional(4)?,
        num_prefill_tokens: rows.u32(5)?,
        num_decode_tokens: rows.u32(6)?,
        num_decode_tokens_actual: rows.u32(7)?,
        status,
        error_type: rows.text(10)?.to_owned(),
        error_msg: rows.text(11)?.to_owned(),
    };
    if request.first_token_time_ns.is_some_and(|first| first < request.arrival_time_ns) {
        return Err(rows.bad(2, "at or after the arrival"));
    }
    if rows.optional(3)? != request.ttft_ns() {
        return Err(rows.bad(3, "first_token_time_ns − arrival_time_ns"));
    }
    if request
        .completion_time_ns
        .is_some_and(|end| request.first_token_time_ns.is_none_or(|first| end < first))
    {
        return Err(rows.bad(4, "at or after the first token"));
    }
    if request.num_decode_tokens_actual > request.num_decode_tokens {
        return Err(rows.bad(7, format!("at most the {} tokens asked for", request.num_decode_tokens)));
    }
    if (request.num_decode_tokens_actual > 0) != request.first_token_time_ns.is_some() {
        return Err(rows.bad(2, "a time where there is an output token, and nothing where there is none"));
    }
    if rows.bytes(9) != meta.backend.as_bytes() {
        return Err(rows.bad(9, format!("{:?}, the backend of run_meta.json", meta.backend)));
    }
    match status {
        RequestStatus::Ok if request.completion_time_ns.is_none() => {
            Err(rows.bad(4, "the time of the last token"))
        }
        RequestStatus::Ok if !request.error_type.is_empty() => {
            Err(rows.bad(10, "empty where the status is ok"))
        }
        RequestStatus::Ok if !request.error_msg.is_empty() => {
            Err(rows.bad(11, "empty where the status is ok"))
        }
        RequestStatus::Error if request.error_type.is_empty() => Err(rows.bad(10, "a class of error")),
        _ => Ok(request),
    }
}

/// What the steps so far gave a request.
#[derive(Clone, Copy, Default)]
struct Yielded {
    tokens: u32,
    /// Number of the last step that had the request, from 1.
    last_step: u64,
}

fn read_steps<const N: usize>(
    mut rows: RowReader<impl Read, N>,
    meta: &RunMeta,
    requests: &[RequestRecord],
) -> Result<StepLog, ContractError> {
    let mut steps = StepLog::default();
    let mut yielded = vec![Yielded::default(); requests.len()];
    let mut members: Vec<StepMember> = Vec::new();
    // Of the step before of each replica: when it started and ended.
    let mut before: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    while rows.advance()? {
        let index = steps.len() as u64;
        if index == meta.num_steps {
            return Err(rows.bad_row(format!("run_meta.json tells of {} steps", meta.num_steps)));
        }
        if rows.u64(0)? != index {
            return Err(rows.bad(0, format!("{index}: steps are numbered from 0, in order")));
        }
        let (start_ns, end_ns) = (rows.u64(1)?, rows.u64(2)?);
        let replica = if N == REPLICA_STEP_COLUMNS.len() { rows.u32(7)? } else { 0 };
        if replica >= meta.cluster.num_schedulers() {
            return Err(rows.bad(7, format!("less than the {} replicas", meta.cluster.num_schedulers())));
        }
        let before = before.entry(replica).or_default();
        // The steps of a pipeline overlap.
        let (earliest, what) = match meta.scheduler.pipeline_stages > 1 {
            true => (before.0, "start"),
            false => (before.1, "end"),
        };
        if start_ns < earliest {
            return Err(rows.bad(1, format!("at or after the {what} of the step before, {earliest}")));
        }
        *before = (start_ns, end_ns);
        if end_ns < start_ns {
            return Err(rows.bad(2, "at or after the step's start"));
        }
        let kv_blocks = rows.u32(5)?;
        if kv_blocks > meta.scheduler.kv_blocks {
            return Err(
                rows.bad(5, format!("at most the {} blocks of run_meta.json", meta.scheduler.kv_blocks))
            );
        }
        members.clear();
        for member in unpack(rows.bytes(6)) {
            let Some(member) = member else {
                return Err(rows.bad(6, "a list of request:tokens:context:kind"));
            };
            check_member(&rows, &member, index, end_ns, requests, &mut yielded)?;
            members.push(member);
        }
        let place = (kv_blocks, replica);
        steps.push(start_ns, end_ns, members.iter().copied(), (rows.u32(3)?, rows.u32(4)?), place);
    }
    for (request, yielded) in requests.iter().zip(&yielded) {
        let (id, tokens) = (request.request_id, request.num_decode_tokens_actual);
        if yielded.tokens != tokens {
            return Err(rows.contradiction(format!(
                "request {id} has {tokens} output tokens in request_metrics.csv and {} here",
                yielded.tokens
            )));
        }
    }
    for (total, told, counted) in
        [("steps", meta.num_steps, steps.len() as u64), ("ns", meta.duration_ns, steps.duration_ns())]
    {
        if told != counted {
            return Err(
                rows.contradiction(format!("run_meta.json tells of {told} {total}, it holds {counted}"))
            );
        }
    }
    Ok(steps)
}

/// A member names a request of the run, once a step, and yields the tokens that the request has, when it has them.
fn check_member<const N: usize>(
    rows: &RowReader<impl Read, N>,
    member: &StepMember,
    index: u64,
    end_ns: u64,
    requests: &[RequestRecord],
    yielded: &mut [Yielded],
) -> Result<(), ContractError> {
    let id = member.request;
    let refuse = |message: String| Err(rows.bad_row(format!("request {id} {message}")));
    let (Some(request), Some(yielded)) = (requests.get(id as usize), yielded.get_mut(id as usize)) else {
        return refuse("is not in request_metrics.csv".to_owned());
    };
    if yielded.last_step > index {
        return refuse("is in the step twice".to_owned());
    }
    yielded.last_step = index + 1;
    if member.tokens == 0 {
        return refuse("has no tokens in the step".to_owned());
    }
    if end_ns < request.arrival_time_ns {
        return refuse(format!("arrives at {}, after the step", request.arrival_time_ns));
    }
    if !member.emits {
        return Ok(());
    }
    yielded.tokens += 1;
    let asked = request.num_decode_tokens_actual;
    if yielded.tokens > asked {
        return refuse(format!("has {asked} output tokens in request_metrics.csv, and more here"));
    }
    let told = |time: Option<u64>| time.map_or("never".to_owned(), |time| time.to_string());
    if yielded.tokens == 1 && request.first_token_time_ns != Some(end_ns) {
        let first = told(request.first_token_time_ns);
        return refuse(format!("has its first token at {end_ns}, and at {first} in request_metrics.csv"));
    }
    let is_last = yielded.tokens == asked && request.status == RequestStatus::Ok;
    if is_last && request.completion_time_ns != Some(end_ns) {
        let last = told(request.completion_time_ns);
        return refuse(format!("has its last token at {end_ns}, and at {last} in request_metrics.csv"));
    }
    Ok(())
}

/// Checks `token_metrics.csv` against the steps, from which it is derived, and keeps what is new in it: the ids.
fn read_tokens(
    mut rows: RowReader<impl Read, 5>,
    meta: &RunMeta,
    requests: &[RequestRecord],
    steps: &StepLog,
) -> Result<Option<Vec<Vec<u32>>>, ContractError> {
    let times = steps.token_times(requests.len());
    // A run that yielded no token cannot show whether it has ids: engines do, simulations do not.
    let mut with_ids = meta.kind == RunKind::Measured;
    let mut first_row = true;
    let mut token_ids: Vec<Vec<u32>> = vec![Vec::new(); requests.len()];
    for ((request, times), ids) in requests.iter().zip(&times).zip(&mut token_ids) {
        let mut before = request.arrival_time_ns;
        for (index, time) in (0u64..).zip(times) {
            if !rows.advance()? {
                let id = request.request_id;
                return Err(rows.contradiction(format!("token {index} of request {id} is missing")));
            }
            if rows.u32(0)? != request.request_id {
                return Err(rows.bad(0, format!("{}, whose token {index} comes next", request.request_id)));
            }
            if rows.u64(1)? != index {
                return Err(rows.bad(1, format!("{index}: tokens are numbered from 0, in order")));
            }
            if rows.u64(2)? != *time {
                return Err(rows.bad(2, format!("{time}, the end of the token's step in steps.csv")));
            }
            if rows.u64(3)? != time - before {
                return Err(rows.bad(3, format!("{}, the time since the token before", time - before)));
            }
            let has_id = !rows.bytes(4).is_empty();
            if first_row {
                (with_ids, first_row) = (has_id, false);
                if has_id && meta.kind == RunKind::Simulated {
                    return Err(rows.bad(4, "empty, as in every simulation"));
                }
            }
            if has_id != with_ids {
                return Err(rows.bad(4, if with_ids { "a token id" } else { "empty, as in the rows before" }));
            }
            if has_id {
                ids.push(rows.u32(4)?);
            }
            before = *time;
        }
    }
    if rows.advance()? {
        return Err(rows.bad_row("the run has no further token".to_owned()));
    }
    Ok(with_ids.then_some(token_ids))
}

#[cfg(test)]
mod tests;
