//! The metadata of a GGUF file.

use candle_core::quantized::gguf_file::{Content, Value};

use super::bad;
use crate::catalog::{ModelConfig, RopeScaling};
use crate::model::ModelError;

/// What the metadata say.
pub(super) struct Metadata<'a> {
    content: &'a Content,
}

impl<'a> Metadata<'a> {
    pub fn of(content: &'a Content) -> Self {
        Self { content }
    }

    /// The text of a key; None where it is not there, or is none.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.content.metadata.get(key)?.to_string().ok().map(String::as_str)
    }

    /// The token that a key holds the id of; None where there is none.
    pub fn token(&self, key: &str) -> Option<&'a str> {
        let id = self.content.metadata.get(key)?.to_u32().ok()?;
        let tokens = self.content.metadata.get("tokenizer.ggml.tokens")?.to_vec().ok()?;
        tokens.get(id as usize)?.to_string().ok().map(String::as_str)
    }

    /// The model's shape.
    pub fn config(&self) -> Result<ModelConfig, ModelError> {
        let architecture = match self.content.metadata.get("general.architecture") {
            Some(Value::String(name)) => name.as_str(),
            _ => return Err(bad("general.architecture is missing")),
        };
        let model_type = match architecture {
            "qwen3" | "llama" => architecture,
            "qwen3moe" => "qwen3_moe",
            other => {
                return Err(bad(&format!(
                    "general.architecture {other:?} is not supported, only \"qwen3\", \"qwen3moe\" and \"llama\""
                )));
            }
        };
        let key = |rest: &str| format!("{architecture}.{rest}");
        let count = |rest: &str| self.count(&key(rest));
        let wanted = |rest: &str| count(rest)?.ok_or_else(|| bad(&format!("{} is missing", key(rest))));
        let hidden_size = wanted("embedding_length")?;
        let heads = wanted("attention.head_count")?;
        let kv_heads = count("attention.head_count_kv")?.unwrap_or(heads);
        let head_dim = match count("attention.key_length")?.or(count("rope.dimension_count")?) {
            Some(dim) => dim,
            None => hidden_size / heads,
        };
        if !heads.is_multiple_of(kv_heads) || !head_dim.is_multiple_of(2) {
            return Err(bad("its heads cannot be grouped, or a head's dimensions are odd"));
        }
        let embedding = self.content.tensor_infos.get("token_embd.weight");
        let vocab_size = match count("vocab_size")? {
            Some(size) => size,
            None => embedding
                .and_then(|info| u32::try_from(*info.shape.dims().first()?).ok())
                .ok_or_else(|| bad("token_embd.weight is missing"))?,
        };
        let moe = model_type == "qwen3_moe";
        let only_moe = |value: Option<u32>| value.filter(|_| moe);
        Ok(ModelConfig {
            model_type: model_type.to_owned(),
            hidden_size,
            intermediate_size: count("feed_forward_length")?
                .or(only_moe(count("expert_feed_forward_length")?))
                .ok_or_else(|| bad(&format!("{} is missing", key("feed_forward_length"))))?,
            num_hidden_layers: wanted("block_count")?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            vocab_size,
            max_position_embeddings: wanted("context_length")?,
            rope_theta: self.number(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            rope_scaling: self.rope_scaling(&key)?,
            rms_norm_eps: self
                .number(&key("attention.layer_norm_rms_epsilon"))?
                .ok_or_else(|| bad("attention.layer_norm_rms_epsilon is missing"))?,
            tie_word_embeddings: !self.content.tensor_infos.contains_key("output.weight"),
            num_experts: only_moe(count("expert_count")?),
            num_experts_per_tok: only_moe(count("expert_used_count")?),
            moe_intermediate_size: only_moe(count("expert_feed_forward_length")?),
            // llama.cpp does so for this architecture, whatever the file says.
            norm_topk_prob: moe.then_some(true),
            dense_layers: Vec::new(),
        })
    }

    fn rope_scaling(&self, key: &impl Fn(&str) -> String) -> Result<Option<RopeScaling>, ModelError> {
        match self.content.metadata.get(&key("rope.scaling.type")) {
            None => Ok(None),
            Some(Value::String(kind)) if kind == "none" => Ok(None),
            Some(Value::String(kind)) if kind == "linear" => {
                let factor = self.number(&key("rope.scaling.factor"))?;
                Ok(factor.map(|factor| RopeScaling::Linear { factor }))
            }
            other => Err(bad(&format!(
                "{} {other:?} is not supported, only \"none\" and \"linear\"",
                key("rope.scaling.type")
            ))),
        }
    }

    /// A count between 1 and 2²⁴.
    fn count(&self, key: &str) -> Result<Option<u32>, ModelError> {
        let Some(value) = self.content.metadata.get(key) else { return Ok(None) };
        let value = match value {
            Value::U8(n) => u64::from(*n),
            Value::U16(n) => u64::from(*n),
            Value::U32(n) => u64::from(*n),
            Value::U64(n) => *n,
            Value::I32(n) => u64::try_from(*n).unwrap_or(0),
            Value::I64(n) => u64::try_from(*n).unwrap_or(0),
            _ => 0,
        };
        match u32::try_from(value) {
            Ok(value) if (1..=1 << 24).contains(&value) => Ok(Some(value)),
            _ => Err(bad(&format!("{key} is not between 1 and 16777216"))),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.content.metadata.get(key) {
            None => Ok(None),
            Some(Value::F32(x)) if *x > 0.0 && *x < 1e12 => Ok(Some(f64::from(*x))),
            Some(Value::F64(x)) if *x > 0.0 && *x < 1e12 => Ok(Some(*x)),
            Some(_) => Err(bad(&format!("{key} is not a number above 0"))),
        }
    }
}
