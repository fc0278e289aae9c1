//! The event loop: replicas × pipeline stages over a virtual clock.
//!
//! Four things happen to a batch: it is formed, it arrives at a stage, a stage starts it, a stage ends it.
//! Only the last takes time, so only ends of stages are ordered by time; everything else happens at the moment of
//! what caused it, in the order in which it was caused. At equal times arrivals come first, then
//! ends of stages in the order in which the stages were started: the order of Vidur's event queue
//! (a heap by time, then by the number of the event).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::clock::{Clock, Moment};
use crate::predictor::{Place, SinceChunk};
use crate::scheduler::{
    Arrival, Batch, ClusterConfig, Compat, Load, Policy, Rejected, RequestId, Router, Scheduler,
    SchedulerConfig, build_counted,
};

/// A request as it arrives.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub arrival: Moment,
    pub prefill_tokens: u32,
    pub decode_tokens: u32,
    /// Ids of its prompt's full KV blocks, as in [`Arrival`].
    pub prefix: &'a [u64],
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Whose it was.
    pub replica: u32,
    /// How often it lost its KV blocks and began again.
    pub preemptions: u32,
    /// Tokens of its prompt that came back as output ([`Batch::cut`]).
    pub cut_tokens: u32,
    /// When it first got a share of a batch.
    pub scheduled: Option<Moment>,
    /// End of the batch that yielded its first token.
    pub first_token: Option<Moment>,
    /// End of the batch that yielded its last.
    pub completion: Option<Moment>,
    /// Why it never ran.
    pub rejected: Option<Rejected>,
}

/// A batch at a stage.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// Batches are numbered in the order in which they are formed, over all replicas.
    pub batch_id: u64,
    pub replica: u32,
    /// Pipeline stage, from 0.
    pub stage: u32,
    /// The stage is the last one.
    pub is_last: bool,
    /// Tokens of this step on all data-parallel ranks together, and on the one that has most; an idle rank
    /// runs one all the same. Without such ranks, those of the batch.
    pub group_tokens: u64,
    pub group_most: u32,
    /// How long the stage had nothing to do before, ns.
    pub idle_ns: u64,
    /// Which step it is after the stage's last one with a prefill chunk, from 1; 0 if there was none.
    pub steps_since_chunk: u32,
    /// When it starts, ns from run start.
    pub now_ns: u64,
    /// Its shares name requests by their slots in the replica.
    pub batch: &'a Batch,
    /// The request in each slot.
    pub slots: &'a [RequestId],
}

impl From<&Stage<'_>> for Place {
    fn from(stage: &Stage<'_>) -> Self {
        Self {
            stage: stage.stage,
            is_last: stage.is_last,
            group_tokens: stage.group_tokens,
            group_most: stage.group_most,
            idle_ns: stage.idle_ns,
            steps_since_chunk: stage.steps_since_chunk,
            now_ns: stage.now_ns,
        }
    }
}

