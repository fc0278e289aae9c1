/// Keys and values of all layers in blocks of a fixed number of tokens (Kwon et al.,
/// "Efficient Memory Management for Large Language Model Serving with
/// PagedAttention", SOSP 2023, §4). Which block belongs to whom is the
/// scheduler's business.
///
/// A layer's keys are `[block][kv head][position in block][head_dim]`, f32.
#[derive(Debug)]
pub struct PagedKv {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    num_kv_heads: usize,
    block_size: usize,
    head_dim: usize,
    num_blocks: usize,
}

impl PagedKv {
    /// A cache of `num_blocks` blocks of `block_size` tokens. Its pages are touched, so that
    /// no later step pays for the first use of memory.
    pub fn new(
        num_layers: usize,
        num_blocks: usize,
        block_size: usize,
        num_kv_heads: usize,
        head_dim: usize,
    ) -> Self {
        let size = num_blocks * num_kv_heads * block_size * head_dim;
        // A non-zero fill: zeroed memory would be mapped lazily.
        let layer = || vec![1e-6_f32; size];
        Self {
            keys: (0..num_layers).map(|_| layer()).collect(),
            values: (0..num_layers).map(|_| layer()).collect(),
            num_kv_heads,
            block_size,
            head_dim,
            num_blocks,
        }
    }

    /// Tokens in a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Blocks in the cache.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// Where the first element of (block, head, offset) lies.
    fn at(&self, block: u32, head: usize, offset: usize) -> usize {
        ((block as usize * self.num_kv_heads + head) * self.block_size + offset) * self.head_dim
    }

    /// Stores one token's key and value, `[kv head][head_dim]` each, at `position` of the sequence
    /// whose blocks are `blocks`.
    pub fn store(&mut self, layer: usize, blocks: &[u32], position: usize, key: &[f32], value: &[f32]) {
        let (block, offset) = (blocks[position / self.block_size], position % self.block_size);
        for head in 0..self.num_kv_heads {
            let to = self.at(block, head, offset);
            let from = head * self.head_dim;
            self.keys[layer][to..to + self.head_dim].copy_from_slice(&key[from..from + self.head_dim]);
            self.values[layer][to..to + self.head_dim].copy_from_slice(&value[from..from + self.head_dim]);
        }
    }

    /// Keys and values of one head in one block, `[position][head_dim]` each.
    pub(super) fn block(&self, layer: usize, block: u32, head: usize) -> (&[f32], &[f32]) {
        let from = self.at(block, head, 0);
        let range = from..from + self.block_size * self.head_dim;
        (&self.keys[layer][range.clone()], &self.values[layer][range])
    }
}
