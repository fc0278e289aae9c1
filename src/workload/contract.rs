//! The files of a workload.

use std::fmt::Write as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Prefixes, Workload, WorkloadError};
use crate::spec::WorkloadSpec;
use crate::store::{self, Digest, FileDigest};

/// Version of the files' format.
pub const FORMAT: u32 = 1;

pub(super) const PROMPTS: &str = "prompts.jsonl";
pub(super) const LENGTHS: &str = "trace_lengths.csv";
pub(super) const INTERVALS: &str = "trace_intervals.csv";
/// Beside these four, where prefixes are known.
pub(super) const PREFIXES: &str = "prefix_hash_ids.csv";
pub(super) const META: &str = "workload_meta.json";

pub(super) const LENGTHS_COLUMNS: [&str; 4] =
    ["request_id", "prompt_id", "num_prefill_tokens", "num_decode_tokens"];
pub(super) const PREFIXES_COLUMNS: [&str; 2] = ["request_id", "prefix_hash_ids"];
pub(super) const INTERVALS_COLUMNS: [&str; 3] = ["request_id", "inter_arrival_ns", "arrival_time_ns"];

/// One seed per stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seeds {
    pub prompts: u64,
    pub lengths: u64,
    pub arrivals: u64,
}

/// `workload_meta.json`: totals of the other three files, and what they were made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadMeta {
    /// Version of the files' format.
    pub format: u32,
    /// Name of the workload.
    pub name: String,
    /// Number of requests.
    pub requests: u64,
    /// Number of prompt texts; 0 when only lengths are known, fewer than requests when texts are shared.
    pub prompts: u64,
    /// Prompt tokens of all requests.
    pub prefill_tokens: u64,
    /// Output tokens of all requests.
    pub decode_tokens: u64,
    /// Arrival of the last request, ns from the run's start.
    pub last_arrival_ns: u64,
    /// Tokens that an id of `prefix_hash_ids.csv` stands for; that file is there where this is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_block_size: Option<u32>,
    /// The spec it was made from.
    pub workload: WorkloadSpec,
    /// The seeds of its streams.
    pub seeds: Seeds,
}

/// One line of `prompts.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptLine<'a> {
    pub prompt_id: u64,
    pub text: std::borrow::Cow<'a, str>,
}

/// Requests, prefill tokens, decode tokens and last arrival of a workload.
pub(super) fn totals(made: &Workload) -> [u64; 4] {
    let sum =
        |tokens: fn(&super::WorkloadRequest) -> u32| made.requests.iter().map(|r| u64::from(tokens(r))).sum();
    [
        made.requests.len() as u64,
        sum(|request| request.num_prefill_tokens),
        sum(|request| request.num_decode_tokens),
        made.requests.last().map_or(0, |request| request.arrival_time_ns),
    ]
}

/// The four files of the contract by name, in a fixed order, and a fifth where prefixes are known.
pub fn workload_files(made: &Workload, spec: &WorkloadSpec, seeds: &Seeds) -> Vec<(&'static str, Vec<u8>)> {
    let [requests, prefill_tokens, decode_tokens, last_arrival_ns] = totals(made);
    let meta = WorkloadMeta {
        format: FORMAT,
        name: spec.name.clone(),
        requests,
        prompts: made.prompts.len() as u64,
        prefill_tokens,
        decode_tokens,
        last_arrival_ns,
        prefix_block_size: made.prefixes.as_ref().map(Prefixes::block_size),
        workload: spec.clone(),
        seeds: *seeds,
    };
    let mut meta = serde_json::to_vec_pretty(&meta).expect("a workload's meta is plain data");
    meta.push(b'\n');
    let mut files = vec![(PROMPTS, prompts(made)), (LENGTHS, lengths(made)), (INTERVALS, intervals(made))];
    files.extend(made.prefixes.as_ref().map(|known| (PREFIXES, prefixes(known))));
    files.push((META, meta));
    files
}

fn prefixes(known: &Prefixes) -> Vec<u8> {
    let mut out = PREFIXES_COLUMNS.join(",");
    for request in 0..known.len() {
        write!(out, "\n{request},").expect("text is written to memory");
        for (index, id) in known.of(request).iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(out, "{space}{id}").expect("text is written to memory");
        }
    }
    out.push('\n');
    out.into_bytes()
}

fn prompts(made: &Workload) -> Vec<u8> {
    let mut out = Vec::with_capacity(made.prompts.iter().map(|text| text.len() + 32).sum());
    for (prompt_id, text) in (0..).zip(&made.prompts) {
        serde_json::to_writer(&mut out, &PromptLine { prompt_id, text: text.into() })
            .expect("text is written to memory");
        out.push(b'\n');
    }
    out
}

fn lengths(made: &Workload) -> Vec<u8> {
    let mut out = LENGTHS_COLUMNS.join(",");
    out.reserve(32 * made.requests.len());
    for (id, request) in made.requests.iter().enumerate() {
        let (prompt, prefill, decode) =
            (request.prompt_id, request.num_prefill_tokens, request.num_decode_tokens);
        write!(out, "\n{id},{prompt},{prefill},{decode}").expect("text is written to memory");
    }
    out.push('\n');
    out.into_bytes()
}

fn intervals(made: &Workload) -> Vec<u8> {
    let mut out = INTERVALS_COLUMNS.join(",");
    out.reserve(40 * made.requests.len());
    for (id, request) in made.requests.iter().enumerate() {
        let (gap, time) = (request.inter_arrival_ns, request.arrival_time_ns);
        write!(out, "\n{id},{gap},{time}").expect("text is written to memory");
    }
    out.push('\n');
    out.into_bytes()
}

/// Digest over the name, size and digest of each file.
pub fn digest(files: &[(&'static str, Vec<u8>)]) -> Digest {
    let files: Vec<FileDigest> = files
        .iter()
        .map(|(name, bytes)| FileDigest {
            file: (*name).to_owned(),
            bytes: bytes.len() as u64,
            sha256: Digest::of(bytes),
        })
        .collect();
    Digest::of_json(&files)
}

/// Writes the files into `folder`, which exists; each is synced.
pub fn write_workload(
    folder: &Path,
    made: &Workload,
    spec: &WorkloadSpec,
    seeds: &Seeds,
) -> Result<(), WorkloadError> {
    for (name, bytes) in workload_files(made, spec, seeds) {
        let path = folder.join(name);
        store::write_part(&path, &bytes)
            .map_err(|source| WorkloadError::Write { path: path.clone(), source })?;
    }
    Ok(())
}
