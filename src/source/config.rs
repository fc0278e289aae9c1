//! Hugging Face's `config.json` → [`ModelConfig`].

use serde::Deserialize;
use serde_json::Value;

use super::SourceError;
use super::error::json_place;
use crate::catalog::{ModelConfig, RopeScaling};
use crate::model::FAMILIES;

/// Largest `config.json` that is read, in bytes.
pub(super) const MAX_CONFIG: u64 = 1 << 20;

/// The fields that decide what is computed. Others are ignored.
#[derive(Deserialize)]
struct HfConfig {
    architectures: Option<Vec<String>>,
    model_type: String,
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    vocab_size: u64,
    max_position_embeddings: u64,
    rope_theta: Option<f64>,
    rms_norm_eps: Option<f64>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(alias = "num_local_experts")]
    num_experts: Option<u64>,
    num_experts_per_tok: Option<u64>,
    moe_intermediate_size: Option<u64>,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<u64>,
    #[serde(default)]
    mlp_only_layers: Vec<u32>,
    rope_scaling: Option<HfRope>,
    /// Newer files keep what `rope_theta` and `rope_scaling` say in one place.
    rope_parameters: Option<HfRope>,
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    quantization_config: Option<Value>,
}

/// `rope_scaling`, and `rope_parameters` of newer files.
#[derive(Deserialize)]
struct HfRope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<u64>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    truncate: Option<bool>,
}

/// Errors of one file, at the places of its fields.
struct Checker<'a> {
    file: &'a str,
    text: &'a str,
}

impl Checker<'_> {
    /// An error where `field` is written; at the start when it is not.
    fn error(&self, field: &str, message: String) -> SourceError {
        let at = self.text.find(&format!("\"{field}\"")).unwrap_or(0);
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = at - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        SourceError::Config { file: self.file.to_owned(), line, column, message }
    }

    /// A dimension between 1 and `most`.
    fn dimension(&self, field: &str, value: u64, most: u32) -> Result<u32, SourceError> {
        match u32::try_from(value) {
            Ok(small) if (1..=most).contains(&small) => Ok(small),
            _ => Err(self.error(field, format!("{field} {value} is not between 1 and {most}"))),
        }
    }

    fn refuse_unless(&self, good: bool, field: &str, message: &str) -> Result<(), SourceError> {
        if good { Ok(()) } else { Err(self.error(field, message.to_owned())) }
    }
}

/// Parses and checks the `config.json` of a model that xp's own engine runs; `file` is shown in errors.
pub(crate) fn parse(file: &str, text: &str) -> Result<ModelConfig, SourceError> {
    read(file, text, true)
}

/// Parses and checks a `config.json` of any transformer for its shape, which is all that a simulation needs.
pub(crate) fn parse_shape(file: &str, text: &str) -> Result<ModelConfig, SourceError> {
    read(file, text, false)
}

