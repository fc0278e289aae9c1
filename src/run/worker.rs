use std::time::Duration;

use super::RunError;
use super::session::Session;
use crate::backend::BackendError;
use crate::lock::{ResolveError, WorkerPin};
use crate::source::{self, Network};
use crate::spec::TransformersBackend;
use crate::worker::{self, LoadedWorker, Requirements, TorchDevice, Worker, WorkerError};

/// Below `.xp`: models that were drawn, as files.
const MODELS: &str = "models";

/// What a profile of a worker calls its engine.
pub(super) fn worker_id(pin: &WorkerPin) -> String {
    format!("transformers, worker {}, {}", pin.script.short(8), pin.packages.join(", "))
}

impl Session<'_> {
    /// The worker that a run's pin asks for, with the model loaded. It is kept between runs, and given back by
    /// whoever took it, unless it failed.
    pub(super) fn take_worker(
        &mut self,
        index: usize,
        spec: &TransformersBackend,
    ) -> Result<(WorkerPin, LoadedWorker), RunError> {
        let lock = &self.resolved.lock;
        let step_timeout = Duration::from_nanos(spec.step_timeout.0);
        let pin = lock.runs[index].worker.clone();
        // Every run that is measured by a worker pins one.
        let pin = pin.ok_or(ResolveError::NoEngine)?;
        if let Some((_, mut kept)) = self.worker.take_if(|(of, _)| *of == pin) {
            kept.worker.set_step_timeout(step_timeout);
            return Ok((pin, kept));
        }
        self.worker = None;
        let (threads, model) = (lock.experiment.hardware.threads, &self.resolved.model);
        let folder = source::model_folder(model, lock.experiment.model.dtype, &self.project.own(MODELS))
            .map_err(ResolveError::from)?;
        let progress = self.observer.progress();
        let load = || -> Result<LoadedWorker, WorkerError> {
            let requirements = Requirements::pinned(&pin.packages);
            let network = Network::unless(self.request.offline);
            let interpreter = worker::interpreter(&requirements, network, progress)?;
            progress.start("starting the Python worker", 0);
            let mut worker = Worker::start(&interpreter, &requirements, threads, step_timeout)?;
            let device = TorchDevice::of(&pin.device);
            let dtype = lock.experiment.model.dtype;
            let loaded = worker.load(&folder.to_string_lossy(), dtype, device, threads)?;
            Ok(LoadedWorker { worker, loaded })
        };
        let loaded = load();
        progress.finish();
        Ok((pin, loaded.map_err(BackendError::from)?))
    }
}
