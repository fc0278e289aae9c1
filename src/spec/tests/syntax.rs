//! Errors of syntax, all at once.

use super::*;

#[test]
fn all_errors_of_syntax_are_told_and_mistakes_of_the_rest_too() {
    insta::assert_snapshot!(said(&[
        ("seed 7", "seed = 7"),
        ("dtype=\"f32\"", "dtype=f32\""),
        ("threads=2", "threds=2"),
        ("requests 64", "requests 64,"),
        ("max=1024", "max=true"),
        ("\"vidur\" {", "\"vidur\" { profile r\"auto\";"),
        ("pass=\"5%\"", "pass=\"5%"),
        ("qps 1 2 4", "qps 1, true 4"),
    ]), @r##"
      × x.kdl: 9 mistakes

    Error: xp::spec::syntax

      × a setting on a line of its own takes no `=`
       ╭─[x.kdl:2:10]
     1 │ experiment "chat" {
     2 │     seed = 7
       ·          ┬
       ·          ╰── here
     3 │     model "qwen3-0.6b" dtype=f32" {
       ╰────
      help: write `seed 7`

    Error: xp::spec::syntax

      × a text without its opening quote
       ╭─[x.kdl:3:30]
     2 │     seed = 7
     3 │     model "qwen3-0.6b" dtype=f32" {
       ·                              ──┬─
       ·                                ╰── ends here
     4 │         source "synthetic"
       ╰────
      help: write `"f32"`

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

    Error: xp::spec::syntax

      × not a number
       ╭─[x.kdl:8:18]
     7 │     workload "chat" {
     8 │         requests 64,
       ·                  ─┬─
       ·                   ╰── starts like a number
     9 │         lengths "zipf" theta=0.6 min=16 max=true prefill-to-decode=4
       ╰────
      help: values are separated by spaces: write `64` without the comma

    Error: xp::spec::syntax

      × `true` is ambiguous
        ╭─[x.kdl:9:45]
      8 │         requests 64,
      9 │         lengths "zipf" theta=0.6 min=16 max=true prefill-to-decode=4
        ·                                             ──┬─
        ·                                               ╰── not a KDL 2 value
     10 │         arrivals "poisson" qps=2.0
        ╰────
      help: write `#true` for the value, or `"true"` for a text

    Error: xp::spec::syntax

      × a raw text of KDL 1
        ╭─[x.kdl:13:31]
     12 │     backend "sarathi" chunk-size=256 max-batch-size=32
     13 │     backend "vidur" { profile r"auto"; profile "auto"; predictor "interpolate"; }
        ·                               ─┬
        ·                                ╰── an `r` before its quotes
     14 │     slo ttft-p99="500ms" tpot-p99="80ms"
        ╰────
      help: in KDL 2 a raw text is written `#"…"#`

    Error: xp::spec::syntax

      × a text without its closing quote
        ╭─[x.kdl:15:45]
     14 │     slo ttft-p99="500ms" tpot-p99="80ms"
     15 │     compare real="sarathi" sim="vidur" pass="5% warn="9%" repeats=3
        ·                                             ─┬─
        ·                                              ╰── starts here
     16 │     matrix { workload.arrivals.qps 1, true 4; backend.sarathi.chunk-size 128 512; }
        ╰────
      help: write `"5%"`

    Error: xp::spec::syntax

      × not a number
        ╭─[x.kdl:16:36]
     15 │     compare real="sarathi" sim="vidur" pass="5% warn="9%" repeats=3
     16 │     matrix { workload.arrivals.qps 1, true 4; backend.sarathi.chunk-size 128 512; }
        ·                                    ─┬
        ·                                     ╰── starts like a number
     17 │     report "reports/chat.pdf"
        ╰────
      help: values are separated by spaces: write `1` without the comma

    Error: xp::spec::syntax

      × `true` is ambiguous
        ╭─[x.kdl:16:39]
     15 │     compare real="sarathi" sim="vidur" pass="5% warn="9%" repeats=3
     16 │     matrix { workload.arrivals.qps 1, true 4; backend.sarathi.chunk-size 128 512; }
        ·                                       ──┬─
        ·                                         ╰── not a KDL 2 value
     17 │     report "reports/chat.pdf"
        ╰────
      help: write `#true` for the value, or `"true"` for a text
    "##);
}

#[test]
fn a_missing_brace_is_looked_for_by_indentation() {
    insta::assert_snapshot!(said(&[("qps=2.0\n    }\n", "qps=2.0\n")]), @r#"
    xp::spec::syntax

      × a block without its closing `}`
       ╭─[x.kdl:7:21]
     6 │     hardware "cpu" threads=2
     7 │     workload "chat" {
       ·                     ┬
       ·                     ╰── opened here
     8 │         requests 64
       ╰────
        ╭─[x.kdl:17:1]
     16 │     report "reports/chat.pdf"
     17 │ }
        · ┬
        · ╰── closes it, and by its indentation is meant for another
        ╰────
      help: close it with `}` before the next node that is not part of it
    "#);
    insta::assert_snapshot!(said(&[("qps=2.0\n    }\n", "qps=2.0\n    }\n    }\n")]), @r#"
    xp::spec::syntax

      × a `}` that closes nothing
        ╭─[x.kdl:19:1]
     18 │     report "reports/chat.pdf"
     19 │ }
        · ┬
        · ╰── here
        ╰────
      help: remove it, or look for the block that should have been opened
    "#);
}

#[test]
fn files_of_kdl_1_are_told_what_to_write() {
    let text = "experiment \"x\" {\n    model r#\"qwen3-17m\"# ok=true\n    workload \"w\" requests=(u32)4 {\n        lengths \"fixed\" prefill=8 decode=null\n    }\n    description \"a\\/b\"\n}\n";
    insta::assert_snapshot!(render(&load_text("x.kdl", text, &[]).unwrap_err()), @r##"
      × x.kdl: 4 mistakes

    Error: xp::spec::syntax

      × a raw text of KDL 1
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model r#"qwen3-17m"# ok=true
       ·           ─┬
       ·            ╰── an `r` before its quotes
     3 │     workload "w" requests=(u32)4 {
       ╰────
      help: in KDL 2 a raw text is written `#"…"#`

    Error: xp::spec::syntax

      × type annotations are not used here
       ╭─[x.kdl:3:27]
     2 │     model r#"qwen3-17m"# ok=true
     3 │     workload "w" requests=(u32)4 {
       ·                           ┬
       ·                           ╰── a parenthesis outside of a text
     4 │         lengths "fixed" prefill=8 decode=null
       ╰────
      help: units are written into the value: `"500ms"`, `"4GiB"`, `"5%"`

    Error: xp::spec::syntax

      × `null` is ambiguous
       ╭─[x.kdl:4:42]
     3 │     workload "w" requests=(u32)4 {
     4 │         lengths "fixed" prefill=8 decode=null
       ·                                          ──┬─
       ·                                            ╰── not a KDL 2 value
     5 │     }
       ╰────
      help: write `#null` for the value, or `"null"` for a text

    Error: xp::spec::syntax

      × an unknown escape in a text
       ╭─[x.kdl:6:19]
     5 │     }
     6 │     description "a\/b"
       ·                   ─┬
       ·                    ╰── here
     7 │ }
       ╰────
      help: a backslash is written `\\`; paths use `/`
    "##);
}

#[test]
fn a_text_of_errors_ends_soon() {
    let text = "b=1\n".repeat(100_000);
    let error = load_text("x.kdl", &text, &[]).unwrap_err();
    assert_eq!(error.count(), 20);
    let nested = "a = 1 {\n".repeat(10_000);
    assert!(load_text("x.kdl", &nested, &[]).unwrap_err().count() <= 21);
}
