//! The `transformers` backend: what it takes and what it refuses.

use super::*;

const FIT: &str = r#"experiment "x" {
    model "qwen3-17m"
    hardware "cpu" threads=2
    workload "w" {
        requests 4
        lengths "uniform" min=64 max=1024
    }
    backend "transformers" max-batch-size=4
    backend "sim"
    compare real="transformers" sim="sim"
}
"#;

#[test]
fn defaults_are_those_of_a_generate_call() {
    let loaded = changed_in(FIT, &[]).unwrap();
    let Backend::Transformers(found) = &loaded.experiment.backends[0] else { panic!() };
    let settings = found.settings();
    assert_eq!((settings.scheduler, settings.max_batch_size), (crate::scheduler::Policy::Static, 4));
    assert_eq!(found.step_timeout.to_string(), "2min");
    for change in [
        ("max-batch-size=4", "max-batch-size=1 scheduler=\"static\" requirements=\"a/b.txt\""),
        ("hardware \"cpu\" threads=2", "hardware \"h100-80gb\""),
        // The policy takes prompts whole: the default of `chunk-size` says nothing.
        ("min=64 max=1024", "min=8 max=16"),
    ] {
        let profile = ("backend \"sim\"", "backend \"sim\" profile=\"profiles/x\"");
        if let Err(error) = changed_in(FIT, &[change, profile]) {
            panic!("{change:?}: {}", render(&error));
        }
    }
}

#[test]
fn what_the_worker_cannot_do_is_refused() {
    insta::assert_snapshot!(said_in(FIT, &[
        ("max-batch-size=4", "max-batch-size=4 scheduler=\"sarathi\" step-timeout=\"0s\" requirements=\"../r.txt\""),
    ]), @"");
    insta::assert_snapshot!(said_in(FIT, &[
        ("backend \"transformers\" max-batch-size=4", "backend \"transformers\" chunk-size=4 { sampling temperature=0.5; }"),
    ]), @"");
}
