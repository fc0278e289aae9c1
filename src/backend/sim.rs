use super::{Backend, BackendError, Job};
use crate::metrics::{RunKind, RunMeta, RunRecord};
use crate::predictor::Predictor;
use crate::profile::Profile;
use crate::progress::Progress;
use crate::sim::{self, Deployed};
use crate::spec::SimLog;

/// The discrete-event simulator over a profile.
pub struct SimRunner<'a> {
    pub name: &'a str,
    pub profile: &'a Profile,
    pub predictor: &'a dyn Predictor,
    pub log: SimLog,
    /// Of the router's draws.
    pub router_seed: u64,
}

impl Backend for SimRunner<'_> {
    fn serve(
        &mut self,
        job: &Job<'_>,
        progress: &dyn Progress,
    ) -> Result<(RunRecord, RunMeta), BackendError> {
        let deployed = Deployed {
            scheduler: &job.run.scheduler,
            cluster: &job.run.cluster,
            router_seed: self.router_seed,
        };
        let (record, totals) = match self.log {
            SimLog::Steps => (sim::simulate(&deployed, self.predictor, job.workload, progress), None),
            SimLog::Requests => {
                let (record, totals) =
                    sim::simulate_requests(&deployed, self.predictor, job.workload, progress);
                (record, Some(totals))
            }
        };
        let mut meta = super::meta(job, self.name, RunKind::Simulated, &record);
        if let Some(totals) = totals {
            meta.requests_only = true;
            (meta.num_steps, meta.duration_ns) = (totals.num_steps, totals.duration_ns);
        }
        meta.hardware = self.profile.hardware();
        meta.fingerprint = Some(self.profile.fingerprint());
        meta.reference_ns = self.profile.reference_ns();
        meta.speed.extend(self.profile.speed());
        Ok((record, meta))
    }
}
