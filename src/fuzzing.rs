//! Every reader of a file that xp did not just write, as a function of bytes: what `fuzz/` runs with
//! made-up bytes and `tests/it/fuzz_replay.rs` with those that were kept. A function tells whether they were
//! accepted, and panics where a
//! reader would, and where what was accepted does not survive being written and read again. See
//! `docs/fuzzing.md`.

use std::fmt::Debug;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::json;

use crate::predictor::kernels::{
    Deployment, ExpertShape, KernelPredictor, Link, ModelShape, Network, Parallelism, StepFeatures,
    vllm_graph_sizes,
};
use crate::predictor::regression::{RegressorGrid, TrainedOperators};
use crate::predictor::vidur::{StageShape, VidurOptions, VidurPredictor};
use crate::predictor::{Interpolate, Predictor};
use crate::profile::vidur::{VidurFiles, VidurSelection, VidurShape, parse_training};
use crate::scheduler::{Batch, BatchEntry};
use crate::spec::{Experiment, Loaded, Override, RecordedBackend};
use crate::workload::{Workload, WorkloadRequest};
use crate::{backend, capacity, compare, lock, metrics, model, profile, report, source, spec, workload};

/// Ends a file where an input holds several: no file of xp has this byte.
pub const SEPARATOR: u8 = 0x1e;

/// A target's name, which is that of its binary and of its folder in `fuzz/corpus`, and what it runs.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All targets.
pub const TARGETS: [Target; 17] = [
    ("spec", spec),
    ("lock", lock),
    ("run", run),
    ("workload", workload),
    ("trace", trace),
    ("published", published),
    ("prompts", prompts),
    ("recording", recording),
    ("bundle", bundle),
    ("kernels", kernels),
    ("vidur", vidur),
    ("weights", weights),
    ("config", config),
    ("tokenizer", tokenizer),
    ("chat", chat),
    ("comparison", comparison),
    ("capacity", capacity),
];

/// The files of an input; those that are missing are empty.
fn files<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut found = data.splitn(N, |byte| *byte == SEPARATOR);
    std::array::from_fn(|_| found.next().unwrap_or_default())
}

/// The texts of an input; None when one of them is no UTF-8, which no reader gets to see.
fn texts<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let texts = files::<N>(data).map(|file| str::from_utf8(file).ok());
    texts.iter().all(Option::is_some).then(|| texts.map(Option::unwrap_or_default))
}

/// Renders a diagnostic as on a terminal.
fn shown(error: &dyn miette::Diagnostic) {
    let mut text = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor());
    handler.render_report(&mut text, error).expect("a diagnostic is rendered to memory");
    assert!(text.len() < 1 << 20, "a diagnostic of {} bytes", text.len());
}

/// What was read, unless it was refused with a diagnostic that can be shown. Most of the time would go into
/// rendering: it is done where there are spans.
fn accepted<T, E: miette::Diagnostic>(read: Result<T, E>) -> Option<T> {
    let error = match read {
        Ok(read) => return Some(read),
        Err(error) => error,
    };
    if error.source_code().is_some() || error.related().is_some() {
        shown(&error);
    }
    assert!(error.to_string().len() < 1 << 20);
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    assert!(!cause.contains("internal error"), "{error}: {cause}");
    None
}

fn same<T: PartialEq + Debug>(one: &T, other: &T, what: &str) {
    assert!(one == other, "{what} differs:\n{one:?}\n{other:?}");
}

/// An experiment, and behind the first separator a line for each `--set`.
pub fn spec(data: &[u8]) -> bool {
    let Some([text, flags]) = texts(data) else { return false };
    let overrides: Vec<Override> =
        flags.lines().take(8).filter_map(|flag| accepted(Override::parse(flag))).collect();
    let Some(Loaded { experiment, cells, .. }) = accepted(spec::load_text("x.kdl", text, &overrides)) else {
        return false;
    };
    survives_a_lock(&experiment);
    cells.iter().take(2).for_each(|cell| survives_a_lock(&cell.experiment));
    same(
        &spec::expand(&experiment).map(|cells| cells.len()).map_err(|e| e.to_string()),
        &Ok(cells.len()),
        "cells",
    );
    true
}

