//! The execution model against recorded runs of Vidur itself: every folder below `XP_VIDUR_GOLDENS` that
//! holds a `batches.csv`. Without the recordings, which are no part of the project, nothing is compared.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use xp::predictor::regression::{RegressorGrid, TrainedOperators};
use xp::predictor::vidur::{BatchFeatures, StageShape, VidurOptions, VidurPredictor};
use xp::profile::vidur::{TrainingSet, VidurOp, read_filtered};

/// Where the recordings are; None, said aloud, where there are none.
fn goldens() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vidur-goldens");
    let folder = std::env::var_os("XP_VIDUR_GOLDENS").map_or_else(default, PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: no recordings of Vidur in {} (XP_VIDUR_GOLDENS)", folder.display());
        return None;
    }
    Some(folder)
}

/// Every recorded case.
fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.join("batches.csv").is_file()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "{} holds no case", folder.display());
    cases
}

/// A table's rows by column name.
fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    csv::Reader::from_reader(file).deserialize().collect::<Result<_, _>>().unwrap()
}

fn int(row: &HashMap<String, String>, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is {:?}", row[column]))
}

fn float(row: &HashMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is {:?}", row[column]))
}

/// `3-5 9` as 3, 4, 5, 9.
fn ids(text: &str) -> Vec<u64> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<u64>().unwrap()..=last.parse().unwrap()
    };
    text.split_whitespace().flat_map(range).collect()
}

/// `7 1x3` as 7, 1, 1, 1.
fn counts(text: &str) -> Vec<u64> {
    let repeated = |part: &str| {
        let (value, times) = part.split_once('x').unwrap_or((part, "1"));
        vec![value.parse().unwrap(); times.parse().unwrap()]
    };
    text.split_whitespace().flat_map(repeated).collect()
}

/// A case's settings, and what its model computes.
pub struct Case {
    config: serde_json::Value,
    pub shape: StageShape,
    pub options: VidurOptions,
}

impl Case {
    pub fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let replica = &config["cluster_config"]["replica_config"];
        let (model, predictor) = (&replica["model_config"], &config["execution_time_predictor_config"]);
        let count = |value: &serde_json::Value| value.as_u64().unwrap();
        let small = |value: &serde_json::Value| u32::try_from(count(value)).unwrap();
        let number = |name: &str| predictor[name].as_f64().unwrap();
        let pipeline_stages = small(&replica["num_pipeline_stages"]);
        let shape = StageShape {
            layers_per_stage: small(&model["num_layers"]) / pipeline_stages,
            num_q_heads: small(&model["num_q_heads"]),
            num_kv_heads: small(&model["num_kv_heads"]),
            post_attn_norm: model["post_attn_norm"].as_bool().unwrap(),
            tensor_parallel: small(&replica["tensor_parallel_size"]),
            pipeline_stages,
        };
        let options = VidurOptions {
            kv_granularity: count(&predictor["kv_cache_prediction_granularity"]),
            max_tokens: count(&predictor["prediction_max_tokens_per_request"]),
            max_batch_size: count(&predictor["prediction_max_batch_size"]),
            max_prefill_chunk: count(&predictor["prediction_max_prefill_chunk_size"]),
            decode_batching_overhead: number("attention_decode_batching_overhead_fraction"),
            prefill_batching_overhead: number("attention_prefill_batching_overhead_fraction"),
            nccl_launch_ms: number("nccl_cpu_launch_overhead_ms"),
            nccl_skew_ms: number("nccl_cpu_skew_overhead_per_device_ms"),
            cpu_overhead: !predictor["skip_cpu_overhead_modeling"].as_bool().unwrap(),
        };
        Self { config, shape, options }
    }

    /// Training rows of the case's model and parallelism, if they were kept.
    pub fn training(&self, folder: &Path) -> Option<TrainingSet> {
        let name = self.config["cluster_config"]["replica_config"]["model_name"].as_str()?.to_lowercase();
        let is_size = |part: &&str| part.strip_suffix('b').is_some_and(|n| n.parse::<u32>().is_ok());
        let size = name.split('-').find(is_size)?.to_owned();
        let files = std::fs::read_dir(folder.join("training")).ok()?;
        let mut prefixes: Vec<String> = files
            .filter_map(|file| Some(file.ok()?.file_name().to_str()?.split_once("__")?.0.to_owned()))
            .collect();
        prefixes.sort();
        prefixes.dedup();
        let tp = format!("{size}_tp{}", self.shape.tensor_parallel);
        let of_tp = |prefix: &&String| {
            prefix.strip_prefix(&tp).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let mut set = read_filtered(&folder.join("training"), prefixes.iter().find(of_tp)?).unwrap();
        if self.shape.pipeline_stages > 1 && set.rows(VidurOp::SendRecv).is_empty() {
            // Sending does not depend on tensor parallelism.
            let path = prefixes
                .iter()
                .filter(|prefix| prefix.starts_with(&format!("{size}_")))
                .find(|prefix| folder.join(format!("training/{prefix}__send_recv.csv")).is_file())?;
            for row in read_filtered(&folder.join("training"), path).unwrap().rows(VidurOp::SendRecv) {
                set.push(VidurOp::SendRecv, *row);
            }
        }
        Some(set)
    }
}

