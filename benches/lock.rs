//! A lock of 10,000 runs: written, read, checked, diffed.
//!
//! `cargo bench --bench lock`. The readers of an edited lock (which takes the KDL parser) and of a
//! canonical one stand side by side.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use divan::Bencher;
use xp::lock::{self, Lock};
use xp::run::{Quiet, Request, Session};

fn main() {
    divan::main();
}

/// 100 × 100 runs; every row of the matrix has a workload of its own.
fn experiment() -> String {
    let values = |first: u32| (0..100).map(|n| (first + n).to_string()).collect::<Vec<_>>().join(" ");
    format!(
        r#"experiment "many" {{
    model "qwen3-tiny"
    workload "few" {{
        requests 4
        lengths "uniform" min=12 max=40
        arrivals "poisson" qps=50
    }}
    backend "sarathi" chunk-size=16 kv-memory="4MiB"
    matrix {{
        workload.arrivals.qps {}
        backend.sarathi.chunk-size {}
    }}
}}
"#,
        values(1),
        values(16)
    )
}

struct Project {
    folder: tempfile::TempDir,
    lock: Lock,
    text: String,
}

impl Project {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

/// A project with the lock of 10,000 runs.
static PROJECT: LazyLock<Project> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spec = folder.path().join("experiments/many.kdl");
    std::fs::create_dir_all(spec.parent().expect("it has one")).expect("a folder");
    std::fs::write(&spec, experiment()).expect("a file");
    let mut session =
        Session::open(Request { target: spec, ..Request::default() }, &Quiet).expect("resolves");
    session.pin().expect("locks");
    let path = folder.path().join("locks/many.lock.kdl");
    let lock = lock::read(&path).expect("a lock");
    assert_eq!(lock.runs.len(), 10_000);
    let text = lock.to_kdl();
    std::fs::write(folder.path().join("edited.lock.kdl"), text.replacen("root ", "root  ", 1))
        .expect("a file");
    let mut other = lock.clone();
    other.runs.iter_mut().step_by(2).for_each(|run| run.scheduler.max_batch_size += 1);
    std::fs::write(folder.path().join("other.lock.kdl"), other.to_kdl()).expect("a file");
    Project { folder, lock, text }
});

#[divan::bench]
fn write(bencher: Bencher) {
    let path = PROJECT.path("written.lock.kdl");
    bencher.bench(|| xp::store::write(&path, PROJECT.lock.to_kdl().as_bytes()));
}

#[divan::bench]
fn read_canonical(bencher: Bencher) {
    bencher.bench(|| lock::parse(Path::new("x"), &PROJECT.text));
}

#[divan::bench(sample_count = 5)]
fn read_edited(bencher: Bencher) {
    let path = PROJECT.path("edited.lock.kdl");
    bencher.bench(|| lock::read(&path).map(|lock| lock.runs.len()));
}

#[divan::bench]
fn diff(bencher: Bencher) {
    let other = lock::read(&PROJECT.path("other.lock.kdl")).expect("a lock");
    bencher.bench(|| lock::diff(&PROJECT.lock, &other));
}

/// The whole process.
#[divan::bench(sample_count = 20)]
fn process_lock_check(bencher: Bencher) {
    let spec = PROJECT.path("experiments/many.kdl");
    bencher.bench(|| run(Command::new(XP).args(["lock", "--check"]).arg(&spec), 0));
}

/// The whole process.
#[divan::bench(sample_count = 20)]
fn process_diff(bencher: Bencher) {
    let (old, new) = (PROJECT.path("locks/many.lock.kdl"), PROJECT.path("other.lock.kdl"));
    bencher.bench(|| run(Command::new(XP).arg("diff").args([&old, &new]), 1));
}

const XP: &str = env!("CARGO_BIN_EXE_xp");

fn run(command: &mut Command, code: i32) {
    let output = command.output().expect("xp runs");
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
}
