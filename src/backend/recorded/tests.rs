use proptest::prelude::*;

use super::*;
use crate::spec::{RecordedColumns, TimeUnit};
use crate::workload::WorkloadRequest;

fn backend(path: &str) -> RecordedBackend {
    let named = |name: &str| Some(name.to_owned());
    RecordedBackend {
        path: path.to_owned(),
        columns: RecordedColumns {
            unit: TimeUnit::S,
            request_id: named("id"),
            arrival: "came".to_owned(),
            scheduled: named("began"),
            first_token: "first".to_owned(),
            completion: "last".to_owned(),
            prefill_tokens: None,
            decode_tokens: named("out"),
        },
        ..RecordedBackend::sample("vllm")
    }
}

fn workload() -> Workload {
    let request = |arrival_time_ns, num_decode_tokens| WorkloadRequest {
        prompt_id: 0,
        num_prefill_tokens: 9,
        num_decode_tokens,
        inter_arrival_ns: 0,
        arrival_time_ns,
    };
    Workload { requests: vec![request(50, 3), request(1_000, 2)], ..Workload::default() }
}

const HEADER: &str = "id,came,began,first,last,out,note\n";

fn read(rows: &str) -> Result<RunRecord, String> {
    let text = format!("{HEADER}{rows}");
    parse_recording(&backend("r.csv"), &text, &workload()).map_err(|error| error.to_string())
}

#[test]
fn times_are_on_the_workloads_clock() {
    let run = read("1,100.5,100.6,100.7,100.9,1,x\n0,100,99.9999,100.25,101,3,\n").unwrap();
    let [first, second] = run.requests.as_slice() else { panic!("{run:?}") };
    assert_eq!(
        (first.arrival_time_ns, first.ttft_ns(), first.e2e_ns()),
        (50, Some(250_000_000), Some(1_000_000_000))
    );
    assert_eq!((second.arrival_time_ns, second.num_decode_tokens_actual), (500_000_050, 1));
    assert_eq!((second.num_decode_tokens, second.num_prefill_tokens), (2, 9));
    assert!(run.steps.is_empty() && run.token_ids.is_none() && !run.has_steps());
    assert_eq!(run.duration_ns(), 1_000_000_050);
    let json = "{\"id\": 0, \"came\": 0, \"began\": 0, \"first\": 0.5, \"last\": 0.75, \"out\": 3}\n\n\
                {\"id\": \"1\", \"came\": 1e-9, \"began\": 0.1, \"first\": \"0.5\", \"last\": 2, \"out\": 2, \"x\": []}\n";
    let run = parse_recording(&backend("r.jsonl"), json, &workload()).unwrap();
    assert_eq!(run.requests[1].arrival_time_ns, 51);
    // Without ids the rows are in the workload's order.
    let mut plain = backend("r.csv");
    (plain.columns.request_id, plain.columns.scheduled, plain.columns.decode_tokens) = (None, None, None);
    plain.columns.unit = TimeUnit::Ms;
    let run = parse_recording(&plain, "came,first,last\n1,2,3\n1,4,5\n", &workload()).unwrap();
    assert_eq!(run.requests[1].ttft_ns(), Some(3_000_000));
    assert_eq!(run.requests[1].num_decode_tokens_actual, 2);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let good = "0,0,0,1,2,3,\n";
    let said: Vec<String> = [
        "",
        "0,0,0,1,2,3,\n1,0,0,1,2,2\n",
        "0,0,0,1,2,3,\n0,0,0,1,2,3,\n",
        "0,0,0,1,2,3,\n2,0,0,1,2,3,\n",
        "-1,0,0,1,2,3,\n",
        "0,NaN,0,1,2,3,\n",
        "0,-0.5,0,1,2,3,\n",
        "0,1,0,0.5,2,3,\n",
        "0,0,0,1,0.5,3,\n",
        "0,0,1.5,1,2,3,\n",
        "0,0,0,1e300,2,3,\n",
        "0,0,0,,2,3,\n",
        "0,0,0,1,2,4,\n",
        "0,0,0,1,2,0,\n",
        good,
    ]
    .iter()
    .map(|rows| read(rows).unwrap_err())
    .collect();
    insta::assert_snapshot!(said.join("\n"), @r#"
    r.csv has 0 rows, and none for requests 0, 1
    r.csv:3: 6 fields, the header has 7
    r.csv:3, column `id`: request 0 is in line 2 already
    r.csv:3, column `id`: request 2: the workload has 2 requests
    r.csv:2, column `id`: "-1" is not a whole number
    r.csv:2, column `came`: "NaN" is not a decimal number
    r.csv:2, column `came`: "-0.5" is negative
    r.csv:2, column `first`: is before the arrival
    r.csv:2, column `last`: is before the first token
    r.csv:2, column `began`: is after the first token
    r.csv:2, column `first`: "1e300" is later than any clock reaches
    r.csv:2, column `first`: "" is not a decimal number
    r.csv:2, column `out`: 4 output tokens, the workload's request 0 asks for 3
    r.csv:2, column `out`: 0 output tokens, the workload's request 0 asks for 3
    r.csv has 1 rows, and none for request 1
    "#);
    let of =
        |path: &str, text: &str| parse_recording(&backend(path), text, &workload()).unwrap_err().to_string();
    let long = format!("{HEADER}{}", "x".repeat(2 << 20));
    let said = [
        of("r.csv", "id,came,began,first,out\n"),
        of("r.csv", "id,came,began,first,first,last,out\n"),
        of("r.csv", &long),
        of("r.jsonl", "{\"id\": 0"),
        of("r.jsonl", "[1]"),
        of("r.jsonl", "{\"id\": 0, \"came\": null}"),
        of("r.jsonl", "{\"came\": 0}"),
        of("r.jsonl", &"[".repeat(100_000)),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    r.csv:1: there is no column `last`
    r.csv:1: there are two columns `first`
    r.csv:2: the row is longer than 1048576 bytes
    r.jsonl:1: column 8: EOF while parsing an object
    r.jsonl:1: column 0: invalid type: sequence, expected a map
    r.jsonl:1: `came` is neither a number nor a text
    r.jsonl:1: there is no `id`
    r.jsonl:1: column 0: invalid type: sequence, expected a map
    ");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}", cells in "[-0-9.eE,\n]{0,60}") {
        for text in [text.clone(), format!("{HEADER}{cells}"), format!("{HEADER}{text}")] {
            let _ = parse_recording(&backend("r.csv"), &text, &workload());
            let _ = parse_recording(&backend("r.jsonl"), &text, &workload());
        }
    }
}
