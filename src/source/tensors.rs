use crate::catalog::ModelConfig;

/// A tensor's name and shape, rows first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    /// As in Hugging Face's transformers.
    pub name: String,
    /// Elements along each dimension; matrices are \[out, in\].
    pub shape: Vec<u64>,
}

impl TensorShape {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// Every tensor of a model, in the order of computation: the embedding, each layer, the last norm, and the output
/// projection unless it shares the embedding's weights.
pub fn tensor_table(config: &ModelConfig) -> Vec<TensorShape> {
    let [hidden, inner, heads, kv_heads, head, vocab] = [
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.vocab_size,
    ]
    .map(u64::from);
    let mut table = Vec::new();
    let mut add = |name: String, shape: &[u64]| table.push(TensorShape { name, shape: shape.to_vec() });
    add("model.embed_tokens.weight".to_owned(), &[vocab, hidden]);
    for layer in 0..config.num_hidden_layers {
        let mut add = |part: &str, shape: &[u64]| add(format!("model.layers.{layer}.{part}.weight"), shape);
        add("input_layernorm", &[hidden]);
        add("self_attn.q_proj", &[heads * head, hidden]);
        add("self_attn.k_proj", &[kv_heads * head, hidden]);
        add("self_attn.v_proj", &[kv_heads * head, hidden]);
        if config.has_qk_norm() {
            add("self_attn.q_norm", &[head]);
            add("self_attn.k_norm", &[head]);
        }
        add("self_attn.o_proj", &[hidden, heads * head]);
        add("post_attention_layernorm", &[hidden]);
        if !config.has_experts(layer) {
            add("mlp.gate_proj", &[inner, hidden]);
            add("mlp.up_proj", &[inner, hidden]);
            add("mlp.down_proj", &[hidden, inner]);
            continue;
        }
        let inner = config.moe_intermediate_size.map_or(inner, u64::from);
        let experts = config.num_experts.unwrap_or(0);
        add("mlp.gate", &[u64::from(experts), hidden]);
        for expert in 0..experts {
            add(&format!("mlp.experts.{expert}.gate_proj"), &[inner, hidden]);
            add(&format!("mlp.experts.{expert}.up_proj"), &[inner, hidden]);
            add(&format!("mlp.experts.{expert}.down_proj"), &[hidden, inner]);
        }
    }
    add("model.norm.weight".to_owned(), &[hidden]);
    if !config.tie_word_embeddings {
        add("lm_head.weight".to_owned(), &[vocab, hidden]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{known_models, model};

    #[test]
    fn the_table_holds_all_parameters_of_every_known_model() {
        for name in known_models() {
            let config = model(name).unwrap();
            let table = tensor_table(config);
            assert_eq!(
                table.iter().map(TensorShape::elements).sum::<u64>(),
                config.num_parameters(),
                "{name}"
            );
        }
    }
}
