//! Measured runs of vLLM, simulated from the kernels of their cards: the errors of TTFT, TPOT and E2E at
//! mean, P50, P90, P95 and P99, all with one set of rules. The runs are read from `XP_VLLM_GPU` or
//! `../shared/vllm-gpu`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xp::metrics::{mean, percentile_of_sorted};
use xp::predictor::kernels::{
    Deployment, KernelPredictor, ModelShape, Network, Parallelism, StepFeatures, vllm_graph_sizes,
};
use xp::profile::llmservingsim::read_kernel_profile;
use xp::scheduler::{ClusterConfig, Policy, SchedulerConfig};
use xp::sim::{Asked, Moment, Nanoseconds, Stage, run};

/// Measured or simulated times of one request, ns.
struct Served {
    ttft: f64,
    e2e: f64,
    tokens: f64,
}

fn folder(card: &str) -> Option<PathBuf> {
    let root = std::env::var_os("XP_VLLM_GPU")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vllm-gpu"), PathBuf::from);
    let folder = root.join(card);
    folder.is_dir().then_some(folder)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a run's file")).expect("JSON")
}

fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("a run's file");
    reader.deserialize().collect::<Result<_, _>>().expect("a run's rows")
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().expect("a number")).expect("a small one")
}

fn simulated(folder: &Path) -> Vec<Served> {
    let (model, meta) = (json(&folder.join("model_config.json")), json(&folder.join("vllm_meta.json")));
    let engine = &meta["engine_kwargs"];
    let (batch, chunk) = (number(&engine["max_num_seqs"]), number(&engine["max_num_batched_tokens"]));
    let deployment = Deployment {
        shape: ModelShape {
            layers: number(&model["num_hidden_layers"]),
            heads: number(&model["num_attention_heads"]),
            kv_heads: number(&model["num_key_value_heads"]),
            hidden: number(&model["hidden_size"]),
            vocab: number(&model["vocab_size"]),
            value_bytes: 2,
            experts: None,
        },
        parallel: Parallelism::default(),
        network: Network::default(),
        graph_sizes: vllm_graph_sizes(batch),
        max_tokens: chunk,
        max_sequences: batch,
        overhead_ns: 0,
    };
    let profile = read_kernel_profile(&folder.join("profile"), 1).expect("a profile");
    let predictor = KernelPredictor::new(&profile, &deployment).expect("a predictor");

    // Block 0 is vLLM's null block. A run without a number of blocks never fills its cache.
    let blocks = meta["kv_cache"]["num_gpu_blocks"].as_u64().map_or(1 << 16, |blocks| blocks as u32 - 1);
    let context = number(&model["max_position_embeddings"]);
    let scheduler = SchedulerConfig {
        prefix_caching: true,
        async_scheduling: true,
        ..SchedulerConfig::new(Policy::VllmV1, (chunk, batch), (16, blocks, 0), context)
    };
    let asked: Vec<(u64, u32, u32, Vec<u64>)> = rows(&folder.join("workload.csv"))
        .iter()
        .map(|row| {
            let ids = row["prefix_hash_ids"].split_whitespace().map(|id| id.parse().expect("an id"));
            let tokens = |name: &str| row[name].parse().expect("tokens");
            (
                row["arrival_time_ns"].parse().expect("ns"),
                tokens("num_prefill_tokens"),
                tokens("num_decode_tokens"),
                ids.collect(),
            )
        })
        .collect();
    let mut requests = asked.iter().map(|(arrival, prefill_tokens, decode_tokens, prefix)| Asked {
        arrival: Moment(*arrival),
        prefill_tokens: *prefill_tokens,
        decode_tokens: *decode_tokens,
        prefix,
    });
    let mut step = StepFeatures::default();
    let mut pace = |stage: &Stage<'_>| {
        step.set(stage.batch);
        predictor.step_ns(&step)
    };
    let cluster = ClusterConfig::default();
    let started = std::time::Instant::now();
    let outcomes = run::<Nanoseconds, _>(&scheduler, &cluster, 0, &mut requests, &mut pace);
    println!("{}: simulated in {:.1} ms", folder.display(), started.elapsed().as_secs_f64() * 1e3);
    asked
        .iter()
        .zip(&outcomes)
        .map(|((arrival, _, tokens, _), outcome)| {
            let since = |moment: Option<Moment>| (moment.expect("all are served").0 - arrival) as f64;
            Served {
                ttft: since(outcome.first_token),
                e2e: since(outcome.completion),
                tokens: f64::from(*tokens),
            }
        })
        .collect()
}

