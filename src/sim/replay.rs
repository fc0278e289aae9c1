//! A measured run's durations under the simulated policy: what is left of an error when every step takes as long as
//! it was measured to.

use super::clock::{Moment, Nanoseconds};
use super::cluster::{Outcome, Pace, Stage};
use super::recorder::{Deployed, rows};
use crate::machine::Drift;
use crate::metrics::{Replay, RequestRecord, RequestStatus, RunRecord, StepMember, StepView};
use crate::predictor::{Drifted, Place, Predictor, SinceChunk};
use crate::scheduler::{Batch, BatchEntry};
use crate::workload::{Prefixes, Workload, WorkloadRequest};

/// Replays a measured run of one replica on one device. A request is asked for the tokens that it got. `prefixes` are
/// those of the prompts, in the scheduler's blocks.
///
/// A batch that was measured about that time takes as long as it was measured to; one that could start when the
/// measured step before had ended, or when its first request came, ends when the measured one did, so that the engine's
/// own time between steps counts as the step's. A batch that was not measured takes what the predictor says, times
/// how much longer than predicted the step took that was measured at that time.
///
/// With a `drift`, the requests are simulated once more, with the machine as fast as it was when they were measured, and
/// what a step is predicted to take is of that speed, too.
pub fn replay(
    deployed: &Deployed<'_>,
    predictor: &dyn Predictor,
    prefixes: Option<&Prefixes>,
    measured: &RunRecord,
    drift: Option<&Drift>,
) -> Replay {
    let drifted = drift.map(|drift| Drifted { predictor, drift });
    let predictor = drifted.as_ref().map_or(predictor, |drifted| drifted as &dyn Predictor);
    let request = |row: &RequestRecord| WorkloadRequest {
        prompt_id: row.request_id,
        num_prefill_tokens: row.num_prefill_tokens,
        num_decode_tokens: match row.status {
            RequestStatus::Ok => row.num_decode_tokens_actual,
            RequestStatus::Error => row.num_decode_tokens,
        },
        inter_arrival_ns: 0,
        arrival_time_ns: row.arrival_time_ns,
    };
    let requests: Vec<WorkloadRequest> = measured.requests.iter().map(request).collect();
    let (mut idle_since_ns, mut since_chunk) = (0, SinceChunk::default());
    let predict = |step: StepView<'_>| {
        let batch = Batch::of(step.members.iter().map(BatchEntry::from));
        let idle_ns = step.start_ns.saturating_sub(std::mem::replace(&mut idle_since_ns, step.end_ns));
        let whole = Place::whole(&batch, idle_ns, step.start_ns);
        let place = Place { steps_since_chunk: since_chunk.next(), ..whole };
        since_chunk.add(&batch);
        (step.end_ns - step.start_ns, predictor.stage_ns(&batch, &place))
    };
    let mut replayer = Replayer {
        predictor,
        measured,
        durations_ns: measured.steps.iter().map(predict).collect(),
        now_ns: 0,
        next: 0,
        apart: 0,
    };
    let outcomes = deployed.serve(&requests, prefixes, &mut replayer);
    let Replayer { durations_ns, apart, .. } = replayer;
    let workload = Workload { requests, ..Workload::default() };
    let record = |outcomes: &[Outcome]| RunRecord {
        requests: rows(&workload, outcomes, None),
        ..RunRecord::default()
    };
    let drifted =
        drift.map(|_| record(&deployed.serve(&workload.requests, prefixes, &mut Predicted(predictor))));
    Replay { record: record(&outcomes), drifted, durations_ns, apart }
}

/// Batches take what a predictor says.
struct Predicted<'a>(&'a dyn Predictor);

impl Pace<Nanoseconds> for Predicted<'_> {
    fn span(&mut self, stage: &Stage<'_>) -> u64 {
        self.0.stage_ns(stage.batch, &Place::from(stage))
    }
}

struct Replayer<'a> {
    predictor: &'a dyn Predictor,
    measured: &'a RunRecord,
    durations_ns: Vec<(u64, u64)>,
    now_ns: u64,
    /// The first measured step that ends later than now.
    next: usize,
    apart: u64,
}

