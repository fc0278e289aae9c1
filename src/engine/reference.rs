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
use crate::scheduler::{Batch, BatchEntry, RequestId};

/// Most decodes of a reference step; with more rows it is a prefill chunk.
const DECODES: u32 = 16;
/// Tokens that each decode sees, itself included, so that keys and values are read as in a run's decodes; most tokens of
/// a chunk.
const LENGTH: u32 = 128;
/// Decodes of one row before the first that is timed. As in a run's decodes, a small model's weights are in the caches then as
/// far as they fit.
const LEAD: Lead = Lead { steps: 2..=6, time: Duration::from_millis(10) };
/// Such decodes after the last.
const TRAIL: u32 = 3;
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

/// Reference steps take at most one part of so many and one.
const SPEED_SHARE: u32 = 5;

/// How long not to time the reference steps again, which have taken `took`: `least`, or longer where that were more than their
/// share of the time.
pub fn until_next_speed(least: Duration, took: Duration) -> Duration {
    least.max(took * SPEED_SHARE)
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

/// KV blocks of the reference steps, besides those of requests: how many of those there are is none of their matter.
pub(super) fn reference_blocks(block_size: u32) -> u32 {
    DECODES * LENGTH.div_ceil(block_size.max(1))
}

/// The reference steps of a model and its KV cache.
struct References {
    /// Of each request; the chunk is the first one's.
    blocks: Vec<u32>,
    /// Of one request.
    each: usize,
    /// Tokens of each.
    length: u32,
    emits: bool,
}

impl References {
    /// Of a model for so many positions, in the last of `all` blocks of so many tokens.
    fn new(positions: u32, block_size: u32, all: u32, emits: bool) -> Self {
        let (positions, block_size, all) = (positions.max(1), block_size.max(1), all.max(1));
        let own = reference_blocks(block_size);
        let first = all.saturating_sub(own);
        let blocks = (0..own).map(|block| first + block % (all - first)).collect();
        let each = LENGTH.div_ceil(block_size) as usize;
        Self { blocks, each, length: LENGTH.min(positions), emits }
    }

    fn sequences(&self) -> Vec<Sequence> {
        (0..DECODES).map(|_| Sequence::new(vec![0; self.length as usize], 0)).collect()
    }

    fn batch(&self, rows: u32) -> Batch {
        let emits = self.emits;
        let (requests, tokens, context) = match rows > DECODES {
            true => (1, rows.min(self.length), 0),
            false => (rows, 1, self.length - 1),
        };
        // What a batch calls a decode always emits.
        Batch::of((0..requests).map(|request| BatchEntry {
            request,
            tokens,
            context,
            is_prefill: true,
            emits,
        }))
    }

    fn blocks(&self, request: RequestId) -> &[u32] {
        &self.blocks[request as usize * self.each..]
    }
}

impl Executor<'_> {
    /// Times the reference steps. Requests are kept; the last [`reference_blocks`] are overwritten.
    pub fn speed(&mut self, at_ns: u64) -> Result<SpeedPoint, EngineError> {
        let representative = representative_layers(self.config());
        // Logits of a large model take long for what they tell.
        let emits = representative == self.config().num_hidden_layers as usize;
        let positions = self.config().max_position_embeddings;
        let references = References::new(positions, self.block_size(), self.num_blocks(), emits);
        let kept = self.replace_sequences(references.sequences());
        let layers = self.use_layers(representative);
        let mut step = |rows: u32| -> Result<u64, EngineError> {
            let batch = references.batch(rows);
            let started = Instant::now();
            self.step(&batch, |request| references.blocks(request), &mut NoTimer)?;
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
            if (2..=DECODES).contains(&rows) {
                // Decodes follow decodes like them, which leave in the caches what fits beside their own keys.
                step(rows)?;
            }
            *ns = step(rows)?;
        }
        // What runs next is not to find the chunk's leavings.
        for _ in 0..TRAIL {
            step(1)?;
        }
        self.use_layers(layers);
        self.replace_sequences(kept);
        Ok(SpeedPoint { at_ns, step_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_steps_have_their_rows_and_write_to_no_block_of_a_request() {
        for (positions, block_size) in [(4096, 16), (4096, 1), (40, 7), (1, 64)] {
            let own = reference_blocks(block_size);
            let references = References::new(positions, block_size, 100 + own, true);
            let lengths: Vec<usize> = references.sequences().iter().map(|of| of.tokens().len()).collect();
            for rows in SPEED_ROWS {
                let batch = references.batch(rows);
                let wanted = if rows > DECODES { rows.min(positions).min(LENGTH) } else { rows };
                assert_eq!(batch.num_tokens(), wanted);
                for entry in batch.entries() {
                    let end = entry.context + entry.tokens;
                    assert!(end as usize <= lengths[entry.request as usize], "{entry:?}");
                    let blocks = references.blocks(entry.request);
                    let used = &blocks[..end.div_ceil(block_size) as usize];
                    assert!(used.iter().all(|block| (100..100 + own).contains(block)), "{used:?}");
                }
                // No two decodes read the same keys.
                let firsts: std::collections::BTreeSet<u32> =
                    batch.entries().map(|entry| references.blocks(entry.request)[0]).collect();
                assert_eq!(firsts.len(), batch.entries().count());
            }
        }
        // A cache with fewer blocks than that is shared, as a profile's may be.
        assert!(References::new(64, 16, 3, true).blocks.iter().all(|block| *block < 3));
    }
}
