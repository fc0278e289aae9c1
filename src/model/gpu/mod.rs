//! The same transformer in candle's tensors, for a GPU: products by cuBLAS, attention by FlashAttention over a paged KV
//! cache. What a row yields can depend on the batch it is in, to the last bits, as cuBLAS chooses its kernels by shape.
//!
//! Everything but the attention kernel runs on any device of candle's; tests run it on the CPU, against the CPU's own
//! decoder.

mod attention;
mod form;
mod kv_cache;
mod step;

use candle_core::{D, DType, Device, Tensor};

pub use kv_cache::GpuKv;

use super::ModelError;
use super::decoder::{Share, last_rows, token_ids};
use super::load::load_network;
use super::network::{Dense, Experts, Layer, Mlp, Network};
use super::ops::{Op, OpTimer};
use super::rope::Rope;
use super::weights::WeightReader;
use crate::catalog::ModelConfig;
use crate::spec::Dtype;
use attention::attention;
use form::OnDevice;
use step::Step;

/// A model in the memory of a device.
#[derive(Debug)]
pub struct GpuDecoder {
    config: ModelConfig,
    network: Network<OnDevice>,
    /// Cosines and sines of every position, `[position][head_dim / 2]`.
    cos: Tensor,
    sin: Tensor,
    device: Device,
    dtype: DType,
}

