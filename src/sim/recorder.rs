//! A simulation as a record: what a run's files are made of.

use std::fmt::Write as _;

use super::clock::{Moment, Nanoseconds};
use super::cluster::{Asked, Outcome, Pace, Stage, run};
use crate::metrics::{RequestRecord, RequestStatus, RunRecord, StepLog, StepMember};
use crate::predictor::{Place, Predictor};
use crate::progress::Progress;
use crate::scheduler::{ClusterConfig, Compat, RequestId, SchedulerConfig};
use crate::workload::Workload;

/// What is simulated besides the requests: schedulers, how they share them out, and the seed of the router's draws.
#[derive(Debug, Clone, Copy)]
pub struct Deployed<'a> {
    pub scheduler: &'a SchedulerConfig,
    pub cluster: &'a ClusterConfig,
    pub router_seed: u64,
}

/// Simulates a workload on one thread. Pure: the record depends on nothing but the first three arguments. Requests
/// that can never run are error rows of the record, as in a real run.
///
/// A step is logged when its first stage starts, and lasts until its last stage ends.
pub fn simulate(
    deployed: &Deployed<'_>,
    predictor: &dyn Predictor,
    workload: &Workload,
    progress: &dyn Progress,
) -> RunRecord {
    let caching = deployed.scheduler.prefix_caching;
    let prefixes = workload.prefixes.as_ref().filter(|_| caching);
    let mut requests = workload.requests.iter().enumerate().map(|(index, request)| Asked {
        arrival: Moment(request.arrival_time_ns),
        prefill_tokens: request.num_prefill_tokens,
        decode_tokens: request.num_decode_tokens,
        prefix: prefixes.map_or(&[][..], |prefixes| prefixes.of(index)),
    });
    let count = workload.requests.len();
    progress.start("requests", count as u64);
    let mut recorder = Recorder {
        predictor,
        steps: StepLog::default(),
        formed: Vec::new(),
        progress,
        every: (count as u64 / 1000).max(1),
        unreported: 0,
        note: String::new(),
    };
    let outcomes = run::<Nanoseconds, _>(
        deployed.scheduler,
        deployed.cluster,
        deployed.router_seed,
        &mut requests,
        &mut recorder,
    );
    progress.advance(recorder.unreported);
    progress.finish();
    let steps = recorder.steps;
    let requests = rows(workload, &outcomes, &steps, deployed.scheduler.compat);
    RunRecord { requests, steps, token_ids: None }
}

/// A batch between its forming and its end.
struct Formed {
    /// Requests running and waiting.
    queue: (u32, u32),
    kv_blocks: u32,
    /// Its place in the log, once its first stage started.
    row: usize,
}

/// Asks a predictor, and logs.
struct Recorder<'a> {
    predictor: &'a dyn Predictor,
    steps: StepLog,
    /// By batch number.
    formed: Vec<Formed>,
    progress: &'a dyn Progress,
    /// A listener may cost more than a step: it hears of so many requests at once.
    every: u64,
    unreported: u64,
    note: String,
}

impl Pace<Nanoseconds> for Recorder<'_> {
    fn span(&mut self, stage: &Stage<'_>) -> u64 {
        self.predictor.stage_ns(stage.batch, &Place::from(stage))
    }

    fn started(&mut self, stage: &Stage<'_>, start: Moment, end: Moment) {
        if stage.stage > 0 {
            return;
        }
        let Some(formed) = self.formed.get_mut(stage.batch_id as usize) else { return };
        formed.row = self.steps.len();
        let members = stage.batch.entries().map(|entry| StepMember {
            request: stage.slots[entry.request as usize],
            tokens: entry.tokens,
            context: entry.context,
            is_prefill: entry.is_prefill,
            emits: entry.emits,
        });
        self.steps.push(start.0, end.0, members, formed.queue, (formed.kv_blocks, stage.replica));
    }

    fn formed(&mut self, _batch_id: u64, queue: (u32, u32), kv_blocks: u32) {
        self.formed.push(Formed { queue, kv_blocks, row: 0 });
    }

    fn ended(&mut self, stage: &Stage<'_>, end: Moment) {
        if let Some(formed) = self.formed.get(stage.batch_id as usize) {
            self.steps.set_end(formed.row, end.0);
        }
    }

    fn done(&mut self, _request: RequestId, _outcome: &Outcome) {
        self.unreported += 1;
        if self.unreported < self.every {
            return;
        }
        let queue = self.formed.last().map_or((0, 0), |formed| formed.queue);
        self.note.clear();
        if write!(self.note, "{} running, {} waiting", queue.0, queue.1).is_ok() {
            self.progress.note(&self.note);
        }
        self.progress.advance(std::mem::take(&mut self.unreported));
    }
}

/// What became of each request.
fn rows(workload: &Workload, outcomes: &[Outcome], steps: &StepLog, compat: Compat) -> Vec<RequestRecord> {
    // Those that were served whole need no counting, unless a policy changes what is asked.
    let counts = compat == Compat::Vidur || outcomes.iter().any(|outcome| outcome.completion.is_none());
    let mut emitted = vec![0_u32; if counts { outcomes.len() } else { 0 }];
    for member in steps.iter().filter(|_| counts).flat_map(|step| step.members) {
        if let Some(tokens) = emitted.get_mut(member.request as usize) {
            *tokens += u32::from(member.emits);
        }
    }
    (0..)
        .zip(&workload.requests)
        .zip(outcomes)
        .map(|((request_id, request), outcome)| {
            let tokens = emitted.get(request_id as usize).copied().unwrap_or(request.num_decode_tokens);
            // A prompt that was cut by a preemption came back as output.
            let grown = tokens.saturating_sub(request.num_decode_tokens);
            let mut row = RequestRecord {
                request_id,
                arrival_time_ns: request.arrival_time_ns,
                first_token_time_ns: outcome.first_token.map(|moment| moment.0),
                completion_time_ns: outcome.completion.map(|moment| moment.0),
                num_prefill_tokens: request.num_prefill_tokens.saturating_sub(grown),
                num_decode_tokens: request.num_decode_tokens.saturating_add(grown),
                num_decode_tokens_actual: tokens,
                ..RequestRecord::default()
            };
            match (&outcome.rejected, outcome.completion) {
                (Some(refused), _) => fail(&mut row, "rejected", refused.to_string()),
                (None, None) => {
                    let why = "no batch could be formed with it, though nothing else ran";
                    fail(&mut row, "never_scheduled", why.to_owned());
                }
                (None, Some(_)) => {}
            }
            row
        })
        .collect()
}

fn fail(row: &mut RequestRecord, error_type: &str, error_msg: String) {
    row.status = RequestStatus::Error;
    row.error_type = error_type.to_owned();
    row.error_msg = error_msg;
}