fn read(file: &str, text: &str, runs: bool) -> Result<ModelConfig, SourceError> {
    let raw: HfConfig = serde_json::from_str(text).map_err(|error| {
        let (line, column, message) = json_place(&error);
        SourceError::Config { file: file.to_owned(), line, column, message }
    })?;
    let check = Checker { file, text };
    if runs {
        supported(&raw, &check)?;
    }
    let heads = check.dimension("num_attention_heads", raw.num_attention_heads, 1024)?;
    let hidden_size = check.dimension("hidden_size", raw.hidden_size, 1 << 17)?;
    let kv_heads =
        check.dimension("num_key_value_heads", raw.num_key_value_heads.unwrap_or(u64::from(heads)), heads)?;
    check.refuse_unless(
        heads % kv_heads == 0,
        "num_key_value_heads",
        "num_key_value_heads does not divide num_attention_heads",
    )?;
    let head_dim = match raw.head_dim {
        Some(size) => check.dimension("head_dim", size, 1024)?,
        None => {
            check.refuse_unless(
                hidden_size % heads == 0,
                "hidden_size",
                "num_attention_heads does not divide hidden_size, and there is no head_dim",
            )?;
            check.dimension("hidden_size", u64::from(hidden_size / heads), 1024)?
        }
    };
    check.refuse_unless(
        head_dim % 2 == 0,
        "head_dim",
        "head_dim must be even: rotary embedding turns pairs",
    )?;
    let dense_layers = dense_layers(&raw, &check)?;
    let rope_scaling = rope_scaling(&raw, runs, &check)?;
    let from_parameters = raw.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
    let rope_theta = raw
        .rope_theta
        .or(from_parameters)
        .or((!runs).then_some(10_000.0))
        .ok_or_else(|| check.error("rope_parameters", "there is no rope_theta".to_owned()))?;
    check.refuse_unless(
        (1.0..=1e12).contains(&rope_theta),
        "rope_theta",
        "rope_theta is not between 1 and 1e12",
    )?;
    let eps = raw
        .rms_norm_eps
        .or((!runs).then_some(1e-6))
        .ok_or_else(|| check.error("rms_norm_eps", "there is no rms_norm_eps".to_owned()))?;
    let optional = |field: &str, value: Option<u64>, most: u32| {
        value.map(|value| check.dimension(field, value, most)).transpose()
    };
    let num_experts = optional("num_experts", raw.num_experts, 1 << 16)?;
    let num_experts_per_tok = optional("num_experts_per_tok", raw.num_experts_per_tok, 1 << 16)?;
    check.refuse_unless(
        num_experts.is_none_or(|count| num_experts_per_tok.is_some_and(|used| used <= count)),
        "num_experts_per_tok",
        "num_experts_per_tok is not between 1 and num_experts",
    )?;
    check.refuse_unless(eps > 0.0 && eps < 1.0, "rms_norm_eps", "rms_norm_eps is not between 0 and 1")?;
    Ok(ModelConfig {
        intermediate_size: check.dimension("intermediate_size", raw.intermediate_size, 1 << 20)?,
        num_hidden_layers: check.dimension("num_hidden_layers", raw.num_hidden_layers, 1024)?,
        vocab_size: check.dimension("vocab_size", raw.vocab_size, 1 << 22)?,
        max_position_embeddings: check.dimension(
            "max_position_embeddings",
            raw.max_position_embeddings,
            1 << 24,
        )?,
        model_type: raw.model_type,
        hidden_size,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim,
        rope_theta,
        rms_norm_eps: eps,
        tie_word_embeddings: raw.tie_word_embeddings,
        num_experts,
        num_experts_per_tok: num_experts.and(num_experts_per_tok),
        moe_intermediate_size: optional("moe_intermediate_size", raw.moe_intermediate_size, 1 << 20)?
            .filter(|_| num_experts.is_some()),
        norm_topk_prob: num_experts.and(Some(raw.norm_topk_prob.unwrap_or(false))).filter(|_| runs),
        dense_layers,
        rope_scaling,
    })
}

/// The name of the class that computes a family, in Hugging Face's transformers.
pub(super) fn architecture_of(family: &str) -> Option<&'static str> {
    FAMILIES.iter().find(|(known, _)| *known == family).map(|(_, architecture)| *architecture)
}

/// How positions are stretched, if they are.
fn rope_scaling(raw: &HfConfig, runs: bool, check: &Checker<'_>) -> Result<Option<RopeScaling>, SourceError> {
    let Some(rope) = raw.rope_scaling.as_ref().or(raw.rope_parameters.as_ref()) else { return Ok(None) };
    let kind = rope.rope_type.as_deref().unwrap_or("default");
    // Positions do not matter to a simulation.
    if !runs || kind == "default" {
        return Ok(None);
    }
    let number = |field: &str, value: Option<f64>| match value {
        Some(value) if value > 0.0 && value <= 1e6 => Ok(value),
        Some(value) => Err(check.error(field, format!("{field} {value} is not between 0 and 1e6"))),
        None => Err(check.error("rope_scaling", format!("rope_type {kind:?} has no {field}"))),
    };
    let original = || {
        let field = "original_max_position_embeddings";
        let value = rope.original_max_position_embeddings.unwrap_or(raw.max_position_embeddings);
        check.dimension(field, value, 1 << 24)
    };
    Ok(Some(match kind {
        "linear" => RopeScaling::Linear { factor: number("factor", rope.factor)? },
        "llama3" => {
            let (low_freq_factor, high_freq_factor) = (
                number("low_freq_factor", rope.low_freq_factor)?,
                number("high_freq_factor", rope.high_freq_factor)?,
            );
            check.refuse_unless(
                low_freq_factor < high_freq_factor,
                "low_freq_factor",
                "low_freq_factor is not below high_freq_factor",
            )?;
            RopeScaling::Llama3 {
                factor: number("factor", rope.factor)?,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: original()?,
            }
        }
        "yarn" => {
            let factor = number("factor", rope.factor)?;
            // The paper's §3.4, and its generalisation in DeepSeek-V2.
            let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * libm::log(factor) + 1.0 };
            let inferred = match (rope.mscale, rope.mscale_all_dim) {
                (Some(m), Some(all)) if m != 0.0 && all != 0.0 => scale(m) / scale(all),
                _ => scale(1.0),
            };
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings: original()?,
                attention_factor: number("attention_factor", rope.attention_factor.or(Some(inferred)))?,
                beta_fast: number("beta_fast", rope.beta_fast.or(Some(32.0)))?,
                beta_slow: number("beta_slow", rope.beta_slow.or(Some(1.0)))?,
                truncate: rope.truncate.unwrap_or(true),
            }
        }
        other => {
            let message = format!(
                "rope_type {other:?} is not supported, only \"default\", \"linear\", \"llama3\" and \"yarn\""
            );
            return Err(check.error("rope_type", message));
        }
    }))
}

