//! `backend "transformers"`, with a shell script in the place of Python.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::project::{Project, both};

const SPEC: &str = r#"experiment "padded" {
    model "qwen3-tiny"
    hardware "cpu" threads=1
    workload "few" {
        requests 5
        lengths "uniform" min=12 max=24
        arrivals "poisson" qps=100
    }
    backend "transformers" max-batch-size=2 kv-memory="4MiB" step-timeout="1s" requirements="list.txt"
    backend "sim"
    compare real="transformers" sim="sim" repeats=2
}
"#;

fn project() -> Project {
    let project = Project::empty();
    project.write("experiments/padded.kdl", SPEC);
    project.write("list.txt", "torch==1.0\ntransformers==2.0\n");
    project
}

/// `xp` with the fake worker, which misbehaves in a way.
fn xp(project: &Project, misbehaves: &str, args: &[&str]) -> (Option<i32>, String) {
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/worker/fake.sh");
    let mut command = project.command(args);
    command.env("XP_PYTHON", fake).env("FAKE_WORKER", misbehaves);
    let output = command.output().unwrap();
    let text = both(&output);
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code(), text)
}

fn json(project: &Project, folder: &Path, file: &str) -> serde_json::Value {
    let name = folder.strip_prefix(project.path("")).unwrap().join(file);
    serde_json::from_slice(&project.read(name.to_str().unwrap())).unwrap()
}

#[test]
fn transformers_is_profiled_simulated_measured_and_reported() {
    let project = project();
    let (code, text) = xp(&project, "", &["run", "experiments/padded.kdl"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(project.read("reports/padded.pdf").starts_with(b"%PDF-"));
    let lock = String::from_utf8(project.read("locks/padded.lock.kdl")).unwrap();
    assert!(lock.contains("packages \"torch==1.0\" \"transformers==2.0\""), "{lock}");
    let profile = json(&project, &project.only("profiles"), "steps.json");
    assert!(profile["engine"].as_str().unwrap().ends_with(", torch==1.0, transformers==2.0"), "{profile}");
    let runs = crate::project::folders(&project.path("runs/real_runs"));
    assert_eq!(runs.len(), 2);
    let meta = json(&project, &runs[0], "run_meta.json");
    assert_eq!(meta["scheduler"]["policy"], "static");
    assert_eq!(meta["worker"]["packages"][0], serde_json::json!(["torch", "1.0"]));
    assert_eq!(meta["worker"]["attention"], "fake");

    let (code, text) = xp(&project, "", &["run", "locks/padded.lock.kdl"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("not made yet"), "{text}");

    // Other packages are measured again, and the reason is told.
    project.write("list.txt", "torch==1.1\ntransformers==2.0\n");
    let text = project.fails(1, &["lock", "--check", "experiments/padded.kdl"]);
    assert!(text.contains(r#"worker.packages: locked "torch==1.0""#), "{text}");
    let (code, text) = xp(&project, "", &["run", "experiments/padded.kdl"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("has torch 1.0, the lock pins"), "{text}");
}

#[test]
fn a_worker_that_misbehaves_ends_the_run_with_a_reason() {
    for (misbehaves, code, says) in [
        ("die", "xp::worker::died", "Segmentation fault"),
        ("hang", "xp::worker::timeout", "within 1 s"),
        ("garbage", "xp::worker::garbage", "Loading weights"),
        ("memory", "xp::worker::out_of_memory", "tried to allocate"),
    ] {
        let project = project();
        let started = Instant::now();
        let (exit, text) = xp(&project, misbehaves, &["real", "experiments/padded.kdl", "--out", "out"]);
        assert_eq!(exit, Some(2), "{misbehaves}: {text}");
        // How many requests were in the batch is up to the time it took, and so is where a line ends.
        let text = text.replace("\n  │ ", " ");
        assert!(text.contains(code) && text.contains(says), "{misbehaves}: {text}");
        assert!(started.elapsed() < Duration::from_secs(60), "{misbehaves}");
        assert!(!project.path("out").join("run_meta.json").exists(), "{misbehaves}");
    }
}

#[test]
fn a_list_of_packages_is_exact() {
    let project = project();
    project.write("list.txt", "torch==1.0\ntransformers>=2\n");
    let text = project.fails(1, &["lock", "experiments/padded.kdl"]);
    assert!(text.contains("xp::worker::requirements") && text.contains("transformers>=2"), "{text}");
    assert!(text.contains("[list.txt:2:1]"), "{text}");
    project.write("list.txt", "torch==1.0\n");
    let text = project.fails(1, &["lock", "experiments/padded.kdl"]);
    assert!(text.contains("does not say which version of transformers"), "{text}");
}

/// Needs Python with the packages of xp's own list: name it in `XP_TEST_PYTHON`. `.ci/run` does.
#[test]
fn the_real_worker_computes_the_tokens_of_xps_own_engine() {
    let Some(python) = std::env::var_os("XP_TEST_PYTHON") else {
        println!("skipped: XP_TEST_PYTHON names no Python with torch and transformers");
        return;
    };
    let project = Project::empty();
    let tokens = |name: &str, backend: &str, policy: &str| -> Vec<String> {
        let spec = SPEC.replace(" requirements=\"list.txt\"", "").replace("1s", "120s");
        let spec = match backend {
            "transformers" => spec.replace("max-batch-size=2", policy),
            _ => spec.replace("backend \"transformers\"", "backend \"candle\" scheduler=\"static\""),
        };
        let spec = spec
            .replace(" step-timeout=\"120s\"", "")
            .replace("real=\"transformers\"", &format!("real=\"{backend}\""));
        project.write(&format!("experiments/{name}.kdl"), spec);
        let target = format!("experiments/{name}.kdl");
        let mut command = project.command(&["real", &target, "--out", name]);
        let output = command.env("XP_PYTHON", &python).output().unwrap();
        assert!(output.status.success(), "{}", both(&output));
        let text = String::from_utf8(project.read(&format!("{name}/token_metrics.csv"))).unwrap();
        let columns = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            format!("{} {} {}", cells[0], cells[1], cells[4])
        };
        text.lines().map(columns).collect()
    };
    let own = tokens("own", "candle", "");
    assert!(own.len() > 10, "{own:?}");
    assert_eq!(tokens("batched", "transformers", "max-batch-size=4"), own);
    assert_eq!(tokens("single", "transformers", "max-batch-size=1"), own);
}
