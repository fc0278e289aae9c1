use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Shape of a transformer; names as in Hugging Face's `config.json`. xp's own engine runs some families, the simulator
/// knows others by their shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelConfig {
    /// Architecture family; xp's own engine runs `qwen3`, `qwen3_moe` and `llama`.
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
    /// How rotary positions are stretched beyond the lengths of the first training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
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
    /// Whether the weights of a token's experts are made to sum to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_topk_prob: Option<bool>,
    /// Layers of a mixture of experts that have an MLP in place of experts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dense_layers: Vec<u32>,
}

/// How rotary positions are stretched; names as in Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "rope_type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// All frequencies are divided by the factor (Chen et al., "Extending Context Window of Large Language Models via
    /// Positional Interpolation", 2023).
    Linear { factor: f64 },
    /// Low frequencies are divided by the factor, those between are blended (Llama 3.1).
    Llama3 { factor: f64, low_freq_factor: f64, high_freq_factor: f64, original_max_position_embeddings: u32 },
    /// Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", ICLR 2024, §3.
    Yarn {
        factor: f64,
        original_max_position_embeddings: u32,
        /// Factor of sines and cosines.
        attention_factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        /// Whether the bounds of the ramp are whole dimensions.
        truncate: bool,
    },
    /// Each pair's frequency is divided by a factor of its own, as GGUF files of Llama 3.1 say it.
    Factors { factors: Vec<f64> },
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
        let norms = if self.has_qk_norm() { 2 * d } else { 0 };
        let attention = h * d * (q + 2 * kv) + q * d * h + norms;
        let with_experts = self.num_expert_layers();
        // What chooses among the experts.
        let routers = with_experts * u64::from(self.num_experts.unwrap_or(0)) * h;
        l * (attention + 2 * h) + (l - with_experts) * 3 * h * i + routers + self.num_expert_parameters()
    }

    /// Whether queries and keys are normalized, as all of the Qwen3 family do.
    pub fn has_qk_norm(&self) -> bool {
        self.model_type.starts_with("qwen3")
    }

    /// Whether the layer has experts.
    pub fn has_experts(&self, layer: u32) -> bool {
        self.num_experts.is_some() && !self.dense_layers.contains(&layer)
    }

    /// Layers that have experts.
    fn num_expert_layers(&self) -> u64 {
        (0..self.num_hidden_layers).filter(|layer| self.has_experts(*layer)).count() as u64
    }

    /// Weights of all experts of all layers; 0 for a dense model.
    pub fn num_expert_parameters(&self) -> u64 {
        let intermediate = u64::from(self.moe_intermediate_size.unwrap_or(self.intermediate_size));
        let experts = u64::from(self.num_experts.unwrap_or(0)) * self.num_expert_layers();
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
