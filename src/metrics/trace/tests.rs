use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::metrics::sample_runs::{meta_of, refuse, serve};
use crate::metrics::{StepLog, StepMember};

fn traced(run: &RunRecord, kind: RunKind) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.json");
    write(&path, run, &meta_of(run, kind)).unwrap();
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

fn events<'a>(trace: &'a Value, phase: &str) -> Vec<&'a Value> {
    trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == phase).collect()
}

/// A time of an event, back in ns.
fn ns(event: &Value, field: &str) -> u64 {
    (event[field].as_f64().unwrap() * 1_000.0).round() as u64
}

fn sum(events: &[&Value], argument: &str) -> u64 {
    events.iter().map(|event| event["args"][argument].as_u64().unwrap()).sum()
}

/// Checks a trace against its record, whatever the run.
fn check(run: &RunRecord, trace: &Value) {
    let steps = events(trace, "X");
    assert_eq!(steps.len(), run.steps.len());
    let durations: u64 = run.steps.iter().map(|step| step.end_ns - step.start_ns).sum();
    assert_eq!(steps.iter().map(|step| ns(step, "dur")).sum::<u64>(), durations);
    let shares = || run.steps.iter().flat_map(|step| step.members);
    assert_eq!(sum(&steps, "tokens"), shares().map(|share| u64::from(share.tokens)).sum::<u64>());
    assert_eq!(sum(&steps, "prefill_tokens") + sum(&steps, "decode_tokens"), sum(&steps, "tokens"));
    assert_eq!(sum(&steps, "requests"), shares().count() as u64);
    assert_eq!(sum(&steps, "output_tokens"), shares().filter(|share| share.emits).count() as u64);
    for step in &steps {
        let logged = run.steps.step(step["args"]["step"].as_u64().unwrap() as usize);
        assert_eq!((ns(step, "ts"), ns(step, "ts") + ns(step, "dur")), (logged.start_ns, logged.end_ns));
    }

    // On a thread no step begins before the one before has ended.
    let mut threads: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for step in &steps {
        let thread = (step["pid"].as_u64().unwrap(), step["tid"].as_u64().unwrap());
        let end = threads.entry(thread).or_default();
        assert!(ns(step, "ts") >= *end);
        *end = ns(step, "ts") + ns(step, "dur");
    }
    let named: Vec<_> =
        events(trace, "M").into_iter().filter(|event| event["name"] == "thread_name").collect();
    assert_eq!(named.len(), threads.len());

    // Spans of a request close in reverse order, inside of each other.
    let mut open: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    let all = trace["traceEvents"].as_array().unwrap();
    for event in all.iter().filter(|event| event["ph"] == "b" || event["ph"] == "e") {
        let id = event["id"].as_u64().unwrap();
        let (name, time) = (event["name"].as_str().unwrap().to_owned(), ns(event, "ts"));
        let open = open.entry(id).or_default();
        if event["ph"] == "b" {
            assert!(open.last().is_none_or(|(_, begun)| *begun <= time));
            open.push((name, time));
            continue;
        }
        let (begun_name, begun) = open.pop().unwrap();
        assert!(begun_name == name && begun <= time);
        let request = &run.requests[id as usize];
        if name == "request" {
            assert_eq!(begun, request.arrival_time_ns);
            assert_eq!(time, request.completion_time_ns.unwrap_or(time));
            assert!(open.is_empty());
        }
        if name == "decode" {
            assert_eq!(Some(begun), request.first_token_time_ns);
        }
    }
    assert_eq!(open.len(), run.requests.len());
    assert!(open.values().all(Vec::is_empty));

    // At the end nothing runs.
    for name in ["running", "waiting", "KV blocks"] {
        let last = events(trace, "C").into_iter().rfind(|event| event["name"] == name);
        let value = last.map(|event| event["args"].as_object().unwrap().values().next().unwrap().clone());
        assert_eq!(value, (!run.steps.is_empty()).then(|| Value::from(0)), "{name}");
    }
    let (starts, ends) = (events(trace, "s"), events(trace, "f"));
    assert_eq!(starts.len(), ends.len());
    for (start, end) in starts.iter().zip(&ends) {
        assert!(start["id"] == end["id"] && start["args"] == end["args"] && ns(start, "ts") <= ns(end, "ts"));
        for bound in [start, end] {
            let inside = |step: &&&Value| {
                let (at, from) = (ns(bound, "ts"), ns(step, "ts"));
                step["pid"] == bound["pid"]
                    && step["tid"] == bound["tid"]
                    && (from..=from + ns(step, "dur")).contains(&at)
            };
            assert!(steps.iter().any(|step| inside(&step)));
        }
    }
}

