//! Rules between settings, which a schema cannot say. Each rule looks at the
//! parts that are well-typed, so that one mistake does not hide another.
//!
//! A cell of the matrix differs from its experiment in the workload, the hardware
//! and in backends: rules about one of these look at nothing else, but for those of
//! hardware, which look at the kinds of backends, and of simulated backends and xp's
//! own engine, which look at the device.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::check_backend::{all_backends, backend, name_of};
use super::check_capacity::check_capacity;
use super::check_matrix::check_matrix;
use super::check_texts::{check_data, check_path, check_report, check_unit};
use super::check_workload::workload;
use super::experiment::{CPU, Compare, Model, Source};
use super::place::Finding;
use super::suggest::{did_you_mean, one_of, quoted};
use crate::catalog;

/// More backends than the schema admits are not compared with one another, nor listed.
const MOST_BACKENDS: usize = 64;

pub(super) const CODE: &str = "xp::spec::rule";

/// A part of an instance, if it is there and well-typed.
pub(super) fn part<T: DeserializeOwned>(instance: &Value, pointer: &str) -> Option<T> {
    T::deserialize(instance.pointer(pointer)?).ok()
}

/// The backends of an instance.
pub(super) fn backends_of(instance: &Value) -> &[Value] {
    instance.get("backends").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Everything that contradicts itself.
pub(super) fn contradictions(instance: &Value) -> Vec<Finding> {
    let mut out = Vec::new();
    check_model(instance, &mut out);
    check_hardware(instance, &mut out);
    workload(instance, &mut out);
    all_backends(instance, &mut out);
    for index in 0..backends_of(instance).len() {
        backend(instance, index, &mut out);
    }
    check_compare(instance, &mut out);
    check_capacity(instance, &mut out);
    check_matrix(instance, &mut out);
    for limit in ["/slo/ttft-p99", "/slo/tpot-p99", "/slo/e2e-p99"] {
        check_unit(instance, limit.to_owned(), "duration", &mut out);
    }
    check_report(instance, &mut out);
    check_data(instance, &mut out);
    out
}

fn check_model(instance: &Value, out: &mut Vec<Finding>) {
    let model: Option<Model> = part(instance, "/model");
    // Weights from elsewhere bring their own shape: only a synthetic model needs the catalog.
    let synthetic = match &model {
        Some(model) => model.source == Source::Synthetic,
        None => instance.pointer("/model/source").is_none(),
    };
    let name = instance.pointer("/model/name").and_then(Value::as_str);
    if let Some(name) = name.filter(|name| synthetic && catalog::model(name).is_none()) {
        let known: Vec<&str> = catalog::known_models().collect();
        let help = did_you_mean(name, &known, "the catalog has");
        let finding = Finding::new("/model/name", CODE, format!("no model {} in the catalog", quoted(name)));
        out.push(
            finding
                .label("unknown model")
                .help(format!("{help}; weights of your own: `source \"path\" \"models/…\"`")),
        );
    }
    match model.map(|model| model.source) {
        Some(Source::Hf { revision, .. }) if revision.contains("..") => {
            let finding = Finding::new("/model/source/revision", CODE, "a revision has no `..`");
            out.push(finding.help("write a branch, a tag or a commit"));
        }
        Some(Source::Path { path } | Source::Config { path }) => {
            check_path("/model/source/path".to_owned(), &path, out);
        }
        _ => {}
    }
}

pub(super) fn check_hardware(instance: &Value, out: &mut Vec<Finding>) {
    check_unit(instance, "/hardware/memory".to_owned(), "size", out);
    check_unit(instance, "/hardware/interconnect/bandwidth".to_owned(), "bandwidth", out);
    check_unit(instance, "/hardware/interconnect/latency".to_owned(), "duration", out);
    let Some(device) = instance.pointer("/hardware/device").and_then(Value::as_str) else { return };
    if device == CPU {
        return;
    }
    let known: Vec<&str> = std::iter::once(CPU).chain(catalog::known_devices()).collect();
    if !known.contains(&device) && instance.pointer("/hardware/memory").is_none() {
        let help = did_you_mean(device, &known, "known are");
        let own =
            format!("a device of your own says its memory: `hardware {} memory=\"24GiB\"`", quoted(device));
        let finding = Finding::new("/hardware/device", CODE, format!("no device {}", quoted(device)));
        out.push(finding.label("unknown device").help(format!("{help}; {own}")));
    }
}

/// Whether a backend says that it is of one of these kinds.
fn is_of(backend: &Value, kinds: &[&str]) -> bool {
    backend.get("kind").and_then(Value::as_str).is_some_and(|own| kinds.contains(&own))
}

fn check_compare(instance: &Value, out: &mut Vec<Finding>) {
    let Some(compare) = instance.get("compare") else { return };
    check_unit(instance, "/compare/pass".to_owned(), "percent", out);
    check_unit(instance, "/compare/warn".to_owned(), "percent", out);
    let items = backends_of(instance);
    let sides: [(&str, &[&str], &str); 2] =
        [("real", &["candle", "transformers", "recorded"], "measured"), ("sim", &["sim"], "simulated")];
    for (side, kinds, what) in sides {
        let Some(name) = compare.get(side).and_then(Value::as_str) else { continue };
        let pointer = format!("/compare/{side}");
        let of_kind: Vec<&str> = items
            .iter()
            .filter(|item| is_of(item, kinds))
            .filter_map(name_of)
            .filter(|name| name.len() <= 100)
            .take(MOST_BACKENDS)
            .collect();
        let example = if side == "real" { "backend \"sarathi\"" } else { "backend \"vidur\"" };
        let allowed = match of_kind.as_slice() {
            [] => format!("the experiment has no {what} backend: add `{example}`"),
            names => did_you_mean(name, names, &format!("{what} backends are")),
        };
        match items.iter().find(|item| name_of(item) == Some(name)) {
            None => {
                let finding = Finding::new(pointer, CODE, format!("no backend {}", quoted(name)));
                out.push(finding.label("not in the experiment").help(allowed));
            }
            Some(item) if item.get("kind").is_some() && !is_of(item, kinds) => {
                let finding =
                    Finding::new(pointer, CODE, format!("the backend {} is not {what}", quoted(name)));
                let help = match of_kind.as_slice() {
                    [] => allowed,
                    names => format!("{what} backends are: {}", one_of(names.iter().copied())),
                };
                out.push(finding.label(format!("`{side}` takes a {what} backend")).help(help));
            }
            // The default is that of a measurement, unless the experiment says otherwise.
            Some(item) if side == "real" && is_of(item, &["recorded"]) => {
                let repeats = compare.get("repeats").and_then(Value::as_u64);
                if repeats.is_some_and(|repeats| repeats > 1) {
                    let message = format!("the recording {} is one run, it cannot be repeated", quoted(name));
                    let finding = Finding::new("/compare/repeats", CODE, message).label("more than one");
                    let finding = finding.also("/compare/real", "a recording");
                    out.push(finding.help("leave `repeats` away, or measure with an engine of your own"));
                }
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
