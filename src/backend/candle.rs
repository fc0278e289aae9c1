//! SKELETON.
use super::{Backend, BackendError, Job};
use crate::engine::Engine;
use crate::metrics::{RunMeta, RunRecord};
use crate::model::Tokenizer;
use crate::progress::Progress;
use crate::spec::Sampling;

pub struct CandleRunner<'a> {
    pub name: &'a str,
    pub sampling: &'a Sampling,
    pub sampling_seed: u64,
    pub tokenizer: &'a Tokenizer,
    pub engine: &'a mut Engine,
}

impl Backend for CandleRunner<'_> {
    fn serve(
        &mut self,
        _job: &Job<'_>,
        _progress: &dyn Progress,
    ) -> Result<(RunRecord, RunMeta), BackendError> {
        todo!()
    }
}
