//! A profile whose durations follow formulas, as the text of its files, for tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{DenseLayer, KernelProfile, KernelProfileError, parse_kernel_profile};

/// Files by name.
#[derive(Debug, Clone)]
pub struct Files(pub BTreeMap<String, String>);

/// Attention of one layer, µs: linear along each axis.
pub fn attention_us(chunk: f64, kv_before: f64, decodes: f64, kv: f64) -> f64 {
    5.0 + chunk / 10.0 + chunk * kv_before / 100.0 + decodes * kv / 10.0 + chunk * decodes / 50.0
}

/// A dense layer, µs, at the counts that were profiled.
pub fn dense_us(layer: DenseLayer, tokens: u32) -> f64 {
    f64::from(layer as u32 + 1) + f64::from(tokens) / 4.0
}

/// Counts of tokens that were profiled.
pub const TOKENS: [u32; 6] = [1, 2, 4, 16, 32, 64];

/// The experts' block, µs.
pub fn experts_us(tokens: f64, experts: f64) -> f64 {
    3.0 + tokens + 2.0 * experts
}

const META: &str = "\
model: example/tiny
hardware: CARD
gpu: A Card
variant: bf16
vllm_version: 0.19.0
tp_degrees: [1, 2]
engine_effective:
  max_num_batched_tokens: 64
  max_num_seqs: 4
  hf_overrides:
    num_hidden_layers: 1
attention_grid:
  max_kv: 64
  chunks: 0, 16-64 x2
  n_decode: 0, 1-4 x2
  kv: 0, 16-64 x2
skew_profile:
  enabled: true
";

/// A dense model at degrees 1 and 2, uneven KV lengths profiled. Degree 2 takes as long as degree 1.
pub fn dense() -> Files {
    let mut dense = "layer,tokens,time_us\n".to_owned();
    for layer in DenseLayer::ALL {
        for tokens in TOKENS {
            let _ = writeln!(dense, "{},{tokens},{}", layer.name(), dense_us(layer, tokens));
        }
    }
    let mut sequences = "layer,sequences,time_us\n".to_owned();
    for count in [1, 2, 4] {
        let _ = writeln!(
            sequences,
            "lm_head,{count},{}\nsampler,{count},{}",
            10 + count,
            1.0 + f64::from(count) / 2.0
        );
    }
    let mut attention = "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n".to_owned();
    for chunk in [0, 16, 32, 64] {
        for before in [0, 16, 32, 64] {
            for decodes in [0, 1, 2, 4] {
                for kv in [0, 16, 32, 64] {
                    let point = (chunk > 0 || (before == 0 && decodes > 0)) && (decodes == 0) == (kv == 0);
                    // No sequence is left for a chunk beside four decodes.
                    if !point || (chunk > 0 && decodes == 4) {
                        continue;
                    }
                    let [c, b, n, k] = [chunk, before, decodes, kv].map(f64::from);
                    let _ =
                        writeln!(attention, "{chunk},{before},{decodes},{kv},{}", attention_us(c, b, n, k));
                }
            }
        }
    }
    // Sums: decodes alone 2 of 10 and 3 of 10 for 2 and 4; beside a chunk 5 of 10.
    let skew = "\
regime,n,nb,ratio,skew,pc,kp,kvs,kv_big,kv_mean,t_mean_us,t_max_us,t_skew_us,alpha
pure,2,1,0.5,4.0,0,0,16,64,40,30,34,31,0.25
pure,2,1,0.5,4.0,0,0,16,64,40,30,36,31,0.1667
pure,4,1,0.25,4.0,0,0,16,64,28,30,40,33,0.3
mixed,2,1,0.5,4.0,16,0,16,64,40,30,30,30,nan
mixed,2,1,0.5,4.0,16,0,16,64,40,30,40,35,0.5
";
    let mut files = BTreeMap::from([("meta.yaml".to_owned(), META.to_owned())]);
    for degree in ["tp1", "tp2"] {
        for (name, text) in [
            ("dense.csv", dense.as_str()),
            ("per_sequence.csv", &sequences),
            ("attention.csv", &attention),
            ("skew.csv", skew),
        ] {
            files.insert(format!("{degree}/{name}"), text.to_owned());
        }
    }
    Files(files)
}

/// The same with experts in place of the MLP.
pub fn experts() -> Files {
    let mut files = dense();
    for degree in ["tp1", "tp2"] {
        let dense = files.0.get_mut(&format!("{degree}/dense.csv")).unwrap();
        let kept = dense.lines().filter(|line| {
            !["gate_up_proj", "act_fn", "down_proj"].iter().any(|layer| line.starts_with(layer))
        });
        *dense = kept.fold(String::new(), |text, line| text + line + "\n");
    }
    let mut table = "tokens,activated_experts,time_us\n".to_owned();
    for tokens in [1, 2, 4, 8, 16, 32, 64] {
        for count in [2, 4, 8] {
            if count <= 2 * tokens {
                let _ = writeln!(table, "{tokens},{count},{}", experts_us(tokens.into(), count.into()));
            }
        }
    }
    files.0.insert("tp1/moe.csv".to_owned(), table);
    files
}

impl Files {
    /// Writes them into a folder.
    pub fn write(&self, folder: &std::path::Path) {
        for (name, text) in &self.0 {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    /// Reads them.
    pub fn read(&self, tensor: u32) -> Result<KernelProfile, KernelProfileError> {
        let file = |name: &str| self.0.get(name).map(|text| text.clone().into_bytes());
        parse_kernel_profile(&self.0["meta.yaml"], tensor, file)
    }

    /// The same files with the first place of `from` in one of them replaced.
    pub fn with(&self, name: &str, from: &str, to: &str) -> Self {
        let mut files = self.clone();
        let text = files.0.get_mut(name).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}:\n{text}");
        *text = text.replacen(from, to, 1);
        files
    }
}
