//! xp's engine beside Hugging Face transformers and llama.cpp, in turns in one run: Qwen3-0.6B's shape, two threads, the
//! same lengths.
//!
//! `XP_PEERS=PYTHON XP_PEERS_MODELS=FOLDER cargo bench --bench engine`. The interpreter has the packages of
//! `benches/engine/requirements.txt`; the folder is filled with models of random weights by `peers.py`. Words of a pair,
//! `bf16 transformers`, choose what is compared.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use xp::catalog;
use xp::engine::ComputeThreads;
use xp::machine::read_gb_per_s;
use xp::model::{Activations, Decoder, NoTimer, PagedKv, Sampler, Share, WeightReader, Weights};
use xp::spec::Dtype;

const THREADS: u32 = 2;
/// Prompt of the sequences that decode.
const PROMPT: usize = 128;
const STEPS: u32 = 20;
const ROUNDS: usize = 3;
const FIGURES: [&str; 4] = ["decode-1", "decode-8", "prefill-128", "prefill-512"];

/// xp's weights, the peer, and its weights.
const PAIRS: [(&str, &str, &str); 5] = [
    ("bf16", "llama.cpp", "bf16"),
    ("bf16", "transformers", "bf16"),
    ("bf16", "transformers", "f32"),
    ("q8_0", "llama.cpp", "q8_0"),
    ("q4_k", "llama.cpp", "q4_k"),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--bench")).collect();
    // `cargo test --benches` only asks whether it runs.
    if words.iter().any(|word| word == "--test") {
        return;
    }
    let (Some(python), Some(models)) = (std::env::var_os("XP_PEERS"), std::env::var_os("XP_PEERS_MODELS"))
    else {
        println!("skipped: XP_PEERS and XP_PEERS_MODELS do not say where the other engines and models are");
        return;
    };
    let models = PathBuf::from(models);
    let mut threads = ComputeThreads::new(THREADS).expect("threads");
    let chosen = |pair: &&(&str, &str, &str)| {
        words.iter().all(|word| [pair.0, pair.1, pair.2].contains(&word.as_str()))
    };
    for (ours, peer, theirs) in PAIRS.iter().filter(chosen) {
        // Peers make the files that they need, and xp reads the same ones.
        let maker = if *ours == "bf16" { "transformers" } else { "llama.cpp" };
        for (engine, weights) in [(maker, ours), (*peer, theirs)] {
            Peer::start(Path::new(&python), &models, engine, weights).measure(FIGURES[0]);
        }
        let mut peer_engine = Peer::start(Path::new(&python), &models, peer, theirs);
        compare(&mut threads, &mut Xp::load(&models, ours), &mut peer_engine, (ours, peer, theirs));
    }
}

