//! What decodes add to a step with a prefill chunk.

use super::bundle::BesideChunkPoint;
use super::measure::{Bench, MOST_EXTRA_ROUNDS, extra_rounds};
use super::plan::{Limits, Pass};
use super::samples::Durations;
use crate::engine::EngineError;
use crate::progress::Progress;

impl Bench<'_> {
    /// Times chunks alone, and chunks beside decodes in steps of as many tokens, one after the other: what the decodes
    /// add is then of one state of the machine.
    pub(super) fn walk_beside_chunks(
        &mut self,
        (limits, context): (&Limits, u32),
        num_layers: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<BesideChunkPoint>, EngineError> {
        let passes = passes(limits, context);
        if passes.is_empty() {
            return Ok(Vec::new());
        }
        let alone = Pass { completing: 1, ..Pass::prefill(limits.step_with_chunk(), 0) };
        let mut extra = vec![Durations::default(); passes.len()];
        progress.start("decodes beside chunks", MOST_EXTRA_ROUNDS * passes.len() as u64);
        for _ in extra_rounds() {
            let mut first = |pass: &Pass, before: Pass| -> Result<f64, EngineError> {
                Ok(self.time_after(&before, pass, 1, num_layers)?[0])
            };
            let base = first(&alone, Pass::decode(1, 1))?;
            for (pass, extra) in passes.iter().zip(&mut extra) {
                let before = Pass { decodes: pass.decodes.clone(), ..Pass::default() };
                extra.push(first(pass, before)? - base);
                progress.advance(1);
            }
        }
        progress.finish();
        Ok(passes.iter().zip(&extra).map(|(pass, extra)| point(pass, extra)).collect())
    }
}

/// Few and many decodes with few and many tokens in the cache, beside the chunk that they leave room for.
fn passes(limits: &Limits, context: u32) -> Vec<Pass> {
    let tokens = limits.step_with_chunk();
    let mut sizes = vec![limits.max_batch_size.div_ceil(4), limits.max_batch_size];
    let mut contexts = vec![context.div_ceil(4), context];
    sizes.dedup();
    contexts.dedup();
    let size = |size: &u32| contexts.iter().map(move |kv| (*size, *kv)).collect::<Vec<_>>();
    let fits = |(size, _): &(u32, u32)| *size < tokens;
    let pass = |(size, kv): (u32, u32)| Pass {
        prefills: vec![(tokens - size, 0)],
        completing: 1,
        ..Pass::decode(size, kv)
    };
    sizes.iter().flat_map(size).filter(fits).map(pass).collect()
}

fn point(pass: &Pass, extra: &Durations) -> BesideChunkPoint {
    let (mean_ns, mad_ns) = extra.mean_and_mad();
    BesideChunkPoint {
        batch_size: pass.decodes.len() as u32,
        kv_decode: pass.decodes[0],
        prefill_chunk: pass.prefills[0].0,
        mean_ns: mean_ns.max(0.0),
        mad_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_chunk_fill_the_step() {
        let limits = Limits { chunk_size: 128, max_batch_size: 16, block_size: 16, max_context: 1024 };
        let found: Vec<(usize, u32, u32)> = passes(&limits, 256)
            .iter()
            .map(|pass| (pass.decodes.len(), pass.decodes[0], pass.prefills[0].0))
            .collect();
        assert_eq!(found, [(4, 64, 124), (4, 256, 124), (16, 64, 112), (16, 256, 112)]);
        // Where decodes fill the step there is no room for a chunk.
        let full = Limits { chunk_size: 4, max_batch_size: 16, ..limits };
        assert!(passes(&full, 256).is_empty());
        let long = Limits { chunk_size: 8192, max_context: 8192, ..limits };
        assert_eq!(passes(&long, 256), passes(&limits, 256));
        let alone = Limits { max_batch_size: 1, ..limits };
        assert_eq!(passes(&alone, 1).len(), 1);
    }
}
