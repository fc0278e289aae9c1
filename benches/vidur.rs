//! xp beside Vidur itself, in one run: the same trace, profile, predictor and scheduler.
//!
//! `XP_VIDUR=FOLDER cargo bench --bench vidur`. The folder has a checkout of microsoft/vidur (7d47513) in `src/`, a
//! virtual environment for it in `venv/`, and `attention.csv` beside the `mlp.csv` of Llama-2-7b on an A100, which
//! that commit does not have. `XP_REQUESTS` is 16,000 unless it is said. Both are held to one core.
//!
//! Vidur writes one row a request, and distributions. xp is timed with as much (`log "requests"`), and with its whole
//! contract: every step with its members, every token with its time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use xp::progress::Silent;
use xp::sim::{Deployed, simulate, simulate_requests};

const XP: &str = env!("CARGO_BIN_EXE_xp");
const MODEL: &str = "meta-llama/Llama-2-7b-hf";

const CONFIG: &str = r#"{ "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32768,
"max_position_embeddings": 4096, "tie_word_embeddings": false }"#;

/// Blocks and watermark are those that Vidur's memory planner comes to.
const EXPERIMENT: &str = r#"experiment "vidur" {
    model "meta-llama/Llama-2-7b-hf" dtype="f16" {
        source "config" "model.json"
    }
    hardware "a100" memory="80GiB"
    workload "conversations" {
        trace "trace.csv" format="vidur" max-tokens=4096
        arrivals "recorded"
    }
    backend "sarathi" kind="engine" {
        compat "vidur"
        chunk-size 512
        max-batch-size 128
        kv-blocks 7424
    }
    backend "sim" {
        profile "profile"
        predictor "linear"
        grid degree=2 include-bias=#true interaction-only=#false fit-intercept=#true
        vidur "a100"
    }
}
"#;

/// Vidur's parts, timed: seconds of CPU and of the clock, and the number of batches.
const TIMED: &str = r#"
import json, os, sys, time
marks = [("start", time.process_time(), time.perf_counter())]
def mark(name):
    marks.append((name, time.process_time(), time.perf_counter()))
sys.path.insert(0, os.getcwd())
from vidur.config import SimulationConfig
from vidur.entities import Batch
from vidur.simulator import Simulator
from vidur.utils.random import set_seeds
import atexit
mark("import")
config = SimulationConfig.create_from_cli_args()
set_seeds(config.seed)
simulator = Simulator(config)
atexit.unregister(simulator._write_output)
mark("init")
simulator.run()
mark("run")
simulator._write_output()
mark("output")
parts = {name: [cpu - before[1], clock - before[2]] for before, (name, cpu, clock) in zip(marks, marks[1:])}
print("TIMED " + json.dumps({"batches": Batch._id + 1, "parts": parts}))
"#;

fn main() {
    // `cargo test --benches` only asks whether it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let Some(vidur) = std::env::var_os("XP_VIDUR").map(PathBuf::from) else {
        println!("skipped: XP_VIDUR does not say where Vidur is");
        return;
    };
    let requests = std::env::var("XP_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(16_000);
    let project = tempfile::tempdir().expect("a temporary folder");
    let root = project.path();
    write_project(root, &vidur, requests);

    // Trained from the tables, then with what was kept.
    let cold = Vidur::run(&vidur, root);
    let cold_xp = seconds(3, || {
        let _ = std::fs::remove_dir_all(root.join(".xp"));
        simulate_whole(root, "requests");
    });
    // As an experiment is before it is simulated.
    xp(root, &["lock", "experiments/vidur.kdl"]);
    simulate_whole(root, "requests");
    let warm = [(); 2].map(|()| Vidur::run(&vidur, root));
    let warm_xp = seconds(9, || simulate_whole(root, "requests"));
    let warm_all = seconds(5, || simulate_whole(root, "steps"));
    let warm_whole = warm[0].whole.min(warm[1].whole);
    let vidur_loop = warm[0].event_loop.min(warm[1].event_loop);
    let (xp_loop, xp_log, steps) = event_loop(root);

    println!("{requests} requests; Vidur forms {} batches, xp {steps}", cold.batches);
    let line = |what: &str, theirs: f64, ours: f64| {
        println!("{what}: Vidur {theirs:.2} s, xp {:.1} ms: {:.0} times as fast", 1e3 * ours, theirs / ours);
    };
    line("event loop, CPU time", vidur_loop, xp_loop);
    line("whole process, trained before", warm_whole, warm_xp);
    line("whole process, training included", cold.whole, cold_xp);
    line("event loop with the log of steps", vidur_loop, xp_log);
    line("whole process with steps and tokens written", warm_whole, warm_all);
}

