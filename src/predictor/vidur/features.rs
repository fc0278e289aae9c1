/// All that a stage's time depends on, gathered request by request; small, and without a heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFeatures {
    granularity: u64,
    decodes: u64,
    /// Σ KV tokens of the decodes.
    decode_kv: u64,
    prefills: u64,
    /// Σ KV tokens of the prefills, each rounded up.
    prefill_kv: u64,
    prefill_tokens: u64,
    /// Σ chunk².
    chunk_squares: u64,
}

fn round_up(tokens: u64, step: u64) -> u64 {
    tokens.div_ceil(step).saturating_mul(step)
}

impl BatchFeatures {
    /// Of no requests; KV lengths are rounded up to multiples of `kv_granularity` tokens.
    pub fn new(kv_granularity: u64) -> Self {
        Self {
            granularity: kv_granularity.max(1),
            decodes: 0,
            decode_kv: 0,
            prefills: 0,
            prefill_kv: 0,
            prefill_tokens: 0,
            chunk_squares: 0,
        }
    }

    /// Adds a request whose prompt is done. It has `processed` tokens, the newest included, and yields
    /// one more.
    pub fn push_decode(&mut self, processed: u64) {
        self.push_decodes(1, processed);
    }

    /// Adds `count` decodes at once, which have `sum_processed` tokens together.
    pub fn push_decodes(&mut self, count: u64, sum_processed: u64) {
        self.decodes = self.decodes.saturating_add(count);
        self.decode_kv = self.decode_kv.saturating_add(sum_processed);
    }

    /// Adds a request of whose prompt `processed` tokens are done and `chunk` are next.
    pub fn push_prefill(&mut self, processed: u64, chunk: u64) {
        self.prefills += 1;
        self.prefill_kv = self.prefill_kv.saturating_add(round_up(processed, self.granularity));
        self.prefill_tokens = self.prefill_tokens.saturating_add(chunk);
        self.chunk_squares = self.chunk_squares.saturating_add(chunk.saturating_mul(chunk));
    }

    /// What KV lengths are rounded up to multiples of, tokens.
    pub fn granularity(&self) -> u64 {
        self.granularity
    }

    /// Tokens of the batch.
    pub fn tokens(&self) -> u64 {
        self.prefill_tokens.saturating_add(self.decodes)
    }

    /// Tokens of the batch, rounded up to a multiple of 8.
    pub fn tokens_r8(&self) -> u64 {
        self.tokens().saturating_add(7) & !7
    }

    /// Requests of the batch.
    pub fn requests(&self) -> u64 {
        self.decodes.saturating_add(self.prefills)
    }

    /// Requests that decode.
    pub fn decodes(&self) -> u64 {
        self.decodes
    }

    /// Mean KV tokens of the decodes, down to whole tokens, then up to the granularity; 0 without decodes.
    pub fn decode_kv(&self) -> u64 {
        match self.decode_kv.checked_div(self.decodes) {
            Some(mean) => round_up(mean, self.granularity),
            None => 0,
        }
    }

    /// Requests that prefill.
    pub fn prefills(&self) -> u64 {
        self.prefills
    }

    /// KV tokens of the prefills together, each rounded up to the granularity.
    pub fn prefill_kv(&self) -> u64 {
        self.prefill_kv
    }

    /// The one chunk that costs as much as all of them: √Σ chunk², to the nearest whole number. No
    /// square root of a whole number lies in the middle of two, so no tie has to be broken.
    pub fn prefill_chunk(&self) -> u64 {
        if self.prefills == 1 {
            return self.prefill_tokens;
        }
        let below = self.chunk_squares.isqrt();
        // √s > b + ½ ⇔ s > b² + b for whole numbers.
        if self.chunk_squares - below * below > below { below + 1 } else { below }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decodes_are_their_mean_down_and_then_up() {
        let mut features = BatchFeatures::new(64);
        assert_eq!((features.decode_kv(), features.tokens_r8(), features.prefill_chunk()), (0, 0, 0));
        features.push_decode(64);
        features.push_decode(65);
        // The mean is 64.5, of which 64 are whole.
        assert_eq!(
            (features.decodes(), features.decode_kv(), features.tokens(), features.tokens_r8()),
            (2, 64, 2, 8)
        );
        features.push_decodes(2, 200);
        assert_eq!((features.decodes(), features.decode_kv()), (4, 128));
    }

    #[test]
    fn prefills_are_rounded_one_by_one() {
        let mut features = BatchFeatures::new(64);
        features.push_prefill(0, 300);
        features.push_prefill(1, 400);
        features.push_prefill(64, 5);
        features.push_decode(10);
        assert_eq!((features.prefills(), features.prefill_kv(), features.prefill_chunk()), (3, 128, 500));
        assert_eq!((features.tokens(), features.tokens_r8(), features.requests()), (706, 712, 4));
    }

    proptest! {
        #[test]
        fn the_chunk_is_the_rounded_root(chunks in prop::collection::vec(1_u64..100_000, 1..20)) {
            let mut features = BatchFeatures::new(64);
            chunks.iter().for_each(|chunk| features.push_prefill(0, *chunk));
            let sum: u64 = chunks.iter().map(|chunk| chunk * chunk).sum();
            prop_assert_eq!(features.prefill_chunk(), (sum as f64).sqrt().round_ties_even() as u64);
        }

        #[test]
        fn no_number_overflows(numbers in prop::collection::vec(any::<(u64, u64)>(), 0..8), step: u64) {
            let mut features = BatchFeatures::new(step);
            for (a, b) in numbers {
                features.push_prefill(a, b);
                features.push_decodes(a, b);
            }
            let _ = (features.decode_kv(), features.prefill_chunk(), features.tokens_r8(), features.requests());
        }
    }
}
