//! Which steps are measured: the corners and the grid of what a run can ask for.

use serde::Serialize;

/// The steps that a bundle has to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Tokens of a step.
    pub chunk_size: u32,
    pub max_batch_size: u32,
    /// Tokens in a KV block.
    pub block_size: u32,
    /// Longest prompt plus output.
    pub max_context: u32,
}

/// A step to measure, with made-up requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Pass {
    /// (chunk tokens, KV tokens before) of each prefill.
    pub prefills: Vec<(u32, u32)>,
    /// KV tokens before the step of each decode.
    pub decodes: Vec<u32>,
    /// Prefills (the first ones) that end their prompt and so yield a token.
    pub completing: u32,
}

impl Pass {
    pub fn prefill(chunk: u32, kv: u32) -> Self {
        Self { prefills: vec![(chunk, kv)], ..Self::default() }
    }

    /// A step of `tokens` prompt tokens, of several prompts where one of `longest` tokens is not enough.
    pub fn prompts(tokens: u32, longest: u32) -> Self {
        let longest = longest.max(1);
        let mut prefills = vec![(longest, 0); (tokens / longest) as usize];
        prefills.extend((!tokens.is_multiple_of(longest)).then_some((tokens % longest, 0)));
        Self { prefills, ..Self::default() }
    }

    /// Whether its attention is of one prefill chunk, or of decodes of equal KV length.
    pub fn is_uniform(&self) -> bool {
        self.prefills.len() <= 1
    }

    pub fn decode(batch: u32, kv: u32) -> Self {
        Self { decodes: vec![kv; batch as usize], ..Self::default() }
    }

    pub fn num_tokens(&self) -> u32 {
        self.prefills.iter().map(|(chunk, _)| chunk).sum::<u32>() + self.decodes.len() as u32
    }

    /// Rows of logits.
    pub fn num_sequences(&self) -> u32 {
        self.decodes.len() as u32 + self.completing
    }

    pub fn batch_size(&self) -> u32 {
        (self.prefills.len() + self.decodes.len()) as u32
    }

    /// KV blocks that its requests fill.
    pub fn num_blocks(&self, block_size: u32) -> u32 {
        let prefills = self.prefills.iter().map(|(chunk, kv)| chunk + kv);
        let decodes = self.decodes.iter().map(|kv| kv + 1);
        prefills.chain(decodes).map(|tokens| tokens.div_ceil(block_size)).sum()
    }
}

/// 1, 2, 3, 4, 6, 8, 12, 16, … up to `max`, which is always the last.
pub(super) fn steps_to(max: u32) -> Vec<u32> {
    let halves = (0..31).flat_map(|power| [1_u64 << power, 3 << power]);
    let mut out: Vec<u32> = halves.filter_map(|x| u32::try_from(x).ok()).filter(|x| *x < max).collect();
    out.push(max);
    out.sort_unstable();
    out.dedup();
    out
}

/// 1, 2, 4, 8, … up to `max`, which is always the last.
fn powers_to(max: u32) -> Vec<u32> {
    let mut out: Vec<u32> = (0..32).map(|power| 1_u32 << power).filter(|x| *x < max).collect();
    out.push(max);
    out
}

/// Contexts to measure: 16, 64, 256, 1024 … with the largest a request can have.
fn contexts(max: u32) -> Vec<u32> {
    let mut out: Vec<u32> = (2..16).map(|power| 1_u32 << (2 * power)).filter(|x| *x < max).collect();
    out.push(max.max(1));
    out
}

/// Up to this many, every number of decodes is measured.
const EVERY_BATCH_TO: u32 = 16;