/// Lengths as published, in turn, at 6 requests a second.
fn write_project(root: &Path, vidur: &Path, requests: usize) {
    let data = vidur.join("src/data");
    let published =
        std::fs::read_to_string(data.join("processed_traces/splitwise_conv.csv")).expect("lengths");
    let mut rows = published.lines();
    let header: Vec<&str> = rows.next().expect("a header").split(',').collect();
    let column = |name: &str| header.iter().position(|known| *known == name).expect("a column");
    let (prefill, decode) = (column("num_prefill_tokens"), column("num_decode_tokens"));
    let lengths: Vec<(u32, u32)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(',').collect();
            let number = |at: usize| cells[at].parse::<f64>().expect("a number") as u32;
            // Longer ones lose the end of their prompts, as Vidur cuts them.
            let decode = number(decode).min(4095);
            (number(prefill).min(4096 - decode), decode)
        })
        .filter(|(prefill, decode)| *prefill > 0 && *decode > 0)
        .collect();
    let mut text = "arrived_at,num_prefill_tokens,num_decode_tokens\n".to_owned();
    let (mut state, mut at) = (42_u64, 0.0_f64);
    for (prefill, decode) in lengths.iter().cycle().take(requests) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = ((state >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        at -= share.ln() / 6.0;
        text += &format!("{at:.9},{prefill},{decode}\n");
    }
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("trace.csv", &text);
    write("model.json", CONFIG);
    write("experiments/vidur.kdl", EXPERIMENT);
    write("timed.py", TIMED);
    for table in ["mlp.csv", "attention.csv"] {
        let name = format!("compute/a100/{MODEL}/{table}");
        let from = std::fs::read_to_string(data.join("profiling").join(&name)).expect("a table");
        write(&format!("profile/{name}"), &from);
    }
}

/// A run of Vidur, in seconds.
struct Vidur {
    batches: u64,
    /// CPU time of `Simulator.run`.
    event_loop: f64,
    whole: f64,
}

impl Vidur {
    fn run(vidur: &Path, root: &Path) -> Self {
        const REGRESSION: &str = "--linear_regression_execution_time_predictor_config_";
        let path = |name: &str| root.join(name).display().to_string();
        let (trace, cache, out) = (path("trace.csv"), path("cache"), path("out"));
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(vidur.join("venv/bin/python")).arg(root.join("timed.py"));
        command.current_dir(vidur.join("src")).args([
            "--replica_config_device",
            "a100",
            "--request_generator_config_type",
            "trace_replay",
            "--trace_request_generator_config_trace_file",
            &trace,
            "--replica_scheduler_config_type",
            "sarathi",
            "--execution_time_predictor_config_type",
            "linear_regression",
            "--no-metrics_config_store_plots",
            "--no-metrics_config_enable_chrome_trace",
            "--metrics_config_cache_dir",
            &cache,
            "--metrics_config_output_dir",
            &out,
        ]);
        for (setting, value) in [
            ("polynomial_degree", "2"),
            ("polynomial_include_bias", "true"),
            // The one way to say false.
            ("polynomial_interaction_only", ""),
            ("fit_intercept", "true"),
        ] {
            command.arg(format!("{REGRESSION}{setting}")).arg(value);
        }
        let started = Instant::now();
        let output = command.output().expect("Vidur starts");
        let whole = started.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stdout);
        let timed = said.lines().find_map(|line| line.strip_prefix("TIMED "));
        let Some(timed) = timed else { panic!("{}", String::from_utf8_lossy(&output.stderr)) };
        let timed: serde_json::Value = serde_json::from_str(timed).expect("JSON");
        Self {
            batches: timed["batches"].as_u64().expect("a number"),
            event_loop: timed["parts"]["run"][0].as_f64().expect("seconds"),
            whole,
        }
    }
}

/// `xp sim`: reads the experiment, the trace and the tables, simulates, and writes what `log` says.
fn simulate_whole(root: &Path, log: &str) {
    let out = root.join("simulated");
    let _ = std::fs::remove_dir_all(&out);
    let mut command = Command::new("taskset");
    command.args(["-c", "0", XP, "sim", "experiments/vidur.kdl", "--bundle", "profile"]);
    command.arg("--set").arg(format!("backend.sim.log={log}")).arg("--out");
    let output = command.arg(&out).current_dir(root).output().expect("xp starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn xp(root: &Path, arguments: &[&str]) {
    let output = Command::new(XP).args(arguments).current_dir(root).output().expect("xp starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Seconds of the event loop, and with a log of steps; how many it makes. The predictor was trained before.
fn event_loop(root: &Path) -> (f64, f64, usize) {
    xp(root, &["run", "experiments/vidur.kdl"]);
    let lock = xp::lock::read(&root.join("locks/vidur.lock.kdl")).expect("a lock");
    let cell = &lock.experiment;
    let profile = xp::backend::read_profile(cell, &root.join("profile")).expect("a profile");
    let trained = root.join(".xp/trained");
    let predictor = xp::backend::predictor(&lock, 0, cell, &profile, Some(&trained)).expect("a predictor");
    let folder = std::fs::read_dir(root.join("runs/workloads")).expect("workloads").next();
    let (workload, _) =
        xp::workload::read_workload(&folder.expect("one").expect("it").path()).expect("a workload");
    let (scheduler, cluster) = (&lock.runs[0].scheduler, &lock.runs[0].cluster);
    let deployed = Deployed { scheduler, cluster, router_seed: 0 };
    let mut steps = 0;
    let alone = seconds(9, || {
        simulate_requests(&deployed, predictor.as_ref(), &workload, &Silent);
    });
    let logged = seconds(7, || {
        steps = simulate(&deployed, predictor.as_ref(), &workload, &Silent).steps.len();
    });
    (alone, logged, steps)
}

/// The least of `count` times, s.
fn seconds(count: usize, mut what: impl FnMut()) -> f64 {
    let time = |_| {
        let started = Instant::now();
        what();
        started.elapsed().as_secs_f64()
    };
    (0..count).map(time).fold(f64::INFINITY, f64::min)
}
