//! A decoder-only transformer of the Llama kind: pre-norm layers of grouped-query attention with rotary positions and
//! a SwiGLU MLP (Touvron et al., "LLaMA", 2023), for Qwen3 with norms of queries and keys, for Qwen3-MoE with experts in
//! place of the MLP (Qwen Team, "Qwen3 Technical Report", 2025). One forward pass computes any mix of prefill chunks and
//! decodes; what a row yields depends on no other row of the pass.

use pulp::Arch;
use rayon::prelude::*;

use super::ModelError;
use super::attention::{Heads, Row, attention};
use super::kv_cache::{KvHeads, PagedKv};
use super::load::load_network;
use super::network::{Form, Layer, Network};
use super::norm::rms_norm;
use super::ops::{Op, OpTimer};
use super::rope::Rope;
use super::strand::{Activations, Strand, many_rows, rows_apart};
use super::weights::{Stored, WeightReader};
use crate::catalog::ModelConfig;
use crate::kernels::{Packed, Put, Rows, Workers};
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
    type Matrix = Packed;
    type Norm = Vec<f32>;

    fn matrix(&self, parts: Vec<(String, usize, Stored<'_>)>, inputs: usize) -> Result<Packed, ModelError> {
        packed(parts, inputs)
    }

    fn norm(&self, weights: Vec<f32>) -> Result<Vec<f32>, ModelError> {
        Ok(weights)
    }
}

