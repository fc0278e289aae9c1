//! xp beside the tools that people know, in one run, on the same files, taking turns.
//!
//! `cargo bench --bench peers`. Needs some 6 GB in the temporary folder; `dvc` and `openssl` are left
//! out where they are not on the PATH (`pip install dvc`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use xp::catalog::ModelConfig;
use xp::source::tensor_table;
use xp::store::digest_file;

const XP: &str = env!("CARGO_BIN_EXE_xp");

/// A dense model of two shards, 2 GB in bf16.
const CONFIG: &str = r#"{
  "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu",
  "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 19,
  "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
  "vocab_size": 4096, "max_position_embeddings": 4096, "rope_theta": 1000000.0,
  "rms_norm_eps": 1e-06, "tie_word_embeddings": true, "attention_bias": false
}
"#;

const EXPERIMENT: &str = r#"experiment "big" {
    model "big" dtype="bf16" {
        source "path" "models/big"
    }
    workload "chat" requests=64 {
        lengths "zipf" min=80 max=400
        arrivals "poisson" qps=2
    }
    backend "sarathi"
}
"#;

fn main() {
    // `cargo test --benches` only asks whether it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let project = tempfile::tempdir().expect("a temporary folder");
    let root = project.path();
    std::fs::create_dir_all(root.join("experiments")).expect("a folder");
    std::fs::write(root.join("experiments/big.kdl"), EXPERIMENT).expect("a file");
    let weights = model(&root.join("models/big"));
    let bytes: u64 = weights.iter().map(|path| std::fs::metadata(path).expect("a file").len()).sum();
    println!("a model of {:.2} GB in {} files", bytes as f64 / 1e9, weights.len());
    hashing(&weights);
    checking(root);
}

/// One file against `openssl dgst -sha256`, then both files at once.
fn hashing(weights: &[PathBuf]) {
    let one = &weights[0];
    let size = std::fs::metadata(one).expect("a file").len() as f64;
    let xp = || {
        digest_file(one).expect("a digest");
    };
    let openssl = || run(Command::new("openssl").args(["dgst", "-sha256"]).arg(one));
    // Once unseen, so that both find the file in memory.
    xp();
    if !is_there("openssl") {
        println!("sha256: openssl is not here");
        return;
    }
    let [ours, theirs] = turns(5, [&xp, &openssl]);
    println!(
        "sha256 of {:.2} GB: xp {:.2} GB/s, openssl {:.2} GB/s: xp has {:.2} of openssl's rate",
        size / 1e9,
        size / ours / 1e9,
        size / theirs / 1e9,
        theirs / ours
    );
    let both = || {
        std::thread::scope(|scope| {
            weights.iter().for_each(|path| {
                scope.spawn(|| digest_file(path).expect("a digest"));
            })
        });
    };
    let [parallel, single] = turns(3, [&both, &xp]);
    println!("{} such files in parallel take {:.2} times as long as one", weights.len(), parallel / single);
}

/// `xp lock --check` against `dvc status`, nothing having changed.
fn checking(root: &Path) {
    let xp = |arguments: &[&str]| run(Command::new(XP).args(arguments).current_dir(root));
    // A file that changed in the last two seconds is not trusted to stay as it is.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let started = Instant::now();
    xp(&["lock", "experiments/big.kdl"]);
    println!("first `xp lock`: {:.2} s", started.elapsed().as_secs_f64());
    let check = || xp(&["lock", "--check", "experiments/big.kdl"]);
    if !is_there("dvc") {
        let [ours] = turns(20, [&check]);
        println!("`xp lock --check`: {:.1} ms; dvc is not here", 1e3 * ours);
        return;
    }
    let dvc = |arguments: &[&str]| run(Command::new("dvc").args(arguments).current_dir(root));
    dvc(&["init", "--no-scm", "--quiet"]);
    dvc(&["add", "--quiet", "models/big"]);
    let status = || dvc(&["status", "--quiet"]);
    status();
    let [ours, theirs] = turns(20, [&check, &status]);
    println!(
        "`xp lock --check` {:.1} ms, `dvc status` {:.1} ms: xp is {:.0} times as fast",
        1e3 * ours,
        1e3 * theirs,
        theirs / ours
    );
}

/// Median seconds of each function, `count` times in turn.
fn turns<const N: usize>(count: usize, functions: [&dyn Fn(); N]) -> [f64; N] {
    let mut seconds: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..count {
        for (function, seconds) in functions.iter().zip(&mut seconds) {
            let started = Instant::now();
            function();
            seconds.push(started.elapsed().as_secs_f64());
        }
    }
    seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    })
}

fn is_there(program: &str) -> bool {
    let version = if program == "openssl" { "version" } else { "--version" };
    let asked = Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Writes the model; returns its shards.
fn model(folder: &Path) -> Vec<PathBuf> {
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("config.json"), CONFIG).expect("a file");
    let config: ModelConfig = serde_json::from_value({
        let all: serde_json::Value = serde_json::from_str(CONFIG).expect("JSON");
        let known = [
            "model_type",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "vocab_size",
            "max_position_embeddings",
            "rope_theta",
            "rms_norm_eps",
            "tie_word_embeddings",
        ];
        known.iter().map(|name| (name.to_string(), all[*name].clone())).collect()
    })
    .expect("a config");
    std::fs::write(
        folder.join("tokenizer.json"),
        xp::model::train_synthetic(config.vocab_size).expect("a tokenizer"),
    )
    .expect("a file");
    let tensors = tensor_table(&config);
    let mut index = serde_json::Map::new();
    let halves = tensors.chunks(tensors.len().div_ceil(2));
    let paths = (1..).zip(halves).map(|(number, half)| {
        let name = format!("model-{number}.safetensors");
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for tensor in half {
            let start = end;
            end += 2 * tensor.elements();
            let entry =
                serde_json::json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [start, end] });
            header.insert(tensor.name.clone(), entry);
            index.insert(tensor.name.clone(), name.clone().into());
        }
        let path = folder.join(&name);
        let header = serde_json::to_vec(&header).expect("JSON");
        let mut file = BufWriter::new(File::create(&path).expect("a file"));
        file.write_all(&(header.len() as u64).to_le_bytes()).expect("space");
        file.write_all(&header).expect("space");
        // Neither zeros, which a file system may not store, nor worth a generator.
        let mut block: Vec<u8> =
            (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut left = end as usize;
        while left > 0 {
            let length = left.min(block.len());
            file.write_all(&block[..length]).expect("space");
            block[0] = block[0].wrapping_add(1);
            left -= length;
        }
        file.into_inner().expect("space").sync_all().expect("synced");
        path
    });
    let paths: Vec<PathBuf> = paths.collect();
    let index = serde_json::json!({ "weight_map": index });
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("a file");
    paths
}