impl<'a> Stage<'a> {
    /// A batch that starts at a stage of a replica now; `group` is (tokens on all ranks, tokens on the one that has
    /// most).
    fn of<C: Clock>(
        now: Moment,
        (replica, state): (u32, &'a Replica),
        stage: u32,
        formed: &'a Formed,
        group: (u64, u32),
    ) -> Self {
        let PipelineStage { idle_since, since_chunk, .. } = &state.stages[stage as usize];
        Self {
            batch_id: formed.id,
            replica,
            stage,
            is_last: stage as usize + 1 == state.stages.len(),
            group_tokens: group.0,
            group_most: group.1,
            idle_ns: C::ns(now).saturating_sub(C::ns(*idle_since)),
            steps_since_chunk: since_chunk.next(),
            now_ns: C::ns(now),
            batch: &formed.batch,
            slots: &state.slots,
        }
    }

    /// The same where the batch is a step of its own.
    fn alone<C: Clock>(now: Moment, of: (u32, &'a Replica), stage: u32, formed: &'a Formed) -> Self {
        let tokens = formed.batch.num_tokens();
        Self::of::<C>(now, of, stage, formed, (u64::from(tokens), tokens))
    }
}

/// Says how long a stage takes, and may look on.
pub trait Pace<C: Clock> {
    /// How long the stage takes; asked once for each, when it starts.
    fn span(&mut self, stage: &Stage<'_>) -> C::Span;

    /// The stage ran from `start` to `end`. Called when it starts.
    fn started(&mut self, _stage: &Stage<'_>, _start: Moment, _end: Moment) {}

    /// A batch was formed, with so many requests running and waiting, and so many KV blocks in use.
    fn formed(&mut self, _batch_id: u64, _queue: (u32, u32), _kv_blocks: u32) {}

    /// A batch is complete: all its tokens are out. Called before `Outcome`s are completed.
    fn ended(&mut self, _stage: &Stage<'_>, _end: Moment) {}

    /// A request is complete, or was rejected.
    fn done(&mut self, _request: RequestId, _outcome: &Outcome) {}

    /// Whether the simulation shall stop at this moment.
    fn stops(&mut self, _now: Moment) -> bool {
        false
    }
}

impl<C: Clock, F: FnMut(&Stage<'_>) -> C::Span> Pace<C> for F {
    fn span(&mut self, stage: &Stage<'_>) -> C::Span {
        self(stage)
    }
}

/// What happens without a passing of time.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Requests that arrived are shared out.
    Route,
    /// A replica forms batches.
    Schedule { replica: u32 },
    /// A batch arrives at a stage.
    Arrive { replica: u32, stage: u32, batch: u32 },
    /// A stage may start its next batch.
    Start { replica: u32, stage: u32 },
    /// A stage is done with a batch.
    End { replica: u32, stage: u32, batch: u32 },
    /// A batch is complete.
    Complete { replica: u32, batch: u32 },
}

/// The end of a stage; the earlier the greater, and among equals the one that was started first.
type StageEnd = Reverse<(Moment, u64, u32, u32, u32)>;

struct Replica {
    scheduler: Box<dyn Scheduler>,
    /// Batches formed and not complete.
    under_way: u32,
    stages: Vec<PipelineStage>,
    /// The request in each slot. A scheduler's memory grows with the largest id, so it knows requests by slots.
    slots: Vec<RequestId>,
    free_slots: Vec<u32>,
}

#[derive(Default)]
struct PipelineStage {
    busy: bool,
    /// When it ended its last batch.
    idle_since: Moment,
    since_chunk: SinceChunk,
    queue: VecDeque<u32>,
}

/// A batch that is formed, by its place in the pool.
#[derive(Default)]
struct Formed {
    id: u64,
    batch: Batch,
}

struct Simulation<'a, C: Clock, P> {
    config: &'a SchedulerConfig,
    /// Replicas that step together: data-parallel ranks, neighbours by number.
    ranks: u32,
    /// Groups of them, by their first replica, and stages that may start their next step once all that happens at
    /// this moment has happened.
    waiting_groups: Vec<(u32, u32)>,
    pace: &'a mut P,
    router: Router,
    loads: Vec<Load>,
    replicas: Vec<Replica>,
    outcomes: Vec<Outcome>,
    now: Moment,
    /// Requests that arrived and were not shared out.
    arrived: std::ops::Range<usize>,
    soon: VecDeque<Event>,
    later: BinaryHeap<StageEnd>,
    next_end: u64,
    batches: Vec<Formed>,
    free_batches: Vec<u32>,
    next_batch: u64,
    finished: Vec<RequestId>,
    touched: Vec<bool>,
    clock: std::marker::PhantomData<C>,
}

/// Simulates requests, in order of arrival, to their end. `seed` is that of the router's draws.
///
/// The result depends on nothing but the arguments. A request without completion was rejected, never
/// scheduled, or cut off because `pace` stopped the simulation.
pub fn run<'r, C: Clock, P: Pace<C>>(
    config: &SchedulerConfig,
    cluster: &ClusterConfig,
    seed: u64,
    requests: &mut dyn ExactSizeIterator<Item = Asked<'r>>,
    pace: &mut P,
) -> Vec<Outcome> {
    let replicas = cluster.num_schedulers();
    let replica = |_| Replica {
        scheduler: build_counted(config),
        under_way: 0,
        stages: (0..config.pipeline_stages.max(1)).map(|_| PipelineStage::default()).collect(),
        slots: Vec::new(),
        free_slots: Vec::new(),
    };
    let mut simulation: Simulation<'_, C, P> = Simulation {
        config,
        ranks: cluster.data_parallel.max(1),
        waiting_groups: Vec::new(),
        pace,
        router: Router::new(cluster.router, replicas, seed, config.compat == Compat::Vidur),
        loads: vec![Load::default(); replicas as usize],
        replicas: (0..replicas).map(replica).collect(),
        outcomes: Vec::with_capacity(requests.len()),
        now: Moment::default(),
        arrived: 0..0,
        soon: VecDeque::new(),
        later: BinaryHeap::new(),
        next_end: 0,
        batches: Vec::new(),
        free_batches: Vec::new(),
        next_batch: 0,
        finished: Vec::new(),
        touched: vec![false; replicas as usize],
        clock: std::marker::PhantomData,
    };
    simulation.serve(requests);
    simulation.outcomes
}

impl<C: Clock, P: Pace<C>> Simulation<'_, C, P> {
    fn serve<'r>(&mut self, requests: &mut dyn ExactSizeIterator<Item = Asked<'r>>) {
        let mut next = requests.next();
        let mut arrivals: VecDeque<Asked<'r>> = VecDeque::new();
        loop {
            let arrival = next.as_ref().map(|asked| asked.arrival);
            let end = self.later.peek().map(|Reverse(end)| end.0);
            let Some(now) = arrival.into_iter().chain(end).min() else { break };
            // Arrivals out of order happen when they are reached.
            self.now = self.now.max(now);
            if self.pace.stops(self.now) {
                break;
            }
            while let Some(asked) = next.filter(|asked| asked.arrival <= self.now) {
                self.outcomes.push(Outcome::default());
                arrivals.push_back(asked);
                next = requests.next();
            }
            if !arrivals.is_empty() {
                self.soon.push_back(Event::Route);
            }
            while let Some(&Reverse((time, _, replica, stage, batch))) = self.later.peek()
                && time <= self.now
            {
                self.later.pop();
                self.end(replica, stage, batch);
            }
            loop {
                while let Some(event) = self.soon.pop_front() {
                    self.happen(event, &mut arrivals);
                }
                let Some((first, stage)) = self.waiting_groups.pop() else { break };
                self.start_group(first, stage);
            }
        }
    }

    fn happen(&mut self, event: Event, arrivals: &mut VecDeque<Asked<'_>>) {
        match event {
            Event::Route => self.route(arrivals),
            Event::Schedule { replica } => self.schedule(replica),
            Event::Arrive { replica, stage, batch } => {
                self.replicas[replica as usize].stages[stage as usize].queue.push_back(batch);
                self.soon.push_back(Event::Start { replica, stage });
            }
            Event::Start { replica, stage } => self.start(replica, stage),
            Event::End { replica, stage, batch } => self.end(replica, stage, batch),
            Event::Complete { replica, batch } => self.complete(replica, batch),
        }
    }

    /// Shares out the requests that arrived at this moment, then lets their replicas form batches.
    fn route(&mut self, arrivals: &mut VecDeque<Asked<'_>>) {
        self.arrived = self.arrived.end..self.outcomes.len();
        for (request, asked) in (self.arrived.start as u32..).zip(arrivals.drain(..)) {
            if self.router.wants_loads() {
                let prefixes = self.router.wants_prefixes();
                for (load, replica) in self.loads.iter_mut().zip(&self.replicas) {
                    *load = Load {
                        waiting: replica.scheduler.num_waiting() as u32,
                        running: replica.scheduler.num_running() as u32,
                        cached_tokens: if prefixes {
                            replica.scheduler.cached_prefix(asked.prefix)
                        } else {
                            0
                        },
                    };
                }
            }
            let chosen = self.router.route(asked.prefill_tokens, &self.loads);
            let replica = &mut self.replicas[chosen as usize];
            let outcome = &mut self.outcomes[request as usize];
            outcome.replica = chosen;
            let slot = replica.free_slots.pop().unwrap_or_else(|| {
                replica.slots.push(request);
                (replica.slots.len() - 1) as u32
            });
            replica.slots[slot as usize] = request;
            let added = replica.scheduler.add(&Arrival {
                request: slot,
                prefill_tokens: asked.prefill_tokens,
                decode_tokens: asked.decode_tokens,
                rank: asked.arrival.0,
                prefix: asked.prefix,
            });
            if let Err(refused) = added {
                outcome.rejected = Some(refused);
                replica.free_slots.push(slot);
                self.pace.done(request, outcome);
            } else {
                self.touched[chosen as usize] = true;
            }
        }
        for replica in 0..self.touched.len() {
            if std::mem::take(&mut self.touched[replica]) {
                // vLLM looks at its socket between two steps, and at no other time but when idle.
                let looks = self.config.policy != Policy::VllmV1 || self.is_idle(replica as u32);
                if looks {
                    self.soon.push_back(Event::Schedule { replica: replica as u32 });
                }
            }
        }
    }

    /// The replicas that step together with one, itself among them.
    fn group(&self, replica: u32) -> std::ops::Range<u32> {
        let first = replica / self.ranks * self.ranks;
        first..first + self.ranks
    }

    /// Whether no batch is under way on any of the ranks that step together: while there is one, a rank without a
    /// batch has an empty step.
    fn is_idle(&self, replica: u32) -> bool {
        self.group(replica).all(|rank| self.replicas[rank as usize].under_way == 0)
    }

    fn schedule(&mut self, replica: u32) {
        let depth = self.config.depth();
        let state = &mut self.replicas[replica as usize];
        while state.under_way < depth {
            let index = self.free_batches.pop().unwrap_or_else(|| {
                self.batches.push(Formed::default());
                (self.batches.len() - 1) as u32
            });
            let formed = &mut self.batches[index as usize];
            state.scheduler.schedule(&mut formed.batch);
            for &slot in &formed.batch.preempted {
                self.outcomes[state.slots[slot as usize] as usize].preemptions += 1;
            }
            for &(slot, tokens) in &formed.batch.cut {
                self.outcomes[state.slots[slot as usize] as usize].cut_tokens += tokens;
            }
            if formed.batch.is_empty() {
                self.free_batches.push(index);
                break;
            }
            formed.id = self.next_batch;
            self.next_batch += 1;
            state.under_way += 1;
            for chunk in &formed.batch.chunks {
                self.outcomes[state.slots[chunk.request as usize] as usize].scheduled.get_or_insert(self.now);
            }
            let queue = (state.scheduler.num_running() as u32, state.scheduler.num_waiting() as u32);
            self.pace.formed(formed.id, queue, state.scheduler.blocks_used());
            self.soon.push_back(Event::Arrive { replica, stage: 0, batch: index });
        }
    }

    fn start(&mut self, replica: u32, stage: u32) {
        if self.ranks > 1 {
            let group = (self.group(replica).start, stage);
            if !self.waiting_groups.contains(&group) {
                self.waiting_groups.push(group);
            }
            return;
        }
        let state = &mut self.replicas[replica as usize];
        let pipeline_stage = &mut state.stages[stage as usize];
        if pipeline_stage.busy {
            return;
        }
        let Some(batch) = pipeline_stage.queue.pop_front() else { return };
        pipeline_stage.busy = true;
        let formed = &self.batches[batch as usize];
        let view = Stage::alone::<C>(self.now, (replica, state), stage, formed);
        let end = C::after(self.now, self.pace.span(&view));
        self.pace.started(&view, self.now, end);
        self.ends_at(end, replica, stage, batch);
    }

    /// Starts a stage on all ranks that step together, once none of them is busy; it lasts as long as on the slowest.
    fn start_group(&mut self, first: u32, stage: u32) {
        let group = self.group(first);
        let stage_of = |replica: u32| &self.replicas[replica as usize].stages[stage as usize];
        if group.clone().any(|replica| stage_of(replica).busy) {
            return;
        }
        let front = |replica: u32| Some((replica, stage_of(replica).queue.front().copied()?));
        let started: Vec<(u32, u32)> = group.filter_map(front).collect();
        let tokens = |batch: u32| self.batches[batch as usize].batch.num_tokens();
        let idle = u64::from(self.ranks) - started.len() as u64;
        let group_tokens = idle + started.iter().map(|(_, batch)| u64::from(tokens(*batch))).sum::<u64>();
        let group_most = started.iter().map(|(_, batch)| tokens(*batch)).max().unwrap_or(0);
        let mut end = self.now;
        for knows_end in [false, true] {
            for &(replica, batch) in &started {
                let (state, formed) = (&self.replicas[replica as usize], &self.batches[batch as usize]);
                let group = (group_tokens, group_most);
                let view = Stage::of::<C>(self.now, (replica, state), stage, formed, group);
                match knows_end {
                    false => end = end.max(C::after(self.now, self.pace.span(&view))),
                    true => self.pace.started(&view, self.now, end),
                }
            }
        }
        for (replica, batch) in started {
            let stage_of = &mut self.replicas[replica as usize].stages[stage as usize];
            stage_of.queue.pop_front();
            stage_of.busy = true;
            self.ends_at(end, replica, stage, batch);
        }
    }

    fn ends_at(&mut self, end: Moment, replica: u32, stage: u32, batch: u32) {
        if end > self.now {
            self.later.push(Reverse((end, self.next_end, replica, stage, batch)));
            self.next_end += 1;
        } else {
            self.soon.push_back(Event::End { replica, stage, batch });
        }
    }

    fn end(&mut self, replica: u32, stage: u32, batch: u32) {
        let stage_of = &mut self.replicas[replica as usize].stages[stage as usize];
        (stage_of.busy, stage_of.idle_since) = (false, self.now);
        stage_of.since_chunk.add(&self.batches[batch as usize].batch);
        // A rank that had an empty step looks at its queue when the others' step ends.
        for rank in self.group(replica) {
            if rank != replica && self.replicas[rank as usize].under_way == 0 {
                self.soon.push_back(Event::Schedule { replica: rank });
            }
        }
        self.soon.push_back(Event::Start { replica, stage });
        let stages = self.replicas[replica as usize].stages.len();
        self.soon.push_back(if stage as usize + 1 == stages {
            Event::Complete { replica, batch }
        } else {
            Event::Arrive { replica, stage: stage + 1, batch }
        });
    }

    fn complete(&mut self, replica: u32, index: u32) {
        let state = &mut self.replicas[replica as usize];
        let formed = &mut self.batches[index as usize];
        let last = state.stages.len() as u32 - 1;
        self.pace.ended(&Stage::alone::<C>(self.now, (replica, state), last, formed), self.now);
        for chunk in formed.batch.chunks.iter().filter(|chunk| chunk.emits) {
            self.outcomes[state.slots[chunk.request as usize] as usize].first_token.get_or_insert(self.now);
        }
        state.scheduler.complete(&mut formed.batch, &mut self.finished);
        // A slot may still hold memory after its request's end where whole batches do.
        let recycles = self.config.policy != Policy::FasterTransformer;
        for slot in self.finished.drain(..) {
            let request = state.slots[slot as usize];
            let outcome = &mut self.outcomes[request as usize];
            outcome.completion = Some(self.now);
            self.pace.done(request, outcome);
            if recycles {
                state.free_slots.push(slot);
            }
        }
        state.under_way -= 1;
        self.free_batches.push(index);
        self.soon.push_back(Event::Schedule { replica });
    }
}
