//! Rules between settings, which a schema cannot say. Each rule looks at the
//! parts that are well-typed, so that one mistake does not hide another.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::check_texts::{check_paths, check_units};
use super::experiment::{Backend, CandleBackend, Compare, Lengths, Model, Source};
use super::path;
use super::place::Finding;
use super::suggest::{did_you_mean, one_of, quoted};
use crate::catalog::{self, ModelConfig};

/// Most cells of a matrix.
pub(super) const MAX_CELLS: usize = 10_000;

/// More backends than the schema admits are not compared with one another, nor listed.
const MOST_BACKENDS: usize = 64;

/// Devices this version runs on.
const DEVICES: &[&str] = &["cpu"];

pub(super) const CODE: &str = "xp::spec::rule";

/// A part of an instance, if it is there and well-typed.
pub(super) fn part<T: DeserializeOwned>(instance: &Value, pointer: &str) -> Option<T> {
    T::deserialize(instance.pointer(pointer)?).ok()
}

/// Everything that contradicts itself.
pub(super) fn contradictions(instance: &Value) -> Vec<Finding> {
    let mut out = Vec::new();
    let model: Option<Model> = part(instance, "/model");
    let backends: Vec<Option<Backend>> = instance
        .get("backends")
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |items| items.iter().map(|item| Backend::deserialize(item).ok()).collect());
    check_model(instance, model.as_ref(), &mut out);
    check_hardware(instance, &mut out);
    check_lengths(instance, &mut out);
    check_backends(instance, &backends, &mut out);
    check_compare(instance, &mut out);
    check_matrix(instance, &mut out);
    check_paths(instance, model.as_ref(), &backends, &mut out);
    check_units(instance, &mut out);
    let context =
        model.filter(|model| model.source == Source::Synthetic).and_then(|model| catalog::model(&model.name));
    if let Some(context) = context {
        check_context(instance, context, &backends, &mut out);
    }
    out
}

fn check_model(instance: &Value, model: Option<&Model>, out: &mut Vec<Finding>) {
    // Weights from elsewhere bring their own shape: only a synthetic model needs the catalog.
    let synthetic = match model {
        Some(model) => model.source == Source::Synthetic,
        None => instance.pointer("/model/source").is_none(),
    };
    let Some(name) = instance.pointer("/model/name").and_then(Value::as_str) else { return };
    if synthetic && catalog::model(name).is_none() {
        let known: Vec<&str> = catalog::known_models().collect();
        let help = did_you_mean(name, &known, "the catalog has");
        let finding = Finding::new("/model/name", CODE, format!("no model {} in the catalog", quoted(name)));
        out.push(
            finding
                .label("unknown model")
                .help(format!("{help}; weights of your own: `source \"path\" \"models/…\"`")),
        );
    }
    if let Some(Model { source: Source::Hf { revision, .. }, .. }) = model
        && revision.contains("..")
    {
        out.push(
            Finding::new("/model/source/revision", CODE, "a revision has no `..`")
                .help("write a branch, a tag or a commit"),
        );
    }
}

fn check_hardware(instance: &Value, out: &mut Vec<Finding>) {
    let device = instance.pointer("/hardware/device").and_then(Value::as_str);
    if let Some(device) = device.filter(|device| !DEVICES.contains(device)) {
        let help = did_you_mean(device, DEVICES, "this version runs on");
        let finding = Finding::new("/hardware/device", CODE, format!("no device {}", quoted(device)));
        out.push(finding.label("unknown device").help(help));
    }
}

