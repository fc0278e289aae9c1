//! What a model of some shape admits.

use super::layers::Files;
use super::*;

const FIT: &str = r#"experiment "x" {
    model "qwen3-17m" dtype="f32"
    hardware "cpu" threads=2
    workload "w" {
        requests 4
        lengths "uniform" min=64 max=1024 prefill-to-decode=4
    }
    backend "sarathi" chunk-size=64 block-size=16 kv-memory="64MiB" watermark="1%"
    slo ttft-p99="1s" tpot-p99="100ms" e2e-p99="10s"
}
"#;

fn changed(changes: &[(&str, &str)]) -> Result<Loaded, SpecErrors> {
    let mut text = FIT.to_owned();
    for (good, bad) in changes {
        assert!(text.contains(good), "{good}");
        text = text.replacen(good, bad, 1);
    }
    load(&Files::new(&[("x.kdl", &text)]), "x.kdl", &Changes::default())
}

fn said(changes: &[(&str, &str)]) -> String {
    match changed(changes) {
        Ok(_) => panic!("no mistake with {changes:?}"),
        Err(error) => render(&error),
    }
}

/// Warnings of an experiment that is accepted.
fn warned(changes: &[(&str, &str)]) -> String {
    let loaded = changed(changes).unwrap_or_else(|error| panic!("{}", render(&error)));
    loaded.warnings.iter().map(|warning| render_any(warning)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_fits_is_accepted_without_a_warning() {
    assert_eq!(warned(&[]), "");
    // Weights from elsewhere have the shape that the world knows.
    assert_eq!(warned(&[("\"f32\"", "\"f32\" { source \"path\" \"m\"; }")]), "");
}

#[test]
fn a_request_fits_the_context() {
    insta::assert_snapshot!(said(&[("max=1024", "max=5000")]), @"");
    let fixed = ("\"uniform\" min=64 max=1024 prefill-to-decode=4", "\"fixed\" prefill=4000 decode=97");
    assert!(said(&[fixed]).contains("4097 tokens, the model's context 4096"));
    // A shape that is not of the catalog: the tiny model's.
    let path = ("\"f32\"", "\"f32\" { source \"path\" \"m\"; }");
    assert!(said(&[path, ("max=1024", "max=2049")]).contains("2049 tokens, the model's context 2048"));
    // One that nobody knows.
    let text = FIT.replace("\"f32\"", "\"f32\" { source \"path\" \"m\"; }").replace("max=1024", "max=2049");
    assert!(load_text("x.kdl", &text, &[]).is_ok());
}

#[test]
fn the_longest_request_fits_the_kv_cache() {
    insta::assert_snapshot!(said(&[("64MiB", "10MiB"), ("watermark=\"1%\"", "watermark=\"5%\"")]), @"");
    // The default is told where it could be written.
    assert!(
        said(&[
            (" kv-memory=\"64MiB\"", ""),
            ("block-size=16", "block-size=4096"),
            ("max=1024", "max=4096"),
            ("1%", "99%")
        ])
        .contains("1GiB hold")
    );
    // What is said to be enough is enough, and not by far.
    for (tokens, watermark) in [(64, "0%"), (1000, "5%"), (4096, "50%"), (777, "99%")] {
        let max = format!("max={tokens}");
        let watermark = format!("watermark=\"{watermark}\"");
        let changes = [("max=1024", max.as_str()), ("watermark=\"1%\"", &watermark)];
        let with = |memory: &str| changed(&[&changes[..], &[("64MiB", memory)]].concat());
        let text = render(&with("1kB").unwrap_err());
        let enough = text.split("`kv-memory \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert!(with(enough).is_ok(), "{enough}");
        let ByteSize(bytes) = enough.parse().unwrap();
        assert!(with(&ByteSize(bytes - (2 << 20)).to_string()).is_err(), "{enough}");
    }
}

#[test]
fn a_chunk_larger_than_the_context_is_worth_a_warning() {
    insta::assert_snapshot!(warned(&[("chunk-size=64", "chunk-size=5000")]), @"");
    insta::assert_snapshot!(said(&[("chunk-size=64", "chunk-size=5000 max-batch-size=1")]), @"");
    let matrix =
        ("    slo", "    matrix { backend.sarathi.chunk-size 64 5000; workload.requests 3 4; }\n    slo");
    insta::assert_snapshot!(warned(&[matrix]), @"");
}

#[test]
fn objectives_allow_for_a_step() {
    insta::assert_snapshot!(said(&[("100ms", "10us"), ("ttft-p99=\"1s\"", "ttft-p99=\"20us\""), ("\"10s\"", "\"200us\"")]), @"");
    // More threads load more.
    let fast = [("100ms", "10us"), ("threads=2", "threads=64")];
    assert_eq!(warned(&fast), "");
    // One token has no further one.
    let single = ("\"uniform\" min=64 max=1024 prefill-to-decode=4", "\"fixed\" prefill=64 decode=1");
    assert_eq!(warned(&[single, ("100ms", "1ns")]), "");
}

#[test]
fn rules_hold_in_each_run_of_the_matrix() {
    let matrix = |axes: &str| ("    slo", format!("    matrix {{ {axes}; }}\n    slo"));
    let (at, long) = matrix("workload.lengths.max 512 2048; backend.sarathi.kv-memory \"32MiB\" \"16MiB\"");
    insta::assert_snapshot!(said(&[(at, &long)]), @"");
    let (at, steps) = matrix("backend.sarathi.chunk-size 64 1");
    assert!(said(&[(at, &steps), ("ttft-p99=\"1s\"", "ttft-p99=\"500us\"")]).contains("takes 51 steps"));
}
