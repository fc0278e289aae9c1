//! What a run is, real or simulated: requests, and the log of steps. A token's
//! time is the end of the step that yielded it, so tokens cost no memory.

use super::definitions::TokenSpan;
use crate::scheduler::{Batch, BatchEntry, RequestId};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestStatus {
    /// All tokens were generated.
    #[default]
    Ok,
    /// The request was refused or failed; its times may be missing.
    Error,
}

/// One row of `request_metrics.csv`. Times are ns from run start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestRecord {
    pub request_id: RequestId,
    pub arrival_time_ns: u64,
    /// End of the step that yielded the first output token.
    pub first_token_time_ns: Option<u64>,
    /// End of the step that yielded the last output token.
    pub completion_time_ns: Option<u64>,
    pub num_prefill_tokens: u32,
    /// Output tokens asked for.
    pub num_decode_tokens: u32,
    /// Output tokens generated.
    pub num_decode_tokens_actual: u32,
    pub status: RequestStatus,
    /// Short class of the error, such as `rejected`; empty when `status` is ok.
    pub error_type: String,
    pub error_msg: String,
}

impl RequestRecord {
    /// Becomes an error of a class. What it got before stays.
    pub fn fail(&mut self, error_type: &str, error_msg: impl Into<String>) {
        self.status = RequestStatus::Error;
        self.error_type = error_type.to_owned();
        self.error_msg = error_msg.into();
    }

    /// Becomes the error of a request that waited to the end.
    pub fn fail_unscheduled(&mut self) {
        self.fail("never_scheduled", "no batch could be formed with it, though nothing else ran");
    }

    /// Time to first token: arrival to first output token.
    pub fn ttft_ns(&self) -> Option<u64> {
        Some(self.first_token_time_ns?.saturating_sub(self.arrival_time_ns))
    }

    /// End-to-end latency: arrival to last output token.
    pub fn e2e_ns(&self) -> Option<u64> {
        Some(self.completion_time_ns?.saturating_sub(self.arrival_time_ns))
    }

    /// Time per output token: (E2E − TTFT) / (output tokens − 1); undefined for one token.
    pub fn tpot_ns(&self) -> Option<f64> {
        self.span()?.tpot_ns()
    }

    /// Its first and last output token; None when it has none.
    pub fn span(&self) -> Option<TokenSpan> {
        let (first_ns, last_ns) = (self.first_token_time_ns?, self.completion_time_ns?);
        let tokens = self.num_decode_tokens_actual;
        (tokens > 0).then_some(TokenSpan { arrival_ns: self.arrival_time_ns, first_ns, last_ns, tokens })
    }
}

/// One request's share of a logged step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepMember {
    pub request: RequestId,
    pub tokens: u32,
    /// Tokens in the KV cache before the step.
    pub context: u32,
    pub is_prefill: bool,
    /// The step yielded an output token for the request.
    pub emits: bool,
}

impl StepMember {
    /// A share of a batch, which may name its request by another number.
    pub fn of(entry: &BatchEntry, request: RequestId) -> Self {
        let BatchEntry { tokens, context, is_prefill, emits, .. } = *entry;
        Self { request, tokens, context, is_prefill, emits }
    }
}

impl From<&StepMember> for BatchEntry {
    fn from(member: &StepMember) -> Self {
        let StepMember { request, tokens, context, is_prefill, emits } = *member;
        Self { request, tokens, context, is_prefill, emits }
    }
}

/// All steps of a run in order, as columns: a million steps are a few vectors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepLog {
    start_ns: Vec<u64>,
    end_ns: Vec<u64>,
    /// Where step i's members end; they begin where step i−1's end.
    member_end: Vec<usize>,
    members: Vec<StepMember>,
    running: Vec<u32>,
    waiting: Vec<u32>,
    kv_blocks: Vec<u32>,
    replica: Vec<u32>,
    /// Latest end so far: the steps of several replicas, or of a pipeline, overlap.
    latest_end_ns: u64,
}