/// Predictions that a case used: operator, key, ms.
fn predictions(folder: &Path) -> HashMap<(VidurOp, u64, u64), f64> {
    let path = folder.join("predictions.csv");
    let entry = |row: &HashMap<String, String>| {
        let op = VidurOp::from_name(&row["op"]).unwrap_or_else(|| panic!("no operator {}", row["op"]));
        let second = if row["key2"].is_empty() { 0 } else { int(row, "key2") };
        ((op, int(row, "key1"), second), float(row, "ms"))
    };
    rows(&path).iter().map(entry).collect()
}

/// Prompt, output and processed tokens of a request, as Vidur counts them.
#[derive(Debug, Clone, Copy, Default)]
struct Request {
    prefill: u64,
    processed: u64,
    is_prefilled: bool,
}

/// Features of every batch, from the states of its requests when its first stage started.
fn features_of_batches(folder: &Path, stages: u64, granularity: u64) -> HashMap<u64, BatchFeatures> {
    let mut requests: HashMap<u64, Request> = rows(&folder.join("requests.csv"))
        .iter()
        .map(|row| (int(row, "id"), Request { prefill: int(row, "prefill_tokens"), ..Request::default() }))
        .collect();
    // At one time, batches end first, then requests restart, then batches start.
    enum Event {
        End(usize),
        Restart(u64, u64),
        Start(usize),
    }
    let batches = rows(&folder.join("batches.csv"));
    let mut events: Vec<(f64, u8, Event)> = Vec::new();
    for (index, row) in batches.iter().enumerate() {
        if int(row, "stage") == 0 {
            events.push((float(row, "start"), 2, Event::Start(index)));
        }
        if int(row, "stage") + 1 == stages {
            events.push((float(row, "end"), 0, Event::End(index)));
        }
    }
    let restarts = folder.join("restarts.csv");
    if restarts.is_file() {
        for row in rows(&restarts) {
            let event = Event::Restart(int(&row, "request_id"), int(&row, "new_prefill"));
            events.push((float(&row, "time"), 1, event));
        }
    }
    events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut out = HashMap::new();
    for (_, _, event) in events {
        let members = |index: usize| {
            let row: &HashMap<String, String> = &batches[index];
            ids(&row["req_ids"]).into_iter().zip(counts(&row["num_tokens"]))
        };
        match event {
            Event::Start(index) => {
                let mut features = BatchFeatures::new(granularity);
                for (id, tokens) in members(index) {
                    let request = requests[&id];
                    match request.is_prefilled {
                        true => features.push_decode(request.processed),
                        false => features.push_prefill(request.processed, tokens),
                    }
                }
                out.insert(int(&batches[index], "batch_id"), features);
            }
            Event::End(index) => {
                for (id, tokens) in members(index) {
                    let request = requests.get_mut(&id).unwrap();
                    request.processed += tokens;
                    if request.processed == request.prefill {
                        request.is_prefilled = true;
                        request.processed += 1;
                    }
                }
            }
            Event::Restart(id, prefill) => {
                requests.insert(id, Request { prefill, ..Request::default() });
            }
        }
    }
    out
}