fn measured(folder: &Path) -> Vec<Served> {
    let served = |row: &HashMap<String, String>| {
        let seconds = |name: &str| row[name].parse::<f64>().expect("seconds");
        let arrival = seconds("arrival_s");
        Served {
            ttft: (seconds("first_token_s") - arrival) * 1e9,
            e2e: (seconds("last_token_s") - arrival) * 1e9,
            tokens: seconds("num_decode_tokens"),
        }
    };
    rows(&folder.join("real_requests.csv")).iter().map(served).collect()
}

/// A metric of a request, ns; none where it has none.
type OfRequest = fn(&Served) -> Option<f64>;

/// (metric, statistic, ms) of a run.
fn lines(served: &[Served]) -> Vec<(&'static str, &'static str, f64)> {
    let metrics: [(&str, OfRequest); 3] = [
        ("TTFT", |request| Some(request.ttft)),
        ("TPOT", |request| {
            (request.tokens > 1.0).then(|| (request.e2e - request.ttft) / (request.tokens - 1.0))
        }),
        ("E2E", |request| Some(request.e2e)),
    ];
    metrics
        .into_iter()
        .flat_map(|(metric, of)| {
            let mut values: Vec<f64> = served.iter().filter_map(of).collect();
            values.sort_by(f64::total_cmp);
            let percentile = |quantile| percentile_of_sorted(&values, quantile).expect("values");
            [
                ("mean", mean(&values).expect("values")),
                ("P50", percentile(0.5)),
                ("P90", percentile(0.9)),
                ("P95", percentile(0.95)),
                ("P99", percentile(0.99)),
            ]
            .map(|(statistic, value)| (metric, statistic, value / 1e6))
        })
        .collect()
}

/// Errors of all lines in per cent, printed as a table; None where the run is not at hand.
fn errors(card: &str) -> Option<Vec<(&'static str, &'static str, f64)>> {
    let Some(folder) = folder(card) else {
        println!("skipped: there is no measured run of {card} (XP_VLLM_GPU)");
        return None;
    };
    let (simulated, measured) = (lines(&simulated(&folder)), lines(&measured(&folder)));
    println!("| {card} | | measured, ms | simulated, ms | error |\n|---|---|---|---|---|");
    let errors: Vec<_> = measured
        .iter()
        .zip(&simulated)
        .map(|((metric, statistic, real), (.., sim))| {
            let error = (sim / real - 1.0) * 100.0;
            println!("| {metric} | {statistic} | {real:.2} | {sim:.2} | {error:+.2} % |");
            (*metric, *statistic, error)
        })
        .collect();
    println!("mean absolute error {:.2} %", mean_absolute(&errors));
    Some(errors)
}

fn mean_absolute(errors: &[(&str, &str, f64)]) -> f64 {
    errors.iter().map(|(.., error)| error.abs()).sum::<f64>() / errors.len() as f64
}

#[test]
fn vllm_on_an_rtx_4090_is_predicted() {
    let Some(errors) = errors("rtx4090-llama-3.1-8b") else { return };
    assert!(errors.iter().all(|(.., error)| error.abs() <= 1.5), "{errors:?}");
    assert!(mean_absolute(&errors) <= 0.6, "{errors:?}");
}

#[test]
fn vllm_on_an_rtx_pro_6000_is_predicted() {
    let Some(errors) = errors("rtxpro6000-llama-3.1-8b") else { return };
    for (metric, statistic, error) in &errors {
        let limit = match (*metric, *statistic) {
            ("TTFT", "P50") => 9.0,
            ("TTFT", _) => 6.0,
            _ => 3.0,
        };
        assert!(error.abs() <= limit, "{metric} {statistic}: {error:+.2} %");
    }
    assert!(mean_absolute(&errors) < 3.0, "{errors:?}");
}
