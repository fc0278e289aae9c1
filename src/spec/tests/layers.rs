//! Files that include others, and presets.

use std::collections::BTreeMap;

use super::*;
use crate::catalog::{self, ModelConfig};
use crate::store::ReadError;

/// Files by their paths; every model that is not synthetic has the tiny shape.
#[derive(Default)]
pub(super) struct Files(BTreeMap<String, String>);

impl Files {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }
}

impl World for Files {
    fn read(&self, path: &str, limit: u64) -> Result<String, ReadError> {
        let place = || std::path::PathBuf::from(path);
        match self.0.get(path) {
            None => Err(ReadError::Io { path: place(), source: std::io::ErrorKind::NotFound.into() }),
            Some(text) if text.len() as u64 > limit => Err(ReadError::TooLarge { path: place(), limit }),
            Some(text) => Ok(text.clone()),
        }
    }

    fn shape(&self, _: &Source, _: Option<&str>) -> Option<ModelConfig> {
        catalog::model("qwen3-tiny").cloned()
    }
}

/// Loads `experiments/x.kdl` with presets of the command line.
fn with_presets(files: &[(&str, &str)], presets: &[&str]) -> Result<Loaded, SpecErrors> {
    let presets = presets.iter().map(|name| (*name).to_owned()).collect();
    load(&Files::new(files), "experiments/x.kdl", &Changes { presets, overrides: Vec::new() })
}

fn loaded(files: &[(&str, &str)]) -> Experiment {
    with_presets(files, &[]).unwrap_or_else(|error| panic!("{}", render(&error))).experiment
}

/// What is said about the files.
fn said(files: &[(&str, &str)]) -> String {
    match with_presets(files, &[]) {
        Ok(_) => panic!("no mistake in {files:?}"),
        Err(error) => render(&error),
    }
}

/// A base that says everything, and one that an experiment goes on with.
const BASE: &str = r#"
seed 1
model "qwen3-tiny"
workload "base" {
    requests 8
    lengths "zipf" min=8 max=64
    arrivals "gamma" qps=5 cv=2
}
backend "sarathi" chunk-size=64 kv-memory="64MiB"
backend "slow" kind="candle" chunk-size=16
backend "vidur"
compare real="sarathi" sim="vidur"
slo ttft-p99="1s"
matrix {
    workload.arrivals.qps 1 2
    backend.sarathi.chunk-size 16 32
}
"#;

fn over_base(body: &str) -> Experiment {
    let text = format!("experiment \"x\" {{\n    include \"base.kdl\"\n{body}\n}}");
    loaded(&[("experiments/x.kdl", &text), ("experiments/base.kdl", BASE)])
}

#[test]
fn what_is_included_is_the_base_and_the_file_wins() {
    let experiment = over_base(
        "seed 2; workload \"mine\" { requests 4; }; backend \"sarathi\" max-batch-size=4; hardware \"cpu\" threads=1",
    );
    assert_eq!((experiment.name.as_str(), experiment.seed, experiment.hardware.threads), ("x", 2, 1));
    assert_eq!((experiment.workload.name.as_str(), experiment.workload.requests), ("mine", Some(4)));
    assert_eq!(experiment.workload.arrivals, Arrivals::Gamma { qps: 5.0, cv: 2.0 });
    assert_eq!(experiment.backends.len(), 3);
    let Backend::Candle(sarathi) = &experiment.backends[0] else { panic!("{:?}", experiment.backends) };
    assert_eq!((sarathi.chunk_size, sarathi.max_batch_size), (64, 4));
    assert_eq!(sarathi.kv_memory, ByteSize(64 << 20));
    // The place of `include` among the settings does not matter.
    let late = "experiment \"x\" { seed 3; include \"base.kdl\"; }";
    assert_eq!(loaded(&[("experiments/x.kdl", late), ("experiments/base.kdl", BASE)]).seed, 3);
}

