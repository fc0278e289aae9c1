//! The main job, and what is done again when something of it is gone.

use crate::project::{Project, folders};

/// Lines of a run that say a stage was made and not reused.
fn made(text: &str) -> Vec<String> {
    let stages = ["workload", "profile", "sim", "real", "compare", "report"];
    text.lines()
        .filter(|line| line.contains(" in ") && line.trim_end().ends_with(" s"))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| stages.contains(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn one_command_makes_a_pdf_and_the_second_reuses_everything() {
    let project = Project::tiny();
    let first = project.ok(&["run", "experiments/tiny.kdl"]);
    assert_eq!(made(&first), ["profile", "sim", "workload", "real", "real", "compare", "report"], "{first}");
    for needle in ["TTFT", "TPOT", "E2E", "noise floor", "locks/tiny.lock.kdl", "reports/tiny.pdf"] {
        assert!(first.contains(needle), "{needle} is not in\n{first}");
    }
    assert!(project.read("reports/tiny.pdf").starts_with(b"%PDF-"));

    let workload = project.only("runs/workloads");
    for file in ["prompts.jsonl", "trace_lengths.csv", "trace_intervals.csv", "workload_meta.json"] {
        assert!(workload.join(file).is_file(), "{file}");
    }
    let real = folders(&project.path("runs/real_runs"));
    assert_eq!(real.len(), 2);
    for run in real.iter().chain(&folders(&project.path("runs/sim_runs"))) {
        for file in ["request_metrics.csv", "token_metrics.csv", "steps.csv", "run_meta.json"] {
            assert!(run.join(file).is_file(), "{}/{file}", run.display());
        }
    }
    let comparison = project.only("runs/comparisons");
    for file in ["summary.md", "comparison.json", "tables/headline.csv", "figs/cdf-ttft.svg"] {
        assert!(comparison.join(file).is_file(), "{file}");
    }

    let second = project.ok(&["run", "locks/tiny.lock.kdl"]);
    assert_eq!(made(&second), [""; 0], "{second}");
    assert_eq!(second.matches("reused").count(), 7, "{second}");
    project.ok(&["lock", "--check", "experiments/tiny.kdl"]);
    project.ok(&["run", "--locked", "experiments/tiny.kdl"]);
    std::fs::remove_file(project.path("experiments/tiny.kdl")).unwrap();
    project.ok(&["run", "--frozen", "locks/tiny.lock.kdl"]);

    // What is gone or damaged is made again, with what depends on it, and the reason is told.
    project.write("experiments/tiny.kdl", crate::project::TINY);
    std::fs::remove_file(comparison.join("summary.md")).unwrap();
    let third = project.ok(&["run", "experiments/tiny.kdl"]);
    assert_eq!(made(&third), ["compare"], "the same bytes again leave the report fresh:\n{third}");
    assert!(third.contains("summary.md is missing"), "{third}");

    std::fs::write(real[1].join("request_metrics.csv"), "garbage").unwrap();
    let fourth = project.ok(&["run", "experiments/tiny.kdl"]);
    assert_eq!(made(&fourth), ["real", "compare", "report"], "{fourth}");
    assert!(fourth.contains("request_metrics.csv was changed or damaged"), "{fourth}");
    assert!(project.path(".xp/quarantine").is_dir());

    std::fs::remove_dir_all(project.path("runs/sim_runs")).unwrap();
    let fifth = project.ok(&["run", "experiments/tiny.kdl"]);
    assert_eq!(made(&fifth), ["sim"], "{fifth}");

    // Another setting: the lock says what changed, and only what depends on it is redone.
    let sixth = project.ok(&["run", "experiments/tiny.kdl", "--set", "compare.pass=15%"]);
    assert_eq!(made(&sixth), ["compare", "report"], "{sixth}");
    assert!(sixth.contains("experiment.compare.pass: locked 10%, wanted 15%"), "{sixth}");
    let stale = project.fails(1, &["run", "--locked", "experiments/tiny.kdl"]);
    assert!(stale.contains("experiment.compare.pass"), "{stale}");
}

#[test]
fn stage_commands_write_the_contracts_files_into_folders_of_ones_own() {
    let project = Project::tiny();
    let tiny = "experiments/tiny.kdl";
    project.ok(&["workload", tiny, "--out", "out/workload"]);
    project.ok(&["profile", tiny, "--out", "out/bundle"]);
    project.ok(&["real", tiny, "--workload", "out/workload", "--out", "out/real"]);
    project.ok(&["sim", tiny, "--workload", "out/workload", "--bundle", "out/bundle", "--out", "out/sim"]);
    project.ok(&["compare", "--real", "out/real", "--sim", "out/sim", "--out", "out/comparison"]);
    project.ok(&["report", "out/comparison", "-o", "out/report.pdf"]);
    assert!(project.read("out/report.pdf").starts_with(b"%PDF-"));
    assert!(!project.path("locks").exists(), "folders of one's own leave the lock alone");
}

#[test]
fn a_matrix_runs_every_cell_and_reports_all() {
    let project = Project::empty();
    let spec = crate::project::TINY.replace(
        "repeats=2\n",
        "repeats=1\n    matrix { workload.arrivals.qps 20 80; backend.sarathi.chunk-size 8 16; }\n",
    );
    project.write("experiments/grid.kdl", spec);
    let text = project.ok(&["run", "experiments/grid.kdl"]);
    assert_eq!(made(&text).iter().filter(|stage| *stage == "compare").count(), 4, "{text}");
    assert_eq!(made(&text).iter().filter(|stage| *stage == "profile").count(), 1, "{text}");
    assert!(project.read("reports/tiny.pdf").starts_with(b"%PDF-"));
}