#[test]
fn every_stage_has_the_bits_of_vidurs_own() {
    let Some(folder) = goldens() else { return };
    let mut compared = 0;
    for path in cases(&folder) {
        let case = Case::read(&path);
        let stages = u64::from(case.shape.pipeline_stages);
        let features = features_of_batches(&path, stages, case.options.kv_granularity);
        let recorded = path
            .join("predictions.csv")
            .is_file()
            .then(|| VidurPredictor::from_recorded(predictions(&path), case.shape, case.options).unwrap());
        for row in rows(&path.join("batches.csv")) {
            let place = format!("{} row {}", path.display(), row["seq"]);
            let features = &features[&int(&row, "batch_id")];
            let found = [
                features.tokens(),
                features.tokens_r8(),
                features.decodes(),
                features.decode_kv(),
                features.prefills(),
                features.prefill_kv(),
                features.prefill_chunk(),
            ];
            let columns = ["tokens", "tokens_r8", "dec_n", "dec_kv", "pre_n", "pre_kv_sum", "pre_chunk_agg"];
            assert_eq!(found, columns.map(|column| int(&row, column)), "{place}");
            let Some(predictor) = &recorded else { continue };
            let is_last = int(&row, "stage") + 1 == stages;
            assert_eq!(predictor.missing(features, is_last), None, "{place}");
            let (found, wanted) = (predictor.stage_s(features, is_last), float(&row, "exec_s"));
            assert_eq!(found.to_bits(), wanted.to_bits(), "{place}: {found}, not {wanted}");
            let total = predictor.components(features, is_last).total_s();
            assert_eq!(total.to_bits(), wanted.to_bits(), "{place}: {total}, not {wanted}");
            compared += 1;
        }
    }
    println!("{compared} stages have Vidur's bits");
}

/// The grid of the recorded runs, of one point.
pub fn grid() -> RegressorGrid {
    RegressorGrid::Linear {
        degree: vec![2],
        include_bias: vec![true],
        interaction_only: vec![false],
        fit_intercept: vec![true],
    }
}

#[test]
fn a_fit_of_our_own_predicts_what_vidur_did() {
    let Some(folder) = goldens() else { return };
    let grid = grid();
    // Largest differences by operator: relative, and ms.
    let mut worst: BTreeMap<VidurOp, (f64, f64)> = BTreeMap::new();
    let mut compared = 0;
    for path in cases(&folder).into_iter().filter(|path| path.join("predictions.csv").is_file()) {
        let case = Case::read(&path);
        let Some(set) = case.training(&folder) else {
            println!("{}: no training rows are kept of its model", path.display());
            continue;
        };
        let trained = TrainedOperators::train(&set, &grid, 0).unwrap();
        for ((op, first, second), wanted) in predictions(&path) {
            let found = trained.get(op).unwrap().predict_ms([first as f64, second as f64]);
            let (relative, absolute) = ((found / wanted - 1.0).abs(), (found - wanted).abs());
            let entry = worst.entry(op).or_default();
            *entry = (entry.0.max(relative), entry.1.max(absolute));
            compared += 1;
        }
    }
    for (op, (relative, absolute)) in &worst {
        println!("{:26} relative {relative:.1e}, absolute {absolute:.1e} ms", op.name());
    }
    println!("{compared} predictions");
    for (op, (relative, absolute)) in worst {
        match op {
            // Vidur solves with columns whose lengths differ by 10^11, and LAPACK loses digits there: its
            // predictions differ from the exact solution (of the same rows, in rational numbers) by up to
            // 1.298e-6 ms, and ours from those by the same 1.298e-6 ms. More precision brings nothing.
            VidurOp::AttnPrefill => assert!(absolute < 1.5e-6, "{}: {absolute} ms", op.name()),
            _ => assert!(relative < 1e-6, "{}: {relative}", op.name()),
        }
    }
}
