//! Rules that need the model's shape: what its context holds, what the KV cache
//! holds, and how fast a step can be at all.

use serde::Deserialize;
use serde_json::Value;

use super::check::{CODE, backends_of, part};
use super::engine::{EngineSettings, KvSize};
use super::experiment::{
    Backend, Compare, Dtype, Experiment, Hardware, Lengths, Sessions, Slo, WorkloadSpec,
};
use super::memory::{self, KvCache, kv_cache};
use super::place::Finding;
use super::units::{ByteSize, Duration};
use crate::catalog::ModelConfig;

/// The architecture of which xp reads weights, and makes them up.
const RUNS: &str = "qwen3";

/// Bytes that a thread loads in a nanosecond at most. No core makes more than two 64-byte loads in a cycle, from the
/// fastest of its caches, and 1,000 bytes would take 7.8 such cycles: clocks end at some 6 GHz.
const BYTES_PER_THREAD_NS: u64 = 1_000;

/// What the rules look at: of an instance, whatever of it is well-typed.
pub(super) struct View {
    asked: Asked,
    engines: Vec<Engine>,
    /// Name of the engine that is measured, if the experiment says it.
    real: Option<String>,
    slo: Slo,
    hardware: Option<Hardware>,
    dtype: Option<Dtype>,
}

/// An engine's settings, and its index among the backends.
struct Engine {
    index: usize,
    settings: EngineSettings,
    /// It is measured here: xp brings its model, and on a CPU it is known how fast a step can be at most.
    runs_here: bool,
}

impl Engine {
    fn of(index: usize, backend: &Backend) -> Option<Self> {
        let settings = backend.engine()?;
        let runs_here = matches!(backend, Backend::Candle(_) | Backend::Transformers(_));
        Some(Self { index, settings, runs_here })
    }
}

/// Lengths of requests, in tokens.
struct Asked {
    /// The longest request that may come, prompt and output together, and the setting that says it.
    longest: Option<(&'static str, u64)>,
    /// No prompt and no output is shorter than these.
    prefill: u64,
    decode: u64,
    /// Every output is a single token.
    single: bool,
}

impl Asked {
    /// Of requests that go together into sessions: the longest has all that was said in one.
    fn of(lengths: Option<&Lengths>, decode_tokens: Option<u64>, sessions: Option<(Sessions, u64)>) -> Self {
        let alone = Self::alone(lengths, decode_tokens);
        let Some(sessions) = sessions else { return alone };
        let (sessions, requests) = sessions;
        let (turns, system) = (u64::from(sessions.turns).min(requests), u64::from(sessions.system_prompt));
        let longest = alone.longest.map(|(at, tokens)| match turns {
            1 => (at, tokens + system),
            turns => ("/workload/sessions/turns", tokens.saturating_mul(turns) + system),
        });
        Self { longest, prefill: alone.prefill + system, ..alone }
    }

    fn alone(lengths: Option<&Lengths>, decode_tokens: Option<u64>) -> Self {
        let given = decode_tokens.unwrap_or(1);
        let (longest, prefill, decode) = match lengths {
            Some(Lengths::Fixed { prefill, decode }) => {
                let (prefill, decode) = (u64::from(*prefill), decode.map_or(given, u64::from));
                (Some(("/workload/lengths/prefill", prefill + decode)), prefill, decode)
            }
            Some(
                Lengths::Uniform { min, max, prefill_to_decode: ratio }
                | Lengths::Zipf { min, max, prefill_to_decode: ratio, .. },
            ) => {
                // Rounded down on both sides: how a total is split is the workload's to say.
                let prompt = f64::from(*min) * ratio / (1.0 + ratio);
                let output = f64::from(*min) - prompt;
                let least = |tokens: f64| (tokens.floor() as u64).max(1);
                (Some(("/workload/lengths/max", u64::from(*max))), least(prompt), least(output))
            }
            Some(Lengths::Trace { .. }) => (None, 1, given),
            None => (decode_tokens.map(|decode| ("/workload/decode-tokens", decode + 1)), 1, given),
        };
        let single = decode == 1 && matches!(lengths, None | Some(Lengths::Fixed { .. }));
        Self { longest, prefill, decode, single }
    }
}

impl View {
    pub fn of(experiment: &Experiment) -> Self {
        let WorkloadSpec { lengths, decode_tokens, sessions, requests, .. } = &experiment.workload;
        let engines = experiment.backends.iter().enumerate();
        let engines = engines.filter_map(|(index, backend)| Engine::of(index, backend));
        Self {
            asked: Asked::of(
                lengths.as_ref(),
                decode_tokens.map(u64::from),
                sessions.clone().map(|sessions| (sessions, requests.map_or(u64::MAX, u64::from))),
            ),
            engines: engines.collect(),
            real: experiment.compare.as_ref().map(|compare| compare.real.clone()),
            slo: experiment.slo.clone(),
            hardware: Some(experiment.hardware.clone()),
            dtype: Some(experiment.model.dtype),
        }
    }

