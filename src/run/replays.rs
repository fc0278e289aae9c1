use crate::lock::RunPin;
use crate::machine::{Drift, SpeedPoint};
use crate::metrics::{Replay, RunMeta, RunRecord};
use crate::predictor::Predictor;
use crate::sim::{self, Deployed};
use crate::workload::Prefixes;

/// Whether measured runs can be replayed: their steps are known, and are those of one replica on one device.
pub(super) fn can_replay(run: &RunPin, measured: &[(RunRecord, RunMeta)]) -> bool {
    let has_steps = |(record, meta): &(RunRecord, RunMeta)| meta.has_steps() && record.has_steps();
    run.cluster.is_single() && run.scheduler.pipeline_stages == 1 && measured.iter().all(has_steps)
}

/// Each measured repeat of a run under its simulated policy, in steps of measured durations. `prefixes` are those of
/// the run's prompts, in blocks of its policy, where that keeps a prefix cache; `profiled` is how fast the machine was
/// in the predictor's profile.
pub fn replay_all(
    run: &RunPin,
    predictor: &dyn Predictor,
    prefixes: Option<&Prefixes>,
    profiled: Option<&SpeedPoint>,
    measured: &[(RunRecord, RunMeta)],
) -> Vec<Replay> {
    // With one replica the router draws nothing.
    let deployed = Deployed { scheduler: &run.scheduler, cluster: &run.cluster, router_seed: 0 };
    measured
        .iter()
        .map(|(record, meta)| {
            let drift = profiled.and_then(|profiled| Drift::new(&meta.speed, profiled));
            sim::replay(&deployed, predictor, prefixes, record, drift.as_ref())
        })
        .collect()
}
