//! A kernel profile of a made-up GPU, whose durations follow formulas, and the model it is of.

use std::fmt::Write as _;

use crate::project::Project;
use xp::profile::llmservingsim::DenseLayer;

/// `config.json` of the model.
pub const CONFIG: &str = r#"{ "model_type": "llama", "hidden_size": 64, "intermediate_size": 160,
"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1024,
"max_position_embeddings": 512, "tie_word_embeddings": false }"#;

const META: &str = "\
model: example/tiny
hardware: CARD
gpu: GPU
variant: bf16
vllm_version: 0.19.0
tp_degrees: [1, 2]
engine_effective:
  max_num_batched_tokens: 64
  max_num_seqs: 16
attention_grid:
  max_kv: 256
  chunks: 0, 16-64 x2
  n_decode: 0, 1-16 x2
  kv: 0, 16-256 x2
skew_profile:
  enabled: false
";

/// Writes a profile into a folder: of a GPU by its name, whose kernels take `slowness` times as long as the formulas
/// say.
pub fn write(project: &Project, folder: &str, gpu: &str, slowness: f64) {
    project.write(&format!("{folder}/meta.yaml"), META.replace("GPU", gpu));
    let mut sequences = "layer,sequences,time_us\n".to_owned();
    for count in [1, 4, 16] {
        let us = f64::from(5 + count) * slowness;
        let _ = writeln!(sequences, "lm_head,{count},{us}\nsampler,{count},{}", 2.0 * slowness);
    }
    let (counts, mut attention) =
        ([0_u32, 16, 32, 64, 128, 256], "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n".to_owned());
    for chunk in counts.into_iter().filter(|chunk| *chunk <= 64) {
        for before in counts {
            for decodes in [0_u32, 1, 2, 4, 8, 16] {
                for kv in counts {
                    if (chunk > 0 || (before == 0 && decodes > 0)) && (decodes == 0) == (kv == 0) {
                        let us = 5.0 + f64::from(chunk * (before + 64) + decodes * kv) / 1000.0;
                        let _ = writeln!(attention, "{chunk},{before},{decodes},{kv},{}", us * slowness);
                    }
                }
            }
        }
    }
    for degree in [1, 2] {
        let mut dense = "layer,tokens,time_us\n".to_owned();
        for layer in DenseLayer::ALL {
            for tokens in [1, 8, 64] {
                let us = (4.0 + f64::from(tokens / degree) / 4.0) * slowness;
                let _ = writeln!(dense, "{},{tokens},{us}", layer.name());
            }
        }
        for (name, text) in [("dense", &dense), ("per_sequence", &sequences), ("attention", &attention)] {
            project.write(&format!("{folder}/tp{degree}/{name}.csv"), text);
        }
    }
}