#[test]
fn another_kind_replaces_all_that_was_said_of_the_old_one() {
    let of = |body: &str| over_base(body).workload.arrivals;
    assert_eq!(of("workload \"w\" { arrivals \"poisson\" qps=9; }"), Arrivals::Poisson { qps: 9.0 });
    // The same kind goes on with its settings, written or not.
    assert_eq!(of("workload \"w\" { arrivals \"gamma\" qps=9; }"), Arrivals::Gamma { qps: 9.0, cv: 2.0 });
    assert_eq!(of("workload \"w\" { arrivals qps=9; }"), Arrivals::Gamma { qps: 9.0, cv: 2.0 });
    assert_eq!(of("workload \"w\" { arrivals { cv 3; }; }"), Arrivals::Gamma { qps: 5.0, cv: 3.0 });
    let text =
        "experiment \"x\" { include \"base.kdl\"; workload \"w\" { arrivals \"poisson\"; }; matrix #null; }";
    let text = said(&[("experiments/x.kdl", text), ("experiments/base.kdl", BASE)]);
    assert!(text.contains("`arrivals \"poisson\"` needs `qps`") && text.contains("x.kdl:1:"), "{text}");
    let experiment = over_base("backend \"slow\" kind=\"sim\"");
    assert!(matches!(&experiment.backends[1], Backend::Sim(sim) if sim.name == "slow"));
}

