use candle_core::{DType, Device, Result, Tensor};

use crate::catalog::ModelConfig;

/// Keys and values of all layers in blocks on a device: of each layer `[block][position in block][kv head][head_dim]`, as
/// FlashAttention reads them.
#[derive(Debug)]
pub struct GpuKv {
    keys: Vec<Tensor>,
    values: Vec<Tensor>,
    num_blocks: usize,
    block_size: usize,
}

impl GpuKv {
    pub(super) fn new(
        config: &ModelConfig,
        num_blocks: usize,
        block_size: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let shape = (num_blocks, block_size, config.num_key_value_heads as usize, config.head_dim as usize);
        let layers = || -> Result<Vec<Tensor>> {
            (0..config.num_hidden_layers).map(|_| Tensor::zeros(shape, dtype, device)).collect()
        };
        Ok(Self { keys: layers()?, values: layers()?, num_blocks, block_size })
    }

    /// Blocks in the cache.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// Tokens in a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// A layer's keys and values.
    pub(super) fn layer(&self, index: usize) -> (&Tensor, &Tensor) {
        (&self.keys[index], &self.values[index])
    }

    /// Stores keys and values, `[row][kv head][head_dim]` each, at the slots of the rows: `[row][kv head × head_dim]`,
    /// the same number all along a row.
    pub(super) fn store(&mut self, layer: usize, slots: &Tensor, key: &Tensor, value: &Tensor) -> Result<()> {
        let (rows, heads, dim) = key.dims3()?;
        let all = self.num_blocks * self.block_size;
        for (cache, new) in [(&self.keys[layer], key), (&self.values[layer], value)] {
            let new = new.reshape((rows, heads * dim))?;
            cache.reshape((all, heads * dim))?.scatter_set(slots, &new, 0)?;
        }
        Ok(())
    }
}
