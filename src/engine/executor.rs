use super::EngineError;
use super::loaded::LoadedModel;
use super::sequence::Sequence;
use crate::catalog::ModelConfig;
use crate::model::{NoTimer, Op, OpTimer, Sampler, Share, Tokenizer};
use crate::scheduler::{Batch, BatchEntry, RequestId};

/// Turns batches into tokens: one forward pass a step, then sampling and detokenizing.
pub struct Executor<'a> {
    model: &'a mut dyn LoadedModel,
    sequences: Vec<Sequence>,
    sampler: &'a Sampler,
    tokenizer: &'a Tokenizer,
    num_layers: usize,
}

impl<'a> Executor<'a> {
    /// Sequence i belongs to request i.
    pub fn new(
        model: &'a mut dyn LoadedModel,
        sequences: Vec<Sequence>,
        sampler: &'a Sampler,
        tokenizer: &'a Tokenizer,
    ) -> Self {
        let num_layers = model.config().num_hidden_layers as usize;
        Self { model, sequences, sampler, tokenizer, num_layers }
    }

    /// Runs the first `num_layers` layers only, for measuring operators of a large model.
    pub fn with_layers(mut self, num_layers: usize) -> Self {
        self.num_layers = num_layers;
        self
    }

    /// Runs so many layers from now on, and tells how many they were before.
    pub(super) fn use_layers(&mut self, num_layers: usize) -> usize {
        std::mem::replace(&mut self.num_layers, num_layers)
    }

    /// Puts other sequences in the place of all, and returns those.
    pub fn replace_sequences(&mut self, sequences: Vec<Sequence>) -> Vec<Sequence> {
        std::mem::replace(&mut self.sequences, sequences)
    }

    /// Tokens in a KV block.
    pub(super) fn block_size(&self) -> u32 {
        self.model.block_size()
    }

    /// KV blocks in the cache.
    pub(super) fn num_blocks(&self) -> u32 {
        self.model.num_blocks()
    }

    /// The shape of the model that runs.
    pub(super) fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// Computes a batch and appends the tokens it yields. `blocks` names the KV blocks of a request.
    pub fn step<'b>(
        &mut self,
        batch: &Batch,
        blocks: impl Fn(RequestId) -> &'b [u32],
        timer: &mut dyn OpTimer,
    ) -> Result<(), EngineError> {
        let shares: Vec<Share<'_>> = batch
            .entries()
            .map(|entry| {
                let from = entry.context as usize;
                Share {
                    tokens: &self.sequences[entry.request as usize].tokens()
                        [from..from + entry.tokens as usize],
                    context: entry.context,
                    blocks: blocks(entry.request),
                    emits: entry.emits,
                }
            })
            .collect();
        let logits = self.model.forward(&shares, self.num_layers, timer)?;
        let vocab = self.model.config().vocab_size as usize;
        let emitting = batch.entries().filter(|entry| entry.emits);
        for (entry, logits) in emitting.zip(logits.chunks_exact(vocab)) {
            let sequence = &mut self.sequences[entry.request as usize];
            let token = self.sampler.sample(logits, entry.request, sequence.outputs().len() as u32);
            sequence.push(token, self.tokenizer)?;
        }
        timer.lap(Op::Sampling);
        Ok(())
    }

    /// A prefill and a few decodes whose results are thrown away, so that code, weights and buffers are
    /// warm when the clock starts. Says no to weights that compute no numbers.
    pub(super) fn warm_up(&mut self, chunk_size: u32) -> Result<(), EngineError> {
        let slots = self.num_blocks().saturating_mul(self.block_size());
        let room = slots.min(self.model.config().max_position_embeddings);
        let tokens = chunk_size.min(room / 2).max(1);
        let decodes = (room - tokens).min(2);
        let blocks: Vec<u32> = (0..self.num_blocks()).collect();
        let prompt = vec![0; tokens as usize];
        let share = Share { tokens: &prompt, context: 0, blocks: &blocks, emits: true };
        let logits = self.model.forward(&[share], self.num_layers, &mut NoTimer)?;
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(EngineError::NotFinite);
        }
        let kept =
            self.replace_sequences(vec![Sequence::new(vec![0; tokens as usize + 1], decodes as usize)]);
        for step in 0..decodes {
            let context = tokens + step;
            let entry = BatchEntry { request: 0, tokens: 1, context, is_prefill: false, emits: true };
            let batch = Batch::of([entry]);
            self.step(&batch, |_| &blocks, &mut NoTimer)?;
        }
        self.replace_sequences(kept);
        Ok(())
    }

    /// Output tokens of every request.
    pub fn into_outputs(self) -> Vec<Vec<u32>> {
        self.sequences.into_iter().map(|sequence| sequence.outputs().to_vec()).collect()
    }
}
