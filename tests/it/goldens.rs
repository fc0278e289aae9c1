//! Simulations that never change: every policy, alone and over replicas and stages, short of memory, and as Vidur
//! schedules. `tests/it/goldens/` holds every batch and every request's times; `XP_UPDATE_GOLDENS=1` writes them anew,
//! which wants a new `SIMULATOR_VERSION`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use xp::predictor::Predictor;
use xp::progress::Silent;
use xp::scheduler::{Batch, ClusterConfig, Compat, Policy, RouterKind, SchedulerConfig};
use xp::sim::{Deployed, simulate};
use xp::workload::{Prefixes, Workload, WorkloadRequest};

/// 1,000 ns a step, 100 a token, 1 a token of context, in whole numbers.
struct Formula;

impl Predictor for Formula {
    fn step_ns(&self, batch: &Batch) -> u64 {
        let chunks: u64 = batch.chunks.iter().map(|chunk| u64::from(chunk.context)).sum();
        1_000 + 100 * u64::from(batch.num_tokens()) + batch.decodes.context_sum() + chunks
    }
}

/// 28 requests that come in bursts, some of them alike at their beginning, one too long to be served.
fn workload() -> Workload {
    let mut prefixes = Prefixes::new(4);
    let mut arrival_time_ns = 0;
    let request = |index: u64| {
        let gap = if index % 7 < 4 { 0 } else { 2_500 + 700 * (index % 5) };
        arrival_time_ns += gap;
        let num_prefill_tokens = if index == 13 { 90 } else { 3 + (index * 11 % 29) as u32 };
        let shared = index % 3;
        prefixes.push((0..u64::from(num_prefill_tokens / 4)).map(|block| 100 * shared + block));
        WorkloadRequest {
            prompt_id: index as u32,
            num_prefill_tokens,
            num_decode_tokens: 1 + (index * 5 % 9) as u32,
            inter_arrival_ns: gap,
            arrival_time_ns,
        }
    };
    let requests = (0..28).map(request).collect();
    Workload { requests, prefixes: Some(prefixes), ..Workload::default() }
}

fn config(policy: Policy) -> SchedulerConfig {
    let block_size = if policy == Policy::Lightllm { 1 } else { 4 };
    SchedulerConfig::new(policy, (24, 6), (block_size, 240 / block_size, 1), 64)
}

/// Name, scheduler, cluster.
fn cases() -> Vec<(String, SchedulerConfig, ClusterConfig)> {
    let mut out = Vec::new();
    let mut add =
        |name: String, config: SchedulerConfig, cluster: ClusterConfig| out.push((name, config, cluster));
    for policy in Policy::ALL {
        let (name, one) = (policy.name(), ClusterConfig::default());
        add(name.to_owned(), config(policy), one.clone());
        let blocks = if policy == Policy::Lightllm { 72 } else { 18 };
        let short = SchedulerConfig { kv_blocks: blocks, watermark_blocks: 0, ..config(policy) };
        add(format!("{name}-short-of-memory"), short.clone(), one.clone());
        if !matches!(policy, Policy::VllmV1 | Policy::Static) {
            add(format!("{name}-vidur"), SchedulerConfig { compat: Compat::Vidur, ..short }, one);
        }
    }
    for router in RouterKind::ALL {
        let cluster = ClusterConfig { replicas: 3, router, ..ClusterConfig::default() };
        let caching = SchedulerConfig { prefix_caching: true, ..config(Policy::VllmV1) };
        add(format!("three-replicas-{}", router.name()), caching, cluster);
    }
    let stages = SchedulerConfig { pipeline_stages: 2, ..config(Policy::Sarathi) };
    add("two-stages".to_owned(), stages, ClusterConfig::default());
    let asynchronous = SchedulerConfig { async_scheduling: true, ..config(Policy::VllmV1) };
    add("asynchronous".to_owned(), asynchronous, ClusterConfig::default());
    let ranks = ClusterConfig { data_parallel: 2, expert_parallel: 2, ..ClusterConfig::default() };
    add("two-ranks".to_owned(), config(Policy::VllmV1), ranks);
    out
}

/// Every step with its members, every request with its times.
fn told(config: &SchedulerConfig, cluster: &ClusterConfig) -> String {
    let deployed = Deployed { scheduler: config, cluster, router_seed: 7 };
    let run = simulate(&deployed, &Formula, &workload(), &Silent);
    let mut out = String::from("start end replica running waiting blocks: members\n");
    for step in run.steps.iter() {
        let _ = write!(out, "{} {} {} ", step.start_ns, step.end_ns, step.replica);
        let _ = write!(out, "{} {} {}:", step.running, step.waiting, step.kv_blocks);
        for member in step.members {
            let kind = if member.is_prefill { 'p' } else { 'd' };
            let _ = write!(out, " {kind}{}+{}@{}", member.request, member.tokens, member.context);
            out.push_str(if member.emits { "*" } else { "" });
        }
        out.push('\n');
    }
    out.push_str("request: first token, completion\n");
    for row in &run.requests {
        let time = |ns: Option<u64>| ns.map_or("never".to_owned(), |ns| ns.to_string());
        let (first, last) = (time(row.first_token_time_ns), time(row.completion_time_ns));
        let _ = writeln!(out, "{}: {first} {last} {}", row.request_id, row.error_msg);
    }
    out
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/goldens")
}

#[test]
fn simulations_are_what_they_were() {
    let update = std::env::var_os("XP_UPDATE_GOLDENS").is_some();
    let mut names = Vec::new();
    for (name, config, cluster) in cases() {
        let path = folder().join(format!("{name}.txt"));
        let told = told(&config, &cluster);
        if update {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&path, &told).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{name}: {why}"));
        let first = golden.lines().zip(told.lines()).position(|(golden, told)| golden != told);
        assert!(
            golden == told,
            "{name} differs from line {:?} on: XP_UPDATE_GOLDENS=1 shows how",
            first.map(|line| line + 1)
        );
        names.push(format!("{name}.txt"));
    }
    let mut found: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    names.sort();
    assert_eq!(found, names);
}

/// What the cases are there for happens in them.
#[test]
fn goldens_show_what_they_are_for() {
    let golden = |name: &str| told_of(name);
    for name in ["sarathi", "vllm_v1", "vllm"] {
        // A prompt that is computed again begins at a context of 0 once more.
        let again = golden(&format!("{name}-short-of-memory"));
        let begun: Vec<&str> = again
            .split_whitespace()
            .filter(|word| word.starts_with('p') && word.trim_end_matches('*').ends_with("@0"))
            .filter_map(|word| word.split('+').next())
            .collect();
        let requests: std::collections::BTreeSet<&str> = begun.iter().copied().collect();
        assert!(begun.len() > requests.len(), "{name}: nobody was preempted");
    }
    assert!(golden("three-replicas-prefix_aware").lines().any(|line| line.split(' ').nth(2) == Some("2")));
    assert!(golden("sarathi").contains("exceed the context"), "one request is refused");
    assert_ne!(golden("sarathi-vidur"), golden("sarathi-short-of-memory"));
}

fn told_of(name: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap()
}