impl GpuDecoder {
    /// Loads all weights in `dtype`. Sequences hold at most `max_context` tokens.
    ///
    /// # Errors
    /// As [`Decoder::load`](super::Decoder::load), and when the device has no memory left.
    pub fn load(
        config: &ModelConfig,
        weights: &WeightReader,
        dtype: Dtype,
        max_context: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let number_format = match dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 => DType::BF16,
        };
        let form = OnDevice { device: device.clone(), dtype: number_format };
        let network = load_network(config, weights, dtype, &form)?;
        let rope = Rope::new(config, max_context);
        let (cos, sin) = rope.tables();
        let table = |values: &[f32]| -> Result<Tensor, ModelError> {
            let table = Tensor::from_slice(values, (max_context, values.len() / max_context), device)?;
            Ok(table.to_dtype(number_format)?)
        };
        Ok(Self {
            network,
            cos: table(cos)?,
            sin: table(sin)?,
            config: config.clone(),
            device: device.clone(),
            dtype: number_format,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// An empty KV cache of `num_blocks` blocks of `block_size` tokens, on the model's device.
    ///
    /// # Errors
    /// The device has no memory for it.
    pub fn new_kv(&self, num_blocks: usize, block_size: usize) -> Result<GpuKv, ModelError> {
        Ok(GpuKv::new(&self.config, num_blocks, block_size, self.dtype, &self.device)?)
    }

    /// As [`Decoder::forward`](super::Decoder::forward), in the number format of the weights.
    pub fn forward(
        &self,
        shares: &[Share<'_>],
        kv: &mut GpuKv,
        num_layers: usize,
        timer: &mut dyn OpTimer,
    ) -> Result<Vec<f32>, ModelError> {
        self.begin(timer)?;
        let ids = token_ids(shares, self.config.vocab_size)?;
        let kv_width = (self.config.num_key_value_heads * self.config.head_dim) as usize;
        let step = Step::new(shares, (kv.block_size(), kv_width), &self.cos, &self.sin, &self.device)?;
        let count = ids.len();
        let ids = Tensor::from_vec(ids, count, &self.device)?;
        let mut x = self.network.embed.index_select(&ids, 0)?;
        self.lap(timer, Op::Emb)?;
        for (index, layer) in self.network.layers.iter().take(num_layers).enumerate() {
            x = self.layer(index, layer, &x, &step, kv, timer)?;
        }
        let logits = self.logits(&x, shares)?;
        self.lap(timer, Op::LmHead)?;
        Ok(logits)
    }

    fn layer(
        &self,
        index: usize,
        layer: &Layer<OnDevice>,
        x: &Tensor,
        step: &Step,
        kv: &mut GpuKv,
        timer: &mut dyn OpTimer,
    ) -> Result<Tensor, ModelError> {
        let [heads, kv_heads, dim] =
            [self.config.num_attention_heads, self.config.num_key_value_heads, self.config.head_dim]
                .map(|n| n as usize);
        let rows = x.dim(0)?;
        let normed = self.rms_norm(x, &layer.input_layernorm)?;
        self.lap(timer, Op::InputLayernorm)?;
        let qkv = product(&normed, &layer.qkv_proj)?;
        self.lap(timer, Op::AttnPreProj)?;
        // Heads of one kind: `[row][head][dim]`.
        let part = |first: usize, count: usize| -> Result<Tensor, ModelError> {
            Ok(qkv.narrow(1, first * dim, count * dim)?.reshape((rows, count, dim))?)
        };
        let rotated = |part: Tensor, norm: Option<&Tensor>| -> Result<Tensor, ModelError> {
            let part = match norm {
                Some(norm) => self.rms_norm(&part, norm)?,
                None => part,
            };
            let part = part.contiguous()?.unsqueeze(0)?;
            Ok(candle_nn::rotary_emb::rope_thd(&part, &step.cos, &step.sin)?.squeeze(0)?)
        };
        let norm = layer.qk_norm.as_ref();
        let query = rotated(part(0, heads)?, norm.map(|norm| &norm.query))?;
        let key = rotated(part(heads, kv_heads)?, norm.map(|norm| &norm.key))?;
        let value = part(heads + kv_heads, kv_heads)?.contiguous()?;
        self.lap(timer, Op::AttnRope)?;
        kv.store(index, &step.slots, &key, &value)?;
        self.lap(timer, Op::AttnKvCacheSave)?;
        let attended = attention(&query, kv, index, step)?.reshape((rows, heads * dim))?;
        self.lap(timer, Op::Attention)?;
        let x = (product(&attended, &layer.o_proj)? + x)?;
        self.lap(timer, Op::AttnPostProj)?;
        let normed = self.rms_norm(&x, &layer.post_attention_layernorm)?;
        self.lap(timer, Op::PostAttentionLayernorm)?;
        let made = match &layer.mlp {
            Mlp::Dense(dense) => self.dense(dense, &normed, timer)?,
            Mlp::Experts(experts) => self.experts(experts, &normed, timer)?,
        };
        let x = (made + x)?;
        self.lap(timer, Op::MlpDownProj)?;
        Ok(x)
    }

    fn dense(
        &self,
        dense: &Dense<Tensor>,
        x: &Tensor,
        timer: &mut dyn OpTimer,
    ) -> Result<Tensor, ModelError> {
        let gate_up = product(x, &dense.gate_up_proj)?;
        self.lap(timer, Op::MlpUpProj)?;
        let activated = activate(&gate_up, dense.intermediate)?;
        self.lap(timer, Op::MlpAct)?;
        product(&activated, &dense.down_proj)
    }

    /// The router's choice is made on the host; each expert computes its rows together.
    fn experts(
        &self,
        experts: &Experts<Tensor>,
        x: &Tensor,
        timer: &mut dyn OpTimer,
    ) -> Result<Tensor, ModelError> {
        let logits = product(x, &experts.router)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let routed = experts.route(&logits);
        let busy = routed.iter().zip(&experts.experts).filter(|(tokens, _)| !tokens.is_empty());
        let mut gathered = Vec::new();
        for (tokens, expert) in busy {
            let (rows, weights): (Vec<u32>, Vec<f32>) =
                tokens.iter().map(|(row, weight)| (*row as u32, *weight)).unzip();
            let count = rows.len();
            let rows = Tensor::from_vec(rows, count, &self.device)?;
            let weights = Tensor::from_vec(weights, (count, 1), &self.device)?.to_dtype(self.dtype)?;
            let gate_up = product(&x.index_select(&rows, 0)?, &expert.gate_up_proj)?;
            gathered.push((expert, rows, weights, gate_up));
        }
        self.lap(timer, Op::MlpUpProj)?;
        let mut activated = Vec::new();
        for (expert, rows, weights, gate_up) in gathered {
            activated.push((expert, rows, weights, activate(&gate_up, expert.intermediate)?));
        }
        self.lap(timer, Op::MlpAct)?;
        let mut out = x.zeros_like()?;
        for (expert, rows, weights, activated) in activated {
            let weighed = product(&activated, &expert.down_proj)?.broadcast_mul(&weights)?;
            out = out.index_add(&rows, &weighed, 0)?;
        }
        Ok(out)
    }

    fn logits(&self, x: &Tensor, shares: &[Share<'_>]) -> Result<Vec<f32>, ModelError> {
        let last = last_rows(shares);
        if last.is_empty() {
            return Ok(Vec::new());
        }
        let count = last.len();
        let x = x.index_select(&Tensor::from_vec(last, count, &self.device)?, 0)?;
        let x = self.rms_norm(&x, &self.network.norm)?;
        let logits = product(&x, self.network.output())?;
        Ok(logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, ModelError> {
        Ok(candle_nn::ops::rms_norm(&x.contiguous()?, weight, self.config.rms_norm_eps as f32)?)
    }

    fn begin(&self, timer: &mut dyn OpTimer) -> Result<(), ModelError> {
        if timer.times() {
            self.device.synchronize()?;
        }
        timer.begin();
        Ok(())
    }

    /// The device computes behind the host's back: an operator has ended when all that was asked for is done.
    fn lap(&self, timer: &mut dyn OpTimer, op: Op) -> Result<(), ModelError> {
        if timer.times() {
            self.device.synchronize()?;
        }
        timer.lap(op);
        Ok(())
    }
}

/// `x Wᵀ`: `[rows, in]` and `[out, in]` to `[rows, out]`.
fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor, ModelError> {
    Ok(x.matmul(&weight.t()?)?)
}

/// SiLU(gate) × up. `gate_up` is `[row][gate, up]`.
fn activate(gate_up: &Tensor, intermediate: usize) -> Result<Tensor, ModelError> {
    let gate = gate_up.narrow(D::Minus1, 0, intermediate)?.silu()?;
    Ok((gate * gate_up.narrow(D::Minus1, intermediate, intermediate)?)?)
}

#[cfg(test)]
mod tests;
