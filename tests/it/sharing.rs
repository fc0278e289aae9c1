//! Results that experiments and worktrees share, and those that they do not.

use std::path::Path;

use crate::project::{Project, TINY, folders};

/// Stages of a run by what became of them: `reused`, `restored`, or made (` in `).
fn count(text: &str, word: &str) -> usize {
    text.lines().filter(|line| line.contains(word)).count()
}

fn made(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| line.contains(" in ") && line.trim_end().ends_with(" s"))
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

#[test]
fn two_experiments_share_what_they_have_in_common() {
    let project = Project::tiny();
    project.ok(&["run", "experiments/tiny.kdl"]);
    // Another name, another threshold, another description: the same measurements.
    let other =
        TINY.replace("experiment \"tiny\"", "experiment \"other\"").replace("pass=\"10%\"", "pass=\"15%\"");
    project.write("experiments/other.kdl", other);
    let text = project.ok(&["run", "experiments/other.kdl"]);
    assert_eq!(made(&text), ["compare", "report"], "{text}");
    assert_eq!(count(&text, "restored"), 4, "workload, sim, and two measurements:\n{text}");
    let real = folders(&project.path("runs/real_runs"));
    assert_eq!(real.len(), 4, "each has its folders: {real:?}");
    let bytes = |folder: &Path| std::fs::read(folder.join("request_metrics.csv")).unwrap();
    assert_eq!(bytes(&real[0]), bytes(&real[2]));
    assert_eq!(bytes(&real[1]), bytes(&real[3]));
    assert_ne!(bytes(&real[0]), bytes(&real[1]), "repeats are measurements of their own");

    // An edit of one experiment's files reaches neither the other's nor the store's.
    std::fs::write(real[0].join("request_metrics.csv"), "edited").unwrap();
    let text = project.ok(&["run", "experiments/other.kdl"]);
    assert_eq!((made(&text).len(), count(&text, "restored")), (0, 1), "{text}");
    assert_eq!(bytes(&real[0]), bytes(&real[2]));

    // One repeat more is one measurement more.
    let text = project.ok(&["run", "experiments/other.kdl", "--set", "compare.repeats=3"]);
    assert_eq!(made(&text), ["real", "compare", "report"], "{text}");
    // Another setting of the engine is another measurement.
    let text = project.ok(&["real", "experiments/tiny.kdl", "--set", "backend.sarathi.chunk-size=32"]);
    assert_eq!(
        (made(&text), count(&text, "chunk-size changed from 16 to 32")),
        (vec!["real", "real"], 2),
        "{text}"
    );
}

#[test]
fn worktrees_share_the_store_of_the_main_one() {
    let project = Project::empty();
    let (main, linked) = (project.path("main"), project.path("linked"));
    project.write("main/.git/worktrees/linked/commondir", "../..\n");
    project.write("main/.git/worktrees/linked/gitdir", format!("{}/.git\n", linked.display()));
    project.write("linked/.git", format!("gitdir: {}/.git/worktrees/linked\n", main.display()));
    for worktree in ["main", "linked"] {
        project.write(&format!("{worktree}/bench/experiments/tiny.kdl"), TINY);
    }
    let first = project.ok(&["run", "linked/bench/experiments/tiny.kdl"]);
    assert_eq!(made(&first).len(), 7, "{first}");
    assert!(!linked.join("bench/.xp/store").exists());
    assert!(main.join("bench/.xp/store/objects").is_dir());

    // A lock and its bundle come with the branch or from the store; nothing is measured again.
    std::fs::create_dir_all(main.join("bench/locks")).unwrap();
    let lock = "bench/locks/tiny.lock.kdl";
    std::fs::copy(linked.join(lock), main.join(lock)).unwrap();
    let second = project.ok(&["run", "--locked", "main/bench/experiments/tiny.kdl"]);
    assert_eq!((made(&second).len(), count(&second, "restored")), (0, 7), "{second}");
    assert_eq!(
        project.read("main/bench/reports/tiny.pdf"),
        project.read("linked/bench/reports/tiny.pdf"),
        "the same report, to the byte"
    );
}

#[test]
fn a_store_can_be_named() {
    let project = Project::tiny();
    let store = project.path("shared store");
    let xp = |folder: &str| {
        let output = assert_cmd::Command::cargo_bin("xp")
            .unwrap()
            .current_dir(project.path(""))
            .env("XP_STORE", &store)
            .args(["workload", &format!("{folder}experiments/tiny.kdl")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", crate::project::both(&output));
        crate::project::both(&output)
    };
    let first = xp("");
    assert_eq!(made(&first), ["workload"], "{first}");
    project.write("elsewhere/experiments/tiny.kdl", TINY);
    let second = xp("elsewhere/");
    assert_eq!(count(&second, "restored"), 1, "{second}");
    assert!(!project.path(".xp/store").exists() && !project.path("elsewhere/.xp/store").exists());
    // Both said that they use it, so that gc knows of them.
    assert_eq!(folders(&store.join("projects")).len(), 2);
}
