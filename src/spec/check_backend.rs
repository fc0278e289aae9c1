//! Rules about backends.

use serde::Deserialize;
use serde_json::Value;

use super::check::{CODE, backends_of};
use super::check_texts::{check_path, check_unit};
use super::experiment::{Backend, CandleBackend, ProfileSource, RecordedBackend};
use super::place::Finding;
use super::suggest::quoted;

pub(super) fn name_of(backend: &Value) -> Option<&str> {
    backend.get("name").and_then(Value::as_str)
}

/// What contradicts itself in one backend.
pub(super) fn backend(instance: &Value, index: usize, out: &mut Vec<Finding>) {
    let at = |field: &str| format!("/backends/{index}/{field}");
    check_unit(instance, at("kv-memory"), "size", out);
    check_unit(instance, at("watermark"), "percent", out);
    match backends_of(instance).get(index).map(Backend::deserialize) {
        Some(Ok(
            Backend::Candle(CandleBackend { watermark, .. })
            | Backend::Recorded(RecordedBackend { watermark, .. }),
        )) if watermark.0 >= 100.0 => {
            let message = format!("a watermark of {watermark} keeps every KV block free");
            let finding = Finding::new(at("watermark"), CODE, message);
            out.push(finding.label("all of the cache").help("1% to 5% is usual"));
        }
        Some(Ok(Backend::Recorded(recorded))) => check_path(at("path"), &recorded.path, out),
        Some(Ok(Backend::Sim(sim))) => {
            if let ProfileSource::Folder(folder) = &sim.profile {
                check_path(at("profile"), folder, out);
            }
        }
        _ => {}
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