/// One step of a [`StepLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepView<'a> {
    pub start_ns: u64,
    pub end_ns: u64,
    pub members: &'a [StepMember],
    /// Requests running and waiting while the step ran.
    pub running: u32,
    pub waiting: u32,
    /// KV blocks in use while the step ran.
    pub kv_blocks: u32,
    /// The replica that ran it. Queue and blocks are that replica's.
    pub replica: u32,
}

impl StepLog {
    /// Number of steps.
    pub fn len(&self) -> usize {
        self.start_ns.len()
    }

    /// Whether nothing ran.
    pub fn is_empty(&self) -> bool {
        self.start_ns.is_empty()
    }

    /// The latest end of a step, ns from run start; 0 when nothing ran.
    pub fn duration_ns(&self) -> u64 {
        self.latest_end_ns
    }

    /// Appends an executed batch.
    pub fn push_batch(
        &mut self,
        start_ns: u64,
        end_ns: u64,
        batch: &Batch,
        queue: (u32, u32),
        kv_blocks: u32,
    ) {
        self.push(
            start_ns,
            end_ns,
            batch.entries().map(|entry| StepMember::of(&entry, entry.request)),
            queue,
            (kv_blocks, 0),
        );
    }

    /// Appends a step. `queue` is (running, waiting), `place` (KV blocks in use, replica).
    pub fn push(
        &mut self,
        start_ns: u64,
        end_ns: u64,
        members: impl IntoIterator<Item = StepMember>,
        (running, waiting): (u32, u32),
        (kv_blocks, replica): (u32, u32),
    ) {
        self.start_ns.push(start_ns);
        self.end_ns.push(end_ns);
        self.latest_end_ns = self.latest_end_ns.max(end_ns);
        self.replica.push(replica);
        self.members.extend(members);
        self.member_end.push(self.members.len());
        self.running.push(running);
        self.waiting.push(waiting);
        self.kv_blocks.push(kv_blocks);
    }

    /// Says when a step ended that was appended before that was known. Panics when out of range.
    pub fn set_end(&mut self, index: usize, end_ns: u64) {
        self.end_ns[index] = end_ns;
        self.latest_end_ns = self.latest_end_ns.max(end_ns);
    }

    /// The `index`-th step. Panics when out of range, as slices do.
    pub fn step(&self, index: usize) -> StepView<'_> {
        let from = if index == 0 { 0 } else { self.member_end[index - 1] };
        StepView {
            start_ns: self.start_ns[index],
            end_ns: self.end_ns[index],
            members: &self.members[from..self.member_end[index]],
            running: self.running[index],
            waiting: self.waiting[index],
            kv_blocks: self.kv_blocks[index],
            replica: self.replica[index],
        }
    }

    /// All steps in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = StepView<'_>> {
        (0..self.len()).map(|index| self.step(index))
    }

    /// Output-token times of each of `requests` requests, ns, in token order.
    pub fn token_times(&self, requests: usize) -> Vec<Vec<u64>> {
        let mut times = vec![Vec::new(); requests];
        for step in self.iter() {
            for member in step.members.iter().filter(|member| member.emits) {
                if let Some(times) = times.get_mut(member.request as usize) {
                    times.push(step.end_ns);
                }
            }
        }
        times
    }
}

/// A whole run, real or simulated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunRecord {
    /// In request-id order: `requests[i].request_id == i`.
    pub requests: Vec<RequestRecord>,
    pub steps: StepLog,
    /// Generated token ids of each request; `None` for a simulation, which has none.
    pub token_ids: Option<Vec<Vec<u32>>>,
}

impl RunRecord {
    /// Whether the steps are known: a recorded run yields tokens and has none.
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty() || self.requests.iter().all(|request| request.first_token_time_ns.is_none())
    }

    /// From the run's start to the end of its last step, ns; where steps are not known, to its last token.
    pub fn duration_ns(&self) -> u64 {
        match self.steps.is_empty() {
            false => self.steps.duration_ns(),
            true => self.requests.iter().filter_map(|request| request.completion_time_ns).max().unwrap_or(0),
        }
    }
}