/// Where prompts, their lengths and the output lengths come from: each from one place.
fn check_lengths(instance: &Value, out: &mut Vec<Finding>) {
    const PROMPTS: &str = "/workload/prompts";
    const LENGTHS: &str = "/workload/lengths";
    const DECODE: &str = "/workload/decode-tokens";
    let Some(workload) = instance.get("workload").and_then(Value::as_object) else { return };
    let decode = workload.contains_key("decode-tokens");
    match (workload.contains_key("prompts"), workload.contains_key("lengths")) {
        (true, true) => {
            let finding = Finding::new(LENGTHS, CODE, "`prompts` and `lengths` exclude each other");
            let finding = finding.label("lengths of texts that are given").also(PROMPTS, "the texts");
            out.push(finding.help("keep `prompts` for real texts, `lengths` for texts made to measure"));
        }
        (false, false) => {
            let finding = Finding::new("/workload", CODE, "the workload does not say what is asked");
            let help = "add `lengths \"zipf\" min=16 max=512` for texts made to measure, or `prompts \"prompts.jsonl\"`";
            out.push(finding.label("neither lengths nor prompts").help(help));
        }
        (true, false) if !decode => {
            let finding =
                Finding::new("/workload", CODE, "the workload does not say how many tokens are decoded");
            out.push(finding.label("`decode-tokens` is missing").help("add `decode-tokens 64`"));
        }
        _ => {}
    }
    let Some(lengths) = part::<Lengths>(instance, LENGTHS) else { return };
    let twice = |kind: &str| {
        let message = format!("{kind} lengths say already how many tokens are decoded");
        Finding::new(DECODE, CODE, message)
            .label("says it again")
            .also(LENGTHS, "says it")
            .help("remove `decode-tokens`")
            .on_name()
    };
    match &lengths {
        Lengths::Fixed { decode: Some(_), .. } if decode => out.push(twice("these fixed")),
        Lengths::Fixed { decode: None, .. } if !decode => {
            let finding = Finding::new(LENGTHS, CODE, "fixed lengths do not say how many tokens are decoded");
            out.push(
                finding
                    .label("`decode` is missing")
                    .help("add `decode=64` here, or `decode-tokens 64` to the workload"),
            );
        }
        Lengths::Uniform { .. } if decode => out.push(twice("uniform")),
        Lengths::Zipf { .. } if decode => out.push(twice("zipf")),
        Lengths::Trace { .. } if decode => out.push(twice("the trace's")),
        _ => {}
    }
    if let Lengths::Uniform { min, max, .. } | Lengths::Zipf { min, max, .. } = lengths
        && min > max
    {
        let finding =
            Finding::new("/workload/lengths/max", CODE, format!("max {max} is less than min {min}"));
        out.push(
            finding
                .label("less than `min`")
                .also("/workload/lengths/min", "`min`")
                .help("swap them, or correct one"),
        );
    }
}

fn name_of(backend: &Value) -> Option<&str> {
    backend.get("name").and_then(Value::as_str)
}

fn check_backends(instance: &Value, backends: &[Option<Backend>], out: &mut Vec<Finding>) {
    let items = instance.get("backends").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (index, item) in items.iter().enumerate().take(MOST_BACKENDS) {
        let Some(name) = name_of(item) else { continue };
        if let Some(first) = items[..index].iter().position(|other| name_of(other) == Some(name)) {
            let finding = Finding::new(
                format!("/backends/{index}/name"),
                CODE,
                format!("two backends are named {}", quoted(name)),
            );
            let finding =
                finding.label("the same name").also(format!("/backends/{first}/name"), "used first");
            out.push(
                finding.help(format!("another name says its kind: `backend \"{name}-2\" kind=\"candle\"`")),
            );
        }
    }
    if !items.is_empty() && items.iter().all(|item| item.get("kind").is_some_and(|kind| kind == "sim")) {
        let finding =
            Finding::new("", CODE, "no backend of the experiment measures").label("only simulated backends");
        out.push(
            finding.help("add the engine whose settings are simulated: `backend \"sarathi\" chunk-size=256`"),
        );
    }
    for (index, backend) in backends.iter().enumerate() {
        if let Some(Backend::Candle(CandleBackend { watermark, .. })) = backend
            && watermark.0 >= 100.0
        {
            let pointer = format!("/backends/{index}/watermark");
            let finding =
                Finding::new(pointer, CODE, format!("a watermark of {watermark} keeps every KV block free"));
            out.push(finding.label("all of the cache").help("1% to 5% is usual"));
        }
    }
}

fn check_compare(instance: &Value, out: &mut Vec<Finding>) {
    let Some(compare) = instance.get("compare") else { return };
    let items = instance.get("backends").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (side, kind, what) in [("real", "candle", "measured"), ("sim", "sim", "simulated")] {
        let Some(name) = compare.get(side).and_then(Value::as_str) else { continue };
        let pointer = format!("/compare/{side}");
        let of_kind: Vec<&str> = items
            .iter()
            .filter(|item| item.get("kind").is_some_and(|own| own == kind))
            .filter_map(name_of)
            .filter(|name| name.len() <= 100)
            .take(MOST_BACKENDS)
            .collect();
        let example = if kind == "candle" { "backend \"sarathi\"" } else { "backend \"vidur\"" };
        let allowed = match of_kind.as_slice() {
            [] => format!("the experiment has no {what} backend: add `{example}`"),
            names => did_you_mean(name, names, &format!("{what} backends are")),
        };
        match items.iter().find(|item| name_of(item) == Some(name)) {
            None => {
                let finding = Finding::new(pointer, CODE, format!("no backend {}", quoted(name)));
                out.push(finding.label("not in the experiment").help(allowed));
            }
            Some(item) if item.get("kind").is_some_and(|own| own != kind) => {
                let finding =
                    Finding::new(pointer, CODE, format!("the backend {} is not {what}", quoted(name)));
                let help = match of_kind.as_slice() {
                    [] => allowed,
                    names => format!("{what} backends are: {}", one_of(names.iter().copied())),
                };
                out.push(finding.label(format!("`{side}` takes a {what} backend")).help(help));
            }
            Some(_) => {}
        }
    }
    if let Some(Compare { pass, warn, .. }) = part(instance, "/compare")
        && warn.0 < pass.0
    {
        let at = if compare.get("warn").is_some() { "/compare/warn" } else { "/compare/pass" };
        let finding = Finding::new(at, CODE, format!("warn {warn} is less than pass {pass}"));
        let finding = finding.label("the wrong way round").also("/compare/pass", "`pass`");
        out.push(finding.help("up to `pass` a comparison passes, up to `warn` it warns, beyond it fails"));
    }
}

