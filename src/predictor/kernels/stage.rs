use super::{KernelPredictor, StepFeatures};
use crate::predictor::{Place, Predictor};
use crate::scheduler::Batch;

impl StepFeatures {
    /// Becomes the step that a batch is.
    pub fn set(&mut self, batch: &Batch) {
        self.clear();
        let decodes = &batch.decodes;
        self.push_decodes(decodes.len() as u32, decodes.context_sum(), decodes.max_context());
        for chunk in &batch.chunks {
            self.push_chunk(chunk.tokens, chunk.context);
        }
    }
}

impl Predictor for KernelPredictor {
    fn step_ns(&self, batch: &Batch) -> u64 {
        let mut step = StepFeatures::default();
        step.set(batch);
        KernelPredictor::step_ns(self, &step)
    }

    fn stage_ns(&self, batch: &Batch, place: &Place) -> u64 {
        let mut step = StepFeatures::default();
        step.set(batch);
        step.set_group(place.group_tokens, place.group_most);
        let sent = if place.is_last { 0 } else { self.send_ns(&step) };
        self.stage(place.stage as usize, &step).total_ns().saturating_add(sent)
    }
}
