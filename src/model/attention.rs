//! Softmax(QKᵀ/√d)V over KV blocks, causal, with grouped query heads
//! (Ainslie et al., "GQA", EMNLP 2023). One kernel serves prefill chunks and
//! decodes alike: a row is one token of one request.

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::exp::softmax;
use super::kv_cache::PagedKv;

/// One token of a step: whose KV blocks it sees, and how many tokens of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub blocks: &'a [u32],
    /// Position in the sequence; the row sees positions 0 to this one.
    pub position: usize,
}

/// Parts of a step's attention for each thread.
const PARTS_PER_THREAD: usize = 16;

thread_local! {
    /// Scores of one row; kept between calls so that a step allocates nothing.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Attention of all rows. `query` and `out` are `[row][query head][head_dim]`.
pub(super) fn attention(
    arch: Arch,
    kv: &PagedKv,
    layer: usize,
    rows: &[Row<'_>],
    (num_heads, num_kv_heads, head_dim): (usize, usize, usize),
    query: &[f32],
    out: &mut [f32],
) {
    let group = num_heads / num_kv_heads;
    let scale = 1.0 / (head_dim as f32).sqrt();
    // A chunk of `out` is one KV head's group of query heads of one row. Requests differ in their KV
    // length, so the parts that threads take have to be small enough to balance.
    let parts = rayon::current_num_threads() * PARTS_PER_THREAD;
    let most = (rows.len() * num_kv_heads / parts).max(1);
    let chunks = out.par_chunks_mut(group * head_dim).zip(query.par_chunks(group * head_dim));
    chunks.enumerate().with_max_len(most).for_each(|(index, (out, query))| {
        let (row, head) = (rows[index / num_kv_heads], index % num_kv_heads);
        SCORES.with_borrow_mut(|scores| {
            scores.resize(group * (row.position + 1), 0.0);
            arch.dispatch(Head { kv, layer, row, head, head_dim, scale, query, scores, out });
        });
    });
}

/// The query heads of one row that share a KV head.
struct Head<'a> {
    kv: &'a PagedKv,
    layer: usize,
    row: Row<'a>,
    head: usize,
    head_dim: usize,
    scale: f32,
    query: &'a [f32],
    scores: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let seen = self.row.position + 1;
        let (dim, block_size) = (self.head_dim, self.kv.block_size());
        for (index, &block) in self.row.blocks[..seen.div_ceil(block_size)].iter().enumerate() {
            let (keys, _) = self.kv.block(self.layer, block, self.head);
            let from = index * block_size;
            let count = block_size.min(seen - from);
            for (query, scores) in self.query.chunks_exact(dim).zip(self.scores.chunks_exact_mut(seen)) {
                score_keys(simd, query, keys, self.scale, &mut scores[from..from + count]);
            }
        }
        for scores in self.scores.chunks_exact_mut(seen) {
            softmax(scores);
        }
        self.out.fill(0.0);
        for (index, &block) in self.row.blocks[..seen.div_ceil(block_size)].iter().enumerate() {
            let (_, values) = self.kv.block(self.layer, block, self.head);
            let from = index * block_size;
            let count = block_size.min(seen - from);
            for (out, scores) in self.out.chunks_exact_mut(dim).zip(self.scores.chunks_exact(seen)) {
                weigh(simd, &scores[from..from + count], values, out);
            }
        }
    }
}

/// `scores[j] = scale · query·keys[j]`, four keys at a time so that no multiply-add waits for the one before.
#[inline(always)]
fn score_keys<S: Simd>(simd: S, query: &[f32], keys: &[f32], scale: f32, scores: &mut [f32]) {
    let dim = query.len();
    let (query_head, query_tail) = S::as_simd_f32s(query);
    let tail = |key: &[f32]| key.iter().zip(query_tail).map(|(a, b)| a * b).sum::<f32>();
    let mut keys = keys.chunks_exact(dim);
    let mut quads = scores.chunks_exact_mut(4);
    for quad in &mut quads {
        let [Some(k0), Some(k1), Some(k2), Some(k3)] = [keys.next(), keys.next(), keys.next(), keys.next()]
        else {
            return;
        };
        let ((k0, t0), (k1, t1)) = (S::as_simd_f32s(k0), S::as_simd_f32s(k1));
        let ((k2, t2), (k3, t3)) = (S::as_simd_f32s(k2), S::as_simd_f32s(k3));
        let zero = simd.splat_f32s(0.0);
        let mut sums = [zero; 4];
        for (i, q) in query_head.iter().enumerate() {
            sums[0] = simd.mul_add_f32s(*q, k0[i], sums[0]);
            sums[1] = simd.mul_add_f32s(*q, k1[i], sums[1]);
            sums[2] = simd.mul_add_f32s(*q, k2[i], sums[2]);
            sums[3] = simd.mul_add_f32s(*q, k3[i], sums[3]);
        }
        quad[0] = (simd.reduce_sum_f32s(sums[0]) + tail(t0)) * scale;
        quad[1] = (simd.reduce_sum_f32s(sums[1]) + tail(t1)) * scale;
        quad[2] = (simd.reduce_sum_f32s(sums[2]) + tail(t2)) * scale;
        quad[3] = (simd.reduce_sum_f32s(sums[3]) + tail(t3)) * scale;
    }
    for (score, key) in quads.into_remainder().iter_mut().zip(keys) {
        let (head, rest) = S::as_simd_f32s(key);
        let mut sum = simd.splat_f32s(0.0);
        for (q, k) in query_head.iter().zip(head) {
            sum = simd.mul_add_f32s(*q, *k, sum);
        }
        *score = (simd.reduce_sum_f32s(sum) + tail(rest)) * scale;
    }
}

