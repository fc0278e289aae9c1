use proptest::prelude::*;

use super::*;
use crate::metrics::sample_runs::{meta_of, refuse, serve};
use crate::metrics::write_run;

fn written(run: &RunRecord, kind: RunKind) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_run(dir.path(), run, &meta_of(run, kind)).unwrap();
    dir
}

/// Three requests, the last refused; two steps of prefill and two of decode.
fn sample() -> RunRecord {
    let mut run = serve(&[(0, 80, 3), (500, 10, 1), (600, 10, 0)], 64, 8, |index, _| 1000 + index);
    refuse(&mut run, 2);
    run
}

fn text(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn a_recorded_run_is_its_requests() {
    let recorded = RunRecord { steps: StepLog::default(), ..sample() };
    let dir = written(&recorded, RunKind::Recorded);
    let mut files: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["request_metrics.csv", "run_meta.json"]);
    let (read, meta) = read_run(dir.path()).unwrap();
    assert_eq!((&read, meta.kind), (&recorded, RunKind::Recorded));
    assert_eq!((meta.num_steps, meta.duration_ns, read.has_steps()), (0, 4006, false));
    let path = dir.path().join("run_meta.json");
    let text = text(dir.path(), "run_meta.json").replace("\"duration_ns\": 4006", "\"duration_ns\": 4007");
    std::fs::write(&path, text).unwrap();
    let error = read_run(dir.path()).unwrap_err().to_string();
    assert!(error.contains("duration_ns is 4007 here, request_metrics.csv has 4006"), "{error}");
}

