//! Attention of one layer, from a grid over (chunk, KV before it, decodes, their KV).

use super::features::StepFeatures;
use crate::profile::llmservingsim::{AttentionGrid, Skew};

/// Values of one axis, ascending.
#[derive(Debug, Clone, PartialEq)]
struct Axis {
    values: Vec<f64>,
    /// The last value that is at most half of the largest: what lies beyond continues from there.
    half: usize,
}

/// Two places on an axis and how far from the first to the second.
#[derive(Debug, Clone, Copy)]
struct Between {
    low: usize,
    high: usize,
    share: f64,
}

impl Axis {
    fn new(values: &[u32]) -> Self {
        let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        let most = values.last().copied().unwrap_or_default();
        let half = values.partition_point(|value| *value <= most / 2.0).saturating_sub(1);
        Self { half: half.min(values.len().saturating_sub(2)), values }
    }

    /// Level below the first value, straight on beyond the last.
    fn find(&self, x: f64) -> Between {
        let above = self.values.partition_point(|value| *value < x);
        let (low, high) = match above {
            0 => return Between { low: 0, high: 0, share: 0.0 },
            above if above == self.values.len() => (self.half, above - 1),
            above => (above - 1, above),
        };
        let (x0, x1) = (self.values[low], self.values[high]);
        Between { low, high, share: (x - x0) / (x1 - x0) }
    }
}

impl Between {
    fn weights(self) -> [(usize, f64); 2] {
        [(self.low, 1.0 - self.share), (self.high, self.share)]
    }
}

/// Weights of the KV axis: of the mean length, and of the longest by its share.
type KvWeights = [(usize, f64); 4];

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attention {
    chunks: Axis,
    kv_prefill: Axis,
    n_decode: Axis,
    kv_decode: Axis,
    prefill: Vec<f64>,
    /// Decodes alone, for each number of them up to the most of a step.
    decode: Vec<f64>,
    /// Decodes alone, at the profiled numbers.
    decode_grid: Vec<f64>,
    mixed: Vec<f64>,
    /// Share of the longest KV length by number of decodes.
    pure_share: Vec<f64>,
    mixed_share: Vec<f64>,
}

impl Attention {
    pub fn new(grid: &AttentionGrid, skew: Option<&Skew>, max_sequences: u32) -> Self {
        let shares = |profiled: &[(u32, f64)]| -> Vec<f64> {
            let of = |decodes: u32| {
                let above = profiled.partition_point(|(count, _)| *count < decodes);
                profiled.get(above).or(profiled.last()).map_or(0.0, |(_, share)| *share)
            };
            // One decode is as long as the mean.
            (0..=max_sequences).map(|decodes| if decodes < 2 { 0.0 } else { of(decodes) }).collect()
        };
        let n_decode = Axis::new(&grid.n_decode);
        let columns = grid.kv_decode.len();
        let mut decode = Vec::with_capacity((max_sequences as usize + 1) * columns);
        for decodes in 0..=max_sequences {
            let rows = n_decode.find(f64::from(decodes)).weights();
            for column in 0..columns {
                decode.push(
                    rows.iter().map(|(row, weight)| weight * grid.decode[row * columns + column]).sum(),
                );
            }
        }
        let skew = skew.cloned().unwrap_or_default();
        Self {
            chunks: Axis::new(&grid.chunks),
            kv_prefill: Axis::new(&grid.kv_prefill),
            n_decode,
            kv_decode: Axis::new(&grid.kv_decode),
            prefill: grid.prefill.clone(),
            decode,
            decode_grid: grid.decode.clone(),
            mixed: grid.mixed.clone(),
            pure_share: shares(&skew.pure),
            mixed_share: shares(&skew.mixed),
        }
    }

