//! The simulator: the engine's own scheduler and loop ([`crate::scheduler`])
//! over a virtual clock, with the predicted duration of each step in place of
//! its execution. Nothing else of a run is modelled, and nothing else can drift.

mod clock;
mod cluster;
#[cfg(test)]
mod properties;
mod recorder;
mod replay;
#[cfg(test)]
mod virtual_clock;

pub use clock::{Clock, Moment, Nanoseconds, Seconds};
pub use cluster::{Asked, Outcome, Pace, Stage, run};
pub use recorder::{Deployed, StepTotals, asked, prefixes_for, simulate, simulate_requests};
pub use replay::replay;

/// Version of the simulator, predictors and schedulers included: raised with every change that moves a
/// result, so that older results are not taken for its own.
pub const SIMULATOR_VERSION: u32 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::virtual_clock::VirtualClock;
    use super::*;
    use crate::drive::drive;
    use crate::metrics::RunRecord;
    use crate::predictor::Predictor;
    use crate::progress::Silent;
    use crate::scheduler::{Batch, ClusterConfig, Policy, SchedulerConfig, build_counted};
    use crate::workload::{Prefixes, Workload, WorkloadRequest};

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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// With one replica and one stage the event loop is the engine's own loop.
        #[test]
        fn one_replica_is_what_the_engines_loop_makes_over_a_virtual_clock(
            asked in prop::collection::vec((0u64..3_000, 1u32..40, 1u32..12, 0u32..3), 1..40),
            chunk in 4u32..24,
            batch in 1u32..4,
            blocks in 13u32..40,
        ) {
            let mut arrival = 0;
            let requests = asked.iter().map(|(gap, prefill, decode, _)| {
                arrival += gap;
                request(arrival, *prefill, *decode)
            });
            // Prompts of a kind begin alike, as far as both go.
            let prompts: Vec<Vec<u32>> =
                asked.iter().map(|(_, prefill, _, kind)| vec![*kind; *prefill as usize]).collect();
            let prefixes = Prefixes::of_tokens(4, prompts.iter().map(Vec::as_slice));
            let workload =
                Workload { requests: requests.collect(), prefixes: Some(prefixes), ..Workload::default() };
            for policy in Policy::ALL {
                let block_size = if policy == Policy::Lightllm { 1 } else { 4 };
                let memory = (block_size, blocks * 4 / block_size, blocks / 20);
                let config = SchedulerConfig {
                    prefix_caching: policy == Policy::VllmV1,
                    ..SchedulerConfig::new(policy, (chunk, batch), memory, 52)
                };
                let mut clock = VirtualClock::new(|batch| Linear.step_ns(batch));
                let mut scheduler = build_counted(&config);
                let prefixes = workload.prefixes.as_ref();
                let Ok(driven) = drive(&mut *scheduler, &workload, prefixes, &mut clock, &Silent);
                let simulated = simulated(&config, &ClusterConfig::default(), &workload);
                prop_assert_eq!(&simulated.steps, &driven.steps, "{:?}", policy);
                prop_assert_eq!(&simulated.requests, &driven.requests, "{:?}", policy);
            }
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
