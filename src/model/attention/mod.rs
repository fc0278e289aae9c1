//! Softmax(QKᵀ/√d)V over KV blocks, causal, with grouped query heads
//! (Ainslie et al., "GQA", EMNLP 2023). One kernel serves prefill chunks and
//! decodes alike: a row is one token of one request.

mod tile;

use std::cell::{Cell, RefCell};

use pulp::Arch;
use rayon::prelude::*;

use super::kv_cache::KvHeads;
use super::strand::rows_apart;
use crate::kernels::{Buffer, Workers};
use tile::{MAX_QUERIES, Scratch, Tile};

/// One token of a step: whose KV blocks it sees, and how many tokens of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub blocks: &'a [u32],
    /// Position in the sequence; the row sees positions 0 to this one.
    pub position: usize,
}

/// Heads of a model's attention, and the length of each head's vectors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub queries: usize,
    pub keys: usize,
    pub dim: usize,
}

impl Heads {
    /// Query heads that share a KV head.
    fn group(self) -> usize {
        self.queries / self.keys
    }

    /// Widths of a row's queries, and of its keys or values.
    pub fn widths(self) -> (usize, usize) {
        (self.queries * self.dim, self.keys * self.dim)
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// Results by tile, before they are put in place.
    static PARTS: Cell<Buffer<f32>> = const { Cell::new(Buffer::new()) };
}

/// Parts of a step's attention for each thread.
const PARTS_PER_THREAD: usize = 16;

/// Attention of some rows in a layer. `query` and `out` are `[row][query head][dim]`.
pub(super) fn attention(
    arch: Arch,
    (kv, layer): (&KvHeads<'_>, usize),
    rows: &[Row<'_>],
    heads: Heads,
    query: &[f32],
    out: &mut [f32],
    workers: Workers,
) {
    let tiles = tiles(rows, (MAX_QUERIES / heads.group()).max(1));
    let most = tiles.iter().map(|(_, count)| *count).max().unwrap_or(1);
    // Results of one KV head's queries of one tile.
    let part = most * heads.group() * heads.dim;
    let compute = |out: &mut [f32]| {
        // Requests differ in their KV length, so what a thread takes at a time has to be small enough to balance.
        let parts = rayon::current_num_threads() * PARTS_PER_THREAD;
        let most = (tiles.len() * heads.keys / parts).max(1);
        let tasks = out.par_chunks_mut(part).enumerate().with_max_len(most).with_min_len(workers.least(1));
        tasks.for_each(|(index, out)| {
            let ((first, count), head) = (tiles[index / heads.keys], index % heads.keys);
            let rows = &rows[first..first + count];
            let query = &query[first * heads.queries * heads.dim..];
            SCRATCH.with_borrow_mut(|scratch| {
                arch.dispatch(Tile { kv, layer, rows, head, heads, query, out, scratch });
            });
        });
    };
    if most == 1 {
        return compute(out);
    }
    let mut kept = PARTS.take();
    let parts = kept.room(tiles.len() * heads.keys * part);
    compute(parts);
    let width = heads.group() * heads.dim;
    let by_row = out.par_chunks_mut(heads.queries * heads.dim).enumerate();
    by_row.with_min_len(rows_apart(workers)).for_each(|(row, out)| {
        let tile = tiles.partition_point(|(first, _)| *first <= row) - 1;
        for (head, out) in out.chunks_exact_mut(width).enumerate() {
            let from = (tile * heads.keys + head) * part + (row - tiles[tile].0) * width;
            out.copy_from_slice(&parts[from..from + width]);
        }
    });
    PARTS.set(kept);
}

/// Rows that see the same blocks, one more token each, so that they read them together: (first row, number of rows), at
/// most so many.
fn tiles(rows: &[Row<'_>], most: usize) -> Vec<(usize, usize)> {
    let mut tiles: Vec<(usize, usize)> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let follows = |(first, count): (usize, usize)| {
            let tile = &rows[first];
            count < most && std::ptr::eq(tile.blocks, row.blocks) && tile.position + count == row.position
        };
        match tiles.last_mut() {
            Some(tile) if follows(*tile) => tile.1 += 1,
            _ => tiles.push((index, 1)),
        }
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PagedKv;

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
        let mut cache = PagedKv::new(1, 8, block_size, kv_heads, dim).unwrap();
        let mut kv = cache.split(1).remove(0);
        let blocks = [6, 1, 3];
        let (keys, values) = (noise(1, tokens * kv_heads * dim), noise(2, tokens * kv_heads * dim));
        let row = |data: &[f32], t: usize| data[t * kv_heads * dim..(t + 1) * kv_heads * dim].to_vec();
        for t in 0..tokens {
            kv.store(0, &blocks, t, &row(&keys, t), &row(&values, t));
        }
        let rows: Vec<Row> = [3, 7, 10].map(|position| Row { blocks: &blocks, position }).into();
        let query = noise(3, rows.len() * heads * dim);
        let mut out = vec![0.0; query.len()];
        let shape = Heads { queries: heads, keys: kv_heads, dim };
        attention(Arch::new(), (&kv, 0), &rows, shape, &query, &mut out, Workers::Pool);
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

    /// A chunk's rows, computed together or one at a time, in vectors or not.
    #[test]
    fn a_row_depends_on_no_other_and_on_no_processor() {
        for (heads, kv_heads, dim, block_size) in
            [(4, 2, 32, 16), (6, 2, 20, 8), (3, 3, 64, 32), (12, 1, 16, 5)]
        {
            let tokens = 45_usize;
            let mut cache = PagedKv::new(1, 12, block_size, kv_heads, dim).unwrap();
            let mut kv = cache.split(1).remove(0);
            let blocks: Vec<u32> = (0..tokens.div_ceil(block_size) as u32).rev().collect();
            let width = kv_heads * dim;
            let (keys, values) = (noise(1, tokens * width), noise(2, tokens * width));
            for t in 0..tokens {
                let of = t * width..(t + 1) * width;
                kv.store(0, &blocks, t, &keys[of.clone()], &values[of]);
            }
            let rows: Vec<Row> = (7..tokens).map(|position| Row { blocks: &blocks, position }).collect();
            let shape = Heads { queries: heads, keys: kv_heads, dim };
            let query = noise(3, rows.len() * heads * dim);
            let run_by = |workers, arch, rows: &[Row], query: &[f32]| {
                let mut out = vec![0.0; query.len()];
                attention(arch, (&kv, 0), rows, shape, query, &mut out, workers);
                out
            };
            let run = |arch, rows: &[Row], query: &[f32]| run_by(Workers::Pool, arch, rows, query);
            let together = run(Arch::new(), &rows, &query);
            assert_eq!(together, run_by(Workers::Caller, Arch::new(), &rows, &query), "on one thread");
            assert!(together.iter().all(|x| x.abs() > 0.0));
            let alone = |(row, query): (&Row, &[f32])| run(Arch::new(), &[*row], query);
            let one_by_one: Vec<f32> = rows.iter().zip(query.chunks(heads * dim)).flat_map(alone).collect();
            assert_eq!(together, one_by_one, "{heads} heads, {kv_heads} KV heads");
            assert_eq!(together, run(Arch::Scalar, &rows, &query), "portable");
        }
    }
}