    pub fn of_instance(instance: &Value) -> Self {
        let lengths: Option<Lengths> = part(instance, "/workload/lengths");
        let decode_tokens = instance.pointer("/workload/decode-tokens").and_then(Value::as_u64);
        let requests = instance.pointer("/workload/requests").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let sessions = part(instance, "/workload/sessions").map(|sessions: Sessions| (sessions, requests));
        let engines = backends_of(instance).iter().enumerate();
        let engines =
            engines.filter_map(|(index, backend)| Engine::of(index, &Backend::deserialize(backend).ok()?));
        let or_default = |pointer: &str| instance.pointer(pointer).is_none();
        Self {
            asked: Asked::of(lengths.as_ref(), decode_tokens, sessions),
            engines: engines.collect(),
            real: part(instance, "/compare").map(|compare: Compare| compare.real),
            slo: part(instance, "/slo").unwrap_or_default(),
            hardware: part(instance, "/hardware").or_else(|| or_default("/hardware").then(Hardware::default)),
            dtype: part(instance, "/model/dtype").or_else(|| or_default("/model/dtype").then(Dtype::default)),
        }
    }

    /// The engine that is measured: the one `compare` names, else the first.
    fn measured(&self) -> Option<&Engine> {
        let is_named = |engine: &&Engine| self.real.as_ref().is_none_or(|name| *name == engine.settings.name);
        self.engines.iter().find(is_named)
    }

    /// Everything that does not fit a model of this shape.
    pub fn findings(&self, shape: &ModelConfig, out: &mut Vec<Finding>) {
        let context = u64::from(shape.max_position_embeddings);
        if let Some((pointer, tokens)) = self.asked.longest.filter(|(_, tokens)| *tokens > context) {
            let message = format!("the longest request has {tokens} tokens, the model's context {context}");
            let finding = Finding::new(pointer, CODE, message).label("too long for the model");
            let finding = finding.also("/model/name", format!("{context} tokens of context"));
            out.push(finding.help("shorten the requests, or take another model"));
        }
        for Engine { index, settings, runs_here } in &self.engines {
            if *runs_here && shape.model_type != RUNS {
                let message = format!("xp measures engines on {RUNS} models, not on {}", shape.model_type);
                let finding = Finding::new(format!("/backends/{index}/name"), CODE, message);
                let finding =
                    finding.label("cannot run the model").near("/model/name", "another architecture");
                out.push(finding.help(
                    "simulate it with `kind=\"engine\"`, or compare with a recording: `kind=\"recorded\"`",
                ));
            }
            check_context(*index, settings, context, out);
            check_parallel(*index, settings, shape, out);
        }
        if let Some(Engine { index, settings, runs_here }) = self.measured() {
            self.check_kv_cache(*index, settings, shape, out);
            if *runs_here {
                self.check_slo(*index, settings, shape, out);
            }
        }
    }

