//! Batches of xp's schedulers as Vidur's execution model sees them.

use super::features::BatchFeatures;
use super::stage::VidurPredictor;
use crate::predictor::{Place, Predictor};
use crate::scheduler::Batch;

impl BatchFeatures {
    /// Adds the requests of a batch. Vidur counts the token that a request decodes from as processed; xp's
    /// context is what the KV cache holds, one less.
    pub fn push_batch(&mut self, batch: &Batch) {
        let decodes = batch.decodes.len() as u64;
        if decodes > 0 {
            self.push_decodes(decodes, batch.decodes.context_sum() + decodes);
        }
        for chunk in &batch.chunks {
            self.push_prefill(chunk.context.into(), chunk.tokens.into());
        }
    }
}

impl VidurPredictor {
    /// How long a stage takes for a batch, s.
    pub fn batch_s(&self, batch: &Batch, is_last_stage: bool) -> f64 {
        let mut features = self.features();
        features.push_batch(batch);
        self.stage_s(&features, is_last_stage)
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

impl Predictor for VidurPredictor {
    fn step_ns(&self, batch: &Batch) -> u64 {
        let inner = u64::from(self.shape().pipeline_stages - 1);
        let sent = if inner > 0 { nanoseconds(self.batch_s(batch, false)).saturating_mul(inner) } else { 0 };
        sent.saturating_add(nanoseconds(self.batch_s(batch, true)))
    }

    fn stage_ns(&self, batch: &Batch, place: &Place) -> u64 {
        nanoseconds(self.batch_s(batch, place.is_last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::BatchEntry;

    #[test]
    fn a_batch_has_the_features_of_its_requests() {
        let entry = |context, tokens, is_prefill| BatchEntry {
            request: context,
            tokens,
            context,
            is_prefill,
            emits: !is_prefill,
        };
        let batch = Batch::of([entry(63, 1, false), entry(200, 1, false), entry(10, 30, true)]);
        let (mut found, mut wanted) = (BatchFeatures::new(64), BatchFeatures::new(64));
        found.push_batch(&batch);
        wanted.push_decode(64);
        wanted.push_decode(201);
        wanted.push_prefill(10, 30);
        assert_eq!(found, wanted);
    }
}
