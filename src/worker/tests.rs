//! The protocol with workers that misbehave: shell scripts in the place of Python.
#![cfg(unix)]

use std::path::Path;
use std::time::{Duration, Instant};

use super::process::{MAX_LINE, Process};
use super::*;
use crate::drive::drive;
use crate::metrics::{RequestStatus, RunRecord};
use crate::progress::Silent;
use crate::scheduler::{self, Policy, SchedulerConfig};
use crate::spec::Dtype;
use crate::workload::{Workload, WorkloadRequest};

const HELLO: &str = r#"echo '{"hello":{"protocol":1,"python":"3.12.1","packages":{"torch":"2.9.1+cpu","transformers":"5.0"}}}'"#;

/// A worker that answers every step of two rows at most with the tokens 7 and 8, a second ago.
const SERVES: &str = r#"
id=0
while read -r line; do
    id=$((id + 1))
    case "$line" in
    *'"do":"clock"'*) echo "{\"id\":$id,\"ok\":{\"now_ns\":1000}}" ;;
    *prefill*']],['* | *decode*'['*,*']'*) echo "{\"id\":$id,\"ok\":{\"tokens\":[7,8],\"start_ns\":1000,\"end_ns\":1000}}" ;;
    *'"rows":['*) echo "{\"id\":$id,\"ok\":{\"tokens\":[7],\"start_ns\":1000,\"end_ns\":1000}}" ;;
    *) echo "{\"id\":$id,\"ok\":{}}" ;;
    esac
done"#;

fn list() -> Requirements {
    Requirements::pinned(&["torch==2.9.1".to_owned(), "transformers==5.0".to_owned()])
}

/// Starts a shell script as if it were Python.
fn start(dir: &Path, script: &str) -> Result<Worker, WorkerError> {
    let path = dir.join("worker.sh");
    std::fs::write(&path, script).unwrap();
    let shell = Interpreter { program: "/bin/sh".into(), args: vec![path.into()] };
    Worker::start(&shell, &list(), 1, Duration::from_millis(400))
}

/// What becomes of a decode of one request by a worker that says hello and goes on with `script`.
fn decode(script: &str) -> WorkerError {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = start(dir.path(), &format!("{HELLO}\n{script}")).unwrap();
    worker.decode(&[0]).unwrap_err()
}

#[test]
fn a_worker_says_what_it_runs_on() {
    let dir = tempfile::tempdir().unwrap();
    let worker = start(dir.path(), HELLO).unwrap();
    assert_eq!(worker.python, "3.12.1");
    assert_eq!(worker.packages["torch"], "2.9.1+cpu");
}

#[test]
fn what_is_no_worker_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |script: &str| start(dir.path(), script).map(|_| ()).unwrap_err();
    let hello = |from: &str, to: &str| refused(&HELLO.replace(from, to));
    let older = hello("\"protocol\":1", "\"protocol\":9");
    assert!(matches!(older, WorkerError::Protocol { found: 9, wanted: PROTOCOL }), "{older}");
    let other = hello("2.9.1+cpu", "2.8.0").to_string();
    assert!(other.ends_with("has torch 2.8.0, the lock pins torch 2.9.1"), "{other}");
    let none = hello("\"5.0\"", "null").to_string();
    assert!(none.ends_with("has no transformers, the lock pins transformers 5.0"), "{none}");
    let import = refused(r#"echo '{"hello":{"protocol":1,"failed":"ImportError: no torch"}}'"#);
    assert!(
        matches!(&import, WorkerError::Import { message, .. } if message.contains("no torch")),
        "{import}"
    );
    let died = refused("echo no such module >&2; exit 3").to_string();
    assert_eq!(died, "the worker ended with exit code 3 while starting\nno such module");
    let nothing = Worker::start(&Interpreter::at("/no/python"), &list(), 1, Duration::from_secs(1));
    assert!(matches!(nothing, Err(WorkerError::Start { .. })));
}

#[test]
fn a_worker_that_dies_is_told_with_its_last_words() {
    let killed = decode("read -r line; echo starting >&2; echo the end >&2; kill -9 $$").to_string();
    assert_eq!(
        killed,
        "the worker was ended by signal 9 while decoding a token of 1 requests\nstarting\nthe end"
    );
    let half = decode("read -r line; printf '{\"id\":1,'; exit 0").to_string();
    assert!(half.starts_with("the worker ended with exit code 0 while decoding"), "{half}");
    let closed = decode("read -r line; exec >&-; sleep 60").to_string();
    assert!(closed.starts_with("the worker closed its pipe while decoding"), "{closed}");
}

