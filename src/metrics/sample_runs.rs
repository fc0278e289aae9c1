//! Runs for tests: a few lines of first-come-first-served chunked prefill, so
//! that records are consistent without the scheduler's room.

use super::{
    METRICS_VERSION, RUN_FORMAT, RequestRecord, RequestStatus, RunKind, RunMeta, RunRecord, StepMember, meta,
};
use crate::scheduler::{Policy, SchedulerConfig};
use crate::spec::Dtype;
use crate::store::Digest;

/// Serves requests of (arrival ns, prompt tokens, output tokens) in order, `batch` at once, at most
/// `chunk` tokens a step; `duration` is told a step's index and tokens.
pub(crate) fn serve(
    requests: &[(u64, u32, u32)],
    chunk: u32,
    batch: usize,
    mut duration: impl FnMut(u64, u32) -> u64,
) -> RunRecord {
    let mut run = RunRecord {
        requests: (0..)
            .zip(requests)
            .map(|(request_id, &(arrival_time_ns, num_prefill_tokens, num_decode_tokens))| RequestRecord {
                request_id,
                arrival_time_ns,
                num_prefill_tokens,
                num_decode_tokens,
                ..RequestRecord::default()
            })
            .collect(),
        ..RunRecord::default()
    };
    let mut context = vec![0; requests.len()];
    let mut now = 0;
    loop {
        let unfinished = || {
            run.requests
                .iter()
                .filter(|r| r.status == RequestStatus::Ok && r.num_decode_tokens_actual < r.num_decode_tokens)
        };
        let Some(next) = unfinished().map(|request| request.arrival_time_ns).min() else { break };
        now = now.max(next);
        let here = unfinished().filter(|request| request.arrival_time_ns <= now);
        let (queue, mut left) = (here.clone().count(), chunk);
        let mut members = Vec::new();
        for request in here.take(batch) {
            let done: u32 = context[request.request_id as usize];
            let prompt_left = request.num_prefill_tokens.saturating_sub(done);
            let tokens = prompt_left.clamp(1, left.max(1));
            members.push(StepMember {
                request: request.request_id,
                tokens,
                context: done,
                is_prefill: prompt_left > 0,
                emits: prompt_left <= tokens,
            });
            left = left.saturating_sub(tokens);
            if left == 0 {
                break;
            }
        }
        let total = members.iter().map(|member| member.tokens).sum();
        let end = now + duration(run.steps.len() as u64, total);
        for member in &members {
            context[member.request as usize] += member.tokens;
            let request = &mut run.requests[member.request as usize];
            if member.emits {
                request.num_decode_tokens_actual += 1;
                request.first_token_time_ns = request.first_token_time_ns.or(Some(end));
                request.completion_time_ns = Some(end);
            }
        }
        let running = members.len();
        run.steps.push(now, end, members, (running as u32, (queue - running) as u32), (running as u32, 0));
        now = end;
    }
    run
}

/// The run with request `id` refused before it had a token; it must have none.
pub(crate) fn refuse(run: &mut RunRecord, id: usize) {
    let request = &mut run.requests[id];
    request.status = RequestStatus::Error;
    request.error_type = "rejected".to_owned();
    request.error_msg = "needs \"9\" KV blocks,\nof 4".to_owned();
}

/// Meta data that fit a run.
pub(crate) fn meta_of(run: &RunRecord, kind: RunKind) -> RunMeta {
    RunMeta {
        format: RUN_FORMAT,
        xp_version: env!("CARGO_PKG_VERSION").to_owned(),
        metrics_version: METRICS_VERSION,
        run: None,
        kind,
        backend: if kind == RunKind::Measured { "sarathi" } else { "vidur" }.to_owned(),
        repeat: 0,
        model: "qwen3-tiny".to_owned(),
        dtype: Dtype::F32,
        model_digest: Digest::of("model"),
        workload_digest: Digest::of("workload"),
        scheduler: SchedulerConfig::new(Policy::Sarathi, (64, 8), (16, 64, 1), 4096),
        cluster: crate::scheduler::ClusterConfig::default(),
        threads: 2,
        hardware: vec![("cpu".to_owned(), "a CPU".to_owned())],
        fingerprint: Some(Digest::of("machine")),
        reference_ns: Some(2_000),
        speed: Vec::new(),
        worker: None,
        disturbed: None,
        requests_only: false,
        num_requests: run.requests.len() as u64,
        num_steps: run.steps.len() as u64,
        output_tokens: meta::output_tokens(&run.requests),
        duration_ns: run.duration_ns(),
    }
}
