//! Some rows of one request, and the queries of them that share a KV head.
//!
//! Every score and every result is one chain of fused multiply-adds, over ascending dimensions and ascending positions: it
//! does not depend on the rows computed beside it, nor on the lanes of the processor's vectors.

use pulp::{Simd, WithSimd};

use super::super::exp::softmax;
use super::super::kv_cache::KvHeads;
use super::{Heads, Row};

/// Queries that are multiplied with a key together, at most.
pub(super) const MAX_QUERIES: usize = 8;

/// Buffers of a thread, kept between calls so that a step allocates little.
#[derive(Default)]
pub(super) struct Scratch {
    /// `[dim][query]`.
    queries: Vec<f32>,
    /// `[query][position]`, whole blocks.
    scores: Vec<f32>,
    /// `[position][query]`.
    weights: Vec<f32>,
}

/// Rows at consecutive positions of one request, and one KV head.
pub(super) struct Tile<'a> {
    pub kv: &'a KvHeads<'a>,
    pub layer: usize,
    pub rows: &'a [Row<'a>],
    pub head: usize,
    pub heads: Heads,
    /// `[row][query head][dim]`, from the tile's first row on.
    pub query: &'a [f32],
    /// `[row][query head of the group][dim]`.
    pub out: &'a mut [f32],
    pub scratch: &'a mut Scratch,
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let all = self.rows.len() * self.heads.group();
        let mut first = 0;
        while first < all {
            first += match all - first {
                MAX_QUERIES.. => self.queries::<S, MAX_QUERIES>(simd, first),
                4.. => self.queries::<S, 4>(simd, first),
                2.. => self.queries::<S, 2>(simd, first),
                _ => self.queries::<S, 1>(simd, first),
            };
        }
    }
}

impl Tile<'_> {
    /// Attention of `Q` queries; returns their number. Query `i` is head `i % group` of row `i / group`.
    #[inline(always)]
    fn queries<S: Simd, const Q: usize>(&mut self, simd: S, first: usize) -> usize {
        let (group, dim, block_size) = (self.heads.group(), self.heads.dim, self.kv.block_size());
        let Scratch { queries, scores, weights } = &mut *self.scratch;
        queries.resize(Q * dim, 0.0);
        for q in 0..Q {
            let (row, head) = ((first + q) / group, self.head * group + (first + q) % group);
            let from = (row * self.heads.queries + head) * dim;
            for (i, value) in self.query[from..from + dim].iter().enumerate() {
                queries[i * Q + q] = *value;
            }
        }
        let seen = |q: usize| self.rows[(first + q) / group].position + 1;
        let (least, most) = (seen(0), seen(Q - 1));
        let blocks = &self.rows[0].blocks[..most.div_ceil(block_size)];
        let length = blocks.len() * block_size;
        let scale = 1.0 / (dim as f32).sqrt();
        scores.resize(Q * length, 0.0);
        for (index, &block) in blocks.iter().enumerate() {
            let (keys, _) = self.kv.block(self.layer, block, self.head);
            let from = index * block_size;
            score::<S, Q>(simd, queries, keys, (block_size, scale), &mut scores[from..], length);
        }
        // All queries see the first positions; of a chunk, later rows see more.
        weights.resize(Q * least, 0.0);
        for q in 0..Q {
            let scores = &mut scores[q * length..q * length + seen(q)];
            softmax(scores);
            for (position, score) in scores[..least].iter().enumerate() {
                weights[position * Q + q] = *score;
            }
        }
        let out = &mut self.out[first * dim..(first + Q) * dim];
        let (vectors, lanes) = (dim / S::F32_LANES, S::F32_LANES);
        let values = |block: usize| self.kv.block(self.layer, blocks[block], self.head).1;
        let mut at = 0;
        while at < vectors {
            at += match vectors - at {
                2.. if lanes == 16 => weigh::<S, Q, 2>(simd, weights, &values, (at, dim, block_size), out),
                _ => weigh::<S, Q, 1>(simd, weights, &values, (at, dim, block_size), out),
            };
        }
        for q in 0..Q {
            let out = &mut out[q * dim..(q + 1) * dim];
            let value = |position: usize| {
                let from = position % block_size * dim;
                &values(position / block_size)[from..from + dim]
            };
            // Dimensions behind the last whole vector.
            let rest = vectors * lanes;
            if rest < dim {
                out[rest..].fill(0.0);
                for position in 0..least {
                    accumulate(weights[position * Q + q], &value(position)[rest..], &mut out[rest..]);
                }
            }
            for position in least..seen(q) {
                accumulate(scores[q * length + position], value(position), out);
            }
        }
        Q
    }
}

/// `out += weight · values`.
#[inline(always)]
fn accumulate(weight: f32, values: &[f32], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = weight.mul_add(*value, *out);
    }
}

/// `scores[q][j] = scale · Σ queries[i][q] · keys[i][j]` for the positions of one block; rows of scores are `length` apart.
#[inline(always)]
fn score<S: Simd, const Q: usize>(
    simd: S,
    queries: &[f32],
    keys: &[f32],
    (block_size, scale): (usize, f32),
    scores: &mut [f32],
    length: usize,
) {
    let (queries, _) = queries.as_chunks::<Q>();
    let vectors = block_size / S::F32_LANES;
    for vector in 0..vectors {
        let mut sums = [simd.splat_f32s(0.0); Q];
        for (query, keys) in queries.iter().zip(keys.chunks_exact(block_size)) {
            let (keys, _) = S::as_simd_f32s(keys);
            let key = keys[vector];
            for q in 0..Q {
                sums[q] = simd.mul_add_f32s(simd.splat_f32s(query[q]), key, sums[q]);
            }
        }
        for (q, sum) in sums.iter().enumerate() {
            let (scores, _) = S::as_mut_simd_f32s(&mut scores[q * length..q * length + block_size]);
            scores[vector] = simd.mul_f32s(*sum, simd.splat_f32s(scale));
        }
    }
    for position in vectors * S::F32_LANES..block_size {
        let mut sums = [0.0_f32; Q];
        for (query, keys) in queries.iter().zip(keys.chunks_exact(block_size)) {
            for q in 0..Q {
                sums[q] = query[q].mul_add(keys[position], sums[q]);
            }
        }
        for (q, sum) in sums.iter().enumerate() {
            scores[q * length + position] = sum * scale;
        }
    }
}

/// `out[q][i] = Σ weights[j][q] · values[j][i]` for `NV` vectors of dimensions, from vector `at` on; returns `NV`.
#[inline(always)]
fn weigh<'a, S: Simd, const Q: usize, const NV: usize>(
    simd: S,
    weights: &[f32],
    values: &impl Fn(usize) -> &'a [f32],
    (at, dim, block_size): (usize, usize, usize),
    out: &mut [f32],
) -> usize {
    let (weights, _) = weights.as_chunks::<Q>();
    let mut sums = [[simd.splat_f32s(0.0); NV]; Q];
    for (block, weights) in weights.chunks(block_size).enumerate() {
        for (weights, values) in weights.iter().zip(values(block).chunks_exact(dim)) {
            let (values, _) = S::as_simd_f32s(values);
            let values = &values[at..at + NV];
            for q in 0..Q {
                let weight = simd.splat_f32s(weights[q]);
                for v in 0..NV {
                    sums[q][v] = simd.mul_add_f32s(weight, values[v], sums[q][v]);
                }
            }
        }
    }
    for (out, sums) in out.chunks_exact_mut(dim).zip(&sums) {
        let (out, _) = S::as_mut_simd_f32s(out);
        out[at..at + NV].copy_from_slice(sums);
    }
    NV
}
