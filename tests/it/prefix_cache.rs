//! The prefix cache of xp's own engine: what is found in it, in a measured run and in its simulation, and that the tokens
//! are those without it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::project::{Project, folders};

const SESSIONS: &str = r#"workload "talk" {
        requests 12
        lengths "uniform" min=24 max=60 prefill-to-decode=3
        arrivals "poisson" qps=50
        sessions turns=4 think-time="30ms" system-prompt=32 block=16
    }"#;

/// Its lines are written by `questions`.
const TEXTS: &str = r#"workload "ask" {
        requests 8
        prompts "questions.jsonl"
        decode-tokens 6
        arrivals "poisson" qps=50
    }"#;

/// Prompts that begin alike, some more than others.
fn questions() -> String {
    let instructions = "Answer in one sentence, and say how sure you are of it. ".repeat(4);
    let mut lines = String::new();
    for question in 0..8 {
        let topic = if question % 2 == 0 { "The engine" } else { "The scheduler" };
        let _ = writeln!(lines, "{{\"text\": \"{instructions}{topic} waits for request {question}.\"}}");
    }
    lines
}

fn experiment(name: &str, workload: &str, caching: bool) -> String {
    format!(
        r#"experiment "{name}" {{
    seed 7
    model "qwen3-tiny" {{ source "synthetic"; }}
    hardware "cpu" threads=1
    {workload}
    backend "candle" {{
        scheduler "vllm_v1"
        chunk-size 48
        max-batch-size 4
        block-size 8
        kv-memory "4MiB"
        prefix-caching #{caching}
        sampling temperature=0.8
    }}
    backend "vidur" {{ profile "auto"; }}
    compare real="candle" sim="vidur" pass="10%" warn="20%" repeats=1
}}
"#
    )
}

/// Tokens of each request that were in the cache when its first step began.
fn found(run: &Path) -> BTreeMap<u32, u32> {
    let steps = std::fs::read_to_string(run.join("steps.csv")).unwrap();
    let mut found = BTreeMap::new();
    for row in steps.lines().skip(1) {
        let members = row.split(',').find(|cell| cell.contains(':')).unwrap();
        for member in members.split(' ') {
            let mut fields = member.split(':').map(|field| field.parse::<u32>());
            let (request, context) = (fields.next().unwrap().unwrap(), fields.nth(1).unwrap().unwrap());
            found.entry(request).or_insert(context);
        }
    }
    found
}

/// Output tokens of each request, in order.
fn tokens(run: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(run.join("token_metrics.csv")).unwrap();
    let mut rows = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let (request, token) = (column("request_id"), column("token_id"));
    rows.map(|row| (row[request].to_owned(), row[token].to_owned())).collect()
}

/// Runs a workload with a cache and without. What was found is the same measured and simulated, as many tokens as are
/// told; all output tokens are those without a cache.
fn check(workload: &str) -> BTreeMap<u32, u32> {
    let project = Project::empty();
    project.write("questions.jsonl", questions());
    project.write("experiments/cached.kdl", experiment("cached", workload, true));
    project.write("experiments/plain.kdl", experiment("plain", workload, false));
    project.ok(&["run", "experiments/cached.kdl"]);
    let real = folders(&project.path("runs/real_runs")).remove(0);
    let found_real = found(&real);
    assert_eq!(found_real, found(&project.only("runs/sim_runs")));
    project.ok(&["verify", "locks/cached.lock.kdl"]);

    project.ok(&["real", "experiments/plain.kdl", "--out", "plain"]);
    let plain = project.path("plain");
    assert!(found(&plain).values().all(|context| *context == 0));
    let made = tokens(&real);
    assert_eq!(made, tokens(&plain));
    let distinct: std::collections::BTreeSet<_> = made.iter().map(|(_, token)| token).collect();
    assert!(distinct.len() > 8, "{distinct:?}");
    found_real
}

#[test]
fn a_turn_finds_what_was_said_before() {
    let found = check(SESSIONS);
    assert_eq!(found.len(), 12);
    // All but the first request begin with the system prompt, and later turns with more.
    let times = |least: u32| found.values().filter(|context| **context >= least).count();
    assert_eq!((found[&0], times(32)), (0, 11), "{found:?}");
    assert!(times(40) >= 6, "{found:?}");
}

#[test]
fn texts_that_begin_alike_share_the_blocks_of_the_beginning() {
    let found = check(TEXTS);
    assert!(found[&0] == 0 && found.values().skip(1).all(|context| *context >= 48), "{found:?}");
}
