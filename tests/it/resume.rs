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

    // What is gone or damaged is brought back from the store, and nothing is made again.
    project.write("experiments/tiny.kdl", crate::project::TINY);
    let summary = std::fs::read(comparison.join("summary.md")).unwrap();
    std::fs::remove_file(comparison.join("summary.md")).unwrap();
    let third = project.ok(&["run", "experiments/tiny.kdl"]);
    assert_eq!((made(&third), third.matches("restored").count()), (Vec::new(), 1), "{third}");
    assert!(third.contains("summary.md is missing"), "{third}");
    assert_eq!(std::fs::read(comparison.join("summary.md")).unwrap(), summary);

    let measured = std::fs::read(real[1].join("request_metrics.csv")).unwrap();
    std::fs::write(real[1].join("request_metrics.csv"), "garbage").unwrap();
    let fourth = project.ok(&["run", "experiments/tiny.kdl"]);
    assert_eq!((made(&fourth), fourth.matches("restored").count()), (Vec::new(), 1), "{fourth}");
    assert!(fourth.contains("request_metrics.csv was changed or damaged"), "{fourth}");
    assert!(fourth.contains("is kept as .xp/quarantine/runs-real_runs-tiny-r2-"), "{fourth}");
    assert_eq!(std::fs::read(real[1].join("request_metrics.csv")).unwrap(), measured);

    let bundle = project.only("profiles");
    for gone in ["runs", "reports", "profiles"] {
        std::fs::remove_dir_all(project.path(gone)).unwrap();
    }
    let status = project.ok(&["status", "experiments/tiny.kdl"]);
    assert_eq!(status.matches(" stored ").count(), 7, "{status}");
    let fifth = project.ok(&["run", "experiments/tiny.kdl"]);
    assert_eq!((made(&fifth), fifth.matches("restored").count()), (Vec::new(), 7), "{fifth}");
    assert!(bundle.join("bundle.json").is_file());

    // Where the store has lost it too, it is made again, with what depends on it, and the reason is told.
    std::fs::remove_dir_all(project.path(".xp/store/objects")).unwrap();
    std::fs::remove_file(comparison.join("summary.md")).unwrap();
    std::fs::remove_dir_all(project.path("runs/sim_runs")).unwrap();
    std::fs::remove_dir_all(&real[1]).unwrap();
    let sixth = project.ok(&["run", "experiments/tiny.kdl"]);
    assert_eq!(made(&sixth), ["sim", "real", "compare", "report"], "{sixth}");
    assert_eq!(std::fs::read(comparison.join("summary.md")).unwrap_or(summary.clone()), summary);

    // A damaged object is as good as none, and is set aside.
    for object in objects(&project.path(".xp/store/objects")) {
        if std::fs::metadata(&object).unwrap().len() > 0 {
            let mut bytes = std::fs::read(&object).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::remove_file(&object).unwrap();
            std::fs::write(&object, bytes).unwrap();
        }
    }
    std::fs::remove_dir_all(project.path("runs/sim_runs")).unwrap();
    let seventh = project.ok(&["run", "experiments/tiny.kdl"]);
    assert_eq!(made(&seventh), ["sim"], "the same bytes again leave what reads them fresh:\n{seventh}");
    assert!(seventh.contains("the store's copy of steps.csv was damaged, it is kept as"), "{seventh}");

    // Another setting: the lock says what changed, and only what depends on it is redone.
    let eighth = project.ok(&["run", "experiments/tiny.kdl", "--set", "compare.pass=15%"]);
    assert_eq!(made(&eighth), ["compare", "report"], "{eighth}");
    assert!(eighth.contains("experiment.compare.pass: locked 10%, wanted 15%"), "{eighth}");
    let stale = project.fails(1, &["run", "--locked", "experiments/tiny.kdl"]);
    assert!(stale.contains("experiment.compare.pass"), "{stale}");
}

/// Files of a store's objects.
fn objects(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    folders(folder).iter().flat_map(|part| folders(part)).collect()
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
