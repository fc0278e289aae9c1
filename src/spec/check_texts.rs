//! Rules for texts that mean something: paths, and values with units.

use serde_json::Value;

use super::check::{CODE, part};
use super::experiment::{Arrivals, Backend, Lengths, Model, ProfileSource, Source};
use super::place::Finding;
use super::suggest::quoted;
use super::units::{ByteSize, Duration, Percent};

/// Values with a unit that have the right form and say more than 64 bits hold.
pub(super) fn check_units(instance: &Value, out: &mut Vec<Finding>) {
    fn fits(unit: &str, text: &str) -> bool {
        match unit {
            "percent" => text.parse::<Percent>().is_ok(),
            "size" => text.parse::<ByteSize>().is_ok(),
            _ => text.parse::<Duration>().is_ok(),
        }
    }
    let backends = instance.get("backends").and_then(Value::as_array).map_or(0, Vec::len);
    let engines = (0..backends).flat_map(|index| {
        [
            (format!("/backends/{index}/kv-memory"), "size"),
            (format!("/backends/{index}/watermark"), "percent"),
        ]
    });
    let fixed = [
        ("/compare/pass", "percent"),
        ("/compare/warn", "percent"),
        ("/slo/ttft-p99", "duration"),
        ("/slo/tpot-p99", "duration"),
        ("/slo/e2e-p99", "duration"),
    ];
    for (pointer, unit) in fixed.map(|(pointer, unit)| (pointer.to_owned(), unit)).into_iter().chain(engines)
    {
        let Some(text) = instance.pointer(&pointer).and_then(Value::as_str) else { continue };
        // Another form is a violation of the schema, which says so.
        if text.starts_with(|c: char| c.is_ascii_digit()) && !fits(unit, text) {
            let finding = Finding::new(pointer, CODE, format!("the {unit} {} is too large", quoted(text)));
            out.push(finding.label("too large").help("is the unit right?"));
        }
    }
}

/// Why a path does not stay inside the project.
fn outside(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.contains('\\') {
        return Some("paths are written with `/`");
    }
    if path.starts_with('/') || path.starts_with('~') || path.as_bytes().get(1) == Some(&b':') {
        return Some("paths are relative to the project");
    }
    if path.split('/').any(|part| part == "..") {
        return Some("`..` leaves the project");
    }
    if path.chars().any(char::is_control) {
        return Some("it holds a control character");
    }
    None
}

pub(super) fn check_paths(
    instance: &Value,
    model: Option<&Model>,
    backends: &[Option<Backend>],
    out: &mut Vec<Finding>,
) {
    let mut check = |pointer: String, path: &str| {
        if let Some(why) = outside(path) {
            let finding = Finding::new(
                pointer,
                "xp::spec::path",
                format!("{} is no path inside the project", quoted(path)),
            );
            out.push(finding.label(why).help(
                "a lock names only what lies below the project's folder, so that it holds on every machine",
            ));
        }
    };
    if let Some(Source::Path { path }) = model.map(|model| &model.source) {
        check("/model/source/path".to_owned(), path);
    }
    if let Some(prompts) = instance.pointer("/workload/prompts").and_then(Value::as_str) {
        check("/workload/prompts".to_owned(), prompts);
    }
    if let Some(Lengths::Trace { path }) = part(instance, "/workload/lengths") {
        check("/workload/lengths/path".to_owned(), &path);
    }
    if let Some(Arrivals::Trace { path }) = part(instance, "/workload/arrivals") {
        check("/workload/arrivals/path".to_owned(), &path);
    }
    for (index, backend) in backends.iter().enumerate() {
        if let Some(Backend::Sim(sim)) = backend
            && let ProfileSource::Folder(folder) = &sim.profile
        {
            check(format!("/backends/{index}/profile"), folder);
        }
    }
    let Some(report) = instance.get("report").and_then(Value::as_str) else { return };
    check("/report".to_owned(), report);
    if !report.ends_with(".pdf") {
        let finding =
            Finding::new("/report", "xp::spec::path", format!("the report {} is no PDF", quoted(report)));
        out.push(finding.label("ends differently").help("let it end in `.pdf`"));
    }
}