fn compare(
    threads: &mut ComputeThreads,
    xp: &mut Xp,
    peer: &mut Peer,
    (ours, name, theirs): (&str, &str, &str),
) {
    let mut bandwidth = 0.0_f64;
    for what in FIGURES {
        let (mut mine, mut other) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            // The peer has the processors to itself: our threads are awake in here alone.
            let (read, measured) = threads.run(|| (read_gb_per_s(), xp.measure(what)));
            bandwidth = bandwidth.max(read);
            mine.push(measured);
            other.push(peer.measure(what));
        }
        let (mine, other) = (median(mine), median(other));
        let faster = if what.starts_with("decode") { other / mine } else { mine / other };
        let unit = if what.starts_with("decode") { "ms/step" } else { "tokens/s" };
        println!("{what}: xp {ours} {mine:.1} {unit}, {name} {theirs} {other:.1}: {faster:.2} times as fast");
        if what == "decode-1" {
            let read = xp.weight_bytes as f64 / (mine * 1e6);
            println!("  {read:.1} GB/s of weights, {:.2} of the {bandwidth:.1} GB/s read", read / bandwidth);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// xp's own engine, as it serves.
struct Xp {
    model: Decoder,
    kv: PagedKv,
    activations: Activations,
    weight_bytes: usize,
}

impl Xp {
    fn load(models: &Path, weights: &str) -> Self {
        let (source, config) = match weights {
            "bf16" => {
                let path = models.join("qwen3-0.6b/model.safetensors");
                (Weights::Safetensors(vec![path]), catalog::model("qwen3-0.6b").cloned().expect("a shape"))
            }
            _ => {
                let path = models.join(format!("qwen3-0.6b-{weights}.gguf"));
                let file = xp::model::GgufFile::open(&path).expect("a GGUF file");
                (Weights::Gguf(path), file.config().clone())
            }
        };
        let reader = WeightReader::open(&source).expect("weights");
        let model = Decoder::load(&config, &reader, Dtype::Bf16, 4096).expect("a model");
        let kv = PagedKv::new(28, 8 * 16, 16, 8, 128).expect("memory");
        let weight_bytes = model.weight_bytes();
        Self { model, kv, activations: Activations::default(), weight_bytes }
    }

    fn measure(&mut self, what: &str) -> f64 {
        let (kind, number) = what.split_once('-').expect("a figure");
        let number: usize = number.parse().expect("a number");
        match kind {
            "prefill" => self.prefill(number),
            _ => self.decode(number),
        }
    }

    /// Tokens/s.
    fn prefill(&mut self, tokens: usize) -> f64 {
        let prompt: Vec<u32> = (0..tokens as u32).map(|i| i * 977 % 151_936).collect();
        let blocks: Vec<u32> = (0..tokens.div_ceil(16) as u32).collect();
        let run = |xp: &mut Self| {
            let share = Share { tokens: &prompt, context: 0, blocks: &blocks, emits: true };
            let started = Instant::now();
            let logits = xp
                .model
                .forward(&[share], &mut xp.kv, &mut xp.activations, 28, &mut NoTimer)
                .expect("logits");
            std::hint::black_box(Sampler::greedy().sample(&logits, 0, 0));
            tokens as f64 / started.elapsed().as_secs_f64()
        };
        run(self);
        median((0..5).map(|_| run(self)).collect())
    }

    /// Milliseconds of a step.
    fn decode(&mut self, batch: usize) -> f64 {
        let per_request = (PROMPT + STEPS as usize + 3).div_ceil(16) as u32;
        let blocks: Vec<Vec<u32>> = (0..batch as u32)
            .map(|request| (0..per_request).map(|block| (request * per_request + block) % 128).collect())
            .collect();
        let mut next: Vec<u32> = (0..batch as u32).map(|request| request * 31 + 7).collect();
        let mut durations = Vec::new();
        for step in 0..STEPS + 2 {
            let started = Instant::now();
            let shares: Vec<Share> = next
                .iter()
                .zip(&blocks)
                .map(|(token, blocks)| Share {
                    tokens: std::slice::from_ref(token),
                    context: PROMPT as u32 + step,
                    blocks,
                    emits: true,
                })
                .collect();
            let logits = self
                .model
                .forward(&shares, &mut self.kv, &mut self.activations, 28, &mut NoTimer)
                .expect("logits");
            next = logits.chunks_exact(151_936).map(|row| Sampler::greedy().sample(row, 0, step)).collect();
            durations.push(started.elapsed().as_secs_f64() * 1e3);
        }
        median(durations.split_off(2))
    }
}

/// Another engine, in a Python process.
struct Peer {
    process: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &Path, models: &Path, engine: &str, weights: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/engine/peers.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(models)
            .args(["--engine", engine, "--weights", weights, "--interactive"])
            .args(["--threads", &THREADS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the peer starts");
        let asked = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, asked, answers }
    }

    fn measure(&mut self, what: &str) -> f64 {
        writeln!(self.asked, "{what}").expect("the peer listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the peer answers");
        let answer: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        answer["value"].as_f64().expect("a value")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
