use std::io;

use super::attention::Row;
use crate::machine::Pages;

/// Keys and values of all layers in blocks of a fixed number of tokens (Kwon et al.,
/// "Efficient Memory Management for Large Language Model Serving with
/// PagedAttention", SOSP 2023, §4). Which block belongs to whom is the
/// scheduler's business.
///
/// In f32, a layer's keys are `[kv head][block][head_dim][position in block]`, so that scores of neighbouring positions are
/// neighbouring sums, and its values `[kv head][block][position in block][head_dim]`.
#[derive(Debug, Default)]
pub struct PagedKv {
    keys: Vec<Pages<f32>>,
    values: Vec<Pages<f32>>,
    num_kv_heads: usize,
    block_size: usize,
    head_dim: usize,
    num_blocks: usize,
}

impl PagedKv {
    /// A cache of `num_blocks` blocks of `block_size` tokens. Its pages are touched, so that
    /// no later step pays for the first use of memory.
    ///
    /// # Errors
    /// The system has not so much memory.
    pub fn new(
        num_layers: usize,
        num_blocks: usize,
        block_size: usize,
        num_kv_heads: usize,
        head_dim: usize,
    ) -> io::Result<Self> {
        let size = num_blocks * num_kv_heads * block_size * head_dim;
        let layer = |_| {
            let mut pages = Pages::zeros(size)?;
            pages.fill(1e-6);
            Ok(pages)
        };
        Ok(Self {
            keys: (0..num_layers).map(layer).collect::<io::Result<_>>()?,
            values: (0..num_layers).map(layer).collect::<io::Result<_>>()?,
            num_kv_heads,
            block_size,
            head_dim,
            num_blocks,
        })
    }

    /// Tokens in a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Blocks in the cache.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// The cache in parts of as many KV heads each: their number is a multiple of that of the parts.
    pub(super) fn split(&mut self, parts: usize) -> Vec<KvHeads<'_>> {
        let (block_size, head_dim, num_blocks) = (self.block_size, self.head_dim, self.num_blocks);
        let of_part = self.num_kv_heads / parts * num_blocks * block_size * head_dim;
        let empty = || KvHeads { keys: Vec::new(), values: Vec::new(), block_size, head_dim, num_blocks };
        let mut all: Vec<KvHeads<'_>> = (0..parts).map(|_| empty()).collect();
        for (keys, values) in self.keys.iter_mut().zip(&mut self.values) {
            let of_parts = keys.chunks_exact_mut(of_part.max(1)).zip(values.chunks_exact_mut(of_part.max(1)));
            for (part, (keys, values)) in all.iter_mut().zip(of_parts) {
                part.keys.push(keys);
                part.values.push(values);
            }
        }
        all
    }
}

/// Some heads of a [`PagedKv`], counted from the first of them.
#[derive(Debug)]
pub(super) struct KvHeads<'a> {
    /// By layer.
    keys: Vec<&'a mut [f32]>,
    values: Vec<&'a mut [f32]>,
    block_size: usize,
    head_dim: usize,
    num_blocks: usize,
}

impl KvHeads<'_> {
    /// Tokens in a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Where a head's keys or values in a block lie.
    fn of_head(&self, block: u32, head: usize) -> std::ops::Range<usize> {
        let size = self.block_size * self.head_dim;
        let from = (head * self.num_blocks + block as usize) * size;
        from..from + size
    }

    /// Stores one token's key and value, `[kv head][head_dim]` each, at `position` of the sequence
    /// whose blocks are `blocks`.
    pub fn store(&mut self, layer: usize, blocks: &[u32], position: usize, key: &[f32], value: &[f32]) {
        let (block, offset) = (blocks[position / self.block_size], position % self.block_size);
        let heads = key.chunks_exact(self.head_dim).zip(value.chunks_exact(self.head_dim));
        for (head, (key, value)) in heads.enumerate() {
            let of_head = self.of_head(block, head);
            let keys = &mut self.keys[layer][of_head.clone()];
            for (to, key) in keys[offset..].iter_mut().step_by(self.block_size).zip(key) {
                *to = *key;
            }
            let from = offset * self.head_dim;
            self.values[layer][of_head][from..from + self.head_dim].copy_from_slice(value);
        }
    }

    /// Stores the keys of some rows, `[row][kv head][head_dim]`, and their values, which end the rows of `qkv`.
    pub fn store_rows(&mut self, layer: usize, rows: &[Row<'_>], keys: &[f32], qkv: &[f32]) {
        if rows.is_empty() {
            return;
        }
        let (kv_width, width) = (keys.len() / rows.len(), qkv.len() / rows.len());
        let of_rows = keys.chunks_exact(kv_width).zip(qkv.chunks_exact(width));
        for (row, (key, qkv)) in rows.iter().zip(of_rows) {
            self.store(layer, row.blocks, row.position, key, &qkv[width - kv_width..]);
        }
    }

    /// Of one head in one block the keys, `[head_dim][position]`, and the values, `[position][head_dim]`.
    pub fn block(&self, layer: usize, block: u32, head: usize) -> (&[f32], &[f32]) {
        let of_head = self.of_head(block, head);
        (&self.keys[layer][of_head.clone()], &self.values[layer][of_head])
    }
}