/// A lock holds the experiment in its own form of KDL, and is refused where the experiment would be.
fn survives_a_lock(experiment: &Experiment) {
    let value = json!({ "experiment": experiment });
    let mut text = String::new();
    lock::write_facts(&mut text, &value);
    let document = spec::parse_kdl("x.lock.kdl", &text, u64::MAX).unwrap_or_else(|e| panic!("{e}:\n{text}"));
    let (read, _) = lock::read_facts(&document).unwrap_or_else(|e| panic!("{e:?}:\n{text}"));
    let faults = spec::faults(&read["experiment"]);
    assert!(faults.is_empty(), "{faults:?}:\n{text}");
    let again = Experiment::deserialize(&read["experiment"]).unwrap_or_else(|e| panic!("{e}:\n{text}"));
    same(experiment, &again, "the experiment of the lock");
}

/// A lock. The short way takes the canonical text of each lock, and nothing that the long way reads as
/// another or not at all.
pub fn lock(data: &[u8]) -> bool {
    let Some([text]) = texts(data) else { return false };
    let path = Path::new("x.lock.kdl");
    let short = lock::parse_canonical(text);
    let long = accepted(lock::parse_kdl_text(path, text)).map(|(lock, _)| lock);
    if short.is_some() {
        same(&short, &long, "the lock that the short way reads");
    }
    let Some(read) = long else { return false };
    let canonical = read.to_kdl();
    same(&short.is_some(), &(canonical == text), "whether the text is canonical");
    let (again, _) = lock::parse_kdl_text(path, &canonical).unwrap_or_else(|e| panic!("{e}:\n{canonical}"));
    same(&read, &again, "the lock");
    same(&canonical, &again.to_kdl(), "the canonical text");
    same(&lock::parse_canonical(&canonical).as_ref(), &Some(&read), "the lock that the short way reads");
    assert!(lock::diff(&read, &again).is_empty());
    read.input_digest();
    true
}

/// `run_meta.json`, `request_metrics.csv`, `steps.csv` and `token_metrics.csv`.
pub fn run(data: &[u8]) -> bool {
    let [meta, requests, steps, tokens] = files(data);
    let read = metrics::parse_run(meta, |name| match name {
        "request_metrics.csv" => requests,
        "steps.csv" => steps,
        _ => tokens,
    });
    let Some((record, meta)) = accepted(read) else { return false };
    for request in &record.requests {
        let _ = (request.ttft_ns(), request.e2e_ns(), request.tpot_ns());
    }
    assert_eq!(record.steps.len() as u64, meta.num_steps);
    true
}

/// The files of a workload: meta, prompts, lengths, intervals, prefixes.
pub fn workload(data: &[u8]) -> bool {
    let Some([meta, prompts, lengths, intervals, prefixes]) = texts(data) else { return false };
    let read = workload::parse_workload(|name, _| {
        Ok(match name {
            "workload_meta.json" => meta,
            "prompts.jsonl" => prompts,
            "trace_lengths.csv" => lengths,
            "prefix_hash_ids.csv" => prefixes,
            _ => intervals,
        })
    });
    let Some((made, meta)) = accepted(read) else { return false };
    let written = workload::workload_files(&made, &meta.workload, &meta.seeds);
    let again = workload::parse_workload(|name, _| {
        let file = written.iter().find(|(file, _)| *file == name);
        Ok(file.map(|(_, bytes)| String::from_utf8_lossy(bytes)).unwrap_or_default())
    });
    let (made_again, meta_again) = again.unwrap_or_else(|e| panic!("{e}"));
    same(&made, &made_again, "the workload");
    same(&meta.workload, &meta_again.workload, "its spec");
    true
}

/// A CSV file of lengths, of arrivals, or of both.
pub fn trace(data: &[u8]) -> bool {
    let Some([text]) = texts(data) else { return false };
    let lengths = accepted(workload::trace_lengths("t.csv", text, 3)).map(|lengths| lengths.len());
    let gaps = accepted(workload::trace_gaps("t.csv", text, 3)).map(|gaps| gaps.len());
    assert!([lengths, gaps].into_iter().flatten().all(|rows| (1..=3).contains(&rows)));
    lengths.is_some() || gaps.is_some()
}

