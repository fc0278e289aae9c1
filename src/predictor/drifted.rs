use super::{Place, Predictor};
use crate::machine::Drift;
use crate::scheduler::Batch;

/// A predictor's steps at the speed that the machine had during a measured run, which is told by reference steps
/// of known work, not by the steps of the run.
pub struct Drifted<'a> {
    pub predictor: &'a dyn Predictor,
    pub drift: &'a Drift,
}

impl Predictor for Drifted<'_> {
    fn step_ns(&self, batch: &Batch) -> u64 {
        self.stage_ns(batch, &Place::whole(batch, 0, 0))
    }

    fn stage_ns(&self, batch: &Batch, place: &Place) -> u64 {
        let ratio = self.drift.ratio(place.now_ns, batch.num_tokens());
        (self.predictor.stage_ns(batch, place) as f64 * ratio + 0.5) as u64
    }
}
