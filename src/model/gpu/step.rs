use candle_core::{Device, Result, Tensor};

use crate::model::decoder::Share;

/// What all layers of one pass need to know of its shares, on the device.
#[derive(Debug)]
pub(super) struct Step {
    /// Cosines and sines of the rows' positions, `[row][head_dim / 2]`.
    pub cos: Tensor,
    pub sin: Tensor,
    /// Where a row's key and value go: its slot in the cache, once for each of their numbers, `[row][kv_width]`.
    pub slots: Tensor,
    /// The KV blocks of each share, `[share][most blocks of a share]`; behind a share's own come zeros.
    pub block_table: Tensor,
    /// Sums of the shares' tokens in this pass, and of their tokens in the cache after it: `[shares + 1]`.
    pub query_ends: Tensor,
    pub key_ends: Tensor,
    /// Most of both in one share.
    pub longest_query: usize,
    pub longest_key: usize,
    /// Of each share the tokens in this pass and in the cache after it.
    pub lengths: Vec<(usize, usize)>,
}

impl Step {
    /// Blocks are of `block_size` tokens, and a token's key is of `kv_width` numbers; `cos` and `sin` are of all positions.
    pub fn new(
        shares: &[Share<'_>],
        (block_size, kv_width): (usize, usize),
        cos: &Tensor,
        sin: &Tensor,
        device: &Device,
    ) -> Result<Self> {
        let lengths: Vec<(usize, usize)> = shares
            .iter()
            .map(|share| (share.tokens.len(), share.context as usize + share.tokens.len()))
            .collect();
        let mut positions = Vec::new();
        let mut slots = Vec::new();
        for share in shares {
            for position in (share.context..).take(share.tokens.len()) {
                let (block, offset) = (position as usize / block_size, position as usize % block_size);
                positions.push(position);
                slots.push(share.blocks[block] * block_size as u32 + offset as u32);
            }
        }
        let most = |length: &dyn Fn(&(usize, usize)) -> usize| lengths.iter().map(length).max().unwrap_or(0);
        let (longest_query, longest_key) = (most(&|lengths| lengths.0), most(&|lengths| lengths.1));
        let width = longest_key.div_ceil(block_size);
        let mut block_table = vec![0_u32; shares.len() * width];
        for ((row, share), (_, keys)) in block_table.chunks_exact_mut(width.max(1)).zip(shares).zip(&lengths)
        {
            let used = keys.div_ceil(block_size);
            row[..used].copy_from_slice(&share.blocks[..used]);
        }
        let rows = positions.len();
        let positions = Tensor::from_vec(positions, rows, device)?;
        Ok(Self {
            cos: cos.index_select(&positions, 0)?,
            sin: sin.index_select(&positions, 0)?,
            slots: Tensor::from_vec(slots, (rows, 1), device)?
                .broadcast_as((rows, kv_width))?
                .contiguous()?,
            block_table: Tensor::from_vec(block_table, (shares.len(), width), device)?,
            query_ends: ends(lengths.iter().map(|lengths| lengths.0), device)?,
            key_ends: ends(lengths.iter().map(|lengths| lengths.1), device)?,
            longest_query,
            longest_key,
            lengths,
        })
    }
}

/// Sums of all lengths before each, and of all.
fn ends(lengths: impl Iterator<Item = usize>, device: &Device) -> Result<Tensor> {
    let mut ends = vec![0_u32];
    for length in lengths {
        ends.push(ends[ends.len() - 1] + length as u32);
    }
    let count = ends.len();
    Tensor::from_vec(ends, count, device)
}
