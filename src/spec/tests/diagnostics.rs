//! What is said about mistakes, as it is shown.

use super::*;

#[test]
fn all_mistakes_are_told_at_once() {
    insta::assert_snapshot!(said(&[
        ("threads=2", "threds=2"),
        ("requests 64", "requests 0"),
        ("\"poisson\" qps=2.0", "\"poison\" qps=-2"),
        ("chunk-size=256", "chunk-sise=256"),
        ("warn=\"9%\"", "warn=9"),
        ("matrix { workload.arrivals.qps 1 2 4; backend.sarathi.chunk-size 128 512; }", ""),
    ]), @r#"
      × x.kdl: 6 mistakes

    Error: xp::spec::grammar

      × unknown setting "threds" of `hardware`
       ╭─[x.kdl:6:20]
     5 │     }
     6 │     hardware "cpu" threds=2
       ·                    ───┬──
       ·                       ╰── not known here
     7 │     workload "chat" {
       ╰────
      help: did you mean `threads`? `hardware` has: `threads`, `memory`, `price-per-hour` or
            `interconnect`

    Error: xp::spec::value

      × `requests` takes a whole number from 1 to 10000000, not 0
       ╭─[x.kdl:8:18]
     7 │     workload "chat" {
     8 │         requests 0
       ·                  ┬
       ·                  ╰── here
     9 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
       ╰────
      help: Number of requests. For trace lengths: at most this many rows.

    Error: xp::spec::grammar

      × `arrivals` has no kind "poison"
        ╭─[x.kdl:10:18]
      9 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
     10 │         arrivals "poison" qps=-2
        ·                  ────┬───
        ·                      ╰── unknown kind
     11 │     }
        ╰────
      help: did you mean `poisson`? it is one of: `static`, `poisson`, `gamma`, `trace` or `recorded`

    Error: xp::spec::value

      × `qps` takes a number from 0.000001 to 1000000000, not -2
        ╭─[x.kdl:10:31]
      9 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
     10 │         arrivals "poison" qps=-2
        ·                               ─┬
        ·                                ╰── here
     11 │     }
        ╰────

    Error: xp::spec::grammar

      × unknown setting "chunk-sise" of `backend`
        ╭─[x.kdl:12:23]
     11 │     }
     12 │     backend "sarathi" chunk-sise=256 max-batch-size=32
        ·                       ─────┬────
        ·                            ╰── not known here
     13 │     backend "vidur" { profile "auto"; predictor "interpolate"; }
        ╰────
      help: did you mean `chunk-size`? `backend` has: `kind`, `scheduler`, `chunk-size`, `max-batch-
            size`, `block-size`, `kv-memory`, `watermark`, `max-context`, `max-waiting-steps`,
            `prefix-caching` or `sampling`

    Error: xp::spec::value

      × `warn` takes a percentage such as "5%", not 9
        ╭─[x.kdl:15:55]
     14 │     slo ttft-p99="500ms" tpot-p99="80ms"
     15 │     compare real="sarathi" sim="vidur" pass="5%" warn=9 repeats=3
        ·                                                       ┬
        ·                                                       ╰── here
     16 │
        ╰────
    "#);
}

