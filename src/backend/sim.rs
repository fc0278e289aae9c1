use super::{Backend, BackendError, Job};
use crate::metrics::{RunKind, RunMeta, RunRecord};
use crate::predictor::Predictor;
use crate::profile::BundleMeta;
use crate::progress::Progress;
use crate::sim;

/// The discrete-event simulator over a bundle.
pub struct SimRunner<'a> {
    pub name: &'a str,
    pub bundle: &'a BundleMeta,
    pub predictor: &'a dyn Predictor,
}

impl Backend for SimRunner<'_> {
    fn serve(
        &mut self,
        job: &Job<'_>,
        progress: &dyn Progress,
    ) -> Result<(RunRecord, RunMeta), BackendError> {
        let record = sim::simulate(&job.run.scheduler, self.predictor, job.workload, progress);
        let mut meta = super::meta(job, self.name, RunKind::Simulated, &record);
        meta.hardware = self.bundle.hardware.clone();
        meta.fingerprint = Some(self.bundle.fingerprint);
        meta.reference_ns = Some(self.bundle.reference_ns);
        Ok((record, meta))
    }
}
