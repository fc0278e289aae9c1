//! A simulation as a record: what a run's files are made of.

use std::borrow::Cow;

use super::clock::{Moment, Nanoseconds};
use super::cluster::{Asked, Outcome, Pace, Stage, run};
use crate::drive::Report;
use crate::metrics::{RequestRecord, RunRecord, StepLog, StepMember};
use crate::predictor::{Place, Predictor};
use crate::progress::Progress;
use crate::scheduler::{ClusterConfig, RequestId, SchedulerConfig};
use crate::workload::{Prefixes, Workload, WorkloadRequest};

/// What is simulated besides the requests: schedulers, how they share them out, and the seed of the router's draws.
#[derive(Debug, Clone, Copy)]
pub struct Deployed<'a> {
    pub scheduler: &'a SchedulerConfig,
    pub cluster: &'a ClusterConfig,
    pub router_seed: u64,
}

impl Deployed<'_> {
    /// Serves requests, whose prefixes are in the scheduler's blocks ([`prefixes_for`]), on whole nanoseconds.
    pub fn serve(
        &self,
        requests: &[WorkloadRequest],
        prefixes: Option<&Prefixes>,
        pace: &mut impl Pace<Nanoseconds>,
    ) -> Vec<Outcome> {
        run(self.scheduler, self.cluster, self.router_seed, &mut asked(requests, prefixes), pace)
    }
}

/// The prefixes of a workload's prompts in the scheduler's blocks, where it keeps any.
pub fn prefixes_for<'w>(workload: &'w Workload, scheduler: &SchedulerConfig) -> Option<Cow<'w, Prefixes>> {
    let prefixes = workload.prefixes.as_ref().filter(|_| scheduler.prefix_caching)?;
    Some(match prefixes.block_size() == scheduler.block_size {
        true => Cow::Borrowed(prefixes),
        false => Cow::Owned(prefixes.in_blocks(scheduler.block_size)),
    })
}

/// Requests as they arrive, with the ids of their prompts' blocks, which are of the scheduler's size
/// ([`prefixes_for`]).
pub fn asked<'w>(
    requests: &'w [WorkloadRequest],
    prefixes: Option<&'w Prefixes>,
) -> impl ExactSizeIterator<Item = Asked<'w>> {
    requests.iter().enumerate().map(move |(index, request)| Asked {
        arrival: Moment(request.arrival_time_ns),
        prefill_tokens: request.num_prefill_tokens,
        decode_tokens: request.num_decode_tokens,
        prefix: prefixes.map_or(&[][..], |prefixes| prefixes.of(index)),
    })
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
    let prefixes = prefixes_for(workload, deployed.scheduler);
    let mut recorder = Recorder {
        predictor,
        steps: StepLog::default(),
        formed: Vec::new(),
        report: Report::start(progress, workload.requests.len()),
    };
    let outcomes = deployed.serve(&workload.requests, prefixes.as_deref(), &mut recorder);
    let queue = recorder.queue();
    recorder.report.finish(queue);
    let steps = recorder.steps;
    let emitted = any_unfinished(&outcomes).then(|| {
        let mut emitted = vec![0_u32; outcomes.len()];
        for member in steps.iter().flat_map(|step| step.members) {
            if let Some(tokens) = emitted.get_mut(member.request as usize) {
                *tokens += u32::from(member.emits);
            }
        }
        emitted
    });
    let requests = rows(workload, &outcomes, emitted.as_deref());
    RunRecord { requests, steps, token_ids: None }
}

/// What a simulation without a log of steps knows of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTotals {
    pub num_steps: u64,
    /// The latest end of a step, ns from run start.
    pub duration_ns: u64,
}

/// [`simulate`] without a log of steps: the memory it takes does not grow with the number of tokens.
pub fn simulate_requests(
    deployed: &Deployed<'_>,
    predictor: &dyn Predictor,
    workload: &Workload,
    progress: &dyn Progress,
) -> (RunRecord, StepTotals) {
    let prefixes = prefixes_for(workload, deployed.scheduler);
    let serve = |emitted: Option<Vec<u32>>| {
        let mut counter = Counter {
            predictor,
            emitted,
            queue: (0, 0),
            totals: StepTotals { num_steps: 0, duration_ns: 0 },
            report: Report::start(progress, workload.requests.len()),
        };
        let outcomes = deployed.serve(&workload.requests, prefixes.as_deref(), &mut counter);
        counter.report.finish(counter.queue);
        (outcomes, counter.emitted, counter.totals)
    };
    let (mut outcomes, mut emitted, mut totals) = serve(None);
    // Counting looks at every token, and is seldom needed: it is worth a second run.
    if any_unfinished(&outcomes) {
        (outcomes, emitted, totals) = serve(Some(vec![0; workload.requests.len()]));
    }
    let requests = rows(workload, &outcomes, emitted.as_deref());
    (RunRecord { requests, ..RunRecord::default() }, totals)
}

/// Whether a request was begun, or might have been, and has no end: how many output tokens it has takes counting.
fn any_unfinished(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|outcome| outcome.completion.is_none() && outcome.rejected.is_none())
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
    report: Report<'a>,
}

impl Recorder<'_> {
    /// Requests running and waiting when the last batch was formed.
    fn queue(&self) -> (u32, u32) {
        self.formed.last().map_or((0, 0), |formed| formed.queue)
    }
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
        let members =
            stage.batch.entries().map(|entry| StepMember::of(&entry, stage.slots[entry.request as usize]));
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
        let queue = self.queue();
        self.report.done(1, queue);
    }
}

/// Asks a predictor, and counts.
struct Counter<'a> {
    predictor: &'a dyn Predictor,
    /// Output tokens of each request, where they are counted.
    emitted: Option<Vec<u32>>,
    /// Requests running and waiting when the last batch was formed.
    queue: (u32, u32),
    totals: StepTotals,
    report: Report<'a>,
}

impl Pace<Nanoseconds> for Counter<'_> {
    fn span(&mut self, stage: &Stage<'_>) -> u64 {
        self.predictor.stage_ns(stage.batch, &Place::from(stage))
    }

    fn formed(&mut self, _batch_id: u64, queue: (u32, u32), _kv_blocks: u32) {
        self.totals.num_steps += 1;
        self.queue = queue;
    }

    fn ended(&mut self, stage: &Stage<'_>, end: Moment) {
        self.totals.duration_ns = self.totals.duration_ns.max(end.0);
        let Some(emitted) = &mut self.emitted else { return };
        for entry in stage.batch.entries().filter(|entry| entry.emits) {
            emitted[stage.slots[entry.request as usize] as usize] += 1;
        }
    }

    fn done(&mut self, _request: RequestId, _outcome: &Outcome) {
        self.report.done(1, self.queue);
    }
}

/// What became of each request; `emitted` are its output tokens, where they were counted.
pub(super) fn rows(workload: &Workload, outcomes: &[Outcome], emitted: Option<&[u32]>) -> Vec<RequestRecord> {
    (0..)
        .zip(&workload.requests)
        .zip(outcomes)
        .map(|((request_id, request), outcome)| {
            let tokens = match emitted {
                Some(emitted) => emitted[request_id as usize],
                None if outcome.completion.is_none() => 0,
                None => request.num_decode_tokens.saturating_add(outcome.cut_tokens),
            };
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
                (Some(refused), _) => row.fail("rejected", refused.to_string()),
                (None, None) => row.fail_unscheduled(),
                (None, Some(_)) => {}
            }
            row
        })
        .collect()
}