    /// Attention of one layer, ns.
    ///
    /// Several chunks are one call of the kernel, as one chunk is: each adds what it takes beyond the
    /// smallest chunk that was profiled, so that the decodes and the call itself are billed once.
    pub fn layer_ns(&self, step: &StepFeatures) -> f64 {
        let (decodes, chunks) = (step.decodes(), step.chunks());
        let shares = if chunks.is_empty() { &self.pure_share } else { &self.mixed_share };
        let share = shares.get(decodes as usize).or(shares.last()).copied().unwrap_or_default();
        let kv = self.kv_weights(step.decode_kv(), share);
        match (decodes, chunks) {
            (0, []) => 0.0,
            (_, []) => self.decodes_ns(decodes, &kv),
            (0, chunks) => bill(chunks.len(), |index| match index {
                None => self.prefill_ns(self.chunks.values[0], 0.0),
                Some(index) => {
                    self.prefill_ns(f64::from(chunks[index].tokens), f64::from(chunks[index].kv_before))
                }
            }),
            (_, chunks) => {
                let rows = self.n_decode.find(f64::from(decodes));
                bill(chunks.len(), |index| match index {
                    None => self.mixed_ns(self.chunks.values[0], 0.0, rows, &kv),
                    Some(index) => {
                        let chunk = chunks[index];
                        self.mixed_ns(f64::from(chunk.tokens), f64::from(chunk.kv_before), rows, &kv)
                    }
                })
            }
        }
    }

    fn kv_weights(&self, (mean, longest): (f64, f64), share: f64) -> KvWeights {
        let [low, high] = self.kv_decode.find(mean).weights();
        if share == 0.0 {
            return [low, high, (0, 0.0), (0, 0.0)];
        }
        let [low_longest, high_longest] = self.kv_decode.find(longest).weights();
        [
            (low.0, low.1 * (1.0 - share)),
            (high.0, high.1 * (1.0 - share)),
            (low_longest.0, low_longest.1 * share),
            (high_longest.0, high_longest.1 * share),
        ]
    }

    fn decodes_ns(&self, decodes: u32, kv: &KvWeights) -> f64 {
        let columns = self.kv_decode.values.len();
        let at = decodes as usize * columns;
        match self.decode.get(at..at + columns) {
            Some(row) => row_ns(row, kv),
            // More than a step was said to hold.
            None => self
                .n_decode
                .find(f64::from(decodes))
                .weights()
                .iter()
                .map(|(row, weight)| weight * row_ns(&self.decode_grid[row * columns..][..columns], kv))
                .sum(),
        }
    }

    fn prefill_ns(&self, chunk: f64, before: f64) -> f64 {
        let columns = self.kv_prefill.values.len();
        let before = self.kv_prefill.find(before).weights();
        let mut sum = 0.0;
        for (row, weight) in self.chunks.find(chunk).weights() {
            for (column, share) in before {
                sum += weight * share * self.prefill[row * columns + column];
            }
        }
        sum
    }

    fn mixed_ns(&self, chunk: f64, before: f64, decodes: Between, kv: &KvWeights) -> f64 {
        let columns = self.kv_decode.values.len();
        let (kv_rows, decode_rows) = (self.kv_prefill.values.len(), self.n_decode.values.len());
        let before = self.kv_prefill.find(before).weights();
        let mut sum = 0.0;
        for (c, of_chunk) in self.chunks.find(chunk).weights() {
            for (k, of_before) in before {
                let weight = of_chunk * of_before;
                if weight == 0.0 {
                    continue;
                }
                for (n, of_decodes) in decodes.weights() {
                    let at = ((c * kv_rows + k) * decode_rows + n) * columns;
                    sum += weight * of_decodes * row_ns(&self.mixed[at..at + columns], kv);
                }
            }
        }
        sum
    }

    /// The longest chunk, KV before it and KV of a decode that were profiled.
    pub fn reach(&self) -> [f64; 3] {
        [&self.chunks, &self.kv_prefill, &self.kv_decode]
            .map(|axis| axis.values.last().copied().unwrap_or_default())
    }
}

fn row_ns(row: &[f64], kv: &KvWeights) -> f64 {
    kv.iter().map(|(column, weight)| weight * row[*column]).sum()
}

/// One chunk as it is; of several, each adds to the smallest (`None`) what it takes beyond it.
fn bill(chunks: usize, ns: impl Fn(Option<usize>) -> f64) -> f64 {
    if chunks == 1 {
        return ns(Some(0));
    }
    let base = ns(None);
    base + (0..chunks).map(|index| ns(Some(index)) - base).sum::<f64>()
}
