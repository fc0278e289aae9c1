use super::{Backend, BackendError, Job};
use crate::drive::drive;
use crate::engine;
use crate::machine::machine;
use crate::metrics::{RunKind, RunMeta, RunRecord, WorkerMeta};
use crate::model::Tokenizer;
use crate::progress::Progress;
use crate::scheduler::{self, RequestId};
use crate::worker::{LoadedWorker, Worker, WorkerClock, WorkerError};

/// Hugging Face transformers in a Python worker.
pub struct TransformersRunner<'a> {
    /// Name of the backend in the experiment.
    pub name: &'a str,
    pub tokenizer: &'a Tokenizer,
    pub worker: &'a mut LoadedWorker,
}

/// How often the reference step is timed before a run, and after it.
const REFERENCES: u64 = 4;
/// Decodes of the batch that warms everything up.
const WARM_DECODES: u32 = 3;

impl Backend for TransformersRunner<'_> {
    fn serve(
        &mut self,
        job: &Job<'_>,
        progress: &dyn Progress,
    ) -> Result<(RunRecord, RunMeta), BackendError> {
        let prompts = engine::prompts(job.workload, self.tokenizer)?;
        let config = &job.run.scheduler;
        let worker = &mut self.worker.worker;
        warm_up(worker, &prompts, config.max_batch_size)?;
        let mut references = 0;
        for _ in 0..REFERENCES {
            references += worker.reference_ns()?;
        }
        let mut scheduler = scheduler::build(config);
        let mut clock = WorkerClock::start(worker, &prompts)?;
        // No batch finds the cache of another.
        let mut record = drive(scheduler.as_mut(), job.workload, None, &mut clock, progress)?;
        record.token_ids = Some(clock.into_outputs());
        for _ in 0..REFERENCES {
            references += worker.reference_ns()?;
        }
        let mut meta = super::meta(job, self.name, RunKind::Measured, &record);
        let machine = machine(&job.hardware.device, job.hardware.threads);
        meta.hardware = machine.hardware;
        meta.fingerprint = Some(machine.fingerprint);
        meta.reference_ns = Some(references / (2 * REFERENCES));
        meta.worker = Some(WorkerMeta {
            python: worker.python.clone(),
            packages: worker.packages.clone().into_iter().collect(),
            threads: self.worker.loaded.threads,
            device: self.worker.loaded.device_name.clone(),
            attention: self.worker.loaded.attention.clone(),
        });
        Ok((record, meta))
    }
}

/// A batch of the first prompts and a few decodes whose results are thrown away, so that code, weights and memory are
/// warm when the clock starts.
fn warm_up(worker: &mut Worker, prompts: &[Vec<u32>], batch: u32) -> Result<(), WorkerError> {
    let rows: Vec<(RequestId, &[u32])> =
        (0..batch).zip(prompts).map(|(request, prompt)| (request, prompt.as_slice())).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let requests: Vec<RequestId> = rows.iter().map(|(request, _)| *request).collect();
    worker.prefill(&rows)?;
    for _ in 0..WARM_DECODES {
        worker.decode(&requests)?;
    }
    worker.drop_batch()
}
