use super::{Backend, BackendError, Job};
use crate::engine::Engine;
use crate::machine::{SpeedPoint, machine};
use crate::metrics::{RunKind, RunMeta, RunRecord};
use crate::model::{Sampler, Tokenizer};
use crate::progress::Progress;
use crate::spec::Sampling;

/// The project's own engine on candle.
pub struct CandleRunner<'a> {
    /// Name of the backend in the experiment.
    pub name: &'a str,
    pub sampling: &'a Sampling,
    /// The lock's sampling seed.
    pub sampling_seed: u64,
    pub tokenizer: &'a Tokenizer,
    pub engine: &'a mut Engine,
}

impl Backend for CandleRunner<'_> {
    fn serve(
        &mut self,
        job: &Job<'_>,
        progress: &dyn Progress,
    ) -> Result<(RunRecord, RunMeta), BackendError> {
        let sampler = Sampler::new(self.sampling, self.sampling_seed);
        let served =
            self.engine.serve(&job.run.scheduler, job.workload, self.tokenizer, &sampler, progress)?;
        let mut meta = super::meta(job, self.name, RunKind::Measured, &served.record);
        let machine = machine(&job.hardware.device, job.hardware.threads);
        meta.hardware = machine.hardware;
        meta.fingerprint = Some(machine.fingerprint);
        meta.reference_ns = SpeedPoint::mean(&served.speed).map(|mean| mean.step_ns[0]);
        meta.speed = served.speed;
        meta.disturbed = Some(served.disturbed);
        Ok((served.record, meta))
    }
}