    /// The longest request must fit the KV cache by itself.
    fn check_kv_cache(
        &self,
        index: usize,
        engine: &EngineSettings,
        shape: &ModelConfig,
        out: &mut Vec<Finding>,
    ) {
        // Longer ones do not fit the model either.
        let context = u64::from(shape.max_position_embeddings);
        let Some((longest, tokens)) = self.asked.longest.filter(|(_, tokens)| *tokens <= context) else {
            return;
        };
        let (Some(dtype), Some(hardware)) = (self.dtype, &self.hardware) else { return };
        let KvCache { block_bytes, blocks, watermark } = kv_cache(engine, shape, dtype, hardware);
        let needed = tokens.div_ceil(u64::from(engine.block_size.max(1)));
        let free = blocks - watermark.min(blocks);
        if needed <= free {
            return;
        }
        let at = |field: &str| format!("/backends/{index}/{field}");
        let message = format!("the longest request needs {needed} KV blocks, the cache has {free}");
        let (field, label) = match engine.kv {
            KvSize::Memory(memory) => {
                ("kv-memory", format!("{memory} hold {blocks} blocks of {block_bytes} bytes"))
            }
            KvSize::Blocks(blocks) => ("kv-blocks", format!("{blocks} blocks")),
            KvSize::Share(share) => {
                ("memory-utilization", format!("{share} of a device leave {blocks} blocks"))
            }
        };
        let mut finding = Finding::new(at(field), CODE, message)
            .label(label)
            .near(longest, format!("{tokens} tokens in blocks of {} are {needed} blocks", engine.block_size));
        if watermark > 0 {
            let plural = if watermark == 1 { " is" } else { "s are" };
            finding = finding.also(at("watermark"), format!("{watermark} block{plural} kept free"));
        }
        // The watermark's share is rounded down; one block more, for the rounding of the quotient.
        let share = 1.0 - (engine.watermark.0 / 100.0).min(0.99);
        let enough = ((needed - 1) as f64 / share) as u64 + 2;
        let size = ByteSize(enough.saturating_mul(block_bytes).div_ceil(1 << 20).saturating_mul(1 << 20));
        out.push(match engine.kv {
            KvSize::Memory(_) => {
                finding.help(format!("`kv-memory \"{size}\"` is enough; or shorten the requests"))
            }
            KvSize::Blocks(_) => {
                finding.help(format!("`kv-blocks {enough}` is enough; or shorten the requests"))
            }
            KvSize::Share(share) => {
                let plan = memory::plan(engine, shape, dtype, hardware, share.0 / 100.0);
                let holds = plan.map(|plan| {
                    let weights = approximate(plan.weights_bytes, &SIZES);
                    let steps = approximate(plan.activation_bytes, &SIZES);
                    format!(
                        "a device of {} holds {weights} of weights and {steps} of a step's results; ",
                        approximate(plan.memory_bytes, &SIZES)
                    )
                });
                finding.help(format!(
                    "{}shorten the requests, or use more devices: `parallel tensor=2`",
                    holds.unwrap_or_default()
                ))
            }
        });
    }

