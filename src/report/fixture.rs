//! Comparisons made by formula, for tests: a queue that fills and drains, so
//! that the charts have a shape to show.

use crate::compare::{
    Budget, BudgetRow, Comparison, MetricRow, Pin, RequestRow, TimelinePoint, Verdict, WholeRun,
};
use crate::store::{Digest, FileDigest};

use super::curve::percentile;

/// Error, low and high end of its interval per headline row, per cent.
pub(super) type Errors = Vec<(f64, f64, f64)>;

/// A value in 0..1 that depends on its two numbers alone (SplitMix64's mixing).
pub(super) fn noise(seed: u64, index: u64) -> f64 {
    let mut z =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn verdict(error: f64, low: f64, high: f64) -> Verdict {
    if low >= -3.0 && high <= 3.0 && error.abs() <= 3.0 {
        Verdict::Pass
    } else if error.abs() <= 5.0 {
        Verdict::Warn
    } else {
        Verdict::Fail
    }
}

fn request(index: u32, seed: u64) -> RequestRow {
    let i = u64::from(index);
    let (prefill, decode) = (64 + (noise(seed, i) * 900.0) as u32, 2 + (noise(seed + 1, i) * 400.0) as u32);
    let wait = 12.0 * noise(seed + 2, i).powi(2) * 1e9;
    let ttft = wait + f64::from(prefill) * 0.3e6 + 20e6;
    let tpot = (28.0 + 9.0 * noise(seed + 3, i).powi(3)) * 1e6;
    let e2e = ttft + tpot * f64::from(decode - 1);
    let bias = |k: u64| 1.018 + 0.02 * (noise(seed + k, i) - 0.5);
    let (ttft_s, tpot_s) = (ttft * bias(4), tpot * bias(5));
    RequestRow {
        request_id: index,
        num_prefill_tokens: prefill,
        num_decode_tokens: decode,
        ttft_measured_ns: ttft,
        ttft_simulated_ns: ttft_s,
        tpot_measured_ns: Some(tpot),
        tpot_simulated_ns: Some(tpot_s),
        e2e_measured_ns: e2e,
        e2e_simulated_ns: ttft_s + tpot_s * f64::from(decode - 1),
    }
}

/// The headline rows of request rows; an interval of ±0.4.
pub(super) fn headline(requests: &[RequestRow], noise_percent: Option<f64>) -> Vec<MetricRow> {
    let mut out = Vec::new();
    for metric in super::samples::METRICS {
        let mut pairs: Vec<(f64, f64)> =
            requests.iter().filter_map(|row| super::samples::values(row, metric)).collect();
        if pairs.is_empty() {
            continue;
        }
        let mut sides = [Vec::new(), Vec::new()];
        pairs.drain(..).for_each(|(m, s)| {
            sides[0].push(m);
            sides[1].push(s);
        });
        sides.iter_mut().for_each(|side| side.sort_by(f64::total_cmp));
        for stat in ["Mean", "P50", "P90", "P99"] {
            let value = |side: &[f64]| match stat {
                "Mean" => side.iter().sum::<f64>() / side.len() as f64,
                p => percentile(side, p[1..].parse().unwrap_or(50.0)),
            };
            let (measured, simulated) = (value(&sides[0]), value(&sides[1]));
            let error = if measured > 0.0 { 100.0 * (simulated / measured - 1.0) } else { 0.0 };
            let wide = if stat == "P99" { 1.4 } else { 0.4 };
            out.push(MetricRow {
                metric: metric.to_owned(),
                stat: stat.to_owned(),
                measured_ns: measured,
                simulated_ns: simulated,
                error_percent: error,
                low_percent: error - wide,
                high_percent: error + wide,
                noise_percent,
                verdict: verdict(error, error - wide, error + wide),
            });
        }
    }
    out
}

fn timeline(seed: u64, end: u64, bin: u64) -> Vec<TimelinePoint> {
    (0..end / bin)
        .map(|i| {
            let t = i as f64 / (end / bin) as f64;
            let wobble = noise(seed, i);
            TimelinePoint {
                time_ns: i * bin,
                running: (48.0 * (1.0 - t.powi(6)) * (0.6 + 0.4 * wobble)).min(48.0),
                waiting: 230.0 * (t * 6.0).min(1.0) * (1.0 - t).powi(2),
                kv_percent: 98.0 * (t * 30.0).min(1.0) * (1.0 - t.powi(10)),
                tokens_per_s: 1_800.0 * (0.4 + 0.6 * noise(seed + 9, i)) * (1.0 - t.powi(8)),
            }
        })
        .collect()
}

/// A comparison of `n` requests whose shape depends on `seed`.
pub(super) fn comparison(n: u32, seed: u64) -> Comparison {
    let requests: Vec<RequestRow> = (0..n).map(|index| request(index, seed)).collect();
    let headline = headline(&requests, None);
    let text = |s: &str| s.to_owned();
    let file = |name: &str| FileDigest { file: name.to_owned(), bytes: 12_345, sha256: Digest::of(name) };
    let pin = |group: &str, name: &str, value: &str| Pin {
        group: group.to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
    };
    Comparison {
        percentiles: Vec::new(),
        slo: Default::default(),
        timeline_repeat: 0,
        budget: Some(budget(&headline)),
        format: 2,
        metrics_version: 1,
        run: text("qwen3-chat"),
        description: Some(text("Does the simulator predict what the engine does?")),
        real: text("sarathi"),
        sim: text("vidur"),
        facts: vec![
            (
                text("Model"),
                vec![text("qwen3-0.6b, bf16"), text("596 million weights"), text("28 layers, 8 KV heads")],
            ),
            (
                text("Hardware"),
                vec![
                    text("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"),
                    text("2 compute threads"),
                    text("machine 0f3a9be1c2d4"),
                ],
            ),
            (
                text("Engine"),
                vec![text("xp 0.1.0, candle"), text("sarathi, 32 requests"), text("chunks of 256 tokens")],
            ),
            (
                text("Workload"),
                vec![
                    format!("{n} requests"),
                    text("Poisson arrivals, 2/s"),
                    text("157,239 tokens in, 60,753 out"),
                ],
            ),
        ],
        pass_percent: 3.0,
        warn_percent: 5.0,
        repeats: 1,
        bootstrap_resamples: 2_000,
        bootstrap_seed: 42,
        num_requests: n,
        num_excluded: 0,
        verdict: headline.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Pass),
        foreign_bundle: false,
        recorded: false,
        drift_percent: Some(1.3),
        headline,
        whole_run: [
            ("Duration, s", 183.6, 186.4),
            ("Output, tokens/s", 1_066.0, 1_050.0),
            ("Requests/s", 1.634, 1.61),
            ("Mean running", 32.3, 32.32),
            ("Mean waiting", 108.8, 109.5),
            ("Mean KV use, %", 92.74, 93.04),
        ]
        .map(|(name, measured, simulated)| WholeRun { name: text(name), measured, simulated })
        .to_vec(),
        requests,
        bin_ns: 1_000_000_000,
        timeline_measured: timeline(seed, 184_000_000_000, 1_000_000_000),
        timeline_simulated: timeline(seed, 187_000_000_000, 1_000_000_000),
        pins: vec![
            pin("Model", "name", "qwen3-0.6b"),
            pin("Model", "dtype", "bf16"),
            pin("Model", "commit", "c1899de289a04d12100db370d81485cdf75e47ca"),
            pin("Model", "digest", "0123456789abcdef"),
            pin("Model", "heads, KV heads", "16, 8"),
            pin("Engine settings", "policy", "sarathi"),
            pin("Engine settings", "chunk-size", "256"),
            pin("Engine settings", "max-batch-size", "32"),
            pin("Engine settings", "block-size", "16"),
            pin("Engine settings", "watermark-blocks", "0"),
            pin("Workload", "digest", "89abcdef01234567"),
            pin("Workload", "requests", "300"),
            pin("Workload", "root seed", "42"),
            pin("Workload", "spec", "experiments/qwen3-chat.kdl"),
            pin("Machine", "cpu", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"),
            pin("Machine", "memory", "33,554,432 kB"),
            pin("Machine", "bundle", "fedcba9876543210"),
        ],
        files: ["real_runs/qwen3-chat-r0", "sim_runs/qwen3-chat"]
            .iter()
            .flat_map(|folder| {
                ["request_metrics.csv", "run_meta.json", "steps.csv"]
                    .map(|name| file(&format!("{folder}/{name}")))
            })
            .collect(),
        lock_digest: Digest::of("lock"),
        xp_version: text("0.1.0"),
    }
}

/// The comparison of 300 requests with other headline errors.
/// Half of each error the predictor's, a quarter the machine's.
fn budget(headline: &[MetricRow]) -> Budget {
    let row = |row: &MetricRow| BudgetRow {
        metric: row.metric.clone(),
        stat: row.stat.clone(),
        policy_percent: row.error_percent / 4.0,
        machine_percent: Some(row.error_percent / 4.0),
        predictor_percent: row.error_percent / 2.0,
    };
    Budget {
        num_steps: 12_345,
        num_steps_apart: 3,
        num_steps_disturbed: 12,
        disturbed_time_percent: 0.8,
        steps_percent: 1.6,
        step_p50_percent: 2.1,
        step_p90_percent: 6.3,
        rows: headline.iter().map(row).collect(),
    }
}

pub(super) fn with_errors(errors: Errors) -> Comparison {
    let mut run = comparison(300, 1);
    for (row, (error, low, high)) in run.headline.iter_mut().zip(errors) {
        row.error_percent = error;
        row.low_percent = low;
        row.high_percent = high;
        row.simulated_ns = row.measured_ns * (1.0 + error / 100.0);
        row.verdict = verdict(error, low, high);
    }
    run.budget = Some(budget(&run.headline));
    run.verdict = run.headline.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Pass);
    run
}

/// Runs of one experiment that differ in rate and chunk size; errors of every size and sign.
pub(super) fn matrix(n: u32) -> Vec<Comparison> {
    (0..n)
        .map(|index| {
            let mut run = comparison(40 + index, u64::from(index) + 3);
            let suffix = Digest::of(index.to_le_bytes()).short(8);
            run.run = format!("sweep-{suffix}");
            let mut setting = |name: &str, value: String| {
                run.pins.push(Pin { group: "Engine settings".to_owned(), name: name.to_owned(), value });
            };
            setting("workload.arrivals.qps", (index + 1).to_string());
            setting("backend.sarathi.chunk-size", (128 << (index % 4).min(2)).to_string());
            let shift = 14.0 * (noise(77, u64::from(index)) - 0.5).powi(3) * 8.0;
            for row in &mut run.headline {
                row.error_percent += shift;
                row.low_percent += shift;
                row.high_percent += shift;
                row.verdict = verdict(row.error_percent, row.low_percent, row.high_percent);
            }
            run.verdict = run.headline.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Pass);
            run
        })
        .collect()
}