/// A published trace, in each format that its text may have.
pub fn published(data: &[u8]) -> bool {
    static TOKENIZER: LazyLock<model::Tokenizer> = LazyLock::new(|| {
        let bytes = model::train_synthetic(300).expect("a tokenizer is trained");
        model::Tokenizer::from_bytes(&bytes, "tokenizer.json").expect("it is one")
    });
    let Some([text]) = texts(data) else { return false };
    let prompting = workload::Prompting::plain(&TOKENIZER);
    let mut read = false;
    for (format, arrives) in
        [("xp", true), ("vidur", true), ("azure", true), ("mooncake", true), ("sharegpt", false)]
    {
        for max_tokens in [None, Some(40)] {
            let spec = json!({ "path": "t", "format": format, "time-scale": 0.5, "max-tokens": max_tokens });
            let spec = spec::Trace::deserialize(&spec).expect("a trace");
            let Some(traced) = accepted(workload::parse_trace(&spec, text, 3, arrives, Some(prompting)))
            else {
                continue;
            };
            read = true;
            assert!((1..=3).contains(&traced.pairs.len()));
            assert!(max_tokens.is_none_or(|max| traced.pairs.iter().all(|(p, d)| p + d <= max)));
            assert!(
                traced.arrivals.iter().all(|times| times.is_sorted() && times.len() == traced.pairs.len())
            );
            assert!(traced.texts.iter().all(|texts| texts.len() == traced.pairs.len()));
            let prefixes =
                traced.prefixes.iter().flat_map(|known| (0..known.len()).map(move |at| (known, at)));
            for (known, at) in prefixes {
                assert!(known.of(at).len() as u32 <= traced.pairs[at].0 / known.block_size());
            }
        }
    }
    read
}

/// A JSONL file of prompts.
pub fn prompts(data: &[u8]) -> bool {
    let Some([text]) = texts(data) else { return false };
    accepted(workload::texts("p.jsonl", text, 3)).is_some()
}

/// A recording of a run of three requests, as CSV or as JSON lines.
pub fn recording(data: &[u8]) -> bool {
    let Some([text]) = texts(data) else { return false };
    let request = |arrival_time_ns| WorkloadRequest {
        prompt_id: 0,
        num_prefill_tokens: 9,
        num_decode_tokens: 4,
        inter_arrival_ns: 0,
        arrival_time_ns,
    };
    let asked = Workload { requests: [3, 5, 8].map(request).into(), ..Workload::default() };
    let mut read = false;
    for file in ["r.csv", "r.jsonl"] {
        let spec = json!({
            "name": "other",
            "path": file,
            "columns": {
                "unit": "s", "request-id": "id", "arrival": "came", "scheduled": "began", "first-token": "first",
                "completion": "last", "decode-tokens": "out",
            },
        });
        let spec = RecordedBackend::deserialize(&spec).expect("a backend");
        let Some(run) = accepted(backend::parse_recording(&spec, text, &asked)) else { continue };
        read = true;
        assert_eq!(run.requests.len(), 3);
        for request in &run.requests {
            assert!(request.ttft_ns() <= request.e2e_ns(), "{request:?}");
        }
    }
    read
}

/// `meta.yaml` of a kernel profile and the tables of its degree 1; without a last one, of no experts.
pub fn kernels(data: &[u8]) -> bool {
    let Some([meta, dense, per_sequence, attention, skew, experts]) = texts(data) else { return false };
    let read = profile::llmservingsim::parse_kernel_profile(meta, 1, |name| {
        let text = match name {
            "tp1/dense.csv" => dense,
            "tp1/per_sequence.csv" => per_sequence,
            "tp1/attention.csv" => attention,
            "tp1/skew.csv" => skew,
            _ if experts.is_empty() => return None,
            _ => experts,
        };
        Some(text.into())
    });
    let Some(profile) = accepted(read) else { return false };
    let has_experts = profile.experts.is_some();
    let deployment = Deployment {
        shape: ModelShape {
            layers: 3,
            heads: 8,
            kv_heads: 2,
            hidden: 64,
            vocab: 100,
            value_bytes: 2,
            experts: has_experts.then_some(ExpertShape { count: 8, per_token: 2 }),
        },
        parallel: Parallelism { data: if has_experts { 2 } else { 1 }, ..Parallelism::default() },
        network: Network {
            link: Some(Link { bytes_per_second: 1 << 30, latency_ns: 1000 }),
            ..Network::default()
        },
        graph_sizes: vllm_graph_sizes(8),
        max_tokens: 256,
        max_sequences: 8,
        overhead_ns: 1,
    };
    let Some(predictor) = accepted(KernelPredictor::new(&profile, &deployment)) else { return false };
    let mut step = StepFeatures::default();
    for (decodes, kv, chunks) in
        [(1, 40, [(0, 0), (0, 0)]), (9, 99_999, [(200, 9), (0, 0)]), (3, 1, [(1 << 30, 5), (17, 0)])]
    {
        step.clear();
        step.push_decodes(decodes, u64::from(decodes) * kv, u32::MAX);
        chunks.iter().for_each(|(tokens, before)| step.push_chunk(*tokens, *before));
        assert!(predictor.step_ns(&step) > 0);
    }
    true
}

