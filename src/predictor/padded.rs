use super::grid::Grid;
use super::{Predictor, PredictorError};
use crate::profile::{StepPoint, StepProfile};
use crate::scheduler::Batch;

/// Interpolates whole steps of padded batches: bilinear over the number of requests and the longest of them.
#[derive(Debug, Clone, PartialEq)]
pub struct PaddedSteps {
    prefill: Grid,
    decode: Grid,
}

impl PaddedSteps {
    /// Prepares the tables of a profile.
    ///
    /// # Errors
    /// A kind of step was not measured.
    pub fn new(profile: &StepProfile) -> Result<Self, PredictorError> {
        let grid = |points: &[StepPoint], op: &str| {
            let points = points.iter().map(|point| (point.requests, point.tokens, point.mean_ns as f64));
            Grid::new(points).ok_or_else(|| PredictorError::NoOp { op: op.to_owned() })
        };
        Ok(Self { prefill: grid(&profile.prefill, "prefill")?, decode: grid(&profile.decode, "decode")? })
    }
}

impl Predictor for PaddedSteps {
    fn step_ns(&self, batch: &Batch) -> u64 {
        // The policy forms batches of prompts alone, or of decodes alone.
        let prompts = batch.chunks.iter().map(|chunk| chunk.context + chunk.tokens).max();
        let decodes = batch.decodes.iter().map(|(_, context)| context).max();
        let mut ns = 0.0;
        if let Some(longest) = prompts {
            ns += self.prefill.at(batch.chunks.len() as f64, f64::from(longest));
        }
        if let Some(longest) = decodes {
            ns += self.decode.at(batch.decodes.len() as f64, f64::from(longest));
        }
        // Rounded by addition: a conversion to an integer truncates, on every machine alike.
        (ns.max(0.0) + 0.5) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::sample_steps;
    use crate::scheduler::BatchEntry;

    #[test]
    fn a_step_takes_what_its_rectangle_takes() {
        let predictor = PaddedSteps::new(&sample_steps()).unwrap();
        let entry =
            |tokens, context, is_prefill| BatchEntry { request: 0, tokens, context, is_prefill, emits: true };
        let ns = |entries: &[BatchEntry]| predictor.step_ns(&Batch::of(entries.iter().copied()));
        assert_eq!(ns(&[entry(100, 0, true), entry(7, 0, true), entry(30, 0, true)]), 100 * 3 * 100);
        assert_eq!(ns(&[entry(1, 200, false), entry(1, 20, false)]), 1000 * 2 + 2 * 200);
        assert_eq!(ns(&[entry(1, 20, false)]), 1000 + 20);
        assert_eq!(ns(&[]), 0);
    }
}
