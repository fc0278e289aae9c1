//! Simulated output tokens per second, on one core, step log included.
//!
//! `cargo bench --bench simulator`; the counter column is tokens per second.

use divan::Bencher;
use divan::counter::ItemsCount;
use xp::predictor::Predictor;
use xp::progress::Silent;
use xp::scheduler::{Batch, ClusterConfig, Policy, RouterKind, SchedulerConfig};
use xp::sim::{Deployed, Nanoseconds, Stage, asked, run as run_events, simulate};
use xp::workload::{Workload, WorkloadRequest};

fn main() {
    divan::main();
}

/// A cheap analytic step: a constant, and a share of each token and of the context it reads.
struct Analytic;

impl Predictor for Analytic {
    fn step_ns(&self, batch: &Batch) -> u64 {
        let tokens = u64::from(batch.num_tokens());
        let chunks: u64 = batch.chunks.iter().map(|chunk| u64::from(chunk.context)).sum();
        let context = batch.decodes.context_sum() + chunks;
        2_000_000 + tokens * 40_000 + context * 50
    }
}

/// `requests` requests with prompts of 16–271 and outputs of 8–71 tokens (39.5 on average), `gap_ns`
/// apart on average.
fn workload(requests: usize, gap_ns: u64) -> Workload {
    // Numerical Recipes' 64-bit congruential generator: any even spread will do here.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut arrival_time_ns = 0;
    let requests = (0..requests).map(|_| {
        let inter_arrival_ns = draw(2 * gap_ns + 1);
        arrival_time_ns += inter_arrival_ns;
        WorkloadRequest {
            prompt_id: 0,
            num_prefill_tokens: 16 + draw(256) as u32,
            num_decode_tokens: 8 + draw(64) as u32,
            inter_arrival_ns,
            arrival_time_ns,
        }
    });
    Workload { requests: requests.collect(), ..Workload::default() }
}

/// Prompts of 1,155 tokens on average and outputs of 200, as Azure's conversations of 2023 have them, `gap_ns` apart.
fn conversations(requests: usize, gap_ns: u64) -> Workload {
    let mut workload = workload(requests, gap_ns);
    for request in &mut workload.requests {
        request.num_prefill_tokens = (request.num_prefill_tokens - 15) * 9;
        request.num_decode_tokens = (request.num_decode_tokens - 8) * 6 + 11;
    }
    workload
}

fn config(max_batch_size: u32, kv_blocks: u32) -> SchedulerConfig {
    SchedulerConfig::new(Policy::Sarathi, (512, max_batch_size), (16, kv_blocks, kv_blocks / 100), 4096)
}

fn run(bencher: Bencher, config: &SchedulerConfig, workload: &Workload) {
    let tokens: u64 = workload.requests.iter().map(|request| u64::from(request.num_decode_tokens)).sum();
    let deployed = Deployed { scheduler: config, cluster: &ClusterConfig::default(), router_seed: 0 };
    bencher
        .counter(ItemsCount::new(tokens))
        .bench_local(|| simulate(&deployed, &Analytic, divan::black_box(workload), &Silent));
}

/// All 100,000 requests wait from the start: the batch is always full.
#[divan::bench(args = [1, 16, 32, 128], sample_count = 10)]
fn saturated(bencher: Bencher, max_batch_size: u32) {
    run(bencher, &config(max_batch_size, 1 << 20), &workload(100_000, 0));
}

/// Requests arrive a little slower than a batch of 16 serves them: the batch grows and shrinks.
#[divan::bench(args = [16, 32], sample_count = 10)]
fn paced(bencher: Bencher, max_batch_size: u32) {
    run(bencher, &config(max_batch_size, 1 << 20), &workload(100_000, 13_000_000));
}

/// Blocks for about half of the batch: preemption and recompute all the time.
#[divan::bench(args = [16, 32], sample_count = 10)]
fn preempting(bencher: Bencher, max_batch_size: u32) {
    run(bencher, &config(max_batch_size, max_batch_size * 6), &workload(100_000, 0));
}

/// The event loop alone on one replica that is near its limit, as `benches/vidur.rs` has it. Items are requests.
#[divan::bench(args = [16_000], sample_count = 20, sample_size = 1)]
fn one_replica(bencher: Bencher, requests: usize) {
    let workload = conversations(requests, 166_000_000);
    let config = config(128, 7424);
    bencher.counter(ItemsCount::new(requests)).bench_local(|| {
        let mut asked = asked(&workload.requests, None);
        let mut pace = |stage: &Stage<'_>| Analytic.step_ns(stage.batch);
        let cluster = ClusterConfig::default();
        run_events::<Nanoseconds, _>(&config, &cluster, 0, divan::black_box(&mut asked), &mut pace)
    });
}

/// The event loop alone, what became of each request kept and no step: 16 replicas under a router that looks at their loads, at
/// some three quarters of what they can serve. Items are requests.
#[divan::bench(args = [10_000, 100_000, 1_000_000], sample_count = 3, sample_size = 1)]
fn sixteen_replicas(bencher: Bencher, requests: usize) {
    let workload = conversations(requests, 6_000_000);
    let config = config(64, 1 << 14);
    let cluster =
        ClusterConfig { replicas: 16, router: RouterKind::LeastOutstanding, ..ClusterConfig::default() };
    bencher.counter(ItemsCount::new(requests)).bench_local(|| {
        let mut asked = asked(&workload.requests, None);
        let mut pace = |stage: &Stage<'_>| Analytic.step_ns(stage.batch);
        run_events::<Nanoseconds, _>(&config, &cluster, 0, divan::black_box(&mut asked), &mut pace)
    });
}
