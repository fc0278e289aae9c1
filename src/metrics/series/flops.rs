//! How much arithmetic a step is, for model FLOP/s utilization (MFU).

use crate::metrics::StepMember;

/// The shape of a decoder, as far as its arithmetic depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelWork {
    /// Weights that a token is multiplied with: of the layers and of the output projection, without
    /// the embedding, from which a row is read.
    pub parameters: u64,
    pub layers: u32,
    /// Attention heads of queries.
    pub heads: u32,
    pub head_dim: u32,
}

impl ModelWork {
    /// Floating-point operations of a step's batch.
    ///
    /// Of a token: 2 × parameters + 4 × layers × heads × head_dim × context, where context is the tokens
    /// that it attends to, itself included. These are the forward operations of appendix B of Chowdhery et
    /// al., "PaLM: Scaling Language Modeling with Pathways" (2022), whose 6N + 12LHQT a token are those of
    /// training, one part forward and two backward, at T tokens of context. A chunk of n tokens over c
    /// tokens in the KV cache has n × c + n × (n + 1) / 2 tokens of context in all.
    pub fn flops(&self, batch: &[StepMember]) -> f64 {
        let (mut tokens, mut context) = (0.0, 0.0);
        for share in batch {
            let (n, c) = (u128::from(share.tokens), u128::from(share.context));
            tokens += n as f64;
            context += (n * c + n * (n + 1) / 2) as f64;
        }
        let [layers, heads, head_dim] = [self.layers, self.heads, self.head_dim].map(f64::from);
        2.0 * self.parameters as f64 * tokens + 4.0 * layers * heads * head_dim * context
    }
}

/// The floating-point operations a second that a replica's devices promise together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeakFlops(f64);

impl PeakFlops {
    /// None of a figure that is no peak: not finite, or less than one.
    pub fn new(flops_per_second: f64) -> Option<Self> {
        (flops_per_second.is_finite() && flops_per_second >= 1.0).then_some(Self(flops_per_second))
    }

    /// The share of the peak that so much work in so much time is; None in no time.
    pub(super) fn utilization(self, flops: f64, ns: u64) -> Option<f64> {
        (ns > 0).then(|| flops / (self.0 * (ns as f64 / 1e9)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: ModelWork = ModelWork { parameters: 1_000, layers: 2, heads: 3, head_dim: 5 };

    fn share(tokens: u32, context: u32) -> StepMember {
        StepMember { request: 0, tokens, context, is_prefill: false, emits: true }
    }

    #[test]
    fn operations_by_hand() {
        // A decode over 9 tokens attends to 10; a chunk of 3 over 4 attends to 5, 6 and 7.
        assert_eq!(MODEL.flops(&[share(1, 9)]), 2_000.0 + 120.0 * 10.0);
        assert_eq!(MODEL.flops(&[share(3, 4)]), 6_000.0 + 120.0 * 18.0);
        assert_eq!(MODEL.flops(&[share(1, 9), share(3, 4)]), 8_000.0 + 120.0 * 28.0);
        let chunked = MODEL.flops(&[share(2, 0)]) + MODEL.flops(&[share(5, 2)]);
        assert_eq!(chunked, MODEL.flops(&[share(7, 0)]), "chunks of a prompt are the prompt");
    }

    #[test]
    fn utilization_is_of_a_real_peak() {
        let peak = PeakFlops::new(1e9).unwrap();
        assert_eq!(peak.utilization(500.0, 1_000), Some(0.5));
        assert_eq!(peak.utilization(500.0, 0), None);
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(PeakFlops::new(none), None);
        }
        let huge = ModelWork { parameters: u64::MAX, layers: u32::MAX, heads: u32::MAX, head_dim: u32::MAX };
        assert!(huge.flops(&[share(u32::MAX, u32::MAX); 3]).is_finite());
    }
}
