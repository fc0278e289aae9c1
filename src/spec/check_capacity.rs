//! Rules of a capacity search.

use serde_json::Value;

use super::check::{CODE, backends_of, part};
use super::check_texts::check_unit;
use super::experiment::{Arrivals, CapacitySpec, Slo};
use super::place::Finding;

/// The smallest tolerance of a search, per cent.
const MIN_TOLERANCE: f64 = 0.01;

pub(super) fn check_capacity(instance: &Value, out: &mut Vec<Finding>) {
    if instance.get("capacity").is_none() {
        return;
    }
    check_unit(instance, "/capacity/tolerance".to_owned(), "percent", out);
    check_unit(instance, "/capacity/delay-p99".to_owned(), "duration", out);
    let Some(capacity) = part::<CapacitySpec>(instance, "/capacity") else { return };
    if capacity.min_qps > capacity.max_qps {
        let message = format!("min-qps {} is more than max-qps {}", capacity.min_qps, capacity.max_qps);
        let finding = Finding::new("/capacity/min-qps", CODE, message).label("the wrong way round");
        out.push(finding.also("/capacity/max-qps", "the highest rate").help("exchange them"));
    }
    if !(MIN_TOLERANCE..=100.0).contains(&capacity.tolerance.0) {
        let message = format!("a tolerance of {} ends no search", capacity.tolerance);
        let finding = Finding::new("/capacity/tolerance", CODE, message).label("out of range");
        out.push(finding.help("between 0.01% and 100%; 2% is usual"));
    }
    let has_slo = part::<Slo>(instance, "/slo").is_none_or(|slo| slo != Slo::default());
    if (instance.get("slo").is_none() || !has_slo) && capacity.delay_p99.is_none() {
        let finding = Finding::new("/capacity", CODE, "a search needs an objective that may fail");
        let help = "add `slo ttft-p99=\"500ms\"`, or `delay-p99 \"5s\"` to `capacity`";
        out.push(finding.label("what has to hold?").help(help));
    }
    let is_static = match instance.pointer("/workload/arrivals") {
        Some(_) => part(instance, "/workload/arrivals") == Some(Arrivals::Static),
        None => instance.pointer("/workload/trace").is_none(),
    };
    if is_static {
        let finding = Finding::new("/capacity", CODE, "arrivals at one time have no rate to search for");
        let finding = finding.label("scales the arrivals").near("/workload/arrivals", "all at once");
        out.push(finding.help("write `arrivals \"poisson\" qps=1`: the search scales the rate"));
    }
    let axes = instance.get("matrix").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (index, axis) in axes.iter().enumerate() {
        if axis.get("path").and_then(Value::as_str) == Some("workload.arrivals.qps") {
            let finding =
                Finding::new(format!("/matrix/{index}/path"), CODE, "the search varies the rate itself");
            let finding = finding.label("not an axis of a search").also("/capacity", "searches rates");
            out.push(finding.help("take the axis out, or leave `capacity` away"));
        }
    }
    let simulates =
        backends_of(instance).iter().any(|item| item.get("kind").is_some_and(|kind| kind == "sim"));
    if !simulates {
        let finding = Finding::new("/capacity", CODE, "a search needs a simulated backend");
        out.push(finding.label("simulates every rate").help("add `backend \"sim\" { profile \"…\"; }`"));
    }
}
