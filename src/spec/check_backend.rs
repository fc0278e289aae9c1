//! Rules about backends.

use serde::Deserialize;
use serde_json::Value;

use super::check::{CODE, backends_of, part};
use super::check_texts::{check_path, check_unit};
use super::engine::{CandleBackend, EngineSettings, GPU_BLOCK_MULTIPLE, KvSize, TransformersBackend};
use super::experiment::{Backend, CPU, Dtype, Model};
use super::place::Finding;
use super::simulator::{Predictor, ProfileSource, SimBackend};
use super::suggest::quoted;
use crate::scheduler::Policy;

pub(super) fn name_of(backend: &Value) -> Option<&str> {
    backend.get("name").and_then(Value::as_str)
}

/// What contradicts itself in one backend.
pub(super) fn backend(instance: &Value, index: usize, out: &mut Vec<Finding>) {
    let at = |field: &str| format!("/backends/{index}/{field}");
    check_unit(instance, at("kv-memory"), "size", out);
    check_unit(instance, at("watermark"), "percent", out);
    check_unit(instance, at("memory-utilization"), "percent", out);
    check_unit(instance, at("overhead/step"), "duration", out);
    check_unit(instance, at("step-timeout"), "duration", out);
    let Some(item) = backends_of(instance).get(index) else { return };
    if item.get("kv-blocks").is_some() && item.get("kv-memory").is_some() {
        let finding = Finding::new(at("kv-blocks"), CODE, "the KV cache has two sizes").label("in blocks");
        let finding = finding.also(at("kv-memory"), "and in bytes");
        out.push(finding.help("keep one of them"));
    }
    let Ok(backend) = Backend::deserialize(item) else { return };
    if let Some(engine) = backend.engine() {
        check_engine(index, &engine, out);
    }
    match &backend {
        Backend::Recorded(recorded) => check_path(at("path"), &recorded.path, out),
        Backend::Transformers(transformers) => check_transformers(index, transformers, out),
        Backend::Sim(sim) => {
            let device = instance.pointer("/hardware/device").and_then(Value::as_str).unwrap_or(CPU);
            check_vidur(index, sim, out);
            match &sim.profile {
                ProfileSource::Folder(folder) => check_path(at("profile"), folder, out),
                ProfileSource::Auto if device != CPU && !measures(instance) => {
                    let message = format!("nothing here measures a profile of {}", quoted(device));
                    let finding =
                        Finding::new(at("profile"), CODE, message).label("measured with an engine that runs");
                    let finding = finding.also("/hardware/device", "the device");
                    out.push(
                        finding.help("name the folder of a profile of the device: `profile \"profiles/…\"`; or run an engine on it: `kind=\"candle\"`"),
                    );
                }
                ProfileSource::Auto if sim.predictor == Predictor::Kernels => {
                    let finding = Finding::new(at("predictor"), CODE, "xp measures no kernels of a GPU");
                    let finding =
                        finding.label("needs a kernel profile").also(at("profile"), "measured by xp");
                    out.push(finding.help("name the folder of a kernel profile: `profile \"profiles/…\"`"));
                }
                ProfileSource::Auto => {}
            }
        }
        Backend::Candle(candle) => check_gpu(instance, index, candle, out),
        Backend::Engine(_) => {}
    }
}

/// Whether a backend of the experiment runs a model, and so can be measured.
fn measures(instance: &Value) -> bool {
    let kind = |item: &Value| Backend::deserialize(item).ok();
    backends_of(instance)
        .iter()
        .filter_map(kind)
        .any(|backend| matches!(backend, Backend::Candle(_) | Backend::Transformers(_)))
}

/// What xp's own engine cannot do on a GPU, whose attention is FlashAttention's.
fn check_gpu(instance: &Value, index: usize, engine: &CandleBackend, out: &mut Vec<Finding>) {
    let device = instance.pointer("/hardware/device").and_then(Value::as_str).unwrap_or(CPU);
    if device == CPU {
        return;
    }
    if !engine.block_size.is_multiple_of(GPU_BLOCK_MULTIPLE) {
        let found = engine.block_size;
        let message = format!("KV blocks of {found} tokens do not fit FlashAttention on {}", quoted(device));
        let finding = Finding::new(format!("/backends/{index}/block-size"), CODE, message);
        let finding = finding.label(format!("must be a multiple of {GPU_BLOCK_MULTIPLE}"));
        let fitting = found.next_multiple_of(GPU_BLOCK_MULTIPLE);
        out.push(finding.also("/hardware/device", "a GPU").help(format!("write `block-size {fitting}`")));
    }
    let dtype = part::<Model>(instance, "/model").map(|model| model.dtype);
    if dtype == Some(Dtype::F32) {
        let message = format!("FlashAttention on {} computes no f32", quoted(device));
        let finding = Finding::new("/model/dtype", CODE, message).label("too wide for it");
        let finding = finding.also("/hardware/device", "a GPU");
        out.push(finding.help("write `dtype=\"bf16\"` or `dtype=\"f16\"`"));
    }
}

/// What a Python worker cannot do.
fn check_transformers(index: usize, backend: &TransformersBackend, out: &mut Vec<Finding>) {
    let at = |field: &str| format!("/backends/{index}/{field}");
    if backend.scheduler != Policy::Static {
        let message = format!("transformers computes no batches of `{}`", backend.scheduler.name());
        let finding = Finding::new(at("scheduler"), CODE, message).label("must be `static`");
        out.push(finding.help("leave it away: whole batches from their prompts to the end of their last request, or requests one at a time with `max-batch-size 1`"));
    }
    if let Some(path) = &backend.requirements {
        check_path(at("requirements"), path, out);
    }
    if backend.step_timeout.0 == 0 {
        let finding = Finding::new(at("step-timeout"), CODE, "no step ends within no time");
        out.push(finding.label("no time").help("`120s` is the default"));
    }
}

