//! The reference step: how fast the machine is at this moment. Timed through a
//! profile and before and after every measured run, it tells whether both
//! saw the same machine.

use std::time::Instant;

use super::EngineError;
use super::executor::Executor;
use super::sequence::Sequence;
use crate::catalog::ModelConfig;
use crate::model::NoTimer;
use crate::scheduler::{Batch, BatchEntry};

/// Decodes in the reference step, and KV tokens of each. A single one streams the weights and computes
/// little: memory bandwidth is what varies most on a shared machine.
const DECODES: u32 = 1;
const CONTEXT: u32 = 64;
/// Steps that are timed, and steps before them that are not: whatever ran before has left the caches by then.
const STEPS: u32 = 3;
const LEAD: u32 = 3;
/// Weights that a shortened model streams at least, so that its layers are as cold as in the whole one.
const MIN_STREAMED_BYTES: u64 = 256 << 20;

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

impl Executor<'_> {
    /// Mean duration of the reference step now, ns. Sequences are kept; KV blocks are overwritten, so no
    /// request may be running.
    pub fn reference_ns(&mut self) -> Result<u64, EngineError> {
        let context = CONTEXT.min(self.config().max_position_embeddings.saturating_sub(1));
        let per_request = (context + 1).div_ceil(self.block_size());
        let num_blocks = self.num_blocks();
        let blocks: Vec<Vec<u32>> = (0..DECODES)
            .map(|request| {
                (0..per_request).map(|block| (request * per_request + block) % num_blocks).collect()
            })
            .collect();
        let entry = |request| BatchEntry { request, tokens: 1, context, is_prefill: false, emits: true };
        let batch = Batch::of((0..DECODES).map(entry));
        let sequence = Sequence::new(vec![0; context as usize + 1], (LEAD + STEPS) as usize);
        let kept = self.replace_sequences(vec![sequence; DECODES as usize]);
        for _ in 0..LEAD {
            self.step(&batch, |request| &blocks[request as usize], &mut NoTimer)?;
        }
        let started = Instant::now();
        for _ in 0..STEPS {
            self.step(&batch, |request| &blocks[request as usize], &mut NoTimer)?;
        }
        let ns = started.elapsed().as_nanos() / u128::from(STEPS);
        self.replace_sequences(kept);
        Ok(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}
