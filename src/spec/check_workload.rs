//! Rules about the workload alone.

use serde_json::Value;

use super::check::{CODE, part};
use super::check_texts::{check_path, check_unit};
use super::experiment::{Arrivals, Lengths, Source, Trace, TraceFormat};
use super::place::Finding;
use super::violations::MISSING;

/// What contradicts itself in the workload.
pub(super) fn workload(instance: &Value, out: &mut Vec<Finding>) {
    check_lengths(instance, out);
    check_trace(instance, out);
    check_sessions(instance, out);
    check_chat_template(instance, out);
    if let Some(prompts) = instance.pointer("/workload/prompts").and_then(Value::as_str) {
        check_path("/workload/prompts".to_owned(), prompts, out);
    }
    if let Some(Arrivals::Trace { path }) = part(instance, "/workload/arrivals") {
        check_path("/workload/arrivals/path".to_owned(), &path, out);
    }
}

/// A model that is made up was trained on no conversations, and a template's own tokens are in no block that prompts are
/// said to share.
fn check_chat_template(instance: &Value, out: &mut Vec<Finding>) {
    const CHAT: &str = "/workload/chat-template";
    const SOURCE: &str = "/model/source";
    if instance.pointer(CHAT).and_then(Value::as_bool) != Some(true) {
        return;
    }
    const SESSIONS: &str = "/workload/sessions";
    let trace = part::<Trace>(instance, "/workload/trace");
    let ids = match trace.map(|trace| trace.format) {
        Some(TraceFormat::Mooncake) => Some(("/workload/trace/format", "`hash_ids`")),
        _ => instance.pointer(SESSIONS).map(|_| (SESSIONS, "`sessions`")),
    };
    if let Some((place, what)) = ids {
        let message = format!("{what} say which blocks prompts share, and a chat template would move them");
        let finding = Finding::new(CHAT, CODE, message).label("adds tokens to every prompt").on_name();
        let finding = finding.also(place, "says what prompts share");
        out.push(finding.help(
            "leave it out, or take conversations, which have texts: `trace \"….json\" format=\"sharegpt\"`",
        ));
    }
    let (place, what) = match part::<Source>(instance, SOURCE) {
        Some(Source::Synthetic) => (SOURCE, "a synthetic model"),
        Some(Source::Config { .. }) => (SOURCE, "a model of which there is only a shape"),
        None if instance.pointer(SOURCE).is_none() => ("/model/name", "a synthetic model"),
        _ => return,
    };
    let finding = Finding::new(CHAT, CODE, format!("{what} has no chat template"));
    let finding = finding.label("in which template?").also(place, "brings none").on_name();
    out.push(finding.help(
        "leave it out, or take a model that has one: `source \"path\" \"models/…\"` or `source \"hf\" repo=…`",
    ));
}

/// Sessions are made of lengths that are drawn or read, a turn each.
fn check_sessions(instance: &Value, out: &mut Vec<Finding>) {
    const SESSIONS: &str = "/workload/sessions";
    if instance.pointer(SESSIONS).is_none() {
        return;
    }
    check_unit(instance, format!("{SESSIONS}/think-time"), "duration", out);
    for (field, why) in [
        ("trace", "the requests of a `trace` are what they are"),
        ("prompts", "the texts of `prompts` do not grow"),
    ] {
        if instance.pointer("/workload").is_some_and(|workload| workload.get(field).is_some()) {
            let finding = Finding::new(SESSIONS, CODE, why).label("makes requests of turns").on_name();
            let finding = finding.also(format!("/workload/{field}"), "says them already");
            out.push(finding.help(format!("keep one: `sessions` wants `lengths`, not `{field}`")));
        }
    }
}

/// A trace says all of its requests, but for conversations, which say no times.
fn check_trace(instance: &Value, out: &mut Vec<Finding>) {
    const ARRIVALS: &str = "/workload/arrivals";
    let recorded = matches!(part(instance, ARRIVALS), Some(Arrivals::Recorded));
    let Some(trace) = part::<Trace>(instance, "/workload/trace") else {
        if recorded && instance.pointer("/workload/trace").is_none() {
            let finding =
                Finding::new(ARRIVALS, CODE, "only requests of a `trace` arrive as they were recorded");
            out.push(
                finding
                    .label("recorded where?")
                    .help("add `trace \"requests.csv\"`, or say other `arrivals`"),
            );
        }
        return;
    };
    check_path("/workload/trace/path".to_owned(), &trace.path, out);
    if recorded && trace.format == TraceFormat::Sharegpt {
        let finding = Finding::new("/workload/trace", CODE, "conversations do not say when they take place");
        let finding = finding.label("`arrivals` is missing");
        out.push(finding.help("add `arrivals \"poisson\" qps=2`, or another kind that makes times"));
    }
    if !recorded && trace.time_scale != 1.0 {
        let finding = Finding::new("/workload/trace/time-scale", CODE, "there are no times to scale");
        let finding = finding.label("of the trace's own arrivals").also(ARRIVALS, "replaces them");
        out.push(finding.help("leave out `time-scale`, or `arrivals`"));
    }
    if let (Some(_), TraceFormat::Vidur | TraceFormat::Azure) = (trace.block, trace.format) {
        let finding =
            Finding::new("/workload/trace/block", CODE, "a trace of this format has no ids of prefixes");
        let finding = finding.label("blocks of what?").also("/workload/trace/format", "the format");
        out.push(finding.help("leave `block` away"));
    }
}

/// Where prompts, their lengths and the output lengths come from: each from one place.
fn check_lengths(instance: &Value, out: &mut Vec<Finding>) {
    const PROMPTS: &str = "/workload/prompts";
    const LENGTHS: &str = "/workload/lengths";
    const DECODE: &str = "/workload/decode-tokens";
    let Some(workload) = instance.get("workload").and_then(Value::as_object) else { return };
    let decode = workload.contains_key("decode-tokens");
    if let Some(trace) = workload.get("trace") {
        for (field, pointer) in [("prompts", PROMPTS), ("lengths", LENGTHS), ("decode-tokens", DECODE)] {
            if workload.contains_key(field) && trace.is_object() {
                let finding =
                    Finding::new(pointer, CODE, format!("`trace` and `{field}` exclude each other"));
                let finding =
                    finding.label("says otherwise").also("/workload/trace", "says how long requests are");
                out.push(finding.help("keep one of them").on_name());
            }
        }
        return;
    }
    if !workload.contains_key("requests") {
        let finding = Finding::new("/workload", MISSING, "`workload` needs `requests`");
        let finding = finding.label("`requests` is missing");
        out.push(finding.help("write `requests=…`; it takes a whole number from 1 to 10000000"));
    }
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
