//! What decodes take longer that follow a prefill chunk.

use super::bundle::AfterChunkPoint;
use super::measure::{Bench, MOST_EXTRA_ROUNDS, extra_rounds};
use super::plan::{Limits, Pass};
use super::samples::Durations;
use crate::engine::EngineError;
use crate::progress::Progress;

/// Decodes after a chunk that are told apart.
const TOLD_APART: usize = 6;
/// Decodes after those: what they take is what the others are held against.
const SETTLED: usize = 4;
/// A mean that is less than so many standard errors is none.
const SURE: f64 = 2.0;

impl Bench<'_> {
    /// Times decodes one after the other behind a chunk, which leaves other weights and keys in the caches than they do.
    pub(super) fn walk_after_chunks(
        &mut self,
        (limits, context): (&Limits, u32),
        num_layers: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<AfterChunkPoint>, EngineError> {
        let chunk = Pass::prefill(limits.step_with_chunk(), 0);
        let mut sizes = vec![1, limits.max_batch_size.div_ceil(2), limits.max_batch_size];
        sizes.dedup();
        let mut extra = vec![vec![Durations::default(); TOLD_APART]; sizes.len()];
        progress.start("decodes after chunks", MOST_EXTRA_ROUNDS * sizes.len() as u64);
        for _ in extra_rounds() {
            for (size, extra) in sizes.iter().zip(&mut extra) {
                let decode = Pass::decode(*size, context);
                let took = self.time_after(&chunk, &decode, TOLD_APART + SETTLED, num_layers)?;
                let settled = took[TOLD_APART..].iter().sum::<f64>() / SETTLED as f64;
                for (extra, ns) in extra.iter_mut().zip(&took) {
                    extra.push(ns - settled);
                }
                progress.advance(1);
            }
        }
        progress.finish();
        Ok(sizes.iter().zip(&extra).flat_map(|(size, extra)| points(*size, extra)).collect())
    }
}

/// Of decodes of one size, by their place after the chunk. A later one takes no more than an earlier one: what says
/// otherwise is noise.
fn points(batch_size: u32, extra: &[Durations]) -> Vec<AfterChunkPoint> {
    let mut most = f64::INFINITY;
    let point = |(steps, extra): (u32, &Durations)| {
        let (mean_ns, mad_ns) = extra.mean_and_mad();
        let sure = mean_ns > SURE * extra.standard_error();
        most = most.min(if sure { mean_ns } else { 0.0 });
        AfterChunkPoint { batch_size, steps, mean_ns: most, mad_ns }
    };
    (1..).zip(extra).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_decodes_take_no_more_and_noise_is_nothing() {
        let around = |ns: f64| {
            let mut durations = Durations::default();
            [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0].iter().for_each(|off| durations.push(ns + off));
            durations
        };
        let found = points(8, &[around(90.0), around(30.0), around(40.0), around(0.5), around(50.0)]);
        let steps: Vec<(u32, u32, f64)> =
            found.iter().map(|point| (point.batch_size, point.steps, point.mean_ns)).collect();
        assert_eq!(steps, [(8, 1, 90.0), (8, 2, 30.0), (8, 3, 30.0), (8, 4, 0.0), (8, 5, 0.0)]);
    }
}
