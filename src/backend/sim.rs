use super::{Backend, BackendError, Job};
use crate::metrics::{METRICS_VERSION, RunKind, RunMeta, RunRecord};
use crate::predictor::Interpolate;
use crate::profile::BundleMeta;
use crate::progress::Progress;
use crate::sim;

/// The discrete-event simulator over a bundle.
#[derive(Debug)]
pub struct SimRunner<'a> {
    pub name: &'a str,
    pub bundle: &'a BundleMeta,
    pub predictor: &'a Interpolate,
}

impl Backend for SimRunner<'_> {
    fn serve(&mut self, job: &Job<'_>, progress: &dyn Progress) -> Result<(RunRecord, RunMeta), BackendError> {
        let options = sim::Options::default();
        let record = sim::simulate(&job.run.scheduler, self.predictor, job.workload, &options, progress);
        let mut meta = super::meta(job, self.name, RunKind::Simulated, &record);
        meta.hardware = self.bundle.hardware.clone();
        meta.fingerprint = Some(self.bundle.fingerprint);
        debug_assert_eq!(meta.metrics_version, METRICS_VERSION);
        Ok((record, meta))
    }
}