fn check_matrix(instance: &Value, out: &mut Vec<Finding>) {
    const CODE: &str = "xp::spec::matrix";
    let axes = instance.get("matrix").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let values = |axis: &Value| axis.get("values").and_then(Value::as_array).map_or(0, Vec::len);
    let cells = axes.iter().map(values).fold(1_usize, usize::saturating_mul);
    if cells > MAX_CELLS {
        let finding = Finding::new(
            "/matrix",
            CODE,
            format!("the matrix has {cells} runs, at most {MAX_CELLS} are run"),
        );
        out.push(
            finding.label("their product is too large").help("take values out, or split the experiment"),
        );
    }
    for (index, axis) in axes.iter().enumerate() {
        let Some(path) = axis.get("path").and_then(Value::as_str) else { continue };
        let pointer = format!("/matrix/{index}/path");
        let target = match path::resolve(path, instance) {
            Ok(target) => target,
            Err(wrong) => {
                let at = path.get(wrong.span.0..wrong.span.0 + wrong.span.1).unwrap_or(path);
                let label = format!("`{at}`: {}", wrong.label);
                out.push(Finding::new(pointer, CODE, wrong.message).label(label).help(wrong.help));
                continue;
            }
        };
        let engine = || {
            let index = target.keys.get(1).and_then(|index| index.parse::<usize>().ok())?;
            // A backend of no known kind was refused for that.
            let kind = instance.get("backends")?.get(index)?.get("kind");
            let is_candle = kind.is_none_or(|kind| kind == "candle");
            Some(is_candle && target.keys.last().is_some_and(|last| last != "kind"))
        };
        let varies = match target.keys[0].as_str() {
            "workload" => target.keys.last().is_some_and(|last| last != "name"),
            "backends" => engine().unwrap_or(false),
            _ => false,
        };
        if !varies {
            let finding = Finding::new(pointer, CODE, format!("the matrix cannot vary {}", quoted(path)));
            let help = "runs of a matrix share model, hardware, bundle and thresholds; vary `workload.…` or a setting of the engine, and write another experiment for the rest";
            out.push(finding.label("shared by all runs").help(help));
        }
    }
}

/// What the model's context admits.
fn check_context(
    instance: &Value,
    model: &ModelConfig,
    backends: &[Option<Backend>],
    out: &mut Vec<Finding>,
) {
    let context = u64::from(model.max_position_embeddings);
    let decode_tokens = instance.pointer("/workload/decode-tokens").and_then(Value::as_u64);
    let longest = match part::<Lengths>(instance, "/workload/lengths") {
        Some(Lengths::Fixed { prefill, decode }) => {
            let decode = decode.map(u64::from).or(decode_tokens).unwrap_or(1);
            Some(("/workload/lengths/prefill", u64::from(prefill) + decode))
        }
        Some(Lengths::Uniform { max, .. } | Lengths::Zipf { max, .. }) => {
            Some(("/workload/lengths/max", u64::from(max)))
        }
        Some(Lengths::Trace { .. }) => None,
        None => decode_tokens.map(|decode| ("/workload/decode-tokens", decode + 1)),
    };
    if let Some((pointer, tokens)) = longest.filter(|(_, tokens)| *tokens > context) {
        let message = format!("the longest request has {tokens} tokens, the model's context {context}");
        let finding = Finding::new(pointer, CODE, message).label("too long for the model");
        out.push(
            finding
                .also("/model/name", format!("{context} tokens of context"))
                .help("shorten the requests, or take another model"),
        );
    }
    for (index, backend) in backends.iter().enumerate() {
        let Some(Backend::Candle(candle)) = backend else { continue };
        if u64::from(candle.block_size) > context {
            let message = format!(
                "a KV block of {} tokens is longer than the model's context of {context}",
                candle.block_size
            );
            let finding = Finding::new(format!("/backends/{index}/block-size"), CODE, message);
            out.push(finding.label("longer than any request").help("16 is usual"));
        }
        let most = context.saturating_mul(u64::from(candle.max_batch_size));
        if u64::from(candle.chunk_size) > most {
            let message = format!("a step never has {} tokens to compute", candle.chunk_size);
            let finding = Finding::new(format!("/backends/{index}/chunk-size"), CODE, message);
            out.push(
                finding.label("more than can be there").help(format!(
                    "{} requests of at most {context} tokens are {most}",
                    candle.max_batch_size
                )),
            );
        }
    }
}