/// `out += Σ weights[j] · values[j]`, four rows at a time.
#[inline(always)]
fn weigh<S: Simd>(simd: S, weights: &[f32], values: &[f32], out: &mut [f32]) {
    let dim = out.len();
    let mut rows = values.chunks_exact(dim);
    let mut quads = weights.chunks_exact(4);
    for quad in &mut quads {
        let [Some(v0), Some(v1), Some(v2), Some(v3)] = [rows.next(), rows.next(), rows.next(), rows.next()]
        else {
            return;
        };
        let w = [quad[0], quad[1], quad[2], quad[3]];
        let splat = w.map(|w| simd.splat_f32s(w));
        let (out_head, out_tail) = S::as_mut_simd_f32s(out);
        let ((v0, t0), (v1, t1)) = (S::as_simd_f32s(v0), S::as_simd_f32s(v1));
        let ((v2, t2), (v3, t3)) = (S::as_simd_f32s(v2), S::as_simd_f32s(v3));
        for (i, out) in out_head.iter_mut().enumerate() {
            let sum = simd.mul_add_f32s(splat[0], v0[i], *out);
            let sum = simd.mul_add_f32s(splat[1], v1[i], sum);
            let sum = simd.mul_add_f32s(splat[2], v2[i], sum);
            *out = simd.mul_add_f32s(splat[3], v3[i], sum);
        }
        for (i, out) in out_tail.iter_mut().enumerate() {
            *out += w[0] * t0[i] + w[1] * t1[i] + w[2] * t2[i] + w[3] * t3[i];
        }
    }
    for (weight, row) in quads.remainder().iter().zip(rows) {
        let splat = simd.splat_f32s(*weight);
        let (out_head, out_tail) = S::as_mut_simd_f32s(out);
        let (head, tail) = S::as_simd_f32s(row);
        for (out, value) in out_head.iter_mut().zip(head) {
            *out = simd.mul_add_f32s(splat, *value, *out);
        }
        for (out, value) in out_tail.iter_mut().zip(tail) {
            *out += weight * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u32, len: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn paged_attention_equals_the_formula_over_contiguous_keys() {
        let (heads, kv_heads, dim, block_size, tokens) = (4, 2, 12, 4, 11);
        let mut kv = PagedKv::new(1, 8, block_size, kv_heads, dim);
        let blocks = [6, 1, 3];
        let (keys, values) = (noise(1, tokens * kv_heads * dim), noise(2, tokens * kv_heads * dim));
        let row = |data: &[f32], t: usize| data[t * kv_heads * dim..(t + 1) * kv_heads * dim].to_vec();
        for t in 0..tokens {
            kv.store(0, &blocks, t, &row(&keys, t), &row(&values, t));
        }
        let rows: Vec<Row> = [3, 7, 10].map(|position| Row { blocks: &blocks, position }).into();
        let query = noise(3, rows.len() * heads * dim);
        let mut out = vec![0.0; query.len()];
        attention(Arch::new(), &kv, 0, &rows, (heads, kv_heads, dim), &query, &mut out);
        for (r, spec) in rows.iter().enumerate() {
            for head in 0..heads {
                let at = (r * heads + head) * dim;
                let key = |data: &[f32], t: usize, i: usize| data[(t * kv_heads + head / 2) * dim + i];
                let scores: Vec<f32> = (0..=spec.position)
                    .map(|t| {
                        let s: f32 = (0..dim).map(|i| query[at + i] * key(&keys, t, i)).sum();
                        (s / (dim as f32).sqrt()).exp()
                    })
                    .collect();
                let sum: f32 = scores.iter().sum();
                for i in 0..dim {
                    let want: f32 =
                        scores.iter().enumerate().map(|(t, s)| s / sum * key(&values, t, i)).sum();
                    assert!((out[at + i] - want).abs() < 1e-5, "row {r} head {head} dim {i}");
                }
            }
        }
    }
}
