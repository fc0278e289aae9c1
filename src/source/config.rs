//! Hugging Face's `config.json` → [`ModelConfig`].

use serde::Deserialize;
use serde_json::Value;

use super::SourceError;
use super::error::json_place;
use crate::catalog::ModelConfig;

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
    rope_scaling: Option<Value>,
    /// Newer files keep what `rope_theta` and `rope_scaling` say in one place.
    rope_parameters: Option<RopeParameters>,
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    quantization_config: Option<Value>,
}

#[derive(Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
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
    })
}

/// Refuses what the engine would compute wrongly.
fn supported(raw: &HfConfig, check: &Checker<'_>) -> Result<(), SourceError> {
    let kind = raw.model_type.as_str();
    check.refuse_unless(
        kind == "qwen3",
        "model_type",
        &format!("model_type {kind:?} is not supported, only \"qwen3\""),
    )?;
    if let Some(architectures) = &raw.architectures {
        let known = architectures.iter().all(|name| name == "Qwen3ForCausalLM");
        check.refuse_unless(known, "architectures", "architectures must be [\"Qwen3ForCausalLM\"]")?;
    }
    let plain = raw.rope_scaling.as_ref().is_none_or(Value::is_null);
    check.refuse_unless(plain, "rope_scaling", "rope_scaling is not supported: it must be null")?;
    let rope_type = raw.rope_parameters.as_ref().and_then(|rope| rope.rope_type.as_deref());
    check.refuse_unless(
        rope_type.is_none_or(|kind| kind == "default"),
        "rope_type",
        "rope_type is not supported: it must be \"default\"",
    )?;
    let act = raw.hidden_act.as_deref().unwrap_or("silu");
    check.refuse_unless(act == "silu", "hidden_act", "hidden_act must be \"silu\"")?;
    check.refuse_unless(!raw.attention_bias, "attention_bias", "attention_bias is not supported")?;
    check.refuse_unless(
        !raw.use_sliding_window,
        "use_sliding_window",
        "a sliding window is not supported",
    )?;
    check.refuse_unless(raw.num_experts.is_none(), "num_experts", "a mixture of experts is not supported")?;
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
            ("\"rope_theta\": 1000000", "\"rope_theta\": 1e999"),
            ("\"rope_theta\": 1000000,", ""),
            ("\"qwen3\"", "\"llama\""),
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
        config.json:15:3: rope_scaling is not supported: it must be null
        config.json:16:21: number out of range
        config.json:1:1: there is no rope_theta
        config.json:10:3: model_type "llama" is not supported, only "qwen3"
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
