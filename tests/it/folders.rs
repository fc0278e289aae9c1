//! `--out`: xp writes a new folder, fills an empty one, or replaces its own
//! former output. Everything else stays as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::project::Project;

const TINY: &str = "experiments/tiny.kdl";

/// Every file below `dir` with its bytes, but xp's own records.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && entry.file_name() != ".xp" => out.extend(content(&path)),
            kind if kind.is_file() => drop(out.insert(path.clone(), std::fs::read(&path).unwrap())),
            _ => {}
        }
    }
    out
}

/// A call that must say no, with `why`, and change nothing.
fn refused(project: &Project, args: &[&str], why: &str) {
    let before = content(&project.path(""));
    let text = project.fails(1, args);
    assert!(text.contains(why), "xp {args:?} does not say {why:?}:\n{text}");
    assert_eq!(before, content(&project.path("")), "xp {args:?} changed files");
}

#[test]
fn nothing_but_former_output_is_replaced() {
    let project = Project::tiny();
    project.write("notes/todo.txt", "keep me");
    for stage in ["workload", "profile", "sim", "real"] {
        refused(&project, &[stage, TINY, "--out", "experiments"], "would replace what the command reads");
        refused(&project, &[stage, TINY, "--out", TINY], "would replace what the command reads");
        refused(&project, &[stage, TINY, "--out", "notes"], "is not empty and not a");
        refused(&project, &[stage, TINY, "--out", "notes/todo.txt"], "is a file");
        refused(&project, &[stage, TINY, "--out", "new/../notes"], "is not empty and not a");
        refused(&project, &[stage, TINY, "--out", "."], "is no name of a folder");
        let root = project.path("");
        refused(
            &project,
            &[stage, TINY, "--out", root.to_str().unwrap()],
            "would replace what the command reads",
        );
    }

    // A new folder, an empty one, and the same stage's former output are written.
    std::fs::create_dir(project.path("empty")).unwrap();
    for _ in 0..2 {
        project.ok(&["workload", TINY, "--out", "empty"]);
    }
    assert!(project.path("empty/trace_lengths.csv").is_file());

    // One file more, and it is no former output; nor is another stage's.
    refused(&project, &["real", TINY, "--out", "empty"], "is not empty and not a measured run");
    project.write("empty/notes.txt", "keep me");
    refused(
        &project,
        &["workload", TINY, "--out", "empty"],
        "holds notes.txt, which is no part of a workload",
    );
    std::fs::remove_file(project.path("empty/notes.txt")).unwrap();
    project.write("empty/more/notes.txt", "keep me");
    refused(&project, &["workload", TINY, "--out", "empty"], "holds more, which is no part of a workload");
}

#[cfg(unix)]
#[test]
fn links_are_not_followed_out_of_a_folder_and_not_replaced() {
    let project = Project::tiny();
    project.ok(&["workload", TINY, "--out", "made"]);
    std::os::unix::fs::symlink(project.path("made"), project.path("link")).unwrap();
    refused(&project, &["workload", TINY, "--out", "link"], "is a symbolic link");
    std::fs::remove_file(project.path("made/prompts.jsonl")).unwrap();
    std::os::unix::fs::symlink(project.path(TINY), project.path("made/prompts.jsonl")).unwrap();
    refused(&project, &["workload", TINY, "--out", "made"], "holds prompts.jsonl, which is no part");
}

#[test]
fn inputs_and_measurements_survive_every_command() {
    let project = Project::tiny();
    project.ok(&["workload", TINY, "--out", "w"]);
    project.ok(&["profile", TINY, "--out", "b"]);
    project.ok(&["profile", TINY, "--out", "b"]);
    project.ok(&["real", TINY, "--out", "r"]);
    let sim = ["sim", TINY, "--workload", "w", "--bundle", "b", "--out"];
    let sim_into = |out: &'static str| [&sim[..], &[out]].concat();
    project.ok(&sim_into("s"));
    project.ok(&sim_into("s"));
    refused(&project, &sim_into("w"), "would replace what the command reads, w");
    refused(&project, &sim_into("b"), "would replace what the command reads, b");
    refused(&project, &sim_into("b/compute"), "lies inside what the command reads, b");
    refused(&project, &sim_into("r"), "is not empty and not a simulated run");
    refused(&project, &["real", TINY, "--out", "s"], "is not empty and not a measured run");

    let compare_into = |out: &'static str| ["compare", "--real", "r", "--sim", "s", "--out", out];
    for run in ["r", "s"] {
        refused(&project, &compare_into(run), "would replace what the command reads");
    }
    refused(&project, &compare_into("r/new"), "lies inside what the command reads, r");
    refused(&project, &compare_into("b"), "is not empty and not a comparison");
    project.ok(&compare_into("c"));
    project.ok(&["report", "c"]);
    project.ok(&compare_into("c"));
    assert!(!project.path("c/report.pdf").exists(), "the report of an earlier comparison is gone with it");
    project.write("c/tables/mine.txt", "keep me");
    refused(&project, &compare_into("c"), "holds tables/mine.txt, which is no part of a comparison");

    // A report replaces a report.
    refused(&project, &["report", "c", "-o", TINY], "is there and no PDF");
    refused(&project, &["report", "c", "-o", "r"], "is there and no PDF");
    for _ in 0..2 {
        project.ok(&["report", "c", "-o", "report.pdf"]);
    }
}
