use pulp::Arch;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::exp::largest;
use crate::spec::Sampling;

/// Chooses the next token from logits. The choice depends on the seed, the request and the
/// token's index alone, so it is the same however the request was batched.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    seed: u64,
}

impl Sampler {
    /// `seed` is the lock's sampling seed.
    pub fn new(sampling: &Sampling, seed: u64) -> Self {
        Self {
            temperature: sampling.temperature as f32,
            top_k: sampling.top_k as usize,
            top_p: sampling.top_p as f32,
            seed,
        }
    }

    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 }
    }

    /// The token of `request` with index `index` in its output. `logits` is one row over the vocabulary.
    pub fn sample(&self, logits: &[f32], request: u32, index: u32) -> u32 {
        if self.temperature <= 0.0 || self.top_k == 1 {
            return argmax(logits);
        }
        let mut candidates: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        let likelier = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.top_k > 0 && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, likelier);
            candidates.truncate(self.top_k);
        }
        candidates.sort_unstable_by(likelier);
        let max = candidates[0].1;
        let mut sum = 0.0_f64;
        for (_, value) in &mut candidates {
            *value = ((*value - max) / self.temperature).exp();
            sum += f64::from(*value);
        }
        // The nucleus (Holtzman et al., 2020): the shortest prefix that reaches top_p.
        let mut kept = 0.0;
        let mut len = 0;
        for (_, value) in &candidates {
            kept += f64::from(*value);
            len += 1;
            if kept >= f64::from(self.top_p) * sum {
                break;
            }
        }
        let mut left = self.uniform(request, index) * kept;
        for (token, value) in &candidates[..len] {
            left -= f64::from(*value);
            if left < 0.0 {
                return *token;
            }
        }
        candidates[len - 1].0
    }

    /// Uniform on [0, 1) with 53 bits.
    fn uniform(&self, request: u32, index: u32) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(u64::from(request) << 32 | u64::from(index));
        (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Index of the largest value; the first of equals.
fn argmax(values: &[f32]) -> u32 {
    let max = Arch::new().dispatch(|| largest(values));
    values.iter().position(|value| *value == max).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f64, top_k: u32, top_p: f64) -> Sampler {
        Sampler::new(&Sampling { temperature, top_k, top_p }, 9)
    }

    #[test]
    fn zero_temperature_and_top_one_are_greedy() {
        let logits = [0.1, 3.0, 2.9, 3.0];
        assert_eq!(Sampler::greedy().sample(&logits, 0, 0), 1);
        assert_eq!(sampler(1.0, 1, 1.0).sample(&logits, 5, 7), 1);
        assert_eq!(
            sampler(1.0, 0, 0.0).sample(&logits, 5, 7),
            1,
            "the smallest nucleus is the likeliest token"
        );
    }

    #[test]
    fn frequencies_follow_the_softmax_and_repeat() {
        let logits = [0.0, 1.0, 2.0, -40.0];
        let s = sampler(1.0, 0, 1.0);
        let mut counts = [0_u32; 4];
        for index in 0..20_000 {
            counts[s.sample(&logits, 3, index) as usize] += 1;
            if index < 50 {
                assert_eq!(s.sample(&logits, 3, index), s.sample(&logits, 3, index));
            }
        }
        let sum: f64 = logits.iter().map(|x: &f32| f64::from(*x).exp()).sum();
        for (count, logit) in counts.iter().zip(logits) {
            let want = f64::from(logit).exp() / sum;
            assert!((f64::from(*count) / 20_000.0 - want).abs() < 0.015, "{counts:?}");
        }
        let only_two = sampler(1.0, 2, 1.0);
        assert!((0..2_000).all(|index| [1, 2].contains(&only_two.sample(&logits, 1, index))));
    }
}