/// Predictors and profiles that do not go together, as far as the text says which profile it is.
fn check_vidur(index: usize, sim: &SimBackend, out: &mut Vec<Finding>) {
    let at = |field: &str| format!("/backends/{index}/{field}");
    match (&sim.vidur, sim.predictor) {
        (None, Predictor::Linear | Predictor::Forest) => {
            let finding =
                Finding::new(at("predictor"), CODE, "the predictor is trained with tables of Vidur's");
            let finding = finding.label("needs a folder of Vidur's");
            out.push(
                finding
                    .help("say which tables of the profile are meant: `vidur \"a100\" network=\"a100_dgx\"`"),
            );
        }
        (Some(_), Predictor::Kernels) => {
            let finding = Finding::new(at("predictor"), CODE, "a folder of Vidur's has no kernels of a GPU");
            let finding = finding.label("needs a kernel profile").also(at("vidur"), "a folder of Vidur's");
            out.push(finding.help("write `predictor \"linear\"`, `\"forest\"` or `\"interpolate\"`"));
        }
        _ => {}
    }
    let (linear, forest) = sim.grid.map(|grid| grid.of_each()).unwrap_or_default();
    for (setting, of) in [(linear, Predictor::Linear), (forest, Predictor::Forest)] {
        if let Some(setting) = setting.filter(|_| sim.predictor != of) {
            let kind = if of == Predictor::Linear { "linear" } else { "forest" };
            let message = format!("`{setting}` is a setting of the `{kind}` predictor");
            let finding = Finding::new(at(&format!("grid/{setting}")), CODE, message);
            let finding = finding.label("of another predictor").also(at("predictor"), "the predictor");
            out.push(finding.help(format!("leave it away, or write `predictor \"{kind}\"`")));
        }
    }
    if sim.vidur.is_some() && sim.profile == ProfileSource::Auto {
        let finding = Finding::new(at("profile"), CODE, "xp measures no tables of Vidur's");
        let finding = finding.label("measures this machine's CPU").also(at("vidur"), "a folder of Vidur's");
        out.push(finding.help("name the profiling folder: `profile \"profiles/vidur\"`"));
    }
}

/// What contradicts itself in an engine's settings.
fn check_engine(index: usize, engine: &EngineSettings, out: &mut Vec<Finding>) {
    let at = |field: &str| format!("/backends/{index}/{field}");
    let policy = engine.scheduler;
    let name = policy.name();
    if engine.watermark.0 >= 100.0 {
        let message = format!("a watermark of {} keeps every KV block free", engine.watermark);
        let finding = Finding::new(at("watermark"), CODE, message);
        out.push(finding.label("all of the cache").help("1% to 5% is usual"));
    }
    if let KvSize::Share(share) = engine.kv
        && share.0 > 100.0
    {
        let message = format!("{share} of a device's memory is more than it has");
        let finding = Finding::new(at("memory-utilization"), CODE, message);
        out.push(finding.label("more than all").help("90% is usual"));
    }
    if policy == Policy::VllmV1 && engine.max_batch_size > engine.chunk_size {
        let (batch, chunk) = (engine.max_batch_size, engine.chunk_size);
        let message = format!("a step of {chunk} tokens cannot hold {batch} requests");
        let finding = Finding::new(at("chunk-size"), CODE, message).label("fewer tokens than requests");
        let finding = finding.also(at("max-batch-size"), "a decode of each is a token");
        out.push(finding.help(format!("`vllm_v1` wants {batch} tokens a step at least, as vLLM does")));
    }
    for (field, wanted) in
        [("prefix-caching", engine.prefix_caching), ("async-scheduling", engine.async_scheduling)]
    {
        if wanted && policy != Policy::VllmV1 {
            let message = format!("`{name}` knows no {}", field.replace('-', " "));
            let finding = Finding::new(at(field), CODE, message).label("not of this policy");
            let finding = finding.also(at("scheduler"), "the policy");
            out.push(finding.help("`vllm_v1` has it; leave it away for other policies"));
        }
    }
    if policy == Policy::Lightllm {
        if engine.block_size != 1 {
            let message = format!("`lightllm` keeps tokens, not blocks of {}", engine.block_size);
            let finding = Finding::new(at("block-size"), CODE, message).label("must be 1");
            out.push(finding.also(at("scheduler"), "memory by the token").help("write `block-size 1`"));
        }
        if engine.parallel.pipeline > 1 {
            let finding = Finding::new(at("parallel/pipeline"), CODE, "`lightllm` has no pipeline stages");
            out.push(finding.label("must be 1").also(at("scheduler"), "the policy").help("leave it away"));
        }
    }
    if engine.max_batch_size < engine.parallel.pipeline {
        let stages = engine.parallel.pipeline;
        let message =
            format!("{} requests at once cannot fill {stages} pipeline stages", engine.max_batch_size);
        let finding = Finding::new(at("max-batch-size"), CODE, message).label("fewer than stages");
        let finding = finding.also(at("parallel/pipeline"), "each stage has a batch of its own");
        out.push(finding.help(format!("{stages} at least")));
    }
}

/// What contradicts itself among the backends.
pub(super) fn all_backends(instance: &Value, out: &mut Vec<Finding>) {
    let items = backends_of(instance);
    // More backends than the schema admits are not compared with one another.
    for (index, item) in items.iter().enumerate().take(64) {
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
}
