use super::{Place, Predictor};
use crate::scheduler::Batch;

/// A predictor, and a time that every step takes besides: it passes before the first stage.
pub struct WithOverhead<P> {
    pub predictor: P,
    /// Added to every step, ns.
    pub overhead_ns: u64,
}

impl<P: Predictor> Predictor for WithOverhead<P> {
    fn step_ns(&self, batch: &Batch) -> u64 {
        self.predictor.step_ns(batch).saturating_add(self.overhead_ns)
    }

    fn stage_ns(&self, batch: &Batch, place: &Place) -> u64 {
        let overhead_ns = if place.stage == 0 { self.overhead_ns } else { 0 };
        self.predictor.stage_ns(batch, place).saturating_add(overhead_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ten;

    impl Predictor for Ten {
        fn step_ns(&self, _batch: &Batch) -> u64 {
            10
        }
    }

    #[test]
    fn a_step_has_its_overhead_once() {
        let predictor = WithOverhead { predictor: Ten, overhead_ns: 3 };
        let stage = |stage| predictor.stage_ns(&Batch::default(), &Place { stage, ..Place::default() });
        assert_eq!((predictor.step_ns(&Batch::default()), stage(0), stage(1)), (13, 13, 10));
    }
}