#[test]
fn a_trace_has_all_of_the_record() {
    let mut run =
        serve(&[(0, 80, 3), (1, 10, 0), (500, 10, 1), (9_000, 20, 2)], 64, 8, |index, _| 1_001 + index);
    refuse(&mut run, 1);
    let trace = traced(&run, RunKind::Simulated);
    check(&run, &trace);
    assert_eq!((&trace["otherData"]["kind"], &trace["displayTimeUnit"]), (&"simulated".into(), &"ns".into()));
    let names: Vec<&str> = events(&trace, "b").iter().map(|event| event["name"].as_str().unwrap()).collect();
    let served = ["request", "queued", "prefill", "decode"];
    assert_eq!(names, [&served[..], &["request"], &served, &served].concat());
    let refused = events(&trace, "b").into_iter().find(|event| event["id"] == 1).unwrap();
    assert_eq!(refused["args"]["error"], "rejected");
    assert!(events(&trace, "s").is_empty());
}

#[test]
fn a_request_that_is_computed_again_is_a_flow() {
    let mut run = serve(&[(0, 4, 3)], 64, 8, |_, _| 1_000);
    let share =
        |tokens, context, emits| StepMember { request: 0, tokens, context, is_prefill: tokens > 1, emits };
    run.steps = StepLog::default();
    run.steps.push(0, 1_000, [share(4, 0, true)], (1, 0), (1, 0));
    run.steps.push(1_000, 1_500, [], (0, 1), (1, 0));
    run.steps.push(1_500, 2_000, [share(5, 0, true)], (1, 0), (1, 0));
    run.steps.push(2_000, 3_000, [share(1, 5, true)], (1, 0), (1, 0));
    let trace = traced(&run, RunKind::Measured);
    check(&run, &trace);
    let (starts, ends) = (events(&trace, "s"), events(&trace, "f"));
    assert_eq!((starts.len(), ns(starts[0], "ts"), ns(ends[0], "ts")), (1, 999, 1_500));
    assert_eq!(ends[0]["bp"], "e");
}

#[test]
fn steps_that_overlap_have_threads_of_their_own() {
    let mut run = serve(&[(0, 4, 1)], 64, 8, |_, _| 10);
    let last = StepMember { request: 0, tokens: 4, context: 0, is_prefill: true, emits: true };
    run.steps = StepLog::default();
    for (start, end) in [(0, 30), (10, 40), (20, 50), (30, 60), (35, 70)] {
        run.steps.push(start, end, [], (1, 0), (1, 0));
    }
    run.steps.push(70, 70, [last], (1, 0), (1, 0));
    let trace = traced(&run, RunKind::Simulated);
    let threads: Vec<u64> = events(&trace, "X").iter().map(|step| step["tid"].as_u64().unwrap()).collect();
    assert_eq!(threads, [0, 1, 2, 0, 3, 0]);
}

#[test]
fn a_recorded_run_has_requests_alone() {
    let mut run = serve(&[(0, 80, 3), (500, 10, 1)], 64, 8, |index, _| 1_000 + index);
    run.steps = StepLog::default();
    let trace = traced(&run, RunKind::Recorded);
    check(&run, &trace);
    let names: Vec<&str> = events(&trace, "b").iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["request", "first token", "decode", "request", "first token", "decode"]);
}

#[test]
fn names_of_people_are_text() {
    let run = serve(&[(0, 4, 1)], 64, 8, |_, _| 10);
    let mut meta = meta_of(&run, RunKind::Measured);
    meta.backend = "a \"quoted\" \\ backend\n".to_owned();
    let mut bytes = Vec::new();
    write_events(&mut bytes, &run, &meta).unwrap();
    let trace: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(trace["otherData"]["backend"], meta.backend);
    assert!(String::from_utf8(bytes).unwrap().contains("\"ts\":0.010"), "ns are three decimals");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_run_has_a_trace(
        requests in prop::collection::vec((0u64..20_000, 1u32..200, 1u32..20), 0..12),
        (chunk, batch, ns) in (8u32..80, 1usize..6, 0u64..3_000),
    ) {
        let run = serve(&requests, chunk, batch, |index, tokens| (index * 37 + u64::from(tokens)) % (ns + 1));
        check(&run, &traced(&run, RunKind::Simulated));
    }
}