#[test]
fn null_takes_back_what_an_included_file_says() {
    let experiment = over_base(
        "slo #null; compare #null; backend \"slow\" #null; backend \"vidur\" #null; backend \"sarathi\" chunk-size=#null
        workload { lengths #null; prompts \"p.jsonl\"; decode-tokens 3; }; matrix { workload.arrivals.qps #null; }",
    );
    assert_eq!((experiment.slo, experiment.compare), (Slo::default(), None));
    let [Backend::Candle(sarathi)] = experiment.backends.as_slice() else {
        panic!("{:?}", experiment.backends)
    };
    assert_eq!((sarathi.name.as_str(), sarathi.chunk_size), ("sarathi", 256));
    assert_eq!((experiment.workload.lengths, experiment.matrix.len()), (None, 1));
    assert!(over_base("matrix #null").matrix.is_empty());
    let text = "experiment \"x\" {\n    include \"base.kdl\"\n    report #null\n    backend \"fast\" #null\n    matrix { workload.requests #null; }\n}";
    insta::assert_snapshot!(said(&[("experiments/x.kdl", text), ("experiments/base.kdl", BASE)]), @r#"
      × experiments/x.kdl: 3 mistakes

    Error: xp::spec::grammar

      × there is no `report` that `#null` could take back
       ╭─[experiments/x.kdl:3:12]
     2 │     include "base.kdl"
     3 │     report #null
       ·            ──┬──
       ·              ╰── nothing to take back
     4 │     backend "fast" #null
       ╰────
      help: leave the setting away to get its default; `#null` takes back what an included file says

    Error: xp::spec::grammar

      × there is no `backend fast` that `#null` could take back
       ╭─[experiments/x.kdl:4:20]
     3 │     report #null
     4 │     backend "fast" #null
       ·                    ──┬──
       ·                      ╰── nothing to take back
     5 │     matrix { workload.requests #null; }
       ╰────
      help: leave the setting away to get its default; `#null` takes back what an included file says

    Error: xp::spec::grammar

      × there is no `workload.requests` that `#null` could take back
       ╭─[experiments/x.kdl:5:32]
     4 │     backend "fast" #null
     5 │     matrix { workload.requests #null; }
       ·                                ──┬──
       ·                                  ╰── nothing to take back
     6 │ }
       ╰────
      help: leave the setting away to get its default; `#null` takes back what an included file says
    "#);
}

#[test]
fn axes_and_zips_replace_those_of_the_same_paths() {
    let paths = |body: &str| -> Vec<String> {
        let shown = |axis: &Axis| {
            let values: Vec<String> = axis.values.iter().map(ToString::to_string).collect();
            format!("{} {} {:?}", axis.path, values.join(","), axis.zip)
        };
        over_base(body).matrix.iter().map(shown).collect()
    };
    assert_eq!(paths(""), ["workload.arrivals.qps 1,2 None", "backend.sarathi.chunk-size 16,32 None"]);
    assert_eq!(
        paths("matrix { workload.requests 3 4; workload.arrivals.qps 7; }"),
        [
            "workload.arrivals.qps 7 None",
            "backend.sarathi.chunk-size 16,32 None",
            "workload.requests 3,4 None"
        ]
    );
    assert_eq!(
        paths(
            "matrix { zip { backend.sarathi.chunk-size 8 9; workload.arrivals.qps 1 3; }; workload.requests 3; }"
        ),
        [
            "backend.sarathi.chunk-size 8,9 Some(1)",
            "workload.arrivals.qps 1,3 Some(1)",
            "workload.requests 3 None"
        ]
    );
}

#[test]
fn files_include_others_relative_to_themselves() {
    let x = "experiment \"x\" { include \"deep/one.kdl\" \"../shared/two.kdl\"; }";
    let files = [
        ("experiments/x.kdl", x),
        ("experiments/deep/one.kdl", "include \"../base.kdl\"\nseed 5\nhardware \"cpu\" threads=3"),
        // A whole experiment may be included: its name is not used.
        ("shared/two.kdl", "experiment \"two\" seed=6 { model \"qwen3-17m\"; }"),
        ("experiments/base.kdl", BASE),
    ];
    let experiment = loaded(&files);
    // Of several files, the later one wins.
    assert_eq!((experiment.seed, experiment.hardware.threads), (6, 3));
    assert_eq!((experiment.name.as_str(), experiment.model.name.as_str()), ("x", "qwen3-17m"));
}

#[test]
fn mistakes_are_shown_in_the_file_that_makes_them() {
    let x = "experiment \"x\" {\n    include \"base.kdl\"\n    workload \"w\" { lengths max=4; }\n}";
    let base = BASE.replace("requests 8", "requests 0").replace("seed 1", "sed 1");
    insta::assert_snapshot!(said(&[("experiments/x.kdl", x), ("experiments/base.kdl", &base)]), @r#"
      × experiments/x.kdl: 3 mistakes

    Error: xp::spec::grammar

      × unknown setting "sed" of `experiment`
       ╭─[experiments/base.kdl:2:1]
     1 │
     2 │ sed 1
       · ─┬─
       ·  ╰── not known here
     3 │ model "qwen3-tiny"
       ╰────
      help: did you mean `seed`? `experiment` has: `description`, `seed`, `data`, `model`, `hardware`,
            `workload`, `backend`, `slo`, `compare`, `capacity`, `matrix`, `max-runs`, `report`,
            `include`, `preset` or `use`

    Error: xp::spec::value

      × `requests` takes a whole number from 1 to 10000000, not 0
       ╭─[experiments/base.kdl:5:14]
     4 │ workload "base" {
     5 │     requests 0
       ·              ┬
       ·              ╰── here
     6 │     lengths "zipf" min=8 max=64
       ╰────
      help: Number of requests. For trace lengths: at most this many rows.

    Error: xp::spec::rule

      × max 4 is less than min 8
       ╭─[experiments/x.kdl:3:32]
     2 │     include "base.kdl"
     3 │     workload "w" { lengths max=4; }
       ·                                ┬
       ·                                ╰── less than `min`
     4 │ }
       ╰────
      help: swap them, or correct one

    Advice:
      ☞ and in experiments/base.kdl
       ╭─[experiments/base.kdl:6:24]
     5 │     requests 0
     6 │     lengths "zipf" min=8 max=64
       ·                        ┬
       ·                        ╰── `min`
     7 │     arrivals "gamma" qps=5 cv=2
       ╰────
    "#);
    let x = "experiment \"x\" {\n    include \"base.kdl\"\n    wrkload \"w\"\n}";
    let text = said(&[("experiments/x.kdl", x), ("experiments/base.kdl", "seed = 5\nmodel \"nope")]);
    insta::assert_snapshot!(text, @r#"
      × experiments/x.kdl: 3 mistakes

    Error: xp::spec::syntax

      × a setting on a line of its own takes no `=`
       ╭─[experiments/base.kdl:1:6]
     1 │ seed = 5
       ·      ┬
       ·      ╰── here
     2 │ model "nope
       ╰────
      help: write `seed 5`

    Error: xp::spec::syntax

      × a text without its closing quote
       ╭─[experiments/base.kdl:2:7]
     1 │ seed = 5
     2 │ model "nope
       ·       ──┬──
       ·         ╰── starts here
       ╰────
      help: texts start and end with `"`, on one line

    Error: xp::spec::grammar

      × unknown setting "wrkload" of `experiment`
       ╭─[experiments/x.kdl:3:5]
     2 │     include "base.kdl"
     3 │     wrkload "w"
       ·     ───┬───
       ·        ╰── not known here
     4 │ }
       ╰────
      help: did you mean `workload`? `experiment` has: `description`, `seed`, `data`, `model`,
            `hardware`, `workload`, `backend`, `slo`, `compare`, `capacity`, `matrix`, `max-runs`,
            `report`, `include`, `preset` or `use`
    "#);
    // A file that is included twice has its mistakes once.
    let x = "experiment \"x\" { include \"a.kdl\" \"a.kdl\"; }";
    let base = format!("{BASE}\nsed 5");
    assert!(!said(&[("experiments/x.kdl", x), ("experiments/a.kdl", &base)]).contains("2 mistakes"));
}

#[test]
fn files_that_cannot_be_included_say_why() {
    let x = "experiment \"x\" {\n    include \"none.kdl\"\n    include \"../../etc/passwd\"\n    include 5\n    include\n    workload { include \"base.kdl\"; }\n}";
    insta::assert_snapshot!(said(&[("experiments/x.kdl", x)]), @r#"
      × experiments/x.kdl: 5 mistakes

    Error: xp::spec::include

      × cannot read experiments/none.kdl
       ╭─[experiments/x.kdl:2:13]
     1 │ experiment "x" {
     2 │     include "none.kdl"
       ·             ─────┬────
       ·                  ╰── there is no such file
     3 │     include "../../etc/passwd"
       ╰────
      help: the path is relative to the file that includes

    Error: xp::spec::include

      × "../../etc/passwd" is no path inside the project
       ╭─[experiments/x.kdl:3:13]
     2 │     include "none.kdl"
     3 │     include "../../etc/passwd"
       ·             ─────────┬────────
       ·                      ╰── `..` leaves the project
     4 │     include 5
       ╰────
      help: an experiment includes only files of its project, so that it means the same on every
            machine

    Error: xp::spec::grammar

      × `include` takes the path of a file
       ╭─[experiments/x.kdl:4:13]
     3 │     include "../../etc/passwd"
     4 │     include 5
       ·             ┬
       ·             ╰── not a path
     5 │     include
       ╰────
      help: write `include "base.kdl"`: the path of a file, relative to this one

    Error: xp::spec::grammar

      × `include` takes the path of a file
       ╭─[experiments/x.kdl:5:5]
     4 │     include 5
     5 │     include
       ·     ───┬───
       ·        ╰── of which file?
     6 │     workload { include "base.kdl"; }
       ╰────
      help: write `include "base.kdl"`: the path of a file, relative to this one

    Error: xp::spec::grammar

      × unknown setting "include" of `workload`
       ╭─[experiments/x.kdl:6:16]
     5 │     include
     6 │     workload { include "base.kdl"; }
       ·                ───┬───
       ·                   ╰── not known here
     7 │ }
       ╰────
      help: it belongs to `experiment`
    "#);
    let large = " ".repeat(2 << 20);
    let x = "experiment \"x\" { include \"large.kdl\"; }";
    let text = said(&[("experiments/x.kdl", x), ("experiments/large.kdl", &large)]);
    assert!(text.contains("larger than 1048576 bytes"), "{text}");
    let x = "experiment \"x\" { include \"x.lock.kdl\"; }";
    let text =
        said(&[("experiments/x.kdl", x), ("experiments/x.lock.kdl", "lock 1\nexperiment { name \"x\"; }")]);
    assert!(text.contains("this is a lock"), "{text}");
    let text = load_text("x.kdl", x, &[]).unwrap_err();
    assert!(render(&text).contains("cannot read x.lock.kdl"), "{}", render(&text));
}

#[test]
fn a_cycle_is_shown_with_its_chain() {
    let files = [
        ("experiments/x.kdl", "experiment \"x\" {\n    include \"a.kdl\"\n}"),
        ("experiments/a.kdl", "seed 1\ninclude \"b.kdl\"\n"),
        ("experiments/b.kdl", "include \"a.kdl\"\n"),
    ];
    insta::assert_snapshot!(said(&files), @r#"
    xp::spec::include

      × experiments/a.kdl includes itself
       ╭─[experiments/b.kdl:1:9]
     1 │ include "a.kdl"
       ·         ───┬───
       ·            ╰── includes it again
       ╰────
      help: experiments/a.kdl → experiments/b.kdl → experiments/a.kdl: take one of these out

    Advice:
      ☞ by way of experiments/b.kdl
       ╭─[experiments/a.kdl:2:9]
     1 │ seed 1
     2 │ include "b.kdl"
       ·         ───┬───
       ·            ╰── included here
       ╰────
    "#);
    let itself = [("experiments/x.kdl", "experiment \"x\" { include \"./x.kdl\"; }")];
    assert!(said(&itself).contains("experiments/x.kdl includes itself"));
}

#[test]
fn depth_number_and_size_of_files_are_bounded() {
    let mut files =
        vec![("experiments/x.kdl".to_owned(), "experiment \"x\" { include \"0.kdl\"; }".to_owned())];
    let name = |index: usize| format!("experiments/{index}.kdl");
    files.extend((0..40).map(|index| (name(index), format!("include \"{}.kdl\"", index + 1))));
    let of = |files: &[(String, String)]| {
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        said(&files)
    };
    let text = of(&files);
    assert!(text.contains("more than 16 files include one another") && text.contains("15.kdl:1:9"), "{text}");
    // Each file includes the next one twice: without a bound, 2¹² files are read.
    let twice = |index: usize| (name(index), format!("include \"{0}.kdl\" \"{0}.kdl\"", index + 1));
    let mut doubled: Vec<(String, String)> = files[..1].iter().cloned().chain((0..12).map(twice)).collect();
    doubled.push((name(12), "seed 1".to_owned()));
    let text = of(&doubled);
    assert!(text.contains("more than 64 files are included"), "{text}");
    let large = format!("//{}\n", "x".repeat(1 << 19)).repeat(1);
    let many = (0..12).map(|_| "include \"1.kdl\";").collect::<String>();
    let many = format!("experiment \"x\" {{ {many} }}");
    let text = of(&[("experiments/x.kdl".to_owned(), many), (name(1), large)]);
    assert!(text.contains("more than 4194304 bytes together"), "{text}");
}

#[test]
fn presets_are_laid_over_the_file_in_order() {
    let x = r#"experiment "x" {
        include "base.kdl"
        seed 2
        preset "small" { seed 3; workload { requests 2; }; }
        preset "smaller" seed=4 { workload { requests 1; }; }
        use "small"
    }"#;
    let base =
        format!("{BASE}\npreset \"tiny\" {{ seed 9; }}\npreset \"small\" {{ hardware \"cpu\" threads=1; }}");
    let files = [("experiments/x.kdl", x), ("experiments/base.kdl", base.as_str())];
    let of = |presets: &[&str]| {
        let experiment = with_presets(&files, presets).unwrap().experiment;
        (experiment.seed, experiment.workload.requests.unwrap(), experiment.hardware.threads)
    };
    // Of a preset that two files define, both parts hold.
    assert_eq!(of(&[]), (3, 2, 1));
    assert_eq!(of(&["smaller"]), (4, 1, 1));
    assert_eq!(of(&["tiny", "smaller"]), (4, 1, 1));
    assert_eq!(of(&["smaller", "tiny"]), (9, 1, 1));
    // `--set` wins over them.
    let changes =
        Changes { presets: vec!["tiny".to_owned()], overrides: vec![Override::parse("seed=10").unwrap()] };
    assert_eq!(load(&Files::new(&files), "experiments/x.kdl", &changes).unwrap().experiment.seed, 10);
    // What an included file uses is part of the base.
    let x = "experiment \"x\" { include \"base.kdl\"; seed 2; }";
    let base = format!("{BASE}\npreset \"tiny\" {{ seed 9; report \"reports/t.pdf\"; }}\nuse \"tiny\"");
    let experiment = loaded(&[("experiments/x.kdl", x), ("experiments/base.kdl", &base)]);
    assert_eq!((experiment.seed, experiment.report.as_deref()), (2, Some("reports/t.pdf")));
}

#[test]
fn mistakes_of_presets_are_told_whether_they_are_used_or_not() {
    let x = r#"experiment "x" {
    include "base.kdl"
    preset "small" { workload { requests 0; }; }
    preset "smoke" { workload { request 4; }; use "small"; }
    preset "smoke"
    preset
    preset "a b" { seed 1; }
    use "smok" "small" 5
    use
    use "small"
}"#;
    let files = [("experiments/x.kdl", x), ("experiments/base.kdl", BASE)];
    insta::assert_snapshot!(said(&files), @r#"
      × experiments/x.kdl: 10 mistakes

    Error: xp::spec::value

      × `requests` takes a whole number from 1 to 10000000, not 0
       ╭─[experiments/x.kdl:3:42]
     2 │     include "base.kdl"
     3 │     preset "small" { workload { requests 0; }; }
       ·                                          ┬
       ·                                          ╰── here
     4 │     preset "smoke" { workload { request 4; }; use "small"; }
       ╰────
      help: Number of requests. For trace lengths: at most this many rows.

    Error: xp::spec::grammar

      × unknown setting "request" of `workload`
       ╭─[experiments/x.kdl:4:33]
     3 │     preset "small" { workload { requests 0; }; }
     4 │     preset "smoke" { workload { request 4; }; use "small"; }
       ·                                 ───┬───
       ·                                    ╰── not known here
     5 │     preset "smoke"
       ╰────
      help: did you mean `requests`? `workload` has: `requests`, `trace`, `prompts`, `lengths`,
            `arrivals`, `sessions`, `decode-tokens` or `chat-template`

    Error: xp::spec::grammar

      × a preset has no `use`
       ╭─[experiments/x.kdl:4:47]
     3 │     preset "small" { workload { requests 0; }; }
     4 │     preset "smoke" { workload { request 4; }; use "small"; }
       ·                                               ─┬─
       ·                                                ╰── not in a preset
     5 │     preset "smoke"
       ╰────
      help: write `use` beside the preset, in the braces of the experiment

    Error: xp::spec::grammar

      × `smoke` is given twice
       ╭─[experiments/x.kdl:5:12]
     3 │     preset "small" { workload { requests 0; }; }
     4 │     preset "smoke" { workload { request 4; }; use "small"; }
       ·            ───┬───
       ·               ╰── given first
     5 │     preset "smoke"
       ·            ───┬───
       ·               ╰── given again
     6 │     preset
       ╰────
      help: keep one of them

    Error: xp::spec::grammar

      × `preset` needs a name
       ╭─[experiments/x.kdl:6:5]
     5 │     preset "smoke"
     6 │     preset
       ·     ───┬──
       ·        ╰── without a name
     7 │     preset "a b" { seed 1; }
       ╰────
      help: write `preset "smoke" { workload { requests 4; }; }`

    Error: xp::spec::preset

      × "a b" is no name of a preset
       ╭─[experiments/x.kdl:7:12]
     6 │     preset
     7 │     preset "a b" { seed 1; }
       ·            ──┬──
       ·              ╰── here
     8 │     use "smok" "small" 5
       ╰────
      help: it starts with a letter or digit and goes on with letters, digits, `-`, `_` and `.`, 100
            at most

    Error: xp::spec::preset

      × no preset "smok"
       ╭─[experiments/x.kdl:8:9]
     7 │     preset "a b" { seed 1; }
     8 │     use "smok" "small" 5
       ·         ───┬──
       ·            ╰── not defined
     9 │     use
       ╰────
      help: did you mean `smoke`? the experiment has: `small` or `smoke`

    Error: xp::spec::grammar

      × a preset is named by a text
       ╭─[experiments/x.kdl:8:24]
     7 │     preset "a b" { seed 1; }
     8 │     use "smok" "small" 5
       ·                        ┬
       ·                        ╰── not a name
     9 │     use
       ╰────
      help: write `use "smoke"`: the name of a preset

    Error: xp::spec::grammar

      × `use` takes the names of presets
        ╭─[experiments/x.kdl:9:5]
      8 │     use "smok" "small" 5
      9 │     use
        ·     ─┬─
        ·      ╰── of which?
     10 │     use "small"
        ╰────
      help: write `use "smoke"`: the name of a preset

    Error: xp::spec::grammar

      × `small` is given twice
        ╭─[experiments/x.kdl:10:9]
      7 │     preset "a b" { seed 1; }
      8 │     use "smok" "small" 5
        ·                ───┬───
        ·                   ╰── given first
      9 │     use
     10 │     use "small"
        ·         ───┬───
        ·            ╰── given again
     11 │ }
        ╰────
      help: keep one of them
    "#);
    let unknown = with_presets(&[("experiments/x.kdl", GOOD)], &["smoke"]).unwrap_err();
    insta::assert_snapshot!(render(&unknown), @r#"
    xp::spec::preset

      × no preset "smoke"
       ╭─[--preset:1:1]
     1 │ smoke
       · ──┬──
       ·   ╰── not defined
       ╰────
      help: the experiment has no presets; one is written `preset "smoke" { workload { requests
            4; }; }`
    "#);
    let text = GOOD.replace("seed 7", "seed 7\npreset \"smoke\" { seed 1; }");
    let unknown = with_presets(&[("experiments/x.kdl", &text)], &["smke"]).unwrap_err();
    insta::assert_snapshot!(render(&unknown), @r#"
    xp::spec::preset

      × no preset "smke"
       ╭─[--preset:1:1]
     1 │ smke
       · ──┬─
       ·   ╰── not defined
       ╰────
      help: did you mean `smoke`?
    "#);
}

#[test]
fn a_spec_reads_no_environment() {
    // Both are set wherever tests run.
    let text = GOOD
        .replace("seed 7", "seed 7\ndescription \"$HOME ${PATH} %PATH% $(pwd) ~\"")
        .replace("source \"synthetic\"", "source \"path\" \"$HOME/models\"")
        .replace("reports/chat.pdf", "${PATH}.pdf");
    let experiment = loaded(&[("experiments/x.kdl", &text)]);
    assert_eq!(experiment.description.as_deref(), Some("$HOME ${PATH} %PATH% $(pwd) ~"));
    assert_eq!(experiment.model.source, Source::Path { path: "$HOME/models".to_owned() });
    assert_eq!(experiment.report.as_deref(), Some("${PATH}.pdf"));
    let set = Override::parse("model.source.path=$HOME/x").unwrap();
    assert_eq!(set.value, "$HOME/x");
    let x = "experiment \"x\" { include \"$HOME/base.kdl\"; }";
    assert!(said(&[("experiments/x.kdl", x)]).contains("cannot read experiments/$HOME/base.kdl"));
}