#[test]
fn a_worker_that_hangs_is_ended_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let child = dir.path().join("child");
    let script = format!("{HELLO}\nread -r line\nsleep 600 & echo $! >{}\nwait", child.display());
    let mut worker = start(dir.path(), &script).unwrap();
    let started = Instant::now();
    let error = worker.decode(&[0, 1]).unwrap_err();
    assert!(matches!(&error, WorkerError::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("within 0.4 s while decoding a token of 2 requests"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    let child = std::fs::read_to_string(child).unwrap();
    let lives = || Path::new("/proc").join(child.trim()).join("cmdline");
    if Path::new("/proc/self/cmdline").exists() {
        // One that nobody waited for yet has no command line any more.
        assert!(std::fs::read(lives()).unwrap_or_default().is_empty(), "{child}");
    }
    assert!(matches!(worker.decode(&[0]), Err(WorkerError::Died { .. })), "it does not come back");
}

#[test]
fn a_worker_that_does_not_read_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = start(dir.path(), &format!("{HELLO}\nexec sleep 600")).unwrap();
    // More than any pipe holds.
    let prompt = vec![1_234_567; 1 << 20];
    let started = Instant::now();
    let error = worker.prefill(&[(0, &prompt)]).unwrap_err();
    assert!(matches!(error, WorkerError::Timeout { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn garbage_on_the_pipe_is_no_answer() {
    for (says, why) in [
        ("echo hello", "expected value"),
        (
            "echo '{\"id\":7,\"ok\":{\"tokens\":[1],\"start_ns\":1,\"end_ns\":2}}'",
            "it answers request 7, not 1",
        ),
        ("echo '{\"id\":1}'", "not one of `ok` and `error`"),
        ("echo '{\"id\":1,\"ok\":{\"tokens\":[-1],\"start_ns\":1,\"end_ns\":2}}'", "invalid value"),
        ("echo '{\"id\":1,\"ok\":{\"tokens\":[1,2],\"start_ns\":1,\"end_ns\":2}}'", "2 tokens of 1 requests"),
        ("printf '\\377\\n'", "not UTF-8"),
        ("head -c 5000000 /dev/zero | tr '\\0' 'x'; sleep 60", "more than 4 MiB"),
    ] {
        let error = decode(&format!("read -r line; {says}; sleep 60"));
        assert!(matches!(&error, WorkerError::Garbage { .. }), "{says}: {error}");
        assert!(error.to_string().contains(why), "{says}: {error}");
        assert!(error.to_string().len() < 400, "{says}: {error}");
    }
    const { assert!(MAX_LINE < 5_000_000) };
}

#[test]
fn a_worker_may_refuse_and_live_on() {
    let complains = |kind: &str| {
        format!(
            "read -r line; echo '{{\"id\":1,\"error\":{{\"kind\":\"{kind}\",\"message\":\"too much\"}}}}'\n\
             read -r line; echo '{{\"id\":2,\"ok\":{{\"tokens\":[4],\"start_ns\":1,\"end_ns\":2}}}}'; read -r line"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let mut worker = start(dir.path(), &format!("{HELLO}\n{}", complains("out_of_memory"))).unwrap();
    let error = worker.prefill(&[(0, &[1, 2, 3]), (1, &[1])]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is not enough memory for computing 2 prompts of up to 3 tokens: too much"
    );
    assert_eq!(worker.decode(&[0]).unwrap().tokens, [4]);
    assert!(matches!(decode(&complains("failed")), WorkerError::Failed { .. }));
    assert!(matches!(decode(&complains("no_device")), WorkerError::NoDevice { .. }));
    assert!(matches!(decode(&complains("not_finite")), WorkerError::NotFinite { .. }));
}

fn served(worker: &mut Worker, requests: &[(u32, u32)]) -> (RunRecord, Vec<Vec<u32>>) {
    let request = |&(num_prefill_tokens, num_decode_tokens)| WorkloadRequest {
        prompt_id: 0,
        num_prefill_tokens,
        num_decode_tokens,
        inter_arrival_ns: 0,
        arrival_time_ns: 0,
    };
    let prompts: Vec<Vec<u32>> = requests.iter().map(|(prefill, _)| vec![1; *prefill as usize]).collect();
    let workload = Workload { requests: requests.iter().map(request).collect(), ..Workload::default() };
    let config = SchedulerConfig::new(Policy::Static, (256, 2), (16, 64, 0), 100);
    let mut clock = WorkerClock::start(worker, &prompts).unwrap();
    let record = drive(scheduler::build(&config).as_mut(), &workload, None, &mut clock, &Silent).unwrap();
    (record, clock.into_outputs())
}

#[test]
fn whole_batches_are_computed_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = start(dir.path(), &format!("{HELLO}\n{SERVES}")).unwrap();
    let loaded = worker.load("m", Dtype::F32, TorchDevice::Cpu, 1);
    assert!(matches!(loaded, Err(WorkerError::Garbage { .. })), "an empty answer says not what was loaded");
    let mut worker = start(dir.path(), &format!("{HELLO}\n{SERVES}")).unwrap();
    let (record, outputs) = served(&mut worker, &[(5, 3), (9, 1), (4, 2)]);
    assert!(record.requests.iter().all(|row| row.status == RequestStatus::Ok));
    assert_eq!(outputs, [vec![7, 7, 7], vec![8], vec![7, 7]]);
    let sizes: Vec<usize> = record.steps.iter().map(|step| step.members.len()).collect();
    assert_eq!(sizes, [2, 1, 1, 1, 1]);
    // The worker's clock stands still, and no step may end before it was asked for.
    assert!(record.steps.iter().all(|step| step.start_ns <= step.end_ns));
}

#[test]
fn a_process_that_is_dropped_is_ended() {
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "echo $$; exec sleep 600"]);
    let mut process = Process::start(command).unwrap();
    let id = process.receive(Duration::from_secs(5)).unwrap();
    drop(process);
    assert!(!Path::new("/proc").join(id.trim()).exists());
}
