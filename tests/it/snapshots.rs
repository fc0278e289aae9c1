//! What a person sees: help, a lock, a diff.

use crate::project::Project;

#[test]
fn help_lists_every_command() {
    insta::assert_snapshot!(Project::empty().ok(&["--help"]));
}

#[test]
fn a_lock_reads_like_facts() {
    let project = Project::tiny();
    // Without a simulated backend a lock depends on no machine, so all of it can be shown.
    let spec = crate::project::TINY.replace("    backend \"vidur\" { profile \"auto\"; }\n", "");
    let spec: String =
        spec.lines().filter(|line| !line.contains("compare")).map(|line| format!("{line}\n")).collect();
    project.write("experiments/tiny.kdl", spec);
    project.ok(&["lock", "experiments/tiny.kdl"]);
    insta::assert_snapshot!(String::from_utf8(project.read("locks/tiny.lock.kdl")).unwrap());

    std::fs::copy(project.path("locks/tiny.lock.kdl"), project.path("old.lock.kdl")).unwrap();
    project.ok(&[
        "lock",
        "experiments/tiny.kdl",
        "--set",
        "workload.requests=7",
        "--set",
        "backend.sarathi.chunk-size=32",
    ]);
    insta::assert_snapshot!(project.fails(1, &["diff", "old.lock.kdl", "locks/tiny.lock.kdl"]));
    let stale = project.fails(1, &["lock", "--check", "experiments/tiny.kdl"]);
    assert!(stale.contains("experiment.workload.requests: locked 7, wanted 6"), "{stale}");
}

#[test]
fn the_starter_file_checks() {
    let project = Project::empty();
    project.ok(&["init", "experiments/first.kdl"]);
    project.ok(&["check", "experiments/first.kdl"]);
    let text = project.fails(1, &["init", "experiments/first.kdl"]);
    assert!(text.contains("exists already"), "{text}");
}
