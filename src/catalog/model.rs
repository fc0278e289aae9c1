use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Shape of a transformer; names as in Hugging Face's `config.json`. xp's own engine runs dense Qwen3 models, the
/// simulator knows others by their shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelConfig {
    /// Architecture family; `qwen3` is the one xp's own engine runs.
    pub model_type: String,
    pub hidden_size: u32,
    pub intermediate_size: u32,
    pub num_hidden_layers: u32,
    pub num_attention_heads: u32,
    pub num_key_value_heads: u32,
    pub head_dim: u32,
    pub vocab_size: u32,
    /// Longest sequence in tokens.
    pub max_position_embeddings: u32,
    pub rope_theta: f64,
    pub rms_norm_eps: f64,
    /// The output projection shares the embedding's weights.
    pub tie_word_embeddings: bool,
    /// Experts of each layer, in a mixture of experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_experts: Option<u32>,
    /// Experts that a token goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_experts_per_tok: Option<u32>,
    /// As `intermediate_size`, of one expert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moe_intermediate_size: Option<u32>,
}

impl ModelConfig {
    /// Number of weights.
    pub fn num_parameters(&self) -> u64 {
        let embeddings = if self.tie_word_embeddings { 1 } else { 2 };
        self.num_output_parameters() * embeddings + self.num_layer_parameters() + u64::from(self.hidden_size)
    }

    /// Weights of all layers: without embedding, last norm and output projection.
    pub fn num_layer_parameters(&self) -> u64 {
        let [h, i, l, q, kv, d] = [
            self.hidden_size,
            self.intermediate_size,
            self.num_hidden_layers,
            self.num_attention_heads,
            self.num_key_value_heads,
            self.head_dim,
        ]
        .map(u64::from);
        let attention = h * d * (q + 2 * kv) + q * d * h + 2 * d;
        let mlp = match self.num_experts.map(u64::from) {
            // What chooses among the experts.
            Some(experts) => experts * h,
            None => 3 * h * i,
        };
        l * (attention + mlp + 2 * h) + self.num_expert_parameters()
    }

    /// Weights of all experts of all layers; 0 for a dense model.
    pub fn num_expert_parameters(&self) -> u64 {
        let intermediate = u64::from(self.moe_intermediate_size.unwrap_or(self.intermediate_size));
        let experts = u64::from(self.num_experts.unwrap_or(0)) * u64::from(self.num_hidden_layers);
        experts * 3 * u64::from(self.hidden_size) * intermediate
    }

    /// Weights of the output projection, which are the embedding's where the two are tied.
    pub fn num_output_parameters(&self) -> u64 {
        u64::from(self.vocab_size) * u64::from(self.hidden_size)
    }
}

static MODELS: LazyLock<Vec<(String, ModelConfig)>> = LazyLock::new(|| {
    let parsed: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("models.json")).expect("embedded catalog is JSON");
    parsed
        .into_iter()
        .map(|(name, config)| (name, serde_json::from_value(config).expect("embedded catalog is well-typed")))
        .collect()
});

/// The architecture known under `name`, such as `qwen3-0.6b`.
pub fn model(name: &str) -> Option<&'static ModelConfig> {
    MODELS.iter().find(|(known, _)| known == name).map(|(_, config)| config)
}

/// Names of all known architectures, in catalog order.
pub fn known_models() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_divides_its_heads_and_the_small_one_is_small() {
        for name in known_models() {
            let config = model(name).unwrap();
            assert_eq!(config.num_attention_heads % config.num_key_value_heads, 0, "{name}");
        }
        let small = model("qwen3-17m").unwrap().num_parameters();
        assert!((5_000_000..30_000_000).contains(&small), "{small}");
        assert_eq!(model("qwen3-0.6b").unwrap().num_parameters(), 596_049_920);
    }
}
