//! What a model of some shape admits.

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
    changed_in(FIT, changes)
}

fn said(changes: &[(&str, &str)]) -> String {
    said_in(FIT, changes)
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
    insta::assert_snapshot!(said(&[("max=1024", "max=5000")]), @r#"
    xp::spec::rule

      × the longest request has 5000 tokens, the model's context 4096
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-17m" dtype="f32"
       ·           ─────┬─────
       ·                ╰── 4096 tokens of context
     3 │     hardware "cpu" threads=2
       ╰────
       ╭─[x.kdl:6:38]
     5 │         requests 4
     6 │         lengths "uniform" min=64 max=5000 prefill-to-decode=4
       ·                                      ──┬─
       ·                                        ╰── too long for the model
     7 │     }
       ╰────
      help: shorten the requests, or take another model
    "#);
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
    insta::assert_snapshot!(said(&[("64MiB", "10MiB"), ("watermark=\"1%\"", "watermark=\"5%\"")]), @r#"
    xp::spec::rule

      × the longest request needs 64 KV blocks, the cache has 38
       ╭─[x.kdl:8:61]
     5 │         requests 4
     6 │         lengths "uniform" min=64 max=1024 prefill-to-decode=4
       ·                                      ──┬─
       ·                                        ╰── 1024 tokens in blocks of 16 are 64 blocks
     7 │     }
     8 │     backend "sarathi" chunk-size=64 block-size=16 kv-memory="10MiB" watermark="5%"
       ·                                                             ───┬───           ──┬─
       ·                                                                │                ╰── 2 blocks are kept free
       ·                                                                ╰── 10MiB hold 40 blocks of 262144 bytes
     9 │     slo ttft-p99="1s" tpot-p99="100ms" e2e-p99="10s"
       ╰────
      help: `kv-memory "17MiB"` is enough; or shorten the requests
    "#);
    // The default is told where it could be written.
    assert!(
        said(&[
            (" kv-memory=\"64MiB\"", ""),
            ("block-size=16", "block-size=2048"),
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
    insta::assert_snapshot!(warned(&[("chunk-size=64", "chunk-size=5000")]), @r#"
    xp::spec::rule

      ⚠ a chunk of 5000 tokens is larger than the model's context of 4096
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-17m" dtype="f32"
       ·           ─────┬─────
       ·                ╰── 4096 tokens of context
     3 │     hardware "cpu" threads=2
       ╰────
       ╭─[x.kdl:8:34]
     7 │     }
     8 │     backend "sarathi" chunk-size=5000 block-size=16 kv-memory="64MiB" watermark="1%"
       ·                                  ──┬─
       ·                                    ╰── more than a prompt can have
     9 │     slo ttft-p99="1s" tpot-p99="100ms" e2e-p99="10s"
       ╰────
      help: no prompt fills it: a step of that size holds several prompts whole. Was a number up to
            4096 meant?
    "#);
    insta::assert_snapshot!(said(&[("chunk-size=64", "chunk-size=5000 max-batch-size=1")]), @r#"
    xp::spec::rule

      × a step never has 5000 tokens to compute
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-17m" dtype="f32"
       ·           ─────┬─────
       ·                ╰── 4096 tokens of context
     3 │     hardware "cpu" threads=2
       ╰────
       ╭─[x.kdl:8:34]
     7 │     }
     8 │     backend "sarathi" chunk-size=5000 max-batch-size=1 block-size=16 kv-memory="64MiB" watermark="1%"
       ·                                  ──┬─                ┬
       ·                                    │                 ╰── 1 request at once
       ·                                    ╰── more than can be there
     9 │     slo ttft-p99="1s" tpot-p99="100ms" e2e-p99="10s"
       ╰────
      help: 1 request of at most 4096 tokens make 4096: take that or less
    "#);
    let matrix =
        ("    slo", "    matrix { backend.sarathi.chunk-size 64 5000; workload.requests 3 4; }\n    slo");
    insta::assert_snapshot!(warned(&[matrix]), @r#"
    xp::spec::rule

      ⚠ a chunk of 5000 tokens is larger than the model's context of 4096
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-17m" dtype="f32"
       ·           ─────┬─────
       ·                ╰── 4096 tokens of context
     3 │     hardware "cpu" threads=2
       ╰────
        ╭─[x.kdl:9:44]
      8 │     backend "sarathi" chunk-size=64 block-size=16 kv-memory="64MiB" watermark="1%"
      9 │     matrix { backend.sarathi.chunk-size 64 5000; workload.requests 3 4; }
        ·                                            ──┬─
        ·                                              ╰── more than a prompt can have
     10 │     slo ttft-p99="1s" tpot-p99="100ms" e2e-p99="10s"
        ╰────
      help: no prompt fills it: a step of that size holds several prompts whole. Was a number up to
            4096 meant?
    "#);
}

#[test]
fn objectives_allow_for_a_step() {
    insta::assert_snapshot!(said(&[("100ms", "10us"), ("ttft-p99=\"1s\"", "ttft-p99=\"20us\""), ("\"10s\"", "\"200us\"")]), @r#"
      × x.kdl: 3 mistakes

    Error: xp::spec::rule

      × no request can meet ttft-p99: the first token takes 33.8 us at least, the objective is 20 us
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-17m" dtype="f32"
       ·           ─────┬─────
       ·                ╰── 67.7 MB of weights, loaded in every step
     3 │     hardware "cpu" threads=2
       ·                            ┬
       ·                            ╰── 2 threads, 2 TB a second at the very most
     4 │     workload "w" {
       ╰────
        ╭─[x.kdl:9:18]
      8 │     backend "sarathi" chunk-size=64 block-size=16 kv-memory="64MiB" watermark="1%"
      9 │     slo ttft-p99="20us" tpot-p99="10us" e2e-p99="200us"
        ·                  ───┬──
        ·                     ╰── faster than any step
     10 │ }
        ╰────
      help: this bound is what a CPU's caches deliver, memory is far slower: set the objective well
            above it, or take a smaller model or more threads

    Error: xp::spec::rule

      × no request can meet tpot-p99: a further token takes 33.8 us at least, the objective is 10 us
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-17m" dtype="f32"
       ·           ─────┬─────
       ·                ╰── 67.7 MB of weights, loaded in every step
     3 │     hardware "cpu" threads=2
       ·                            ┬
       ·                            ╰── 2 threads, 2 TB a second at the very most
     4 │     workload "w" {
       ╰────
        ╭─[x.kdl:9:34]
      8 │     backend "sarathi" chunk-size=64 block-size=16 kv-memory="64MiB" watermark="1%"
      9 │     slo ttft-p99="20us" tpot-p99="10us" e2e-p99="200us"
        ·                                  ───┬──
        ·                                     ╰── faster than any step
     10 │ }
        ╰────
      help: this bound is what a CPU's caches deliver, memory is far slower: set the objective well
            above it, or take a smaller model or more threads

    Error: xp::spec::rule

      × no request can meet e2e-p99: the shortest request takes 406 us at least, the objective is 200
      │ us
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-17m" dtype="f32"
       ·           ─────┬─────
       ·                ╰── 67.7 MB of weights, loaded in every step
     3 │     hardware "cpu" threads=2
       ·                            ┬
       ·                            ╰── 2 threads, 2 TB a second at the very most
     4 │     workload "w" {
       ╰────
        ╭─[x.kdl:9:49]
      8 │     backend "sarathi" chunk-size=64 block-size=16 kv-memory="64MiB" watermark="1%"
      9 │     slo ttft-p99="20us" tpot-p99="10us" e2e-p99="200us"
        ·                                                 ───┬───
        ·                                                    ╰── faster than any step
     10 │ }
        ╰────
      help: this bound is what a CPU's caches deliver, memory is far slower: set the objective well
            above it, or take a smaller model or more threads
    "#);
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
    insta::assert_snapshot!(said(&[(at, &long)]), @r#"
      × x.kdl: 2 mistakes

    Error: xp::spec::rule

      × the longest request needs 128 KV blocks, the cache has 127
        ╭─[x.kdl:9:71]
      7 │     }
      8 │     backend "sarathi" chunk-size=64 block-size=16 kv-memory="64MiB" watermark="1%"
        ·                                                                               ──┬─
        ·                                                                                 ╰── 1 block is kept free
      9 │     matrix { workload.lengths.max 512 2048; backend.sarathi.kv-memory "32MiB" "16MiB"; }
        ·                                       ──┬─                            ───┬───
        ·                                         │                                ╰── 32MiB hold 128 blocks of 262144 bytes
        ·                                         ╰── 2048 tokens in blocks of 16 are 128 blocks
     10 │     slo ttft-p99="1s" tpot-p99="100ms" e2e-p99="10s"
        ╰────
      help: `kv-memory "33MiB"` is enough; or shorten the requests

    Error: xp::spec::rule

      × the longest request needs 128 KV blocks, the cache has 64
        ╭─[x.kdl:9:79]
      8 │     backend "sarathi" chunk-size=64 block-size=16 kv-memory="64MiB" watermark="1%"
      9 │     matrix { workload.lengths.max 512 2048; backend.sarathi.kv-memory "32MiB" "16MiB"; }
        ·                                       ──┬─                                    ───┬───
        ·                                         │                                        ╰── 16MiB hold 64 blocks of 262144 bytes
        ·                                         ╰── 2048 tokens in blocks of 16 are 128 blocks
     10 │     slo ttft-p99="1s" tpot-p99="100ms" e2e-p99="10s"
        ╰────
      help: `kv-memory "33MiB"` is enough; or shorten the requests
    "#);
    let (at, steps) = matrix("backend.sarathi.chunk-size 64 1");
    assert!(said(&[(at, &steps), ("ttft-p99=\"1s\"", "ttft-p99=\"500us\"")]).contains("takes 51 steps"));
}
