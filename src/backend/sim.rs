use super::{Backend, BackendError, Job};
use crate::metrics::{RunKind, RunMeta, RunRecord};
use crate::predictor::Predictor;
use crate::profile::Profile;
use crate::progress::Progress;
use crate::sim::{self, Deployed};

/// The discrete-event simulator over a profile.
pub struct SimRunner<'a> {
    pub name: &'a str,
    pub profile: &'a Profile,
    pub predictor: &'a dyn Predictor,
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
        let record = sim::simulate(&deployed, self.predictor, job.workload, progress);
        let mut meta = super::meta(job, self.name, RunKind::Simulated, &record);
        meta.hardware = self.profile.hardware();
        meta.fingerprint = Some(self.profile.fingerprint());
        meta.reference_ns = self.profile.reference_ns();
        Ok((record, meta))
    }
}
