//! Rules about the workload alone.

use serde_json::Value;

use super::check::{CODE, part};
use super::check_texts::check_path;
use super::experiment::{Arrivals, Lengths};
use super::place::Finding;

/// What contradicts itself in the workload.
pub(super) fn workload(instance: &Value, out: &mut Vec<Finding>) {
    check_lengths(instance, out);
    if let Some(prompts) = instance.pointer("/workload/prompts").and_then(Value::as_str) {
        check_path("/workload/prompts".to_owned(), prompts, out);
    }
    if let Some(Arrivals::Trace { path }) = part(instance, "/workload/arrivals") {
        check_path("/workload/arrivals/path".to_owned(), &path, out);
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
    if let Lengths::Trace { path } = &lengths {
        check_path("/workload/lengths/path".to_owned(), path, out);
    }
}