/// `mlp.csv`, `attention.csv`, `all_reduce.csv`, `send_recv.csv` and `cpu_overhead.csv` of a folder of
/// Vidur's. What is accepted trains operators, which predict stages.
pub fn vidur(data: &[u8]) -> bool {
    let tables: [&[u8]; 5] = files(data);
    let shape = VidurShape {
        name: "org/small".to_owned(),
        num_q_heads: 4,
        num_kv_heads: 2,
        embedding_dim: 64,
        mlp_hidden_dim: 128,
        vocab_size: None,
        use_gated_mlp: true,
    };
    let selection = VidurSelection {
        tensor_parallel: 2,
        pipeline_stages: 2,
        devices_per_node: 4,
        block_size: 16,
        cpu_overhead: true,
    };
    let at = VidurFiles::published(Path::new("p"), "dev", "m", "net").expect("names");
    let paths = [
        Some(&at.mlp),
        Some(&at.attention),
        at.all_reduce.as_ref(),
        at.send_recv.as_ref(),
        at.cpu_overhead.as_ref(),
    ];
    let read = |path: &Path| {
        let index = paths.iter().position(|known| known.is_some_and(|known| known == path));
        Ok(tables[index.expect("one of the files")])
    };
    let Some(training) = accepted(parse_training(read, &at, &shape, &selection)) else { return false };
    let grid = RegressorGrid::Linear {
        degree: vec![2],
        include_bias: vec![true],
        interaction_only: vec![false],
        fit_intercept: vec![true],
    };
    let Some(trained) = accepted(TrainedOperators::train(&training, &grid, 42)) else { return true };
    let again = TrainedOperators::from_bytes(&trained.to_bytes()).unwrap_or_else(|e| panic!("{e}"));
    same(&trained.to_bytes(), &again.to_bytes(), "the trained operators");
    let stage = StageShape {
        layers_per_stage: 2,
        num_q_heads: 4,
        num_kv_heads: 2,
        post_attn_norm: true,
        tensor_parallel: 2,
        pipeline_stages: 2,
    };
    let options = VidurOptions { cpu_overhead: true, ..VidurOptions::default() };
    let Some(predictor) = accepted(VidurPredictor::new(&trained, stage, options)) else { return true };
    let mut step = predictor.features();
    step.push_decodes(7, 900);
    step.push_prefill(64, 200);
    assert!(!predictor.stage_s(&step, true).is_nan());
    true
}

/// `bundle.json`, `mlp.csv`, `per_sequence.csv`, `cpu_overhead.csv`, `attention.csv` and `steps.csv`;
/// digests are let be. What is accepted predicts steps.
pub fn bundle(data: &[u8]) -> bool {
    let Some([meta, mlp, per_sequence, overhead, attention, steps]) = texts(data) else { return false };
    let read = profile::parse_bundle(meta, |name| {
        let text = match name {
            "mlp.csv" => mlp,
            "per_sequence.csv" => per_sequence,
            "cpu_overhead.csv" => overhead,
            "attention.csv" => attention,
            _ => steps,
        };
        text.into()
    });
    let Some(bundle) = accepted(read) else { return false };
    // Durations are written in whole femtoseconds: once written, they stay as they are.
    let written = |bundle: &profile::Bundle| {
        let (files, meta) = profile::render(bundle);
        let json = serde_json::to_string(&meta).expect("a bundle's meta is plain data");
        let read = profile::parse_bundle(&json, |name| {
            let file = files.iter().find(|(file, _)| file.ends_with(name));
            file.map(|(_, text)| text.clone().into_bytes()).unwrap_or_default()
        });
        (files, read.unwrap_or_else(|e| panic!("{e}")))
    };
    let (files, read) = written(&bundle);
    let (files_again, read_again) = written(&read);
    same(&files, &files_again, "the written bundle");
    same(&read, &read_again, "the bundle");
    let Some(predictor) = accepted(Interpolate::new(&bundle)) else { return false };
    let entry =
        |tokens, context, is_prefill| BatchEntry { request: 0, tokens, context, is_prefill, emits: true };
    for entries in [
        vec![entry(1, 0, true)],
        vec![entry(7, 100, true), entry(1, 90, false), entry(1, 1 << 20, false)],
        vec![entry(1 << 20, 1 << 20, true); 3],
    ] {
        predictor.step_ns(&Batch::of(entries));
    }
    true
}

