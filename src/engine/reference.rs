//! Reference steps: how fast the machine is at this moment. Timed through a profile, and before, in and after every
//! measured run, they tell whether both saw the same machine.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::EngineError;
use super::executor::Executor;
use super::sequence::Sequence;
use crate::catalog::ModelConfig;
use crate::machine::{SPEED_ROWS, SpeedPoint};
use crate::model::NoTimer;
use crate::scheduler::{Batch, BatchEntry};

/// Tokens that the last row of a reference step sees.
const LONGEST: u32 = 64;
/// Steps of one row before the first that is timed. As in a run's decodes, a small model's weights are in the caches then as
/// far as they fit.
const LEAD: Lead = Lead { steps: 2..=6, time: Duration::from_millis(10) };
/// Weights that a shortened model streams at least, so that its layers are as cold as in the whole one.
const MIN_STREAMED_BYTES: u64 = 256 << 20;

/// Steps before one that is timed: so many, and more of them until they took so long.
pub struct Lead {
    pub steps: RangeInclusive<u32>,
    pub time: Duration,
}

impl Lead {
    /// Whether so many steps, which took so long, were enough.
    pub fn is_enough(&self, steps: u32, time: Duration) -> bool {
        steps >= *self.steps.end() || (steps >= *self.steps.start() && time >= self.time)
    }
}

/// Layers that stand for a whole model where only an operator's or a reference step's duration is
/// wanted: all of a small model, and of a large one as many as stream enough weights.
pub fn representative_layers(config: &ModelConfig) -> usize {
    let embedding = u64::from(config.vocab_size) * u64::from(config.hidden_size);
    let tables = if config.tie_word_embeddings { 1 } else { 2 };
    let layers = u64::from(config.num_hidden_layers);
    let per_layer = (config.num_parameters() - tables * embedding) / layers * 4;
    let enough = MIN_STREAMED_BYTES.div_ceil(per_layer.max(1)).max(2);
    enough.min(layers) as usize
}

/// KV blocks that reference steps take, besides those of requests.
pub(super) fn reference_blocks(block_size: u32) -> u32 {
    LONGEST.div_ceil(block_size.max(1))
}

impl Executor<'_> {
    /// Times the reference steps. Requests are kept; the last [`reference_blocks`] are overwritten.
    pub fn speed(&mut self, at_ns: u64) -> Result<SpeedPoint, EngineError> {
        let longest = LONGEST.min(self.config().max_position_embeddings);
        let (own, all) = (reference_blocks(self.block_size()), self.num_blocks());
        let blocks: Vec<u32> = (0..own).map(|block| (all.saturating_sub(own) + block) % all.max(1)).collect();
        let sequence = Sequence::new(vec![0; longest as usize], 0);
        let kept = self.replace_sequences(vec![sequence]);
        let representative = representative_layers(self.config());
        // Logits of a large model take long for what they tell.
        let emits = representative == self.config().num_hidden_layers as usize;
        let layers = self.use_layers(representative);
        let mut step = |rows: u32| -> Result<u64, EngineError> {
            let tokens = rows.min(longest);
            let context = longest - tokens;
            let batch = Batch::of([BatchEntry { request: 0, tokens, context, is_prefill: true, emits }]);
            let started = Instant::now();
            self.step(&batch, |_| &blocks, &mut NoTimer)?;
            Ok(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
        };
        // Whatever ran before has left the caches after some.
        let (started, mut leads) = (Instant::now(), 0);
        while !LEAD.is_enough(leads, started.elapsed()) {
            step(1)?;
            leads += 1;
        }
        let mut step_ns = [0; SPEED_ROWS.len()];
        for (ns, rows) in step_ns.iter_mut().zip(SPEED_ROWS) {
            *ns = step(rows)?;
        }
        self.use_layers(layers);
        self.replace_sequences(kept);
        Ok(SpeedPoint { at_ns, step_ns })
    }
}
