/// A piece of a prompt in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Tokens that are computed in this step.
    pub tokens: u32,
    /// Tokens of the same sequence in the KV cache before.
    pub kv_before: u32,
}

/// What a step's duration depends on. Filled anew for each step, so that nothing is allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepFeatures {
    decodes: u32,
    kv_sum: u64,
    kv_max: u32,
    chunks: Vec<Chunk>,
    chunk_tokens: u32,
    group_tokens: u64,
    group_max: u32,
}

impl StepFeatures {
    /// Makes it a step of nothing.
    pub fn clear(&mut self) {
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.clear();
        *self = Self { chunks, ..Self::default() };
    }

    /// Adds `count` sequences that compute one token each, over `kv_sum` tokens in their KV caches together
    /// and `kv_max` in the fullest.
    pub fn push_decodes(&mut self, count: u32, kv_sum: u64, kv_max: u32) {
        self.decodes = self.decodes.saturating_add(count);
        self.kv_sum = self.kv_sum.saturating_add(kv_sum);
        self.kv_max = self.kv_max.max(kv_max);
    }

    /// Adds a piece of a prompt, or of what a preempted sequence computes again. One token is a decode to
    /// every kernel.
    pub fn push_chunk(&mut self, tokens: u32, kv_before: u32) {
        match tokens {
            0 => {}
            1 => self.push_decodes(1, u64::from(kv_before), kv_before),
            _ => {
                self.chunk_tokens = self.chunk_tokens.saturating_add(tokens);
                self.chunks.push(Chunk { tokens, kv_before });
            }
        }
    }

    /// With data parallelism over experts: tokens of this step on all ranks of the group together, and on
    /// the rank that has most. Without it, the group is taken to be this rank.
    pub fn set_group(&mut self, tokens: u64, most: u32) {
        (self.group_tokens, self.group_max) = (tokens, most);
    }

    /// Tokens that the step computes.
    pub fn tokens(&self) -> u32 {
        self.decodes.saturating_add(self.chunk_tokens)
    }

    /// Sequences in the step, whether they yield a token or not.
    pub fn sequences(&self) -> u32 {
        self.decodes.saturating_add(u32::try_from(self.chunks.len()).unwrap_or(u32::MAX))
    }

    /// Sequences of one token.
    pub fn decodes(&self) -> u32 {
        self.decodes
    }

    /// Tokens in the KV caches of [`Self::decodes`], mean and longest.
    pub fn decode_kv(&self) -> (f64, f64) {
        let mean = self.kv_sum as f64 / f64::from(self.decodes.max(1));
        (mean, f64::from(self.kv_max).max(mean))
    }

    /// Sequences of more than one token.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Tokens on all ranks and on the fullest; none is fuller than all together, nor emptier than this one.
    pub(super) fn group(&self) -> (u64, u32) {
        let most = self.group_max.max(self.tokens());
        (self.group_tokens.max(u64::from(most)), most)
    }
}