#[test]
fn an_unknown_model_is_answered_with_the_catalog() {
    insta::assert_snapshot!(said(&[("\"qwen3-0.6b\"", "\"qwen3-06b\"")]), @r#"
    xp::spec::rule

      × no model "qwen3-06b" in the catalog
       ╭─[x.kdl:3:11]
     2 │     seed 7
     3 │     model "qwen3-06b" dtype="f32" {
       ·           ─────┬─────
       ·                ╰── unknown model
     4 │         source "synthetic"
       ╰────
      help: did you mean `qwen3-0.6b`? the catalog has: `qwen3-tiny`, `qwen3-17m`, `qwen3-0.6b`,
            `qwen3-1.7b`, `qwen3-4b`, `qwen3-8b`, `qwen3-moe-tiny`, `qwen3-30b-a3b`, `llama-tiny`,
            `llama-3.2-1b` or `llama-3.1-8b`; weights of your own: `source "path" "models/…"`
    "#);
}

#[test]
fn an_unknown_backend_is_answered_with_the_known_ones() {
    insta::assert_snapshot!(said(&[("backend \"sarathi\"", "backend \"sarathy\"")]), @r#"
    xp::spec::grammar

      × unknown backend "sarathy"
        ╭─[x.kdl:12:13]
     11 │     }
     12 │     backend "sarathy" chunk-size=256 max-batch-size=32
        ·             ────┬────
        ·                 ╰── of no known kind
     13 │     backend "vidur" { profile "auto"; predictor "interpolate"; }
        ╰────
      help: did you mean `sarathi`? known are: `sarathi`, `candle`, `transformers`, `vidur` or `sim`;
            any other name says its kind: `backend "sarathy" kind="candle"`
    "#);
}

#[test]
fn a_setting_at_the_wrong_node_is_told_where_it_belongs() {
    insta::assert_snapshot!(said(&[("seed 7", "seed 7\n    chunk-size 256")]), @r#"
    xp::spec::grammar

      × unknown setting "chunk-size" of `experiment`
       ╭─[x.kdl:3:5]
     2 │     seed 7
     3 │     chunk-size 256
       ·     ─────┬────
       ·          ╰── not known here
     4 │     model "qwen3-0.6b" dtype="f32" {
       ╰────
      help: it belongs to `backend`
    "#);
}

#[test]
fn a_setting_of_another_kind_is_told_whose_it_is() {
    insta::assert_snapshot!(said(&[("\"poisson\" qps=2.0", "\"poisson\" qps=2.0 cv=2")]), @r#"
    xp::spec::grammar

      × `cv` is no setting of `arrivals "poisson"`
        ╭─[x.kdl:10:36]
      9 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
     10 │         arrivals "poisson" qps=2.0 cv=2
        ·                                    ─┬
        ·                                     ╰── not here
     11 │     }
        ╰────
      help: only `gamma` has it; `poisson` has `qps`
    "#);
}

#[test]
fn names_and_kinds_are_told_apart() {
    assert!(said(&[("experiment \"chat\"", "experiment \"my chat\"")]).contains("\"my chat\" is no name"));
    let surplus = said(&[("\"vidur\" {", "\"vidur\" chunk-size=4 {")]);
    assert!(surplus.contains("`chunk-size` is no setting of a `sim` backend"), "{surplus}");
    assert!(said(&[("\"vidur\" {", "\"x\" kind=\"sim\" {")]).contains("no backend \"vidur\""));
    assert!(said(&[("\"vidur\" {", "\"vidur\" kind=\"simm\" {")]).contains("did you mean `sim`?"));
    assert!(
        said(&[("backend \"vidur\"", "backend \"sarathi\" kind=\"sim\"")]).contains("two backends are named")
    );
    assert!(said(&[("\"cpu\"", "\"gpu\"")]).contains("no device \"gpu\""));
    assert!(said(&[("\"500ms\"", "\"99999999999999999999h\"")]).contains("is too large"));
    assert!(said(&[("source \"synthetic\"", "source \"hf\" repo=\"../x\"")]).contains("owner/name"));
}

#[test]
fn a_missing_setting_is_told_with_its_type() {
    insta::assert_snapshot!(said(&[("        requests 64\n", "")]), @r#"
    xp::spec::missing

      × `workload` needs `requests`
       ╭─[x.kdl:7:5]
     6 │     hardware "cpu" threads=2
     7 │     workload "chat" {
       ·     ───────┬───────
       ·            ╰── `requests` is missing
     8 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
       ╰────
      help: write `requests=…`; it takes a whole number from 1 to 10000000
    "#);
    insta::assert_snapshot!(said(&[("\"poisson\" qps=2.0", "\"gamma\" qps=2.0")]), @r#"
    xp::spec::missing

      × `arrivals "gamma"` needs `cv`
        ╭─[x.kdl:10:9]
      9 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
     10 │         arrivals "gamma" qps=2.0
        ·         ────────────┬───────────
        ·                     ╰── `cv` is missing
     11 │     }
        ╰────
      help: write `cv=…`; it takes a number from 0.01 to 100
    "#);
}

#[test]
fn numbers_that_are_none_are_refused_in_place() {
    insta::assert_snapshot!(said(&[("qps=2.0", "qps=#nan")]), @r#"
    xp::spec::grammar

      × `qps`: this is not a finite number of a useful size
        ╭─[x.kdl:10:32]
      9 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
     10 │         arrivals "poisson" qps=#nan
        ·                                ──┬─
        ·                                  ╰── here
     11 │     }
        ╰────
      help: settings take plain numbers such as 2 or 0.5
    "#);
    insta::assert_snapshot!(said(&[("seed 7", "seed 99999999999999999999999999")]), @r#"
    xp::spec::grammar

      × `seed`: this number is too large
       ╭─[x.kdl:2:10]
     1 │ experiment "chat" {
     2 │     seed 99999999999999999999999999
       ·          ─────────────┬────────────
       ·                       ╰── here
     3 │     model "qwen3-0.6b" dtype="f32" {
       ╰────
      help: no setting takes a number beyond 64 bits
    "#);
    assert!(said(&[("qps=2.0", "qps=1e400")]).contains("finite"));
    assert!(said(&[("qps=2.0", "qps=#inf")]).contains("finite"));
    assert!(said(&[("seed 7", "seed -7")]).contains("a whole number from 0 to 18446744073709551615, not -7"));
    assert!(said(&[("seed 7", "seed 18446744073709551616")]).contains("too large"));
    assert!(
        said(&[("requests 64", "requests \"six\"")])
            .contains("a whole number from 1 to 10000000, not \"six\"")
    );
}

#[test]
fn what_is_given_twice_is_shown_twice() {
    insta::assert_snapshot!(said(&[("threads=2", "threads=2 {\n        threads 4\n    }")]), @r#"
    xp::spec::grammar

      × `threads` is given twice
       ╭─[x.kdl:7:9]
     5 │     }
     6 │     hardware "cpu" threads=2 {
       ·                    ───┬───
       ·                       ╰── given first
     7 │         threads 4
       ·         ───┬───
       ·            ╰── given again
     8 │     }
       ╰────
      help: keep one of them
    "#);
    assert!(said(&[("    slo ", "    slo e2e-p99=\"3s\"\n    slo ")]).contains("`slo` is given twice"));
    assert!(said(&[("qps 1 2 4", "qps 1 2 2.0")]).contains("`2` is given twice"));
}

#[test]
fn contradictions_are_told_with_both_places() {
    insta::assert_snapshot!(said(&[("max=1024", "max=8")]), @r#"
    xp::spec::rule

      × max 8 is less than min 16
        ╭─[x.kdl:9:45]
      8 │         requests 64
      9 │         lengths "zipf" theta=0.6 min=16 max=8 prefill-to-decode=4
        ·                                      ─┬     ┬
        ·                                       │     ╰── less than `min`
        ·                                       ╰── `min`
     10 │         arrivals "poisson" qps=2.0
        ╰────
      help: swap them, or correct one
    "#);
    insta::assert_snapshot!(said(&[("requests 64", "requests 64\n        prompts \"p.jsonl\"")]), @r#"
    xp::spec::rule

      × `prompts` and `lengths` exclude each other
        ╭─[x.kdl:10:9]
      8 │         requests 64
      9 │         prompts "p.jsonl"
        ·                 ────┬────
        ·                     ╰── the texts
     10 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
        ·         ──────────────────────────────┬─────────────────────────────
        ·                                       ╰── lengths of texts that are given
     11 │         arrivals "poisson" qps=2.0
        ╰────
      help: keep `prompts` for real texts, `lengths` for texts made to measure
    "#);
    insta::assert_snapshot!(said(&[("max=1024", "max=50000")]), @r#"
    xp::spec::rule

      × the longest request has 50000 tokens, the model's context 40960
       ╭─[x.kdl:3:11]
     2 │     seed 7
     3 │     model "qwen3-0.6b" dtype="f32" {
       ·           ──────┬─────
       ·                 ╰── 40960 tokens of context
     4 │         source "synthetic"
       ╰────
        ╭─[x.kdl:9:45]
      8 │         requests 64
      9 │         lengths "zipf" theta=0.6 min=16 max=50000 prefill-to-decode=4
        ·                                             ──┬──
        ·                                               ╰── too long for the model
     10 │         arrivals "poisson" qps=2.0
        ╰────
      help: shorten the requests, or take another model
    "#);
    assert!(said(&[("warn=\"9%\"", "warn=\"1%\"")]).contains("warn 1% is less than pass 5%"));
    assert!(
        said(&[("requests 64", "requests 64\n        decode-tokens 8")])
            .contains("say already how many tokens")
    );
}

#[test]
fn compare_names_backends_of_the_right_kind() {
    insta::assert_snapshot!(said(&[("real=\"sarathi\"", "real=\"sarthi\"")]), @r#"
    xp::spec::rule

      × no backend "sarthi"
        ╭─[x.kdl:15:18]
     14 │     slo ttft-p99="500ms" tpot-p99="80ms"
     15 │     compare real="sarthi" sim="vidur" pass="5%" warn="9%" repeats=3
        ·                  ────┬───
        ·                      ╰── not in the experiment
     16 │     matrix { workload.arrivals.qps 1 2 4; backend.sarathi.chunk-size 128 512; }
        ╰────
      help: did you mean `sarathi`?
    "#);
    insta::assert_snapshot!(said(&[("sim=\"vidur\"", "sim=\"sarathi\"")]), @r#"
    xp::spec::rule

      × the backend "sarathi" is not simulated
        ╭─[x.kdl:15:32]
     14 │     slo ttft-p99="500ms" tpot-p99="80ms"
     15 │     compare real="sarathi" sim="sarathi" pass="5%" warn="9%" repeats=3
        ·                                ────┬────
        ·                                    ╰── `sim` takes a simulated backend
     16 │     matrix { workload.arrivals.qps 1 2 4; backend.sarathi.chunk-size 128 512; }
        ╰────
      help: simulated backends are: `vidur`
    "#);
}

#[test]
fn paths_stay_inside_the_project() {
    insta::assert_snapshot!(said(&[("source \"synthetic\"", "source \"path\" \"../../etc\"")]), @r#"
    xp::spec::path

      × "../../etc" is no path inside the project
       ╭─[x.kdl:4:23]
     3 │     model "qwen3-0.6b" dtype="f32" {
     4 │         source "path" "../../etc"
       ·                       ─────┬─────
       ·                            ╰── `..` leaves the project
     5 │     }
       ╰────
      help: a lock names only what lies below the project's folder, so that it holds on every machine
    "#);
    for bad in ["/etc", "C:/models", "a\\\\b", "~/models", "a/../../b", ""] {
        let text = said(&[("source \"synthetic\"", &format!("source \"path\" \"{bad}\""))]);
        assert!(text.contains("no path inside the project"), "{bad}: {text}");
    }
    assert!(said(&[("reports/chat.pdf", "experiments/chat.kdl")]).contains("no PDF"));
}

#[test]
fn a_matrix_is_checked_axis_by_axis_and_cell_by_cell() {
    insta::assert_snapshot!(said(&[("workload.arrivals.qps 1 2 4", "workload.arivals.qps 1 2 4")]), @r#"
    xp::spec::matrix

      × no setting "arivals"
        ╭─[x.kdl:16:14]
     15 │     compare real="sarathi" sim="vidur" pass="5%" warn="9%" repeats=3
     16 │     matrix { workload.arivals.qps 1 2 4; backend.sarathi.chunk-size 128 512; }
        ·              ──────────┬─────────
        ·                        ╰── `arivals`: not known here
     17 │     report "reports/chat.pdf"
        ╰────
      help: did you mean `arrivals`? there are: `requests`, `trace`, `prompts`, `lengths`, `arrivals`,
            `sessions`, `decode-tokens` or `chat-template`
    "#);
    insta::assert_snapshot!(said(&[("qps 1 2 4", "qps 1 0 4")]), @r#"
    xp::spec::value

      × `qps` takes a number from 0.000001 to 1000000000, not 0
        ╭─[x.kdl:16:38]
     15 │     compare real="sarathi" sim="vidur" pass="5%" warn="9%" repeats=3
     16 │     matrix { workload.arrivals.qps 1 0 4; backend.sarathi.chunk-size 128 512; }
        ·                                      ┬
        ·                                      ╰── here
     17 │     report "reports/chat.pdf"
        ╰────
    "#);
    insta::assert_snapshot!(said(&[("workload.arrivals.qps 1 2 4", "workload.lengths.min 16 2000")]), @r#"
    xp::spec::rule

      × max 1024 is less than min 2000
        ╭─[x.kdl:9:45]
      8 │         requests 64
      9 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
        ·                                             ──┬─
        ·                                               ╰── less than `min`
     10 │         arrivals "poisson" qps=2.0
     11 │     }
     12 │     backend "sarathi" chunk-size=256 max-batch-size=32
     13 │     backend "vidur" { profile "auto"; predictor "interpolate"; }
     14 │     slo ttft-p99="500ms" tpot-p99="80ms"
     15 │     compare real="sarathi" sim="vidur" pass="5%" warn="9%" repeats=3
     16 │     matrix { workload.lengths.min 16 2000; backend.sarathi.chunk-size 128 512; }
        ·                                      ──┬─
        ·                                        ╰── `min`
     17 │     report "reports/chat.pdf"
        ╰────
      help: swap them, or correct one
    "#);
    assert!(said(&[("workload.arrivals.qps 1", "seed 1")]).contains("cannot vary \"seed\""));
    let many = (0..10_001).map(|value| value.to_string()).collect::<Vec<_>>().join(" ");
    assert!(said(&[("qps 1 2 4", &format!("qps {many}"))]).contains("at most 10000"));
}

#[test]
fn mistakes_of_overrides_point_into_their_own_text() {
    insta::assert_snapshot!(said_set(&["workload.arivals.qps=4"]), @r#"
    xp::spec::set

      × no setting "arivals"
       ╭─[--set:1:10]
     1 │ workload.arivals.qps=4
       ·          ───┬───
       ·             ╰── not known here
       ╰────
      help: did you mean `arrivals`? there are: `requests`, `trace`, `prompts`, `lengths`, `arrivals`,
            `sessions`, `decode-tokens` or `chat-template`
    "#);
    insta::assert_snapshot!(said_set(&["backend.sarthi.chunk-size=4"]), @r#"
    xp::spec::set

      × no backend "sarthi"
       ╭─[--set:1:9]
     1 │ backend.sarthi.chunk-size=4
       ·         ───┬──
       ·            ╰── not in the experiment
       ╰────
      help: did you mean `sarathi`? the experiment has: `sarathi` or `vidur`
    "#);
    insta::assert_snapshot!(said_set(&["compare.pass=10"]), @r#"
    xp::spec::value

      × `pass` takes a percentage such as "5%", not "10"
       ╭─[--set:1:14]
     1 │ compare.pass=10
       ·              ─┬
       ·               ╰── here
       ╰────
    "#);
    assert!(said_set(&["seed"]).contains("--set:1:1"));
    assert!(said_set(&["slo=5"]).contains("a group of settings"));
    assert!(said_set(&["seed.x=5"]).contains("no settings of its own"));
    assert!(said_set(&["matrix.x=5"]).contains("axis"));
    assert!(said_set(&["chunk-size=5"]).contains("backend.NAME.chunk-size"));
}

#[test]
fn syntax_errors_name_the_cause() {
    insta::assert_snapshot!(said(&[("requests 64", "requests=64")]), @r#"
    xp::spec::syntax

      × a setting on a line of its own takes no `=`
       ╭─[x.kdl:8:17]
     7 │     workload "chat" {
     8 │         requests=64
       ·                 ┬
       ·                 ╰── here
     9 │         lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
       ╰────
      help: write `requests 64`
    "#);
    insta::assert_snapshot!(said(&[("pass=\"5%\"", "pass=5%")]), @r#"
    xp::spec::syntax

      × not a number
        ╭─[x.kdl:15:45]
     14 │     slo ttft-p99="500ms" tpot-p99="80ms"
     15 │     compare real="sarathi" sim="vidur" pass=5% warn="9%" repeats=3
        ·                                             ─┬
        ·                                              ╰── starts like a number
     16 │     matrix { workload.arrivals.qps 1 2 4; backend.sarathi.chunk-size 128 512; }
        ╰────
      help: texts that start with a digit are put into quotes, such as "500ms" or "5%"
    "#);
    insta::assert_snapshot!(said(&[("    hardware \"cpu\" threads=2\n", "    hardware \"cpu threads=2\n")]), @r#"
    xp::spec::syntax

      × a text without its closing quote
       ╭─[x.kdl:6:14]
     5 │     }
     6 │     hardware "cpu threads=2
       ·              ───────┬──────
       ·                     ╰── starts here
     7 │     workload "chat" {
       ╰────
      help: texts start and end with `"`, on one line
    "#);
    insta::assert_snapshot!(said(&[("report \"reports/chat.pdf\"\n}", "report \"reports/chat.pdf\"\n")]), @r#"
    xp::spec::syntax

      × a block without its closing `}`
       ╭─[x.kdl:1:19]
     1 │ experiment "chat" {
       ·                   ┬
       ·                   ╰── opened here
     2 │     seed 7
       ╰────
      help: close it with `}`
    "#);
    assert!(said(&[("seed 7", "seed true")]).contains("write `#true`"));
    assert!(said(&[("seed 7", "seed (u64)7")]).contains("type annotations"));
}

#[test]
fn files_that_are_no_experiment_say_what_they_are() {
    let said = |text: &str| render(&load_text("x.kdl", text, &[]).unwrap_err());
    insta::assert_snapshot!(said(""), @r#"
    xp::spec::grammar

      × this file holds no experiment
       ╭─[x.kdl:1:1]
       ╰────
      help: write `experiment "name" { … }`; `xp init FILE` writes one to start from
    "#);
    assert!(said("lock 1\nexperiment { name \"x\"; }\n").contains("this is a lock"));
    assert!(said("experimnt \"x\" {}").contains("did you mean `experiment`?"));
    assert!(said(&GOOD.repeat(2)).contains("one experiment"));
    assert!(said("seed 5").contains("inside the braces"));
}

/// What is said about an experiment with this workload and these backends.
fn said_of(workload: &str, backends: &str) -> String {
    let text = format!(
        "experiment \"x\" {{\n    model \"qwen3-tiny\"\n    workload \"w\" {{ {workload}; }}\n{backends}\n}}\n"
    );
    match load_text("x.kdl", &text, &[]) {
        Ok(loaded) => format!("{:?}", loaded.experiment.workload),
        Err(error) => render(&error),
    }
}

#[test]
fn a_trace_says_all_of_its_requests() {
    let of = |workload: &str| said_of(workload, "    backend \"sarathi\" kv-memory=\"4MiB\"");
    insta::assert_snapshot!(of("trace \"t.csv\""));
    insta::assert_snapshot!(of("trace \"t.csv\" format=\"vidru\""));
    insta::assert_snapshot!(of(
        "trace \"../t.csv\" { block 9; format \"azure\"; }; lengths \"fixed\" prefill=1; decode-tokens 3"
    ));
    insta::assert_snapshot!(of("trace \"t.json\" format=\"sharegpt\""));
    insta::assert_snapshot!(of("trace \"t.csv\" time-scale=2; arrivals \"static\""));
    insta::assert_snapshot!(of("lengths \"fixed\" prefill=1 decode=1; arrivals \"recorded\"; requests 1"));
    insta::assert_snapshot!(of("trace \"t.csv\" max-tokens=1 time-scale=0"));
}

#[test]
fn a_recording_says_what_its_columns_are() {
    let of = |backends: &str| said_of("trace \"t.csv\"", backends);
    insta::assert_snapshot!(of("    backend \"vllm\" kind=\"recorded\""));
    insta::assert_snapshot!(of(
        "    backend \"vllm\" kind=\"recorded\" file=\"/r.csv\" sampling=3 {\n        columns unit=\"m\" arrival=\"a\" first=\"f\"\n    }"
    ));
    insta::assert_snapshot!(of(
        "    backend \"vllm\" kind=\"recorded\" file=\"r.csv\" kv-memory=\"4MiB\" {\n        columns unit=\"s\" arrival=\"a\" first-token=\"f\" completion=\"c\"\n    }\n    backend \"sim\"\n    compare real=\"vllm\" sim=\"vllm\" repeats=2"
    ));
}

#[test]
fn the_data_folder_is_one_of_the_project() {
    insta::assert_snapshot!(said(&[("seed 7", "seed 7; data \"/mnt/traces\"")]));
}
