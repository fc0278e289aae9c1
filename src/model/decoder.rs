//! A decoder-only transformer of the Llama kind: pre-norm layers of grouped-query attention with rotary positions and
//! a SwiGLU MLP (Touvron et al., "LLaMA", 2023), for Qwen3 with norms of queries and keys, for Qwen3-MoE with experts in
//! place of the MLP (Qwen Team, "Qwen3 Technical Report", 2025). One forward pass computes any mix of prefill chunks and
//! decodes; what a row yields depends on no other row of the pass.

use candle_core::{CpuStorage, Device, Storage, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::ModelError;
use super::attention::{Heads, Row, attention};
use super::kv_cache::PagedKv;
use super::linear::Linear;
use super::load::load_network;
use super::network::{Form, Layer, Network};
use super::ops::{Op, OpTimer};
use super::rope::Rope;
use super::weights::{Stored, WeightReader};
use crate::catalog::ModelConfig;
use crate::kernels::Packed;
use crate::spec::Dtype;

/// One request's share of a forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Share<'a> {
    /// Tokens to compute.
    pub tokens: &'a [u32],
    /// Tokens in the KV cache before the pass.
    pub context: u32,
    /// The request's KV blocks, enough for `context + tokens.len()` tokens.
    pub blocks: &'a [u32],
    /// Logits of the last token are wanted.
    pub emits: bool,
}

/// A loaded model.
#[derive(Debug)]
pub struct Decoder {
    pub(super) config: ModelConfig,
    pub(super) network: Network<OnCpu>,
    pub(super) rope: Rope,
    pub(super) arch: Arch,
}

/// Weights in memory, packed for the kernels.
#[derive(Debug)]
pub(super) struct OnCpu;

impl Form for OnCpu {
    type Matrix = Linear;
    type HeadNorm = Vec<f32>;

