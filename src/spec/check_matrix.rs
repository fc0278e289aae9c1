//! Rules about the matrix: where its axes lead, how long they are, how many
//! runs they make.

use serde_json::Value;

use super::matrix::{MAX_RUNS, MAX_RUNS_DEFAULT, dimensions};
use super::path;
use super::place::Finding;
use super::suggest::quoted;

const CODE: &str = "xp::spec::matrix";

/// Axes that are labelled with the number of their values.
const LABELLED: usize = 8;

pub(super) fn check_matrix(instance: &Value, out: &mut Vec<Finding>) {
    let axes = instance.get("matrix").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    check_size(instance, axes, out);
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
        let last = target.keys.last().map_or("", String::as_str);
        let varies = match target.keys[0].as_str() {
            "workload" => last != "name",
            // The machine that measures is one for all runs.
            "hardware" => last != "threads",
            "backends" => last != "kind",
            _ => false,
        };
        if !varies {
            let finding = Finding::new(pointer, CODE, format!("the matrix cannot vary {}", quoted(path)));
            let help = "runs of a matrix share model, threads and thresholds; vary `workload.…`, `hardware.…` or a setting of a backend, and write another experiment for the rest";
            out.push(finding.label("shared by all runs").help(help));
        } else if last == "profile" {
            check_profiles(index, axis, out);
        }
    }
}

/// A profile that is measured here is that of all runs: it is none of several.
fn check_profiles(index: usize, axis: &Value, out: &mut Vec<Finding>) {
    let values = axis.get("values").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let Some(auto) = values.iter().position(|value| value == "auto") else { return };
    let Some(named) = values.iter().position(|value| value != "auto") else { return };
    let message = "a profile that is measured on this machine cannot be one of several";
    let finding = Finding::new(format!("/matrix/{index}/values/{auto}"), CODE, message);
    let finding = finding.label("measured by xp").also(format!("/matrix/{index}/values/{named}"), "a folder");
    out.push(
        finding
            .help("name a folder for each: `xp profile --out profiles/here` measures this machine into one"),
    );
}

/// Axes of a zip are of one length, and all axes together make no more runs than are wanted.
fn check_size(instance: &Value, axes: &[Value], out: &mut Vec<Finding>) {
    let values = |axis: usize| axes[axis].get("values").and_then(Value::as_array).map_or(0, Vec::len);
    let path = |axis: usize| axes[axis].get("path").and_then(Value::as_str).unwrap_or_default();
    let zips: Vec<Option<u64>> = axes.iter().map(|axis| axis.get("zip").and_then(Value::as_u64)).collect();
    let dimensions = dimensions(&zips);
    for bound in &dimensions {
        let first = bound[0];
        let Some(other) = bound.iter().find(|axis| values(**axis) != values(first)) else { continue };
        let (expected, found) = (values(first), values(*other));
        let message = format!(
            "axes of a zip differ in length: `{}` has {expected} values, `{}` has {found}",
            path(first),
            path(*other)
        );
        let finding = Finding::new(format!("/matrix/{other}/values"), CODE, message);
        let finding = finding.label(counted(found)).also(format!("/matrix/{first}"), counted(expected));
        out.push(
            finding.help(
                "a zip takes the first value of each axis, then the second, and so on: give each as many",
            ),
        );
    }
    let runs = dimensions.iter().map(|bound| values(bound[0])).fold(1, usize::saturating_mul);
    let limit = match instance.get("max-runs").and_then(Value::as_u64) {
        // Another number is a violation of the schema, which says so.
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_RUNS),
        None => MAX_RUNS_DEFAULT,
    };
    if runs <= limit {
        return;
    }
    let mut finding =
        Finding::new("/matrix", CODE, format!("the matrix has {runs} runs, at most {limit} are run"));
    finding = finding.label("their product is too large");
    let long = || dimensions.iter().filter(|bound| values(bound[0]) > 1);
    for bound in long().take(LABELLED) {
        finding = finding.also(format!("/matrix/{}/path", bound[0]), counted(values(bound[0])));
    }
    if instance.get("max-runs").is_some() {
        finding = finding.also("/max-runs", "the limit");
    }
    let product: Vec<String> =
        long().take(LABELLED).map(|bound| format!("{} of `{}`", values(bound[0]), path(bound[0]))).collect();
    let more = if long().count() > LABELLED { " × …" } else { "" };
    let raise = match limit < MAX_RUNS {
        true => format!(", or raise `max-runs`, to {MAX_RUNS} at most"),
        false => String::new(),
    };
    let help = format!("{}{more}: take values out, split the experiment{raise}", product.join(" × "));
    out.push(finding.help(help));
}

fn counted(values: usize) -> String {
    if values == 1 { "1 value".to_owned() } else { format!("{values} values") }
}
