//! The simulator: the engine's own scheduler and loop ([`crate::scheduler`])
//! over a virtual clock, with the predicted duration of each step in place of
//! its execution. Nothing else of a run is modelled, and nothing else can drift.

mod clock;
mod cluster;
mod recorder;
mod virtual_clock;

pub use clock::{Clock, Moment, Nanoseconds, Seconds};
pub use cluster::{Asked, Outcome, Pace, Stage, run};
pub use recorder::{Deployed, simulate};
pub use virtual_clock::VirtualClock;

/// Version of the simulator, predictors and schedulers included: raised with every change that moves a
/// result, so that older results are not taken for its own.
pub const SIMULATOR_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RunRecord;
    use crate::predictor::Predictor;
    use crate::progress::Silent;
    use crate::scheduler::{Batch, ClusterConfig, Policy, SchedulerConfig};
    use crate::workload::{Workload, WorkloadRequest};

    fn simulated(config: &SchedulerConfig, cluster: &ClusterConfig, workload: &Workload) -> RunRecord {
        simulate(&Deployed { scheduler: config, cluster, router_seed: 7 }, &Linear, workload, &Silent)
    }

    /// 100 ns a step, 10 a token, 1 a token of context.
    struct Linear;

    impl Predictor for Linear {
        fn step_ns(&self, batch: &Batch) -> u64 {
            let share = |(tokens, context): (u32, u32)| u64::from(tokens) * 10 + u64::from(context);
            100 + batch.entries().map(|entry| share((entry.tokens, entry.context))).sum::<u64>()
        }
    }

    fn config() -> SchedulerConfig {
        SchedulerConfig::new(Policy::Sarathi, (8, 4), (4, 16, 0), 64)
    }

    fn request(arrival_time_ns: u64, num_prefill_tokens: u32, num_decode_tokens: u32) -> WorkloadRequest {
        WorkloadRequest {
            prompt_id: 0,
            num_prefill_tokens,
            num_decode_tokens,
            inter_arrival_ns: 0,
            arrival_time_ns,
        }
    }

    #[test]
    fn predicted_steps_add_up() {
        let requests = vec![request(7, 10, 3), request(250, 4, 1)];
        let workload = Workload { requests, ..Workload::default() };
        let record = simulated(&config(), &ClusterConfig::default(), &workload);
        let steps: Vec<_> = record.steps.iter().map(|step| (step.start_ns, step.end_ns)).collect();
        // p0[0..8]: 180; p0[8..10]*: 128; d0 at 10 with p1[0..4]*: 160; d0 at 11: 121.
        assert_eq!(steps, [(7, 187), (187, 315), (315, 475), (475, 596)]);
        assert_eq!(record.requests[0].ttft_ns(), Some(308));
        assert_eq!(record.requests[0].tpot_ns(), Some(140.5));
        assert_eq!(record.requests[1].e2e_ns(), Some(225));
        assert_eq!(record.token_ids, None);
    }

    #[test]
    fn the_same_workload_gives_the_same_record() {
        let requests = (0..200).map(|id| request(id * 90, 1 + id as u32 * 7 % 40, 1 + id as u32 * 5 % 20));
        let workload = Workload { requests: requests.collect(), ..Workload::default() };
        let first = simulated(&config(), &ClusterConfig::default(), &workload);
        assert_eq!(first, simulated(&config(), &ClusterConfig::default(), &workload));
        assert!(first.requests.iter().all(|row| row.num_decode_tokens_actual == row.num_decode_tokens));
    }
}
