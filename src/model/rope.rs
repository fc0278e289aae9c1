//! Rotary position embedding (Su et al., "RoFormer", 2021, §3.4.2), in the
//! half-split layout of the published Qwen3 and Llama weights.

use std::f64::consts::TAU;

use super::norm::rms_norm;
use crate::catalog::{ModelConfig, RopeScaling};

/// Cosines and sines of every position, `[position][head_dim / 2]`.
#[derive(Debug)]
pub(super) struct Rope {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    pub fn new(config: &ModelConfig, max_positions: usize) -> Self {
        let frequencies = frequencies(config);
        let attention_factor = match &config.rope_scaling {
            Some(RopeScaling::Yarn { attention_factor, .. }) => *attention_factor,
            _ => 1.0,
        };
        let mut cos = Vec::with_capacity(max_positions * frequencies.len());
        let mut sin = Vec::with_capacity(max_positions * frequencies.len());
        for position in 0..max_positions {
            for frequency in &frequencies {
                let angle = position as f64 * frequency;
                cos.push((libm::cos(angle) * attention_factor) as f32);
                sin.push((libm::sin(angle) * attention_factor) as f32);
            }
        }
        Self { cos, sin, half: frequencies.len() }
    }

    /// Cosines and sines of every position, `[position][head_dim / 2]`.
    #[cfg(any(test, feature = "cuda"))]
    pub fn tables(&self) -> (&[f32], &[f32]) {
        (&self.cos, &self.sin)
    }

    /// Rotates one head to its position; with weights and epsilon of a norm, normalizes it before. `from` and `to` are
    /// `[head_dim]`.
    #[inline(always)]
    pub fn rotate(&self, from: &[f32], norm: Option<(&[f32], f32)>, position: usize, to: &mut [f32]) {
        let at = position * self.half;
        let (cos, sin) = (&self.cos[at..at + self.half], &self.sin[at..at + self.half]);
        match norm {
            Some((weight, eps)) => rms_norm(from, weight, eps, to),
            None => to.copy_from_slice(from),
        }
        let (low, high) = to.split_at_mut(self.half);
        for ((low, high), (cos, sin)) in low.iter_mut().zip(high).zip(cos.iter().zip(sin)) {
            (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
        }
    }
}

/// Angle between two positions of each pair of dimensions, radians.
fn frequencies(config: &ModelConfig) -> Vec<f64> {
    let (dim, theta) = (f64::from(config.head_dim), config.rope_theta);
    let plain = (0..config.head_dim / 2).map(|i| libm::pow(theta, -2.0 * f64::from(i) / dim));
    match &config.rope_scaling {
        None => plain.collect(),
        Some(RopeScaling::Linear { factor }) => plain.map(|frequency| frequency / factor).collect(),
        Some(RopeScaling::Factors { factors }) => {
            plain.zip(factors).map(|(frequency, factor)| frequency / factor).collect()
        }
        Some(RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: original,
        }) => plain
            .map(|frequency| {
                // Turns within the lengths of the first training.
                let turns = f64::from(*original) * frequency / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / factor)
            })
            .collect(),
        Some(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: original,
            beta_fast,
            beta_slow,
            truncate,
            ..
        }) => {
            // The dimension that turns so often within the lengths of the first training (YaRN, §3.2).
            let dimension =
                |turns: f64| dim * libm::log(f64::from(*original) / (turns * TAU)) / (2.0 * libm::log(theta));
            let (low, high) = (dimension(*beta_fast), dimension(*beta_slow));
            let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
            let (low, high) = (low.max(0.0), high.min(dim - 1.0));
            let width = if low == high { 0.001 } else { high - low };
            (0..)
                .zip(plain)
                .map(|(i, frequency)| {
                    let stretched = ((f64::from(i) - low) / width).clamp(0.0, 1.0);
                    frequency * (1.0 - stretched + stretched / factor)
                })
                .collect()
        }
    }
}
