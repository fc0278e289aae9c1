//! The one loop of engine and simulator: arrivals in, batches out, steps logged.
//! Whoever executes the batches is a [`Machine`]; whether its clock is the wall's
//! or virtual, the loop does not know.

#[cfg(test)]
mod properties;
mod report;

pub(crate) use report::Report;

use crate::metrics::{RequestRecord, RequestStatus, RunRecord, StepLog};
use crate::progress::Progress;
use crate::scheduler::{Arrival, Batch, RequestId, Scheduler};
use crate::workload::{Prefixes, Workload};

/// What executes batches: a clock and hands.
pub trait Machine {
    type Error;
    /// Now, ns from run start. Never decreases.
    fn now_ns(&mut self) -> u64;
    /// Lets time pass until `time_ns`, the next arrival. A machine may wake early: it is asked again.
    fn wait_until(&mut self, time_ns: u64);
    /// Executes a batch; on return its time has passed. Blocks of its requests are
    /// `scheduler.blocks(id)`, with room for the tokens of this step. What is cached for requests in
    /// `batch.preempted` is void: they come back with a context of 0.
    fn execute(&mut self, batch: &Batch, scheduler: &dyn Scheduler) -> Result<(), Self::Error>;
    /// The request is finished; whatever is kept for it may go.
    fn finished(&mut self, _request: RequestId) {}
}

/// Serves a workload to its end.
///
/// A round of the loop is one step: arrivals up to now are handed to the
/// scheduler, in order; it forms a batch; the machine executes it; the step is
/// logged from the time at the top of the round (so that the scheduler's own
/// time is part of it) to the time after execution, with the requests running
/// and waiting and the KV blocks in use while it ran. All tokens that the step
/// yields have its end as their time. With nothing to run, the machine waits for
/// the next arrival.
///
/// A request that the scheduler refuses becomes a row with the status
/// [`Error`](RequestStatus::Error) of type `rejected`. Requests that still wait
/// when nothing runs and nothing more arrives (a step of no tokens, say) become
/// errors of type `never_scheduled`.
///
/// `prefixes` are ids of the blocks of each request's prompt, of the scheduler's size; a prefix cache believes them.
/// Those that the workload declares are not looked at.
///
/// Token ids are the machine's business: the record has none.
///
/// # Errors
/// The machine's, at once: a run that broke has no record.
pub fn drive<M: Machine>(
    scheduler: &mut dyn Scheduler,
    workload: &Workload,
    prefixes: Option<&Prefixes>,
    machine: &mut M,
    progress: &dyn Progress,
) -> Result<RunRecord, M::Error> {
    let mut requests = request_rows(workload);
    let mut steps = StepLog::default();
    let mut report = Report::start(progress, requests.len());
    let (mut batch, mut finished) = (Batch::default(), Vec::new());
    let mut arrived = 0;

    loop {
        let start_ns = machine.now_ns();
        while let Some(row) = requests.get_mut(arrived).filter(|row| row.arrival_time_ns <= start_ns) {
            let prefix = prefixes.map_or(&[][..], |prefixes| prefixes.of(arrived));
            arrived += 1;
            let added = scheduler.add(&Arrival {
                request: row.request_id,
                prefill_tokens: row.num_prefill_tokens,
                decode_tokens: row.num_decode_tokens,
                rank: row.arrival_time_ns,
                prefix,
            });
            if let Err(refused) = added {
                row.fail("rejected", refused.to_string());
                report.done(1, queue(scheduler));
            }
        }

        scheduler.schedule(&mut batch);
        if batch.is_empty() {
            let Some(next) = requests.get(arrived) else { break };
            machine.wait_until(next.arrival_time_ns);
            continue;
        }

        let state = queue(scheduler);
        let kv_blocks = scheduler.blocks_used();
        if let Err(error) = machine.execute(&batch, scheduler) {
            report.finish(queue(scheduler));
            return Err(error);
        }
        let end_ns = machine.now_ns().max(start_ns);
        steps.push_batch(start_ns, end_ns, &batch, state, kv_blocks);

        for entry in batch.entries().filter(|entry| entry.emits) {
            let row = &mut requests[entry.request as usize];
            row.num_decode_tokens_actual += 1;
            row.first_token_time_ns.get_or_insert(end_ns);
        }
        scheduler.complete(&mut batch, &mut finished);
        report.done(finished.len(), queue(scheduler));
        for request in finished.drain(..) {
            requests[request as usize].completion_time_ns = Some(end_ns);
            machine.finished(request);
        }
    }

    for row in &mut requests {
        if row.status == RequestStatus::Ok && row.completion_time_ns.is_none() {
            row.fail_unscheduled();
        }
    }
    report.finish(queue(scheduler));
    Ok(RunRecord { requests, steps, token_ids: None })
}

