//! Rotary position embedding (Su et al., "RoFormer", 2021, §3.4.2), in the
//! half-split layout of the published Qwen3 and Llama weights.

/// Cosines and sines of every position, `[position][head_dim / 2]`.
#[derive(Debug)]
pub(super) struct Rope {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    pub fn new(head_dim: usize, max_positions: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let mut cos = Vec::with_capacity(max_positions * half);
        let mut sin = Vec::with_capacity(max_positions * half);
        for position in 0..max_positions {
            for i in 0..half {
                let frequency = libm::pow(theta, -2.0 * i as f64 / head_dim as f64);
                let angle = position as f64 * frequency;
                cos.push(libm::cos(angle) as f32);
                sin.push(libm::sin(angle) as f32);
            }
        }
        Self { cos, sin, half }
    }

    /// Normalizes one head by its root mean square (Zhang & Sennrich, 2019; Qwen3's
    /// query/key norm), then rotates it to its position. `from` and `to` are `[head_dim]`.
    pub fn norm_and_rotate(&self, from: &[f32], weight: &[f32], eps: f32, position: usize, to: &mut [f32]) {
        let mean_square = from.iter().map(|x| x * x).sum::<f32>() / from.len() as f32;
        let inverse = 1.0 / (mean_square + eps).sqrt();
        let at = position * self.half;
        let (cos, sin) = (&self.cos[at..at + self.half], &self.sin[at..at + self.half]);
        let (from_low, from_high) = from.split_at(self.half);
        let (weight_low, weight_high) = weight.split_at(self.half);
        let (to_low, to_high) = to.split_at_mut(self.half);
        for i in 0..self.half {
            let low = from_low[i] * inverse * weight_low[i];
            let high = from_high[i] * inverse * weight_high[i];
            to_low[i] = low * cos[i] - high * sin[i];
            to_high[i] = high * cos[i] + low * sin[i];
        }
    }
}
