use std::thread;
use std::time::{Duration, Instant};

use super::client::Worker;
use super::error::WorkerError;
use crate::drive::Machine;
use crate::scheduler::{Batch, RequestId, Scheduler};

/// Pings by which the two clocks are held against each other.
const PINGS: u32 = 32;
/// A sleeping thread wakes up late: the last moment before an arrival is polled away.
const POLL: Duration = Duration::from_micros(500);
/// Tokens of the reference step's request, steps of it that are timed, and steps before them that are not.
const REFERENCE_CONTEXT: u32 = 64;
const REFERENCE_STEPS: u64 = 3;
const REFERENCE_LEAD: u32 = 3;

/// Executes static batches on a worker while the wall clock runs.
///
/// A step ends when its tokens were known to the worker, by the worker's clock: both read the system's
/// monotonic clock, and the difference between what they count from is measured once.
#[derive(Debug)]
pub struct WorkerClock<'a> {
    worker: &'a mut Worker,
    /// Prompt of every request.
    prompts: &'a [Vec<u32>],
    outputs: Vec<Vec<u32>>,
    started: Instant,
    /// What is taken from the worker's time to get that of the run, ns.
    offset_ns: i128,
    /// When the last step ended, until it was asked for.
    ended_ns: Option<u64>,
}

impl<'a> WorkerClock<'a> {
    /// The run starts when the clocks have been held against each other.
    pub fn start(worker: &'a mut Worker, prompts: &'a [Vec<u32>]) -> Result<Self, WorkerError> {
        let started = Instant::now();
        let mut best = (u64::MAX, 0);
        for _ in 0..PINGS {
            let sent = ns(started);
            let there = worker.clock_ns()?;
            let trip = ns(started) - sent;
            if trip < best.0 {
                best = (trip, i128::from(there) - i128::from(sent + trip / 2));
            }
        }
        // Time counts from here.
        let begun = Instant::now();
        let passed = i128::try_from((begun - started).as_nanos()).unwrap_or(i128::MAX);
        Ok(Self {
            worker,
            prompts,
            outputs: vec![Vec::new(); prompts.len()],
            started: begun,
            offset_ns: best.1 + passed,
            ended_ns: None,
        })
    }

    /// Output tokens of every request.
    pub fn into_outputs(self) -> Vec<Vec<u32>> {
        self.outputs
    }
}

/// Since then, ns.
fn ns(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl Machine for WorkerClock<'_> {
    type Error = WorkerError;

    fn now_ns(&mut self) -> u64 {
        self.ended_ns.take().unwrap_or_else(|| ns(self.started))
    }

    fn wait_until(&mut self, time_ns: u64) {
        let until = self.started + Duration::from_nanos(time_ns);
        thread::sleep(until.saturating_duration_since(Instant::now() + POLL));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }

    fn execute(&mut self, batch: &Batch, _scheduler: &dyn Scheduler) -> Result<(), WorkerError> {
        let sent = ns(self.started);
        let requests: Vec<RequestId> = batch.entries().map(|entry| entry.request).collect();
        // The policy forms a batch of prompts alone, or of decodes alone.
        let stepped = if batch.chunks.is_empty() {
            self.worker.decode(&requests)?
        } else {
            let prompt = |request: &RequestId| (*request, self.prompts[*request as usize].as_slice());
            let rows: Vec<(RequestId, &[u32])> = requests.iter().map(prompt).collect();
            self.worker.prefill(&rows)?
        };
        let received = ns(self.started);
        for (request, token) in requests.iter().zip(stepped.tokens) {
            self.outputs[*request as usize].push(token);
        }
        let ended = i128::from(stepped.end_ns) - self.offset_ns;
        self.ended_ns = Some(u64::try_from(ended).unwrap_or(0).clamp(sent, received));
        Ok(())
    }
}

impl Worker {
    /// Mean duration of the reference step now, ns: one decode over 64 tokens. The batch is forgotten.
    pub fn reference_ns(&mut self) -> Result<u64, WorkerError> {
        self.fill(&[(0, REFERENCE_CONTEXT)])?;
        for _ in 0..REFERENCE_LEAD {
            self.decode(&[0])?;
        }
        let mut sum = 0;
        for _ in 0..REFERENCE_STEPS {
            let step = self.decode(&[0])?;
            sum += step.end_ns - step.start_ns;
        }
        self.drop_batch()?;
        Ok(sum / REFERENCE_STEPS)
    }
}
