//! Attention over the paged cache: FlashAttention 2 (Dao, 2023) on a CUDA device, plain products elsewhere.

use candle_core::{DType, Device, Result, Tensor};

use super::kv_cache::GpuKv;
use super::step::Step;

/// `query` and the result are `[row][query head][head_dim]`.
pub(super) fn attention(query: &Tensor, kv: &GpuKv, layer: usize, step: &Step) -> Result<Tensor> {
    match query.device() {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => flash(query, kv, layer, step),
        _ => plain(query, kv, layer, step),
    }
}

/// One launch for all shares, chunks and decodes alike.
#[cfg(feature = "cuda")]
fn flash(query: &Tensor, kv: &GpuKv, layer: usize, step: &Step) -> Result<Tensor> {
    let (keys, values) = kv.layer(layer);
    let scale = 1.0 / (query.dim(2)? as f32).sqrt();
    // No token sees what comes after it; its last query is the last of its keys.
    let (left, right) = (None, Some(0));
    candle_flash_attn::flash_attn_varlen_paged_windowed(
        query,
        keys,
        values,
        &step.query_ends,
        &step.key_ends,
        &step.block_table,
        None,
        step.longest_query,
        step.longest_key,
        scale,
        left,
        right,
        kv.block_size(),
        None,
    )
}

/// Share after share: its blocks are gathered, and every query sees the keys up to its own.
fn plain(query: &Tensor, kv: &GpuKv, layer: usize, step: &Step) -> Result<Tensor> {
    let (_, heads, dim) = query.dims3()?;
    let (keys, values) = kv.layer(layer);
    let kv_heads = keys.dim(2)?;
    let device = query.device();
    let mut first = 0;
    let mut out = Vec::with_capacity(step.lengths.len());
    for (share, (queries, seen)) in step.lengths.iter().copied().enumerate() {
        let blocks = step.block_table.narrow(0, share, 1)?.squeeze(0)?;
        let blocks = blocks.narrow(0, 0, seen.div_ceil(kv.block_size()))?;
        // `[kv head][position][dim]`, and of the queries `[kv head][query head of its group × query][dim]`.
        let of_share = |cache: &Tensor| -> Result<Tensor> {
            let tokens = cache.index_select(&blocks, 0)?.flatten(0, 1)?.narrow(0, 0, seen)?;
            tokens.transpose(0, 1)?.contiguous()
        };
        let (keys, values) = (of_share(keys)?, of_share(values)?);
        let group = heads / kv_heads;
        let query = query.narrow(0, first, queries)?.transpose(0, 1)?.contiguous()?;
        let query = query.reshape((kv_heads, group * queries, dim))?;
        let scores = (query.matmul(&keys.t()?)? * (1.0 / (dim as f64).sqrt()))?;
        let scores = scores.reshape((heads, queries, seen))?.to_dtype(DType::F32)?;
        let scores = scores.broadcast_add(&mask(queries, seen, device)?)?;
        let weights = candle_nn::ops::softmax_last_dim(&scores)?.to_dtype(query.dtype())?;
        let weights = weights.reshape((kv_heads, group * queries, seen))?;
        let attended = weights.matmul(&values)?.reshape((heads, queries, dim))?;
        out.push(attended.transpose(0, 1)?.contiguous()?);
        first += queries;
    }
    Tensor::cat(&out, 0)
}

/// Minus infinity where a query does not see a key: `[1][query][key]`.
fn mask(queries: usize, seen: usize, device: &Device) -> Result<Tensor> {
    let context = seen - queries;
    let hidden = (0..queries).flat_map(|query| {
        (0..seen).map(move |key| if key > context + query { f32::NEG_INFINITY } else { 0.0 })
    });
    Tensor::from_iter(hidden, device)?.reshape((1, queries, seen))
}