    /// No step is faster than its weights are loaded, so some objectives cannot be met.
    fn check_slo(&self, index: usize, engine: &EngineSettings, shape: &ModelConfig, out: &mut Vec<Finding>) {
        let (Some(hardware), Some(dtype)) = (&self.hardware, self.dtype) else { return };
        if hardware.device != "cpu" {
            return;
        }
        let threads = u64::from(hardware.threads.max(1));
        let bytes = |weights: u64| weights * dtype.bytes();
        let (layers, output) = (bytes(shape.num_layer_parameters()), bytes(shape.num_output_parameters()));
        let least = |steps: u64, tokens: u64| {
            let loaded = layers.saturating_mul(steps).saturating_add(output.saturating_mul(tokens));
            loaded / (threads * BYTES_PER_THREAD_NS)
        };
        // Each step of a prompt loads every layer, its last one and each decode the output projection too.
        let prefills = match engine.scheduler.limits_steps() {
            true => self.asked.prefill.div_ceil(u64::from(engine.chunk_size.max(1))),
            false => 1,
        };
        let decodes = self.asked.decode - 1;
        let bounds = [
            ("ttft-p99", self.slo.ttft_p99, least(prefills, 1), "the first token", prefills),
            ("tpot-p99", self.slo.tpot_p99.filter(|_| !self.asked.single), least(1, 1), "a further token", 1),
            (
                "e2e-p99",
                self.slo.e2e_p99,
                least(prefills + decodes, 1 + decodes),
                "the shortest request",
                prefills + decodes,
            ),
        ];
        for (name, objective, bound, what, steps) in bounds {
            let Some(Duration(objective)) = objective.filter(|objective| objective.0 < bound) else {
                continue;
            };
            let message = format!(
                "no request can meet {name}: {what} takes {} at least, the objective is {}",
                approximate(bound, &TIMES),
                approximate(objective, &TIMES)
            );
            let plural = if threads == 1 { "" } else { "s" };
            let rate = approximate(threads * BYTES_PER_THREAD_NS * 1_000_000_000, &SIZES);
            let weights = approximate(layers + output, &SIZES);
            let mut finding = Finding::new(format!("/slo/{name}"), CODE, message)
                .label("faster than any step")
                .near("/model/name", format!("{weights} of weights, loaded in every step"))
                .near(
                    "/hardware/threads",
                    format!("{threads} thread{plural}, {rate} a second at the very most"),
                );
            if steps > 1 && name == "ttft-p99" {
                let label = format!("a prompt of {} tokens takes {steps} steps", self.asked.prefill);
                finding = finding.near(format!("/backends/{index}/chunk-size"), label);
            }
            out.push(finding.help("this bound is what a CPU's caches deliver, memory is far slower: set the objective well above it, or take a smaller model or more threads"));
        }
    }
}

/// What of an engine's settings the context makes senseless.
fn check_context(index: usize, engine: &EngineSettings, context: u64, out: &mut Vec<Finding>) {
    let (block, chunk) = (u64::from(engine.block_size), u64::from(engine.chunk_size));
    if block > context {
        let message = format!("a KV block of {block} tokens is longer than the model's context of {context}");
        let finding = Finding::new(format!("/backends/{index}/block-size"), CODE, message);
        let finding = finding.label("longer than any request");
        out.push(finding.near("/model/name", format!("{context} tokens of context")).help("16 is usual"));
    }
    if !engine.scheduler.limits_steps() {
        return;
    }
    let batch = u64::from(engine.max_batch_size);
    let plural = if batch == 1 { "" } else { "s" };
    let most = context.saturating_mul(batch);
    let at = format!("/backends/{index}/chunk-size");
    if chunk > most {
        let finding = Finding::new(at, CODE, format!("a step never has {chunk} tokens to compute"));
        let finding = finding
            .label("more than can be there")
            .near(format!("/backends/{index}/max-batch-size"), format!("{batch} request{plural} at once"))
            .near("/model/name", format!("{context} tokens of context"));
        let help =
            format!("{batch} request{plural} of at most {context} tokens make {most}: take that or less");
        out.push(finding.help(help));
    } else if chunk > context {
        let message = format!("a chunk of {chunk} tokens is larger than the model's context of {context}");
        let finding = Finding::new(at, CODE, message).label("more than a prompt can have").into_warning();
        let finding = finding.near("/model/name", format!("{context} tokens of context"));
        out.push(finding.help(format!(
            "no prompt fills it: a step of that size holds several prompts whole. Was a number up to {context} meant?"
        )));
    }
}

/// How a model is split over devices must follow its shape.
fn check_parallel(index: usize, engine: &EngineSettings, shape: &ModelConfig, out: &mut Vec<Finding>) {
    let (tensor, pipeline) = (engine.parallel.tensor, engine.parallel.pipeline);
    let at = |field: &str| format!("/backends/{index}/parallel/{field}");
    let (heads, kv_heads, layers) =
        (shape.num_attention_heads, shape.num_key_value_heads, shape.num_hidden_layers);
    let divisors = |number: u32| -> String {
        let all: Vec<String> =
            (1..=number.min(1024)).filter(|d| number.is_multiple_of(*d)).map(|d| d.to_string()).collect();
        all.join(", ")
    };
    if !heads.is_multiple_of(tensor) {
        let message =
            format!("{tensor} tensor-parallel devices do not divide the model's {heads} attention heads");
        let finding = Finding::new(at("tensor"), CODE, message).label("not a divisor");
        let finding = finding.near("/model/name", format!("{heads} attention heads"));
        out.push(finding.help(format!("take one of {}", divisors(heads))));
    } else if !kv_heads.is_multiple_of(tensor) && !tensor.is_multiple_of(kv_heads) {
        let message =
            format!("{tensor} tensor-parallel devices do not share out the model's {kv_heads} KV heads");
        let finding = Finding::new(at("tensor"), CODE, message).label("neither a divisor nor a multiple");
        let finding = finding.near("/model/name", format!("{kv_heads} heads of keys and values"));
        out.push(finding.help(format!("take one of {}, or a multiple of {kv_heads}", divisors(kv_heads))));
    }
    if pipeline > layers {
        let message = format!("{pipeline} pipeline stages for {layers} layers");
        let finding = Finding::new(at("pipeline"), CODE, message).label("a stage would have no layer");
        let finding = finding.near("/model/name", format!("{layers} layers"));
        out.push(finding.help(format!("take {layers} at most")));
    }
    if engine.parallel.data > 1 && shape.num_experts.is_none() {
        let finding = Finding::new(at("data"), CODE, "data-parallel ranks of a dense model share nothing");
        let finding = finding.label("needs a mixture of experts").near("/model/name", "a dense model");
        out.push(
            finding.help(format!("write `replicas {}`: each with all of the model", engine.parallel.data)),
        );
    }
    if engine.parallel.expert && shape.num_experts.is_none() {
        let finding = Finding::new(at("expert"), CODE, "the model has no experts to share out");
        let finding = finding.label("needs a mixture of experts").near("/model/name", "a dense model");
        out.push(finding.help("leave it away, or take a model with experts"));
    }
}

/// Units of a quantity, the largest first.
type Units = [(&'static str, u64); 4];

const TIMES: Units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
const SIZES: Units = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

/// A quantity with three digits: `1.19 ms`.
fn approximate(value: u64, units: &Units) -> String {
    let (unit, size) = units.iter().find(|(_, size)| value >= *size).unwrap_or(&units[units.len() - 1]);
    let count = value as f64 / *size as f64;
    let digits = if count < 9.995 { 2 } else { usize::from(count < 99.95) };
    let text = format!("{count:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_digits() {
        let times: Vec<String> =
            [0, 7, 1_190, 999_999, 12_345_678, 300_000_000_000].map(|ns| approximate(ns, &TIMES)).to_vec();
        assert_eq!(times, ["0 ns", "7 ns", "1.19 us", "1000 us", "12.3 ms", "300 s"]);
        assert_eq!(approximate(2_384_199_680, &SIZES), "2.38 GB");
        assert_eq!(approximate(2_000_000_000_000, &SIZES), "2 TB");
    }

    #[test]
    fn the_shortest_request_is_no_longer_than_any_that_is_drawn() {
        let lengths = Lengths::Uniform { min: 12, max: 40, prefill_to_decode: 4.0 };
        let Asked { longest, prefill, decode, single } = Asked::of(Some(&lengths), None, None);
        assert_eq!((longest, prefill, decode, single), (Some(("/workload/lengths/max", 40)), 9, 2, false));
        let Asked { prefill, decode, single, .. } =
            Asked::of(Some(&Lengths::Fixed { prefill: 9, decode: None }), Some(1), None);
        assert_eq!((prefill, decode, single), (9, 1, true));
    }
}