#[test]
fn the_files_have_the_contracts_columns() {
    let dir = written(&sample(), RunKind::Simulated);
    insta::assert_snapshot!(text(dir.path(), "request_metrics.csv"), @r#"
    request_id,arrival_time_ns,first_token_time_ns,ttft_ns,completion_time_ns,num_prefill_tokens,num_decode_tokens,num_decode_tokens_actual,status,backend,error_type,error_msg
    0,0,2001,2001,4006,80,3,3,ok,vidur,,
    1,500,2001,1501,2001,10,1,1,ok,vidur,,
    2,600,,,,10,0,0,error,vidur,rejected,"needs ""9"" KV blocks,
    of 4"
    "#);
    insta::assert_snapshot!(text(dir.path(), "token_metrics.csv"), @r"
    request_id,token_index,token_time_ns,token_latency_ns,token_id
    0,0,2001,2001,
    0,1,3003,1002,
    0,2,4006,1003,
    1,0,2001,1501,
    ");
    insta::assert_snapshot!(text(dir.path(), "steps.csv"), @r"
    step,start_ns,end_ns,running,waiting,kv_blocks,members
    0,0,1000,1,0,1,0:64:0:p
    1,1000,2001,2,0,2,0:16:64:P 1:10:0:P
    2,2001,3003,1,0,1,0:1:80:D
    3,3003,4006,1,0,1,0:1:81:D
    ");
}

fn with_ids(mut run: RunRecord) -> RunRecord {
    let ids = run.steps.token_times(run.requests.len());
    run.token_ids = Some(ids.iter().map(|times| times.iter().map(|time| *time as u32).collect()).collect());
    run
}

proptest! {
    // Each case writes and syncs four files.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_run_reads_back_exactly(
        requests in proptest::collection::vec((0u64..1 << 40, 1u32..200, 0u32..20), 0..12),
        durations in proptest::collection::vec(0u64..1 << 44, 1..8),
        chunk in 1u32..100,
        batch in 1usize..6,
        measured: bool,
        message in "\\PC{0,20}[\"\\n\\r, ]{0,4}",
    ) {
        let mut run = serve(&requests, chunk, batch, |index, _| durations[index as usize % durations.len()]);
        for request in &mut run.requests {
            if request.num_decode_tokens == 0 {
                request.status = RequestStatus::Error;
                request.error_type = "rejected".to_owned();
                request.error_msg = message.clone();
            }
        }
        let kind = if measured { RunKind::Measured } else { RunKind::Simulated };
        let run = if measured { with_ids(run) } else { run };
        let dir = written(&run, kind);
        prop_assert_eq!(read_run(dir.path()).unwrap(), (run.clone(), meta_of(&run, kind)));
    }

    /// Whatever byte is changed, the reader answers: with the run, or with an error. Never with a panic.
    #[test]
    fn a_changed_byte_never_breaks_the_reader(at: prop::sample::Index, byte: u8, file in 0usize..4) {
        let dir = written(&with_ids(sample()), RunKind::Measured);
        let name = ["request_metrics.csv", "token_metrics.csv", "steps.csv", "run_meta.json"][file];
        let mut bytes = std::fs::read(dir.path().join(name)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let _ = read_run(dir.path());
    }
}

#[test]
fn every_breach_of_the_contract_is_refused_with_its_place() {
    let cases = [
        ("request_metrics.csv", "0,0,2001", "NaN,0,2001", "line 2, column request_id"),
        ("request_metrics.csv", "1,500", "2,500", "line 3, column request_id"),
        ("request_metrics.csv", "1,500,2001,1501", "1,2002,2001,0", "line 3, column first_token_time_ns"),
        ("request_metrics.csv", "1,500,2001,1501", "1,500,2001,1500", "line 3, column ttft_ns"),
        ("request_metrics.csv", "1501,2001,10", "1501,2000,10", "line 3, column completion_time_ns"),
        ("request_metrics.csv", "1501,2001,10", "1501,,10", "line 3, column completion_time_ns"),
        ("request_metrics.csv", "80,3,3", "80,3,4", "line 2, column num_decode_tokens_actual"),
        ("request_metrics.csv", "10,1,1", "10,1,0", "line 3, column first_token_time_ns"),
        ("request_metrics.csv", ",ok,", ",fine,", "line 2, column status"),
        ("request_metrics.csv", "vidur", "orca", "line 2, column backend"),
        ("request_metrics.csv", "ok,vidur,", "ok,vidur,rejected", "line 2, column error_type"),
        ("request_metrics.csv", ",rejected,", ",,", "line 4, column error_type"),
        ("request_metrics.csv", "10,0,0", "10,0,-1", "line 4, column num_decode_tokens_actual"),
        ("request_metrics.csv", "10,0,0", "10,1e3,0", "line 4, column num_decode_tokens: "),
        ("request_metrics.csv", "1,500", "1,4294967296000000000000", "line 3, column arrival_time_ns"),
        (
            "request_metrics.csv",
            "2001,4006",
            "2001,4007",
            "steps.csv, line 5: request 0 has its last token at 4006",
        ),
        (
            "request_metrics.csv",
            "0,0,2001,2001",
            "0,0,2000,2000",
            "steps.csv, line 3: request 0 has its first",
        ),
        ("token_metrics.csv", "0,1,3003", "0,2,3003", "line 3, column token_index"),
        ("token_metrics.csv", "1,0,2001", "0,0,2001", "line 5, column request_id"),
        ("token_metrics.csv", "3003", "3002", "line 3, column token_time_ns"),
        ("token_metrics.csv", "1003", "1004", "line 4, column token_latency_ns"),
        ("token_metrics.csv", "1003,", "1003,5", "line 4, column token_id"),
        ("token_metrics.csv", "2001,2001,", "2001,2001,5", "line 2, column token_id"),
        ("token_metrics.csv", "1,0,2001,1501,\n", "", "token 0 of request 1 is missing"),
        ("token_metrics.csv", "1,0,2001,1501,\n", "1,0,2001,1501,\n1,1,2001,0,\n", "line 6: "),
        ("steps.csv", "2,2001", "1,2001", "line 4, column step"),
        ("steps.csv", "2,2001", "2,2000", "line 4, column start_ns"),
        ("steps.csv", "2,2001,3003", "2,2001,2000", "line 4, column end_ns"),
        ("steps.csv", "1,0,1,0:64", "1,0,65,0:64", "line 2, column kv_blocks"),
        ("steps.csv", "0:64:0:p", "0:64:0", "line 2, column members"),
        ("steps.csv", "0:64:0:p", "", "line 2, column members"),
        ("steps.csv", "0:64:0:p", "7:64:0:p", "line 2: request 7 is not in"),
        ("steps.csv", "0:64:0:p", "0:0:0:p", "line 2: request 0 has no tokens"),
        ("steps.csv", " 1:10:0:P", " 0:10:0:P", "line 3: request 0 is in the step twice"),
        (
            "steps.csv",
            "0:1:81:D",
            "0:1:81:d",
            "request 0 has 3 output tokens in request_metrics.csv and 2 here",
        ),
        ("steps.csv", "0:1:81:D", "0:1:81:D 1:1:1:D", "line 5: request 1 has 1 output tokens"),
        ("steps.csv", "3,3003,4006,1,0,1,0:1:81:D\n", "", "steps.csv does not belong"),
        (
            "run_meta.json",
            "\"num_requests\": 3",
            "\"num_requests\": 2",
            "request_metrics.csv, line 4: run_meta",
        ),
        ("run_meta.json", "\"num_requests\": 3", "\"num_requests\": 4", "tells of 4 requests, it holds 3"),
        ("run_meta.json", "\"output_tokens\": 4", "\"output_tokens\": 5", "tells of 5 output tokens"),
        ("run_meta.json", "\"num_steps\": 4", "\"num_steps\": 3", "steps.csv, line 5: run_meta"),
        ("run_meta.json", "\"num_steps\": 4", "\"num_steps\": 5", "tells of 5 steps, it holds 4"),
        ("run_meta.json", "\"duration_ns\": 4006", "\"duration_ns\": 4007", "tells of 4007 ns"),
        ("run_meta.json", "\"format\": 3", "\"format\": 4", "has format 4, this xp knows 3"),
        (
            "run_meta.json",
            "\"metrics_version\": 1",
            "\"metrics_version\": 2",
            "has metrics_version 2, this xp knows 1",
        ),
        ("run_meta.json", "\"metrics_version\": 1", "\"metrics_version\": 0", "count from 1"),
        ("run_meta.json", "\"format\": 3", "\"format\": 1e999", "number out of range"),
        ("run_meta.json", "\"format\": 3", "\"format\": 3, \"extra\": 2", "unknown field `extra`"),
        ("run_meta.json", "\"simulated\"", "\"dreamt\"", "unknown variant `dreamt`"),
        ("run_meta.json", "\"threads\": 2", "\"threads\": -2", "invalid value: integer `-2`"),
    ];
    for (file, good, bad, wanted) in cases {
        let dir = written(&sample(), RunKind::Simulated);
        let before = text(dir.path(), file);
        assert!(before.contains(good), "{good} is not in\n{before}");
        std::fs::write(dir.path().join(file), before.replacen(good, bad, 1)).unwrap();
        let error = read_run(dir.path()).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{good} → {bad}: wanted {wanted:?}, got {error}");
    }
}

#[test]
fn cut_off_and_endless_files_are_refused_and_missing_ones_are_the_systems_no() {
    for file in ["request_metrics.csv", "token_metrics.csv", "steps.csv"] {
        let dir = written(&sample(), RunKind::Simulated);
        let path = dir.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(read_run(dir.path()), Err(ContractError::Truncated { .. })), "{file}");
        std::fs::write(&path, vec![b'x'; 3 << 20]).unwrap();
        assert!(matches!(read_run(dir.path()), Err(ContractError::LineTooLong { line: 1, .. })), "{file}");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read_run(dir.path()), Err(ContractError::Io { .. })), "{file}");
    }
}

