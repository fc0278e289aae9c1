//! What a step takes longer that follows a pause.

use std::time::Duration;

use super::bundle::PausePoint;
use super::measure::{Bench, MOST_EXTRA_ROUNDS, extra_rounds};
use super::plan::Pass;
use super::samples::Durations;
use crate::engine::EngineError;
use crate::progress::Progress;

/// Pauses that are measured, ms. Whoever shares the processor's caches has filled them after the longest.
const PAUSES_MS: [u32; 5] = [4, 16, 48, 144, 288];

impl Bench<'_> {
    /// Times a decode after pauses, and the same right after another step.
    pub(super) fn walk_pauses(
        &mut self,
        context: u32,
        num_layers: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<PausePoint>, EngineError> {
        let pass = Pass::decode(1, context);
        let mut extra = vec![Durations::default(); PAUSES_MS.len()];
        progress.start("pauses", MOST_EXTRA_ROUNDS * PAUSES_MS.len() as u64);
        for _ in extra_rounds() {
            for (pause_ms, extra) in PAUSES_MS.iter().zip(&mut extra) {
                let pause = Duration::from_millis(u64::from(*pause_ms));
                let rested = self.time_watched(&pass, num_layers, pause)?;
                let busy = self.time_watched(&pass, num_layers, Duration::ZERO)?;
                extra.push(rested.total_ns() as f64 - busy.total_ns() as f64);
                progress.advance(1);
            }
        }
        progress.finish();
        // A longer pause costs no less: what says otherwise is noise.
        let mut least = 0.0_f64;
        let point = |(idle_ms, extra): (u32, &Durations)| {
            let (mean_ns, mad_ns) = extra.mean_and_mad();
            least = least.max(mean_ns);
            PausePoint { idle_ms, mean_ns: least, mad_ns }
        };
        Ok(PAUSES_MS.into_iter().zip(&extra).map(point).collect())
    }
}