/// Layers without experts: those that are named, and all but every `decoder_sparse_step`-th.
fn dense_layers(raw: &HfConfig, check: &Checker<'_>) -> Result<Vec<u32>, SourceError> {
    let layers = check.dimension("num_hidden_layers", raw.num_hidden_layers, 1024)?;
    let step =
        raw.decoder_sparse_step.map_or(Ok(1), |step| check.dimension("decoder_sparse_step", step, 1024))?;
    let dense = |layer: &u32| raw.mlp_only_layers.contains(layer) || !(layer + 1).is_multiple_of(step);
    Ok(if raw.num_experts.is_some() { (0..layers).filter(dense).collect() } else { Vec::new() })
}

/// Refuses what the engine would compute wrongly.
fn supported(raw: &HfConfig, check: &Checker<'_>) -> Result<(), SourceError> {
    let kind = raw.model_type.as_str();
    let Some((_, architecture)) = FAMILIES.iter().find(|(family, _)| *family == kind) else {
        let known: Vec<String> = FAMILIES.iter().map(|(family, _)| format!("{family:?}")).collect();
        let message = format!("model_type {kind:?} is not supported, only {}", known.join(", "));
        return Err(check.error("model_type", message));
    };
    if let Some(architectures) = &raw.architectures {
        let known = architectures.iter().all(|name| name == architecture);
        check.refuse_unless(known, "architectures", &format!("architectures must be [{architecture:?}]"))?;
    }
    let act = raw.hidden_act.as_deref().unwrap_or("silu");
    check.refuse_unless(act == "silu", "hidden_act", "hidden_act must be \"silu\"")?;
    check.refuse_unless(!raw.attention_bias, "attention_bias", "attention_bias is not supported")?;
    check.refuse_unless(!raw.mlp_bias, "mlp_bias", "mlp_bias is not supported")?;
    check.refuse_unless(
        !raw.use_sliding_window,
        "use_sliding_window",
        "a sliding window is not supported",
    )?;
    let mixture = kind == "qwen3_moe";
    check.refuse_unless(
        raw.num_experts.is_some() == mixture,
        "num_experts",
        if mixture { "there is no num_experts" } else { "this model_type has no experts" },
    )?;
    check.refuse_unless(
        !mixture || raw.moe_intermediate_size.is_some(),
        "moe_intermediate_size",
        "there is no moe_intermediate_size",
    )?;
    let whole = raw.quantization_config.as_ref().is_none_or(Value::is_null);
    check.refuse_unless(whole, "quantization_config", "quantized weights are not supported")
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog;

    /// The tiny catalog model as Hugging Face writes it.
    pub(in crate::source) const TINY: &str = r#"{
  "architectures": ["Qwen3ForCausalLM"],
  "attention_bias": false,
  "attention_dropout": 0.0,
  "bos_token_id": 151643,
  "hidden_act": "silu",
  "hidden_size": 64,
  "intermediate_size": 160,
  "max_position_embeddings": 2048,
  "model_type": "qwen3",
  "num_attention_heads": 4,
  "num_hidden_layers": 2,
  "num_key_value_heads": 2,
  "rms_norm_eps": 1e-6,
  "rope_scaling": null,
  "rope_theta": 1000000,
  "sliding_window": null,
  "tie_word_embeddings": true,
  "torch_dtype": "bfloat16",
  "use_sliding_window": false,
  "vocab_size": 1024
}
"#;

    #[test]
    fn the_usual_fields_are_accepted() {
        assert_eq!(Some(&parse("config.json", TINY).unwrap()), catalog::model("qwen3-tiny"));
        let newer = TINY.replace(
            "\"rope_scaling\": null,\n  \"rope_theta\": 1000000,",
            "\"rope_parameters\": {\"rope_theta\": 1000000, \"rope_type\": \"default\"},",
        );
        assert_eq!(Some(&parse("config.json", &newer).unwrap()), catalog::model("qwen3-tiny"));
    }

    #[test]
    fn what_is_not_run_is_refused_at_its_place() {
        let cases = [
            ("\"hidden_size\": 64", "\"hidden_size\": 4000000000"),
            ("\"hidden_size\": 64", "\"hidden_size\": -64"),
            ("\"hidden_size\": 64", "\"hidden_size\": 66"),
            ("\"hidden_size\": 64", "\"head_dim\": 15, \"hidden_size\": 64"),
            ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"),
            ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 0"),
            ("\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"yarn\"}"),
            ("\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": -2}"),
            ("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 2}"),
            ("\"rope_theta\": 1000000", "\"rope_theta\": 1e999"),
            ("\"rope_theta\": 1000000,", ""),
            ("\"qwen3\"", "\"llama\""),
            ("\"qwen3\"", "\"gpt2\""),
            ("\"vocab_size\": 1024", "\"num_experts\": 4, \"num_experts_per_tok\": 2, \"vocab_size\": 1024"),
            ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM"),
            ("\"vocab_size\": 1024", "\"vocab_size\": 1024,"),
            ("\"vocab_size\": 1024", "\"vocab_size\": 99999999"),
            ("\"rms_norm_eps\": 1e-6", "\"rms_norm_eps\": 0"),
            ("\"attention_bias\": false", "\"attention_bias\": true"),
            ("\"silu\"", "\"gelu\""),
            ("\"torch_dtype\"", "\"quantization_config\": {}, \"torch_dtype\""),
            ("\"model_type\": \"qwen3\",", ""),
        ];
        let found: Vec<String> = cases
            .iter()
            .map(|(from, to)| {
                assert!(TINY.contains(from), "{from}");
                parse("config.json", &TINY.replacen(from, to, 1)).unwrap_err().to_string()
            })
            .collect();
        insta::assert_snapshot!(found.join("\n"), @r#"
        config.json:7:3: hidden_size 4000000000 is not between 1 and 131072
        config.json:7:20: invalid value: integer `-64`, expected u64
        config.json:7:3: num_attention_heads does not divide hidden_size, and there is no head_dim
        config.json:7:3: head_dim must be even: rotary embedding turns pairs
        config.json:13:3: num_key_value_heads does not divide num_attention_heads
        config.json:13:3: num_key_value_heads 0 is not between 1 and 4
        config.json:15:3: rope_type "yarn" has no factor
        config.json:15:38: factor -2 is not between 0 and 1e6
        config.json:15:20: rope_type "dynamic" is not supported, only "default", "linear", "llama3" and "yarn"
        config.json:16:21: number out of range
        config.json:1:1: there is no rope_theta
        config.json:2:3: architectures must be ["LlamaForCausalLM"]
        config.json:10:3: model_type "gpt2" is not supported, only "qwen3", "qwen3_moe", "llama"
        config.json:21:3: this model_type has no experts
        config.json:2:3: architectures must be ["Qwen3ForCausalLM"]
        config.json:22:1: trailing comma
        config.json:21:3: vocab_size 99999999 is not between 1 and 4194304
        config.json:14:3: rms_norm_eps is not between 0 and 1
        config.json:3:3: attention_bias is not supported
        config.json:6:3: hidden_act must be "silu"
        config.json:19:3: quantized weights are not supported
        config.json:22:1: missing field `model_type`
        "#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn mutated_configs_never_panic(at in 0usize..1000, byte: u8, cut: bool) {
            let mut bytes = TINY.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(if cut { at } else { bytes.len() });
            let _ = parse("config.json", &String::from_utf8_lossy(&bytes));
        }
    }
}