/// Measured steps before and after the current one that are looked at.
const WINDOW: usize = 2;

impl Replayer<'_> {
    /// How long a batch takes that was measured as step `at`.
    fn measured_ns(&self, at: usize) -> u64 {
        let step = self.measured.steps.step(at);
        let before_ns = at.checked_sub(1).map_or(0, |before| self.measured.steps.step(before).end_ns);
        match (before_ns..=step.start_ns).contains(&self.now_ns) {
            true => step.end_ns - self.now_ns,
            false => step.end_ns - step.start_ns,
        }
    }
}

impl Pace<Nanoseconds> for Replayer<'_> {
    fn span(&mut self, stage: &Stage<'_>) -> u64 {
        let steps = &self.measured.steps;
        while self.next < steps.len() && steps.step(self.next).end_ns <= self.now_ns {
            self.next += 1;
        }
        let member = |entry: BatchEntry| StepMember::of(&entry, stage.slots[entry.request as usize]);
        let is_it =
            |at: &usize| stage.batch.entries().map(member).eq(steps.step(*at).members.iter().copied());
        let near = self.next.saturating_sub(WINDOW)..steps.len().min(self.next + WINDOW + 1);
        // The nearest first: the current step, those after it, those before it.
        let found = (self.next..near.end).find(is_it).or_else(|| (near.start..self.next).rev().find(is_it));
        if let Some(at) = found {
            return self.measured_ns(at);
        }
        let known = self.durations_ns.get(self.next).copied();
        self.apart += 1;
        let predicted_ns = self.predictor.stage_ns(stage.batch, &Place::from(stage));
        match known.or(self.durations_ns.last().copied()) {
            Some((took_ns, of_step_ns)) if of_step_ns > 0 => {
                (predicted_ns as f64 * (took_ns as f64 / of_step_ns as f64)).round() as u64
            }
            _ => predicted_ns,
        }
    }

    fn stops(&mut self, now: Moment) -> bool {
        self.now_ns = now.0;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::SpeedPoint;
    use crate::metrics::StepLog;
    use crate::progress::Silent;
    use crate::scheduler::{ClusterConfig, Policy, SchedulerConfig};
    use crate::sim::simulate;

    /// 100 ns a step and 10 a token; `scale` times it.
    struct Linear(u64);

    impl Predictor for Linear {
        fn step_ns(&self, batch: &Batch) -> u64 {
            self.0 * (100 + 10 * u64::from(batch.num_tokens()))
        }
    }

    fn workload() -> Workload {
        let request = |at: u64| WorkloadRequest {
            prompt_id: 0,
            num_prefill_tokens: 3 + (at % 7) as u32 * 3,
            num_decode_tokens: 1 + (at % 5) as u32,
            inter_arrival_ns: 130,
            arrival_time_ns: at * 130,
        };
        Workload { requests: (0..30).map(request).collect(), ..Workload::default() }
    }

    fn config() -> SchedulerConfig {
        SchedulerConfig::new(Policy::Sarathi, (8, 4), (4, 40, 0), 64)
    }

    fn served(config: &SchedulerConfig, predictor: &dyn Predictor) -> RunRecord {
        let cluster = ClusterConfig::default();
        let deployed = Deployed { scheduler: config, cluster: &cluster, router_seed: 0 };
        simulate(&deployed, predictor, &workload(), &Silent)
    }

    fn replayed(config: &SchedulerConfig, measured: &RunRecord) -> Replay {
        replayed_with(config, None, measured)
    }

    fn replayed_with(config: &SchedulerConfig, prefixes: Option<&Prefixes>, measured: &RunRecord) -> Replay {
        let cluster = ClusterConfig::default();
        let deployed = Deployed { scheduler: config, cluster: &cluster, router_seed: 0 };
        replay(&deployed, &Linear(1), prefixes, measured, None)
    }

    fn times(record: &RunRecord) -> Vec<(Option<u64>, Option<u64>)> {
        let of = |row: &RequestRecord| (row.first_token_time_ns, row.completion_time_ns);
        record.requests.iter().map(of).collect()
    }

    #[test]
    fn measured_durations_under_the_same_policy_give_the_measured_run() {
        let measured = served(&config(), &Linear(3));
        let replay = replayed(&config(), &measured);
        assert_eq!((times(&replay.record), replay.apart), (times(&measured), 0));
        assert!(replay.durations_ns.iter().all(|(took, predicted)| *took == 3 * predicted));
    }

    #[test]
    fn what_was_cached_is_cached_in_the_replay() {
        let config = SchedulerConfig { policy: Policy::VllmV1, prefix_caching: true, ..config() };
        let tokens = [7; 32];
        let prompts = workload().requests.into_iter().map(|r| &tokens[..r.num_prefill_tokens as usize]);
        let prefixes = Prefixes::of_tokens(config.block_size, prompts);
        let asked = Workload { prefixes: Some(prefixes.clone()), ..workload() };
        let cluster = ClusterConfig::default();
        let deployed = Deployed { scheduler: &config, cluster: &cluster, router_seed: 0 };
        let measured = simulate(&deployed, &Linear(3), &asked, &Silent);
        let replay = replayed_with(&config, Some(&prefixes), &measured);
        assert_eq!((times(&replay.record), replay.apart), (times(&measured), 0));
        assert!(replayed(&config, &measured).apart > 0, "nothing was cached");
    }

    #[test]
    fn a_slower_machine_is_simulated_as_such() {
        let measured = served(&config(), &Linear(3));
        let point = |step_ns| SpeedPoint { at_ns: 0, step_ns: [step_ns; 6] };
        let drift = Drift::new(&[point(60)], &point(20)).unwrap();
        let (config, cluster) = (config(), ClusterConfig::default());
        let deployed = Deployed { scheduler: &config, cluster: &cluster, router_seed: 0 };
        let replay = replay(&deployed, &Linear(1), None, &measured, Some(&drift));
        assert_eq!(times(&replay.drifted.unwrap()), times(&measured));
        assert!(replay.durations_ns.iter().all(|(took, predicted)| took == predicted));
    }

    #[test]
    fn the_engines_own_time_between_steps_counts_as_the_steps() {
        let mut measured = served(&config(), &Linear(3));
        // Every step starts a little later than it could, and all times after an idle one stay as they are.
        let mut steps = StepLog::default();
        for step in measured.steps.iter() {
            let start_ns = step.start_ns + (step.end_ns - step.start_ns) / 10;
            let queue = (step.running, step.waiting);
            steps.push(start_ns, step.end_ns, step.members.iter().copied(), queue, (step.kv_blocks, 0));
        }
        measured.steps = steps;
        let replay = replayed(&config(), &measured);
        assert_eq!((times(&replay.record), replay.apart), (times(&measured), 0));
    }

    #[test]
    fn another_policy_forms_other_batches_at_the_measured_pace() {
        let measured = served(&config(), &Linear(3));
        let other = SchedulerConfig { chunk_size: 4, ..config() };
        let replay = replayed(&other, &measured);
        assert!(replay.apart > 0);
        // Its own batches, three times as long as predicted; those that were measured just as long as they were.
        assert_eq!(times(&replay.record), times(&served(&other, &Linear(3))));
    }

    #[test]
    fn a_request_that_stopped_early_is_asked_for_what_it_got() {
        let mut measured = served(&config(), &Linear(1));
        let last = measured.requests[4].num_decode_tokens;
        assert!(last > 1);
        measured.requests[4].num_decode_tokens_actual = last - 1;
        let replay = replayed(&config(), &measured);
        assert_eq!(replay.record.requests[4].num_decode_tokens_actual, last - 1);
        // Nothing measured: nothing to go by but the predictor.
        let nothing = RunRecord { steps: StepLog::default(), ..measured };
        assert_eq!(replayed(&config(), &nothing).record.requests.len(), 30);
    }
}