    fn matrix(&self, parts: Vec<(String, usize, Stored<'_>)>, inputs: usize) -> Result<Linear, ModelError> {
        packed(parts, inputs).map(Linear::new)
    }

    fn norm(&self, weights: Vec<f32>) -> Result<Tensor, ModelError> {
        let len = weights.len();
        Ok(Tensor::from_vec(weights, len, &Device::Cpu)?)
    }

    fn head_norm(&self, weights: Vec<f32>) -> Result<Vec<f32>, ModelError> {
        Ok(weights)
    }
}

/// Matrices of the same width, one above the other.
pub(super) fn packed(parts: Vec<(String, usize, Stored<'_>)>, inputs: usize) -> Result<Packed, ModelError> {
    let mut packed = Packed::new(inputs);
    for (name, outputs, stored) in parts {
        packed
            .push(stored.format, outputs, &stored.bytes)
            .map_err(|error| ModelError::Tensor { name, reason: error.to_string() })?;
    }
    Ok(packed)
}

impl Decoder {
    /// Loads all weights, matrices in `dtype` unless they are stored in blocks of integers. Sequences hold at most
    /// `max_context` tokens.
    ///
    /// # Errors
    /// A family without code here; a tensor that is missing, of another shape, or holds what is no number.
    pub fn load(
        config: &ModelConfig,
        weights: &WeightReader,
        dtype: Dtype,
        max_context: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            network: load_network(config, weights, dtype, &OnCpu)?,
            rope: Rope::new(config, max_context),
            config: config.clone(),
            arch: Arch::new(),
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Bytes of all matrices in memory, the embedding's among them.
    pub fn weight_bytes(&self) -> usize {
        self.network.matrices().map(Linear::num_bytes).sum()
    }

    /// Computes all shares in one pass over the first `num_layers` layers (all of them, unless operators
    /// are being measured), stores their keys and values, and returns the logits of the shares
    /// that emit, in order: `[emitting shares][vocab]`.
    pub fn forward(
        &self,
        shares: &[Share<'_>],
        kv: &mut PagedKv,
        num_layers: usize,
        timer: &mut dyn OpTimer,
    ) -> Result<Vec<f32>, ModelError> {
        timer.begin();
        let rows: Vec<Row<'_>> = shares
            .iter()
            .flat_map(|share| {
                (0..share.tokens.len())
                    .map(|offset| Row { blocks: share.blocks, position: share.context as usize + offset })
            })
            .collect();
        let mut x = self.network.embed.rows(&token_ids(shares, self.config.vocab_size)?)?;
        timer.lap(Op::Emb);
        for (index, layer) in self.network.layers.iter().take(num_layers).enumerate() {
            x = self.layer(index, layer, x, &rows, kv, timer)?;
        }
        let logits = self.logits(&x, shares)?;
        timer.lap(Op::LmHead);
        Ok(logits)
    }

    fn layer(
        &self,
        index: usize,
        layer: &Layer<OnCpu>,
        x: Tensor,
        rows: &[Row<'_>],
        kv: &mut PagedKv,
        timer: &mut dyn OpTimer,
    ) -> Result<Tensor, ModelError> {
        let eps = self.config.rms_norm_eps as f32;
        let normed = candle_nn::ops::rms_norm(&x, &layer.input_layernorm, eps)?;
        timer.lap(Op::InputLayernorm);
        let qkv = layer.qkv_proj.forward(&normed)?;
        timer.lap(Op::AttnPreProj);
        let attended = with_values(&qkv, |qkv| self.attend(index, layer, qkv, rows, kv, timer))?;
        let width = (self.config.num_attention_heads * self.config.head_dim) as usize;
        let attended = Tensor::from_vec(attended, (rows.len(), width), &Device::Cpu)?;
        let x = layer.o_proj.forward_onto(&x, &attended)?;
        timer.lap(Op::AttnPostProj);
        let normed = candle_nn::ops::rms_norm(&x, &layer.post_attention_layernorm, eps)?;
        timer.lap(Op::PostAttentionLayernorm);
        let x = layer.mlp.forward_onto(self.arch, &x, &normed, timer)?;
        timer.lap(Op::MlpDownProj);
        Ok(x)
    }

    /// Attention of one layer. `qkv` is `[row][query heads, KV heads, KV heads][head_dim]`.
    fn attend(
        &self,
        index: usize,
        layer: &Layer<OnCpu>,
        qkv: &[f32],
        rows: &[Row<'_>],
        kv: &mut PagedKv,
        timer: &mut dyn OpTimer,
    ) -> Vec<f32> {
        let [heads, kv_heads, dim] =
            [self.config.num_attention_heads, self.config.num_key_value_heads, self.config.head_dim]
                .map(|n| n as usize);
        let eps = self.config.rms_norm_eps as f32;
        let (q_width, kv_width) = (heads * dim, kv_heads * dim);
        let width = q_width + 2 * kv_width;
        let mut query = vec![0.0; rows.len() * q_width];
        let mut key = vec![0.0; rows.len() * kv_width];
        let per_row =
            query.par_chunks_mut(q_width).zip(key.par_chunks_mut(kv_width)).zip(qkv.par_chunks(width));
        per_row.zip(rows).for_each(|(((query, key), qkv), row)| {
            let rotate = |from: &[f32], norm: Option<&[f32]>, to: &mut [f32]| {
                for (from, to) in from.chunks_exact(dim).zip(to.chunks_exact_mut(dim)) {
                    self.rope.rotate(from, norm.map(|weight| (weight, eps)), row.position, to);
                }
            };
            let norm = layer.qk_norm.as_ref();
            rotate(&qkv[..q_width], norm.map(|norm| &*norm.query), query);
            rotate(&qkv[q_width..q_width + kv_width], norm.map(|norm| &*norm.key), key);
        });
        timer.lap(Op::AttnRope);
        for ((row, key), qkv) in rows.iter().zip(key.chunks_exact(kv_width)).zip(qkv.chunks_exact(width)) {
            kv.store(index, row.blocks, row.position, key, &qkv[q_width + kv_width..]);
        }
        timer.lap(Op::AttnKvCacheSave);
        let mut out = vec![0.0; rows.len() * q_width];
        let heads = Heads { queries: heads, keys: kv_heads, dim };
        attention(self.arch, kv, index, rows, heads, &query, &mut out);
        timer.lap(Op::Attention);
        out
    }

    /// Final norm and output projection of each emitting share's last row.
    fn logits(&self, x: &Tensor, shares: &[Share<'_>]) -> Result<Vec<f32>, ModelError> {
        let last = last_rows(shares);
        if last.is_empty() {
            return Ok(Vec::new());
        }
        let count = last.len();
        let x = x.index_select(&Tensor::from_vec(last, count, &Device::Cpu)?, 0)?;
        let x = candle_nn::ops::rms_norm(&x, &self.network.norm, self.config.rms_norm_eps as f32)?;
        with_values(&x, |x| self.network.output().forward_values(x))
    }
}

/// Which rows of a pass yield a token: the last of each emitting share.
pub(super) fn last_rows(shares: &[Share<'_>]) -> Vec<u32> {
    let mut end = 0;
    let mut last = Vec::with_capacity(shares.len());
    for share in shares {
        end += share.tokens.len() as u32;
        if share.emits {
            last.push(end - 1);
        }
    }
    last
}

/// Tokens of a pass, row after row.
pub(super) fn token_ids(shares: &[Share<'_>], vocab_size: u32) -> Result<Vec<u32>, ModelError> {
    let ids: Vec<u32> = shares.iter().flat_map(|share| share.tokens).copied().collect();
    match ids.iter().find(|id| **id >= vocab_size) {
        Some(&token) => Err(ModelError::Token { token, vocab_size }),
        None => Ok(ids),
    }
}

/// Lends the values of a contiguous f32 tensor on the CPU.
pub(super) fn with_values<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T, ModelError> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) = (&*storage, layout.contiguous_offsets())
    else {
        return Err(candle_core::Error::Msg("activations are contiguous f32 on the CPU".to_owned()).into());
    };
    Ok(read(&values[from..to]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NoTimer;

    fn tiny() -> Decoder {
        let config = crate::catalog::model("qwen3-tiny").unwrap();
        Decoder::load(config, &WeightReader::Synthetic { seed: 5 }, Dtype::F32, 256).unwrap()
    }

    fn share<'a>(tokens: &'a [u32], context: u32, blocks: &'a [u32]) -> Share<'a> {
        Share { tokens, context, blocks, emits: true }
    }

    #[test]
    fn chunks_and_batches_leave_the_logits_as_they_are() {
        let model = tiny();
        let new_kv = || PagedKv::new(2, 32, 4, 2, 16);
        let prompt: Vec<u32> = (0..19).map(|i| (i * 37 + 11) % 1024).collect();
        let other: Vec<u32> = (0..9).map(|i| (i * 91 + 5) % 1024).collect();
        let blocks = [9, 3, 30, 1, 12];
        let others = [0, 2, 4];

        let whole = model.forward(&[share(&prompt, 0, &blocks)], &mut new_kv(), 2, &mut NoTimer).unwrap();
        assert_eq!(whole.len(), 1024);

        let mut kv = new_kv();
        model
            .forward(
                &[share(&prompt[..7], 0, &blocks), share(&other[..5], 0, &others)],
                &mut kv,
                2,
                &mut NoTimer,
            )
            .unwrap();
        model
            .forward(
                &[share(&other[5..8], 5, &others), share(&prompt[7..8], 7, &blocks)],
                &mut kv,
                2,
                &mut NoTimer,
            )
            .unwrap();
        let both = [share(&other[8..], 8, &others), share(&prompt[8..], 8, &blocks)];
        let logits = model.forward(&both, &mut kv, 2, &mut NoTimer).unwrap();
        assert_eq!(whole, logits[1024..], "to the last bit");
        let alone = model.forward(&[share(&other, 0, &others)], &mut new_kv(), 2, &mut NoTimer).unwrap();
        assert_eq!(alone, logits[..1024], "to the last bit");
    }

    #[test]
    fn a_token_outside_the_vocabulary_is_an_error() {
        let model = tiny();
        let shares = [share(&[4096], 0, &[0])];
        let error = model.forward(&shares, &mut PagedKv::new(2, 1, 4, 2, 16), 2, &mut NoTimer).unwrap_err();
        assert!(matches!(error, ModelError::Token { token: 4096, .. }), "{error}");
    }

    #[test]
    fn every_dtype_gives_nearly_the_same_logits() {
        let config = crate::catalog::model("qwen3-tiny").unwrap();
        let prompt: Vec<u32> = (0..8).collect();
        let run = |dtype| {
            let model = Decoder::load(config, &WeightReader::Synthetic { seed: 5 }, dtype, 256).unwrap();
            model
                .forward(&[share(&prompt, 0, &[0, 1])], &mut PagedKv::new(2, 2, 4, 2, 16), 2, &mut NoTimer)
                .unwrap()
        };
        let exact = run(Dtype::F32);
        let spread = exact.iter().map(|x| x.abs()).fold(0.0, f32::max);
        for dtype in [Dtype::F16, Dtype::Bf16] {
            for (a, b) in exact.iter().zip(run(dtype)) {
                assert!((a - b).abs() < 0.05 * spread, "{dtype:?}: {a} {b}");
            }
        }
    }
}