/// A safetensors file, or the index of several.
pub fn weights(data: &[u8]) -> bool {
    let read = source::parse_header(data, data.len() as u64, Path::new("m.safetensors"), "m.safetensors");
    if let Some(metadata) = accepted(read) {
        let data_bytes = metadata.tensors().values().map(|info| info.data_offsets.1).max().unwrap_or(0);
        assert!(data_bytes < data.len());
        return true;
    }
    let Some([text]) = texts(data) else { return false };
    accepted(source::shards("i.json", text)).is_some()
}

/// A `config.json`.
pub fn config(data: &[u8]) -> bool {
    let Some([text]) = texts(data) else { return false };
    let Some(config) = accepted(source::parse_config("config.json", text)) else { return false };
    let elements: u64 = source::tensor_table(&config).iter().map(source::TensorShape::elements).sum();
    assert_eq!(elements, config.num_parameters());
    true
}

/// A `tokenizer.json`. What is accepted encodes and decodes a text, or says why not.
pub fn tokenizer(data: &[u8]) -> bool {
    let Some(tokenizer) = accepted(model::Tokenizer::from_bytes(data, "tokenizer.json")) else {
        return false;
    };
    if let Some(ids) = accepted(tokenizer.encode("The engine waits for 7 tokens.\n naïve \u{1f980}")) {
        accepted(tokenizer.decode(&ids));
    }
    true
}

/// A `chat_template.jinja` and a `tokenizer_config.json`, of which either may be empty: then there is none. What is
/// accepted renders a conversation, or says why not.
pub fn chat(data: &[u8]) -> bool {
    let [template, config] = files::<2>(data);
    let read = model::ChatTemplate::from_files(
        Some(template).filter(|bytes| !bytes.is_empty()),
        Some(config).filter(|bytes| !bytes.is_empty()),
        "model",
        model::Moment::PINNED,
    );
    let Some(template) = accepted(read).flatten() else { return false };
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How long is a token?"},
        {"role": "assistant", "content": "<think>\nno\n</think>\n\nIt depends."},
        {"role": "user", "content": [{"type": "text", "text": "naïve \u{1f980}"}]},
    ]);
    for add_generation_prompt in [false, true] {
        let tools =
            json!([{"type": "function", "function": {"name": "f", "parameters": {"x": [1, 2.5, null]}}}]);
        let messages = messages.clone();
        let conversation =
            model::Conversation { messages, tools, add_generation_prompt, ..model::Conversation::default() };
        accepted(template.render(&conversation));
    }
    accepted(template.prompt(&[model::ChatMessage::user("Hi")]));
    true
}

/// A `comparison.json`. What is accepted can be reported.
pub fn comparison(data: &[u8]) -> bool {
    let Some(read) = accepted(compare::parse_comparison("comparison.json", data)) else { return false };
    let json = serde_json::to_vec(&read).expect("a comparison is plain data");
    let again = compare::parse_comparison("comparison.json", &json).unwrap_or_else(|e| panic!("{e}"));
    same(&read, &again, "the comparison");
    compare::summary(&read);
    report::data(&read).expect("a report is plain data");
    true
}

/// A `capacity.json`. What is accepted is written as it was read, and can be reported.
pub fn capacity(data: &[u8]) -> bool {
    let Some(read) = accepted(capacity::parse_capacity("capacity.json", data)) else { return false };
    let json = capacity::capacity_json(&read).expect("a capacity is plain data");
    let again = capacity::parse_capacity("capacity.json", &json).unwrap_or_else(|e| panic!("{e}"));
    same(&read, &again, "the capacity");
    read.operating_points();
    for cell in &read.cells {
        assert!(cell.price().is_none_or(|price| price.is_sound()));
        cell.point(read.latency);
    }
    true
}
