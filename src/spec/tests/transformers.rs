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
    ]), @r#"
      × x.kdl: 3 mistakes

    Error: xp::spec::rule

      × transformers computes no batches of `sarathi`
       ╭─[x.kdl:8:55]
     7 │     }
     8 │     backend "transformers" max-batch-size=4 scheduler="sarathi" step-timeout="0s" requirements="../r.txt"
       ·                                                       ────┬────
       ·                                                           ╰── must be `static`
     9 │     backend "sim"
       ╰────
      help: leave it away: whole batches from their prompts to the end of their last request, or
            requests one at a time with `max-batch-size 1`

    Error: xp::spec::rule

      × no step ends within no time
       ╭─[x.kdl:8:78]
     7 │     }
     8 │     backend "transformers" max-batch-size=4 scheduler="sarathi" step-timeout="0s" requirements="../r.txt"
       ·                                                                              ──┬─
       ·                                                                                ╰── no time
     9 │     backend "sim"
       ╰────
      help: `120s` is the default

    Error: xp::spec::path

      × "../r.txt" is no path inside the project
       ╭─[x.kdl:8:96]
     7 │     }
     8 │     backend "transformers" max-batch-size=4 scheduler="sarathi" step-timeout="0s" requirements="../r.txt"
       ·                                                                                                ─────┬────
       ·                                                                                                     ╰── `..` leaves the project
     9 │     backend "sim"
       ╰────
      help: a lock names only what lies below the project's folder, so that it holds on every machine
    "#);
    insta::assert_snapshot!(said_in(FIT, &[
        ("backend \"transformers\" max-batch-size=4", "backend \"transformers\" chunk-size=4 { sampling temperature=0.5; }"),
    ]), @r#"
      × x.kdl: 2 mistakes

    Error: xp::spec::grammar

      × `chunk-size` is no setting of a `transformers` backend
       ╭─[x.kdl:8:28]
     7 │     }
     8 │     backend "transformers" chunk-size=4 { sampling temperature=0.5; }
       ·                            ─────┬────
       ·                                 ╰── not here
     9 │     backend "sim"
       ╰────
      help: only `candle`, `recorded` or `engine` has it; `transformers` has `kind`, `scheduler`,
            `max-batch-size`, `kv-memory`, `max-context`, `requirements` or `step-timeout`

    Error: xp::spec::grammar

      × `sampling` is no setting of a `transformers` backend
       ╭─[x.kdl:8:43]
     7 │     }
     8 │     backend "transformers" chunk-size=4 { sampling temperature=0.5; }
       ·                                           ────┬───
       ·                                               ╰── not here
     9 │     backend "sim"
       ╰────
      help: only `candle` has it; `transformers` has `kind`, `scheduler`, `max-batch-size`, `kv-
            memory`, `max-context`, `requirements` or `step-timeout`
    "#);
}