/// Every pass whose operators are measured. Prefills yield a token if `emit`: the output projection then
/// displaces as much of the processor's cache as in most steps of a run.
pub(super) fn operator_passes(limits: &Limits, emit: bool) -> Vec<Pass> {
    let longest = limits.max_context;
    let mut out: Vec<Pass> =
        steps_to(limits.max_tokens()).into_iter().map(|tokens| Pass::prompts(tokens, longest)).collect();
    let last = longest.saturating_sub(1);
    for chunk in powers_to(limits.chunk_size.min(longest)) {
        // A chunk and what lies before it are one request's.
        let before = contexts(last).into_iter().map(|kv| kv.min(longest - chunk)).filter(|kv| *kv > 0);
        out.extend(before.map(|kv| Pass::prefill(chunk, kv)));
    }
    for batch in steps_to(limits.max_batch_size) {
        out.extend(contexts(last).into_iter().map(|kv| Pass::decode(batch, kv)));
    }
    // Matrix products of a few rows grow in jumps that no interpolation meets.
    let middle = contexts(last).into_iter().min_by_key(|kv| kv.abs_diff(last / 2)).unwrap_or(1);
    out.extend((1..=limits.max_batch_size.min(EVERY_BATCH_TO)).map(|batch| Pass::decode(batch, middle)));
    for pass in &mut out {
        pass.completing = if emit { pass.prefills.len() as u32 } else { 0 };
    }
    out.sort();
    out.dedup();
    out
}

/// Steps measured whole, for checking a predictor: mixtures of a kind that no grid point has.
pub(super) fn whole_passes(limits: &Limits) -> Vec<Pass> {
    let half_context = (limits.max_context / 2).max(1);
    let batches =
        [limits.max_batch_size.div_ceil(4), limits.max_batch_size.div_ceil(2), limits.max_batch_size];
    let mut out = Vec::new();
    for (index, batch) in (0..).zip(batches) {
        let decodes: Vec<u32> = (0..batch).map(|i| 1 + (i * 37 + index * 11) % half_context).collect();
        let chunk = limits.chunk_size.saturating_sub(batch).min(half_context);
        out.push(Pass { decodes: decodes.clone(), ..Pass::default() });
        if chunk > 0 && batch < limits.max_batch_size {
            out.push(Pass { prefills: vec![(chunk, 0)], decodes, completing: 1 });
        }
    }
    out.push(Pass {
        prefills: vec![(limits.chunk_size.min(half_context), half_context / 2)],
        ..Pass::default()
    });
    out.sort();
    out.dedup();
    out
}

/// Tokens of a chunk that stands for all: a longer one leaves the caches no emptier.
const ENOUGH_CHUNK: u32 = 128;

impl Limits {
    /// Tokens of a step whose chunk is to be followed by decodes, or to have them beside it.
    pub(super) fn step_with_chunk(&self) -> u32 {
        let enough = ENOUGH_CHUNK.max(self.max_batch_size.saturating_mul(2));
        self.chunk_size.min(self.max_context).min(enough)
    }

    /// Tokens of the largest step: decodes may exceed the chunk budget.
    pub fn max_tokens(&self) -> u32 {
        self.chunk_size.max(self.max_batch_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_holds_its_corners() {
        let limits = Limits { chunk_size: 100, max_batch_size: 5, block_size: 16, max_context: 300 };
        let passes = operator_passes(&limits, false);
        for corner in [
            Pass::prefill(1, 0),
            Pass::prefill(100, 0),
            Pass::prefill(100, 200),
            Pass::decode(1, 16),
            Pass::decode(5, 299),
        ] {
            assert!(passes.contains(&corner), "{corner:?}");
        }
        assert!(passes.len() < 120, "{}", passes.len());
        assert_eq!(steps_to(9), [1, 2, 3, 4, 6, 8, 9]);
        assert_eq!(steps_to(1), [1]);
        for pass in &passes {
            assert!(pass.prefills.iter().all(|(chunk, kv)| chunk + kv <= 300), "{pass:?}");
            assert!(pass.decodes.iter().all(|kv| *kv < 300), "{pass:?}");
        }
        let short = Limits { chunk_size: 4096, max_batch_size: 64, block_size: 16, max_context: 40 };
        let largest = operator_passes(&short, false).into_iter().max_by_key(Pass::num_tokens).unwrap();
        assert_eq!((largest.num_tokens(), largest.prefills[0]), (4096, (40, 0)));
        assert!(
            operator_passes(&short, false).iter().all(|pass| pass.prefills.iter().all(|(c, k)| c + k <= 40))
        );
        let smallest = Limits { chunk_size: 1, max_batch_size: 1, block_size: 1, max_context: 2 };
        assert!(!operator_passes(&smallest, true).is_empty() && !whole_passes(&smallest).is_empty());
    }
}