/// Matrices of the same width, one above the other.
pub(super) fn packed(parts: Vec<(String, usize, Stored<'_>)>, inputs: usize) -> Result<Packed, ModelError> {
    let rows: Vec<Rows<'_>> = parts
        .iter()
        .map(|(_, outputs, stored)| Rows { format: stored.format, outputs: *outputs, bytes: &stored.bytes })
        .collect();
    Packed::new(inputs, &rows).map_err(|(part, error)| {
        let name = parts.get(part).map(|(name, ..)| name.clone()).unwrap_or_default();
        ModelError::Tensor { name, reason: error.to_string() }
    })
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
        self.network.matrices().map(Packed::num_bytes).sum()
    }

    /// Computes all shares in one pass over the first `num_layers` layers (all of them, unless operators
    /// are being measured), stores their keys and values, and returns the logits of the shares
    /// that emit, in order: `[emitting shares][vocab]`.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn forward(
        &self,
        shares: &[Share<'_>],
        kv: &mut PagedKv,
        activations: &mut Activations,
        num_layers: usize,
        timer: &mut dyn OpTimer,
    ) -> Result<Vec<f32>, ModelError> {
        timer.begin();
        let tokens = token_ids(shares, self.config.vocab_size)?;
        let rows = shares.iter().flat_map(|share| {
            let row = |offset| Row { blocks: share.blocks, position: share.context as usize + offset };
            (0..share.tokens.len()).map(row)
        });
        let num_layers = num_layers.min(self.network.layers.len());
        let threads = rayon::current_num_threads();
        let by_columns =
            (!many_rows(tokens.len(), threads)).then(|| self.taken(num_layers, threads)).flatten();
        let hidden = self.config.hidden_size as usize;
        let logits = if let Some(taken) = by_columns {
            let (rows, columns): (Vec<Row<'_>>, _) = (rows.collect(), &mut activations.columns);
            self.by_columns(&taken, (&tokens, &rows), kv, columns, timer);
            self.logits(shares, |row, to| self.final_norm(columns.row(row, hidden), to))
        } else {
            activations.share_out(shares.iter().map(|share| share.tokens.len()));
            let (tokens, rows) = (activations.by_strand(tokens), activations.by_strand(rows));
            self.by_strands(num_layers, (&tokens, &rows), kv, activations, timer);
            self.logits(shares, |row, to| self.final_norm(activations.row(row, hidden), to))
        };
        timer.lap(Op::LmHead);
        Ok(logits)
    }

    /// Computes the rows of a pass, whose tokens are `tokens`; each strand has some of both.
    fn by_strands(
        &self,
        num_layers: usize,
        (tokens, rows): (&[Vec<u32>], &[Vec<Row<'_>>]),
        kv: &mut PagedKv,
        activations: &mut Activations,
        timer: &mut dyn OpTimer,
    ) {
        let layers = &self.network.layers[..num_layers];
        // All heads are one part.
        let mut kv = kv.split(1);
        let Some(kv) = kv.first_mut() else { return };
        activations.each(timer, |strand, timer| {
            let x = strand.x.room(strand.rows * self.config.hidden_size as usize);
            self.network.embed.rows(&tokens[strand.index], x);
            timer.lap(Op::Emb);
            if let Some(first) = layers.first() {
                self.before_attention(first, rows, strand, timer);
            }
        });
        for (index, layer) in layers.iter().enumerate() {
            for strand in activations.strands() {
                let (count, (q_width, kv_width)) = (strand.rows, self.heads().widths());
                let qkv = strand.qkv.first(count * (q_width + 2 * kv_width));
                kv.store_rows(index, &rows[strand.index], strand.key.first(count * kv_width), qkv);
            }
            timer.lap(Op::AttnKvCacheSave);
            let kv = &*kv;
            activations.each(timer, |strand, timer| {
                self.with_attention(index, layer, rows, strand, kv, timer);
                if let Some(next) = layers.get(index + 1) {
                    self.before_attention(next, rows, strand, timer);
                }
            });
        }
    }

    pub(super) fn heads(&self) -> Heads {
        let [queries, keys, dim] =
            [self.config.num_attention_heads, self.config.num_key_value_heads, self.config.head_dim]
                .map(|n| n as usize);
        Heads { queries, keys, dim }
    }

    /// Norms rows for what comes next.
    pub(super) fn norm(&self, weight: &[f32], x: &[f32], normed: &mut [f32], workers: Workers) {
        let hidden = self.config.hidden_size as usize;
        let eps = self.config.rms_norm_eps as f32;
        let rows = normed.par_chunks_mut(hidden).zip(x.par_chunks(hidden));
        rows.with_min_len(rows_apart(workers)).for_each(|(normed, x)| {
            self.arch.dispatch(|| rms_norm(x, weight, eps, normed));
        });
    }

    fn norm_strand(&self, weight: &[f32], strand: &mut Strand) {
        let count = strand.rows * self.config.hidden_size as usize;
        self.norm(weight, strand.x.first(count), strand.normed.room(count), strand.workers);
    }

    /// A layer up to its keys and values.
    fn before_attention(
        &self,
        layer: &Layer<OnCpu>,
        rows: &[Vec<Row<'_>>],
        strand: &mut Strand,
        timer: &mut dyn OpTimer,
    ) {
        self.norm_strand(&layer.input_layernorm, strand);
        timer.lap(Op::InputLayernorm);
        let count = strand.rows;
        let (q_width, kv_width) = self.heads().widths();
        let width = q_width + 2 * kv_width;
        let qkv = strand.qkv.room(count * width);
        let normed = strand.normed.first(count * self.config.hidden_size as usize);
        layer.qkv_proj.multiply(normed, qkv, Put::Over, strand.workers);
        timer.lap(Op::AttnPreProj);
        let query = strand.query.room(count * q_width).par_chunks_mut(q_width);
        let key = strand.key.room(count * kv_width).par_chunks_mut(kv_width);
        let per_row = query.zip(key).zip(qkv.par_chunks(width)).zip(&rows[strand.index]);
        per_row.with_min_len(rows_apart(strand.workers)).for_each(|(((query, key), qkv), row)| {
            self.rotate(layer, self.heads(), (qkv, row.position), query, key);
        });
        timer.lap(Op::AttnRope);
    }

    /// Norms and rotates the queries and keys of some heads of a row, whose queries, keys and values are `qkv`.
    pub(super) fn rotate(
        &self,
        layer: &Layer<OnCpu>,
        heads: Heads,
        (qkv, position): (&[f32], usize),
        query: &mut [f32],
        key: &mut [f32],
    ) {
        let (dim, eps) = (heads.dim, self.config.rms_norm_eps as f32);
        let (q_width, kv_width) = heads.widths();
        let norm = layer.qk_norm.as_ref();
        self.arch.dispatch(
            #[inline(always)]
            || {
                let heads = |from: &[f32], norm: Option<&[f32]>, to: &mut [f32]| {
                    for (from, to) in from.chunks_exact(dim).zip(to.chunks_exact_mut(dim)) {
                        self.rope.rotate(from, norm.map(|weight| (weight, eps)), position, to);
                    }
                };
                heads(&qkv[..q_width], norm.map(|norm| &*norm.query), query);
                heads(&qkv[q_width..q_width + kv_width], norm.map(|norm| &*norm.key), key);
            },
        );
    }

    /// A layer from its attention on.
    fn with_attention(
        &self,
        index: usize,
        layer: &Layer<OnCpu>,
        rows: &[Vec<Row<'_>>],
        strand: &mut Strand,
        kv: &KvHeads<'_>,
        timer: &mut dyn OpTimer,
    ) {
        let (count, workers) = (strand.rows, strand.workers);
        let (q_width, _) = self.heads().widths();
        let attended = strand.attended.room(count * q_width);
        let query = strand.query.first(count * q_width);
        let rows = &rows[strand.index];
        attention(self.arch, (kv, index), rows, self.heads(), query, attended, workers);
        timer.lap(Op::Attention);
        let x = strand.x.room(count * self.config.hidden_size as usize);
        layer.o_proj.multiply(attended, x, Put::Onto, workers);
        timer.lap(Op::AttnPostProj);
        self.norm_strand(&layer.post_attention_layernorm, strand);
        timer.lap(Op::PostAttentionLayernorm);
        layer.mlp.forward(self.arch, strand, timer);
        timer.lap(Op::MlpDownProj);
    }

    fn final_norm(&self, x: &[f32], normed: &mut [f32]) {
        self.norm(&self.network.norm, x, normed, Workers::Caller);
    }

    /// Output projection of each emitting share's last row, which `norm` puts where it is told to.
    fn logits(&self, shares: &[Share<'_>], mut norm: impl FnMut(usize, &mut [f32])) -> Vec<f32> {
        let hidden = self.config.hidden_size as usize;
        let last = last_rows(shares);
        let mut normed = vec![0.0; last.len() * hidden];
        for (normed, row) in normed.chunks_exact_mut(hidden).zip(last) {
            norm(row as usize, normed);
        }
        self.network.output().product(&normed)
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
        let new_kv = || PagedKv::new(2, 32, 4, 2, 16).unwrap();
        let prompt: Vec<u32> = (0..19).map(|i| (i * 37 + 11) % 1024).collect();
        let other: Vec<u32> = (0..9).map(|i| (i * 91 + 5) % 1024).collect();
        let blocks = [9, 3, 30, 1, 12];
        let others = [0, 2, 4];

        let whole = model
            .forward(
                &[share(&prompt, 0, &blocks)],
                &mut new_kv(),
                &mut Activations::default(),
                2,
                &mut NoTimer,
            )
            .unwrap();
        assert_eq!(whole.len(), 1024);

        let (mut kv, mut activations) = (new_kv(), Activations::default());
        model
            .forward(
                &[share(&prompt[..7], 0, &blocks), share(&other[..5], 0, &others)],
                &mut kv,
                &mut activations,
                2,
                &mut NoTimer,
            )
            .unwrap();
        model
            .forward(
                &[share(&other[5..8], 5, &others), share(&prompt[7..8], 7, &blocks)],
                &mut kv,
                &mut activations,
                2,
                &mut NoTimer,
            )
            .unwrap();
        let both = [share(&other[8..], 8, &others), share(&prompt[8..], 8, &blocks)];
        let logits = model.forward(&both, &mut kv, &mut activations, 2, &mut NoTimer).unwrap();
        assert_eq!(whole, logits[1024..], "to the last bit");
        let alone = model
            .forward(&[share(&other, 0, &others)], &mut new_kv(), &mut activations, 2, &mut NoTimer)
            .unwrap();
        assert_eq!(alone, logits[..1024], "to the last bit");
    }

    #[test]
    fn a_token_outside_the_vocabulary_is_an_error() {
        let model = tiny();
        let shares = [share(&[4096], 0, &[0])];
        let error = model
            .forward(
                &shares,
                &mut PagedKv::new(2, 1, 4, 2, 16).unwrap(),
                &mut Activations::default(),
                2,
                &mut NoTimer,
            )
            .unwrap_err();
        assert!(matches!(error, ModelError::Token { token: 4096, .. }), "{error}");
    }

    #[test]
    fn every_dtype_gives_nearly_the_same_logits() {
        let config = crate::catalog::model("qwen3-tiny").unwrap();
        let prompt: Vec<u32> = (0..8).collect();
        let run = |dtype| {
            let model = Decoder::load(config, &WeightReader::Synthetic { seed: 5 }, dtype, 256).unwrap();
            model
                .forward(
                    &[share(&prompt, 0, &[0, 1])],
                    &mut PagedKv::new(2, 2, 4, 2, 16).unwrap(),
                    &mut Activations::default(),
                    2,
                    &mut NoTimer,
                )
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