/// Requests running and waiting.
fn queue(scheduler: &dyn Scheduler) -> (u32, u32) {
    (scheduler.num_running() as u32, scheduler.num_waiting() as u32)
}

/// A row per request of the workload, none of them served yet.
fn request_rows(workload: &Workload) -> Vec<RequestRecord> {
    (0..)
        .zip(&workload.requests)
        .map(|(request_id, request)| RequestRecord {
            request_id,
            arrival_time_ns: request.arrival_time_ns,
            num_prefill_tokens: request.num_prefill_tokens,
            num_decode_tokens: request.num_decode_tokens,
            ..RequestRecord::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::progress::Silent;
    use crate::scheduler::{Policy, SchedulerConfig, build};
    use crate::workload::WorkloadRequest;

    /// Every step takes `step_ns`; fails in the step `fails_at`.
    struct Metronome {
        now_ns: u64,
        step_ns: u64,
        steps: u32,
        fails_at: Option<u32>,
        waits: Vec<u64>,
        finished: Vec<RequestId>,
    }

    impl Metronome {
        fn new(step_ns: u64) -> Self {
            Self { now_ns: 0, step_ns, steps: 0, fails_at: None, waits: Vec::new(), finished: Vec::new() }
        }
    }

    impl Machine for Metronome {
        type Error = u32;

        fn now_ns(&mut self) -> u64 {
            self.now_ns
        }

        fn wait_until(&mut self, time_ns: u64) {
            self.waits.push(time_ns);
            self.now_ns = time_ns;
        }

        fn execute(&mut self, batch: &Batch, scheduler: &dyn Scheduler) -> Result<(), u32> {
            for entry in batch.entries() {
                let slots = scheduler.blocks(entry.request).len() as u32 * 4;
                assert!(slots >= entry.context + entry.tokens);
            }
            if self.fails_at == Some(self.steps) {
                return Err(self.steps);
            }
            self.steps += 1;
            self.now_ns += self.step_ns;
            Ok(())
        }

        fn finished(&mut self, request: RequestId) {
            self.finished.push(request);
        }
    }

    fn config() -> SchedulerConfig {
        SchedulerConfig::new(Policy::Sarathi, (8, 4), (4, 16, 0), 40)
    }

    /// Requests as (arrival, prompt, output).
    fn workload(requests: &[(u64, u32, u32)]) -> Workload {
        let mut previous = 0;
        let requests = requests.iter().map(|&(arrival_time_ns, num_prefill_tokens, num_decode_tokens)| {
            let inter_arrival_ns = arrival_time_ns - previous;
            previous = arrival_time_ns;
            WorkloadRequest {
                prompt_id: 0,
                num_prefill_tokens,
                num_decode_tokens,
                inter_arrival_ns,
                arrival_time_ns,
            }
        });
        Workload { requests: requests.collect(), ..Workload::default() }
    }

    fn times(record: &RunRecord) -> Vec<(Option<u64>, Option<u64>)> {
        record.requests.iter().map(|row| (row.first_token_time_ns, row.completion_time_ns)).collect()
    }

    #[test]
    fn steps_start_at_the_top_of_the_loop_and_idle_time_is_waited_out() {
        let mut machine = Metronome::new(10);
        // The third arrives during the second step, the last long after all are done.
        let asked = workload(&[(5, 4, 2), (5, 4, 1), (17, 4, 1), (100, 9, 1)]);
        let record = drive(&mut *build(&config()), &asked, None, &mut machine, &Silent).expect("never fails");
        let steps: Vec<_> = record
            .steps
            .iter()
            .map(|step| {
                (step.start_ns, step.end_ns, step.members.len(), step.running, step.waiting, step.kv_blocks)
            })
            .collect();
        assert_eq!(
            steps,
            [
                (5, 15, 2, 2, 0, 2),
                (15, 25, 1, 1, 0, 2),
                (25, 35, 1, 1, 0, 1),
                (100, 110, 1, 1, 0, 3),
                (110, 120, 1, 1, 0, 3)
            ]
        );
        assert_eq!(
            times(&record),
            [(Some(15), Some(25)), (Some(15), Some(15)), (Some(35), Some(35)), (Some(120), Some(120))]
        );
        assert_eq!(machine.waits, [5, 100]);
        assert_eq!(machine.finished, [1, 0, 2, 3]);
        assert_eq!(record.steps.token_times(4), [vec![15, 25], vec![15], vec![35], vec![120]]);
    }

    #[test]
    fn steps_may_take_no_time() {
        let asked = workload(&[(0, 4, 3), (0, 4, 3), (7, 4, 3)]);
        let record = drive(&mut *build(&config()), &asked, None, &mut Metronome::new(0), &Silent)
            .expect("never fails");
        assert_eq!(times(&record), [(Some(0), Some(0)), (Some(0), Some(0)), (Some(7), Some(7))]);
        assert!(record.requests.iter().all(|row| row.num_decode_tokens_actual == 3));
    }

    #[test]
    fn refused_requests_are_rows_too() {
        let asked = workload(&[(0, 40, 1), (3, 4, 1), (9, 0, 1)]);
        let record = drive(&mut *build(&config()), &asked, None, &mut Metronome::new(10), &Silent)
            .expect("never fails");
        let rows: Vec<_> = record
            .requests
            .iter()
            .map(|row| {
                (row.status, row.error_type.as_str(), row.error_msg.as_str(), row.num_decode_tokens_actual)
            })
            .collect();
        assert_eq!(
            rows,
            [
                (RequestStatus::Error, "rejected", "41 tokens exceed the context of 40", 0),
                (RequestStatus::Ok, "", "", 1),
                (
                    RequestStatus::Error,
                    "rejected",
                    "a request needs at least one prompt and one output token",
                    0
                ),
            ]
        );
    }

    #[test]
    fn what_can_never_run_is_an_error_and_not_a_hang() {
        for config in
            [SchedulerConfig { chunk_size: 0, ..config() }, SchedulerConfig { max_batch_size: 0, ..config() }]
        {
            let asked = workload(&[(0, 4, 1), (3, 4, 1)]);
            let record = drive(&mut *build(&config), &asked, None, &mut Metronome::new(10), &Silent)
                .expect("never fails");
            assert!(record.steps.is_empty());
            assert!(record.requests.iter().all(|row| row.error_type == "never_scheduled"));
        }
    }

    #[test]
    fn an_empty_workload_is_an_empty_run() {
        let record = drive(&mut *build(&config()), &workload(&[]), None, &mut Metronome::new(1), &Silent);
        assert_eq!(record, Ok(RunRecord::default()));
    }

    #[test]
    fn a_failing_machine_ends_the_run() {
        let mut machine = Metronome { fails_at: Some(2), ..Metronome::new(10) };
        let failed = drive(&mut *build(&config()), &workload(&[(0, 30, 1)]), None, &mut machine, &Silent);
        assert_eq!(failed, Err(2));
    }

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Recorder {
        fn push(&self, line: String) {
            self.0.lock().expect("one thread").push(line);
        }
    }

    impl Progress for Recorder {
        fn start(&self, what: &str, total: u64) {
            self.push(format!("start {what} {total}"));
        }
        fn advance(&self, done: u64) {
            self.push(format!("advance {done}"));
        }
        fn note(&self, note: &str) {
            self.push(note.to_owned());
        }
        fn finish(&self) {
            self.push("finish".to_owned());
        }
    }

    #[test]
    fn progress_counts_every_request_once() {
        let recorder = Recorder::default();
        let asked = workload(&[(0, 4, 1), (0, 4, 2), (0, 50, 1)]);
        drive(&mut *build(&config()), &asked, None, &mut Metronome::new(10), &recorder).expect("never fails");
        let lines = recorder.0.into_inner().expect("one thread");
        assert_eq!(
            lines,
            [
                "start requests 3",
                "0 running, 2 waiting",
                "advance 1",
                "1 running, 0 waiting",
                "advance 1",
                "0 running, 0 waiting",
                "advance 1",
                "finish"
            ]
        );
    }

    #[test]
    fn a_large_run_reports_about_a_thousand_times() {
        let recorder = Recorder::default();
        let asked = workload(&vec![(0, 1, 1); 5_500]);
        drive(&mut *build(&config()), &asked, None, &mut Metronome::new(10), &recorder).expect("never fails");
        let lines = recorder.0.into_inner().expect("one thread");
        let advanced: Vec<u64> =
            lines.iter().filter_map(|line| line.strip_prefix("advance ")?.parse().ok()).collect();
        assert_eq!(advanced.iter().sum::<u64>(), 5_500);
        assert!(advanced.len() <= 1_100, "{}", advanced.len());
    }
}