#[test]
fn a_record_that_contradicts_its_meta_data_is_not_written() {
    let run = sample();
    let dir = tempfile::tempdir().unwrap();
    let mut meta = meta_of(&run, RunKind::Simulated);
    meta.output_tokens += 1;
    let error = write_run(dir.path(), &run, &meta).unwrap_err();
    assert!(error.to_string().contains("output_tokens is 5"), "{error}");
    let meta = meta_of(&run, RunKind::Measured);
    let run = RunRecord { token_ids: Some(vec![vec![1, 2]]), ..run };
    let error = write_run(dir.path(), &run, &meta).unwrap_err();
    assert!(error.to_string().contains("request 0 has 3 output tokens"), "{error}");
}

#[test]
fn a_run_of_format_1_names_its_run() {
    let record = sample();
    let dir = written(&record, RunKind::Measured);
    let path = dir.path().join("run_meta.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("\"run\""),
        "a result names no run: every experiment that asks for the same shares it"
    );
    std::fs::write(&path, text.replacen("\"format\": 3,", "\"format\": 1,\n  \"run\": \"tiny\",", 1))
        .unwrap();
    let (read, meta) = read_run(dir.path()).unwrap();
    assert_eq!((read, meta.format, meta.run.as_deref()), (record, 1, Some("tiny")));
}
