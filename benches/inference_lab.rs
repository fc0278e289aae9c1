//! xp beside inference-lab, a roofline simulator in Rust, in one run: the same requests, event loop against event loop,
//! each on one core.
//!
//! `cargo install inference-lab --version 1.0.0`, then `XP_INFERENCE_LAB=$(command -v inference-lab) cargo bench
//! --bench inference_lab`. 100,000 requests of 500 and 100 tokens on two B200 with a model of 31 billion weights: at some
//! fifth of what they can serve, and at four times as much.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use xp::predictor::Predictor;
use xp::progress::Silent;
use xp::scheduler::{Batch, ClusterConfig, Policy, SchedulerConfig};
use xp::sim::{Deployed, simulate_requests};
use xp::spec::{Arrivals, Lengths, WorkloadSpec};
use xp::workload::{Seeds, Workload, generate};

const REQUESTS: u32 = 100_000;

const MODEL: &str = r#"model = "gemma-4-31b-it"

[scheduler]
max_num_batched_tokens = 8192
max_num_seqs = 4096
policy = "fcfs"
enable_chunked_prefill = true
block_size = 64

[hardware.b200]
tp = 2
"#;

/// A step takes as long as its arithmetic or its reading, whichever is longer (Williams, Waterman and Patterson,
/// "Roofline", CACM 52, 2009): two B200 of 2,250 TFLOP/s and 8 TB/s each.
struct Roofline;

impl Predictor for Roofline {
    fn step_ns(&self, batch: &Batch) -> u64 {
        let tokens = f64::from(batch.num_tokens());
        let chunks: u64 = batch.chunks.iter().map(|chunk| u64::from(chunk.context + chunk.tokens)).sum();
        let context = (batch.decodes.context_sum() + chunks) as f64;
        let compute_s = tokens * 2.0 * 31e9 / (2.0 * 2.25e15);
        let read_s = (62e9 + context * 200e3) / (2.0 * 8e12);
        (compute_s.max(read_s) * 1e9) as u64
    }
}

fn main() {
    // `cargo test --benches` only asks whether it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let Some(peer) = std::env::var_os("XP_INFERENCE_LAB") else {
        println!("skipped: XP_INFERENCE_LAB does not say where inference-lab is");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("model.toml"), MODEL).expect("a file");
    for (name, qps) in [("moderate", 20.0), ("saturated", 400.0)] {
        let theirs = (0..2).map(|_| inference_lab(Path::new(&peer), folder.path(), qps));
        let theirs = theirs.fold(f64::INFINITY, f64::min);
        let workload = workload(qps);
        let mut steps = 0;
        let mut ours = f64::INFINITY;
        for _ in 0..7 {
            let started = Instant::now();
            steps = xp(&workload);
            ours = ours.min(started.elapsed().as_secs_f64());
        }
        println!(
            "{name}, {qps} requests/s: inference-lab {theirs:.2} s, xp {:.1} ms ({steps} steps): {:.0} times as fast",
            1e3 * ours,
            theirs / ours
        );
    }
}

/// Seconds of its simulation, as it tells them.
fn inference_lab(peer: &Path, folder: &Path, qps: f64) -> f64 {
    let workload = format!(
        "arrival_pattern = \"poisson\"\narrival_rate = {qps:.1}\nnum_requests = {REQUESTS}\nseed = 42\n\
         [input_len_dist]\ntype = \"fixed\"\nvalue = 500\n[output_len_dist]\ntype = \"fixed\"\nvalue = 100\n"
    );
    std::fs::write(folder.join("workload.toml"), workload).expect("a file");
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(peer).args([
        "-c",
        "model.toml",
        "--hardware",
        "b200",
        "-w",
        "workload.toml",
    ]);
    let output = command.args(["-q", "--no-color"]).current_dir(folder).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = said.lines().find_map(|line| line.split_once("Real Time:")?.1.trim().strip_suffix('s'));
    told.and_then(|text| text.trim().parse().ok()).unwrap_or_else(|| {
        panic!("{said}{}", String::from_utf8_lossy(&output.stderr));
    })
}

fn workload(qps: f64) -> Workload {
    let spec = WorkloadSpec {
        name: "fixed".to_owned(),
        requests: Some(REQUESTS),
        trace: None,
        prompts: None,
        lengths: Some(Lengths::Fixed { prefill: 500, decode: Some(100) }),
        arrivals: Arrivals::Poisson { qps },
        sessions: None,
        decode_tokens: None,
        chat_template: false,
    };
    generate(&spec, &Seeds { prompts: 1, lengths: 2, arrivals: 3 }, None, Path::new(".")).expect("a workload")
}

fn xp(workload: &Workload) -> u64 {
    let scheduler = SchedulerConfig::new(Policy::VllmV1, (8192, 4096), (64, 16_000, 0), 131_072);
    let deployed = Deployed { scheduler: &scheduler, cluster: &ClusterConfig::default(), router_seed: 0 };
    let (run, totals) = simulate_requests(&deployed, &Roofline, workload, &Silent);
    assert!(run.requests.iter().all(|request| request.completion_time_ns.is_some()));
    totals.num_steps
}
