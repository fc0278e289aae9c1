//! From stored tensors to a [`Network`].

use super::ModelError;
use super::network::{Dense, Experts, Form, Layer, Mlp, Network, QkNorm};
use super::weights::WeightReader;
use crate::catalog::ModelConfig;
use crate::spec::Dtype;

/// The families that there is code for: `model_type`, and the only one of `architectures` in `config.json`.
pub const FAMILIES: [(&str, &str); 3] =
    [("qwen3", "Qwen3ForCausalLM"), ("qwen3_moe", "Qwen3MoeForCausalLM"), ("llama", "LlamaForCausalLM")];

/// Loads all weights into a device's form, matrices in `dtype` unless they are stored in blocks of integers.
///
/// # Errors
/// A family without code here; a tensor that is missing, of another shape, or holds what is no number.
pub(super) fn load_network<W: Form>(
    config: &ModelConfig,
    weights: &WeightReader,
    dtype: Dtype,
    form: &W,
) -> Result<Network<W>, ModelError> {
    if !FAMILIES.iter().any(|(family, _)| *family == config.model_type) {
        return Err(ModelError::Family { found: config.model_type.clone() });
    }
    let loader = Loader { config, weights, dtype, form };
    let [hidden, vocab] = [config.hidden_size, config.vocab_size].map(|n| n as usize);
    Ok(Network {
        embed: loader.matrix(&[("model.embed_tokens".to_owned(), vocab)], hidden)?,
        layers: (0..config.num_hidden_layers).map(|index| loader.layer(index)).collect::<Result<_, _>>()?,
        norm: loader.norm("model.norm", hidden)?,
        lm_head: match config.tie_word_embeddings {
            true => None,
            false => Some(loader.matrix(&[("lm_head".to_owned(), vocab)], hidden)?),
        },
    })
}

struct Loader<'a, W> {
    config: &'a ModelConfig,
    weights: &'a WeightReader,
    dtype: Dtype,
    form: &'a W,
}

impl<W: Form> Loader<'_, W> {
    fn layer(&self, index: u32) -> Result<Layer<W>, ModelError> {
        let config = self.config;
        let [hidden, heads, kv_heads, head_dim] =
            [config.hidden_size, config.num_attention_heads, config.num_key_value_heads, config.head_dim]
                .map(|n| n as usize);
        let name = |rest: &str| format!("model.layers.{index}.{rest}");
        let head_norm = |rest: &str| self.norm(&name(rest), head_dim);
        Ok(Layer {
            input_layernorm: self.norm(&name("input_layernorm"), hidden)?,
            qkv_proj: self.matrix(
                &[
                    (name("self_attn.q_proj"), heads * head_dim),
                    (name("self_attn.k_proj"), kv_heads * head_dim),
                    (name("self_attn.v_proj"), kv_heads * head_dim),
                ],
                hidden,
            )?,
            qk_norm: match config.has_qk_norm() {
                true => Some(QkNorm {
                    query: head_norm("self_attn.q_norm")?,
                    key: head_norm("self_attn.k_norm")?,
                }),
                false => None,
            },
            o_proj: self.matrix(&[(name("self_attn.o_proj"), hidden)], heads * head_dim)?,
            post_attention_layernorm: self.norm(&name("post_attention_layernorm"), hidden)?,
            mlp: match config.has_experts(index) {
                true => Mlp::Experts(self.experts(&name("mlp"))?),
                false => Mlp::Dense(self.dense(&name("mlp"), config.intermediate_size)?),
            },
        })
    }

    fn dense(&self, name: &str, intermediate: u32) -> Result<Dense<W::Matrix>, ModelError> {
        let (hidden, intermediate) = (self.config.hidden_size as usize, intermediate as usize);
        let both = [(format!("{name}.gate_proj"), intermediate), (format!("{name}.up_proj"), intermediate)];
        Ok(Dense {
            gate_up_proj: self.matrix(&both, hidden)?,
            down_proj: self.matrix(&[(format!("{name}.down_proj"), hidden)], intermediate)?,
            intermediate,
        })
    }

    fn experts(&self, name: &str) -> Result<Experts<W::Matrix>, ModelError> {
        let config = self.config;
        let count = config.num_experts.unwrap_or(0);
        let intermediate = config.moe_intermediate_size.unwrap_or(config.intermediate_size);
        let expert = |index| self.dense(&format!("{name}.experts.{index}"), intermediate);
        Ok(Experts {
            router: self.matrix(&[(format!("{name}.gate"), count as usize)], config.hidden_size as usize)?,
            experts: (0..count).map(expert).collect::<Result<_, _>>()?,
            per_token: config.num_experts_per_tok.unwrap_or(1) as usize,
            normalized: config.norm_topk_prob.unwrap_or(false),
        })
    }

    /// Matrices of the same width, one above the other; each with its number of rows.
    fn matrix(&self, parts: &[(String, usize)], inputs: usize) -> Result<W::Matrix, ModelError> {
        let stored = parts.iter().map(|(name, outputs)| {
            let name = format!("{name}.weight");
            let stored = self.weights.tensor(&name, &[*outputs, inputs], self.dtype)?;
            Ok((name, *outputs, stored))
        });
        self.form.matrix(stored.collect::<Result<_, ModelError>>()?, inputs)
    }

    fn norm(&self, name: &str, len: usize) -> Result<W::Norm, ModelError> {
        self.form.norm(self.weights.vector(&format!("{name}.weight"), len)?)
    }
}
