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
        ("qps 1 2 4", "qps 0 2 4"),
    ]), @"");
}

#[test]
fn a_missing_brace_is_looked_for_by_indentation() {
    insta::assert_snapshot!(said(&[("qps=2.0\n    }\n", "qps=2.0\n")]), @"");
    insta::assert_snapshot!(said(&[("qps=2.0\n    }\n", "qps=2.0\n    }\n    }\n")]), @"");
}

#[test]
fn files_of_kdl_1_are_told_what_to_write() {
    let text = "experiment \"x\" {\n    model r#\"qwen3-17m\"# ok=true\n    workload \"w\" requests=(u32)4 {\n        lengths \"fixed\" prefill=8 decode=null\n    }\n    description \"a\\/b\"\n}\n";
    insta::assert_snapshot!(render(&load_text("x.kdl", text, &[]).unwrap_err()), @"");
}

#[test]
fn a_text_of_errors_ends_soon() {
    let text = "b=1\n".repeat(100_000);
    let error = load_text("x.kdl", &text, &[]).unwrap_err();
    assert_eq!(error.count(), 20);
    let nested = "a = 1 {\n".repeat(10_000);
    assert!(load_text("x.kdl", &nested, &[]).unwrap_err().count() <= 21);
}
