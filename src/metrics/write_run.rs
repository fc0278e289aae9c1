use std::path::Path;

use super::error::ContractError;
use super::meta::{RunMeta, write_meta};
use super::packed_members::pack;
use super::record::{RequestStatus, RunRecord};
use super::row_writer::{RowWriter, Target};
use super::{REPLICA_STEP_COLUMNS, REQUEST_COLUMNS, STEP_COLUMNS, TOKEN_COLUMNS};
use crate::store::FileDigest;

/// Writes the run contract's files into `folder`, which exists and is the
/// caller's alone until all are there (a staged folder). Some runs have no files of steps and tokens
/// ([`RunMeta::has_steps`]). Rows stream through a
/// buffer of about a megabyte.
///
/// # Errors
/// The system refuses a file, or the record contradicts itself or `meta`.
pub fn write_run(folder: &Path, record: &RunRecord, meta: &RunMeta) -> Result<(), ContractError> {
    write_rows(Target::Folder(folder), record, meta)?;
    write_meta(folder, meta)
}

/// Digests of the files of rows that [`write_run`] would write, sorted by name; nothing is written.
///
/// # Errors
/// The record contradicts itself or `meta`.
pub fn digest_run(record: &RunRecord, meta: &RunMeta) -> Result<Vec<FileDigest>, ContractError> {
    let mut files = write_rows(Target::Digest, record, meta)?;
    files.sort();
    Ok(files)
}

fn write_rows(
    target: Target<'_>,
    record: &RunRecord,
    meta: &RunMeta,
) -> Result<Vec<FileDigest>, ContractError> {
    let refuse = |message| Err(ContractError::Record { message });
    if let Some((total, told, counted)) = meta.wrong_total(record) {
        return refuse(format!("{total} is {told} in its meta data and {counted} in its records"));
    }
    if let Some(at) =
        (0u64..).zip(&record.requests).find(|(id, request)| u64::from(request.request_id) != *id)
    {
        return refuse(format!("request {} is at index {}", at.1.request_id, at.0));
    }
    let requests = write_requests(target, record, meta)?;
    if !meta.has_steps() {
        return Ok(requests.into_iter().collect());
    }
    let tokens = write_tokens(target, record)?;
    let steps = write_steps(target, record, meta.cluster.num_schedulers() > 1)?;
    Ok([requests, tokens, steps].into_iter().flatten().collect())
}

fn write_requests(
    target: Target<'_>,
    record: &RunRecord,
    meta: &RunMeta,
) -> Result<Option<FileDigest>, ContractError> {
    let mut rows = RowWriter::create(target, "request_metrics.csv", &REQUEST_COLUMNS)?;
    for request in &record.requests {
        rows.number(request.request_id);
        rows.number(request.arrival_time_ns);
        rows.optional(request.first_token_time_ns);
        rows.optional(request.ttft_ns());
        rows.optional(request.completion_time_ns);
        rows.number(request.num_prefill_tokens);
        rows.number(request.num_decode_tokens);
        rows.number(request.num_decode_tokens_actual);
        rows.text(match request.status {
            RequestStatus::Ok => "ok",
            RequestStatus::Error => "error",
        });
        rows.text(&meta.backend);
        rows.text(&request.error_type);
        rows.text(&request.error_msg);
        rows.end_row()?;
    }
    rows.finish()
}

/// By request, then by token. The latency is the gap to the token before, of the first to the arrival.
fn write_tokens(target: Target<'_>, record: &RunRecord) -> Result<Option<FileDigest>, ContractError> {
    let mut rows = RowWriter::create(target, "token_metrics.csv", &TOKEN_COLUMNS)?;
    let times = record.steps.token_times(record.requests.len());
    for (request, times) in record.requests.iter().zip(&times) {
        let id = request.request_id;
        let token_ids =
            record.token_ids.as_ref().map(|ids| ids.get(id as usize).map_or(&[][..], Vec::as_slice));
        if token_ids.is_some_and(|ids| ids.len() != times.len()) {
            let message =
                format!("request {id} has {} output tokens in its steps, and other token ids", times.len());
            return Err(ContractError::Record { message });
        }
        let mut before = request.arrival_time_ns;
        for (index, time) in times.iter().enumerate() {
            rows.number(id);
            rows.number(index as u64);
            rows.number(*time);
            rows.number(time.saturating_sub(before));
            rows.optional(token_ids.map(|ids| ids[index].into()));
            rows.end_row()?;
            before = *time;
        }
    }
    rows.finish()
}

fn write_steps(
    target: Target<'_>,
    record: &RunRecord,
    of_replicas: bool,
) -> Result<Option<FileDigest>, ContractError> {
    let columns = if of_replicas { &REPLICA_STEP_COLUMNS[..] } else { &STEP_COLUMNS };
    let mut rows = RowWriter::create(target, "steps.csv", columns)?;
    for (index, step) in record.steps.iter().enumerate() {
        rows.number(index as u64);
        rows.number(step.start_ns);
        rows.number(step.end_ns);
        rows.number(step.running);
        rows.number(step.waiting);
        rows.number(step.kv_blocks);
        rows.plain(|cell| pack(step.members, cell));
        if of_replicas {
            rows.number(step.replica);
        }
        rows.end_row()?;
    }
    rows.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RunKind;
    use crate::metrics::sample_runs::{meta_of, serve};
    use crate::store;

    #[test]
    fn digests_without_files_are_those_of_the_files() {
        let record = serve(&[(0, 80, 3), (500, 10, 1)], 64, 8, |index, _| 1000 + index);
        let meta = meta_of(&record, RunKind::Simulated);
        let dir = tempfile::tempdir().unwrap();
        write_run(dir.path(), &record, &meta).unwrap();
        let mut written = store::digest_dir(dir.path()).unwrap();
        written.retain(|file| file.file != "run_meta.json");
        assert_eq!(digest_run(&record, &meta).unwrap(), written);
    }
}
