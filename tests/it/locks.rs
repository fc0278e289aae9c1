//! Locks that were edited, damaged or moved, and commands that trust them.

use crate::project::{Project, TINY};

const SPEC: &str = "experiments/tiny.kdl";
const LOCK: &str = "locks/tiny.lock.kdl";

/// An experiment that measures only: its lock depends on no machine and needs no bundle.
fn alone() -> String {
    let lines = TINY.lines().filter(|line| !line.contains("vidur"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn measuring_only() -> Project {
    let project = Project::empty();
    project.write(SPEC, alone());
    project.ok(&["lock", SPEC]);
    project
}

fn text(project: &Project, name: &str) -> String {
    String::from_utf8(project.read(name)).unwrap()
}

/// Replaces a part of the lock, which must be there.
fn edit(project: &Project, from: &str, to: &str) {
    let lock = text(project, LOCK);
    assert!(lock.contains(from), "{from:?} is not in\n{lock}");
    project.write(LOCK, lock.replacen(from, to, 1));
}

#[test]
fn a_lock_reads_nothing_outside_of_its_project() {
    let outer = Project::empty();
    outer.write("secret.csv", "root:x:0:0\n");
    outer.write("inner/experiments/tiny.kdl", alone());
    outer.ok(&["lock", "inner/experiments/tiny.kdl"]);
    let lock = text(&outer, "inner/locks/tiny.lock.kdl");
    let absolute = outer.path("secret.csv").display().to_string();
    for path in ["../secret.csv", &absolute] {
        let poisson = "kind \"poisson\"\n            qps 50.0";
        assert!(lock.contains(poisson), "{lock}");
        let trace = format!("kind \"trace\"\n            path {path:?}");
        outer.write("inner/locks/tiny.lock.kdl", lock.replacen(poisson, &trace, 1));
        for command in ["status", "workload"] {
            let said = outer.fails(1, &[command, "--frozen", "inner/locks/tiny.lock.kdl"]);
            assert!(!said.contains("root:x"), "{said}");
            // A long path is wrapped wherever the terminal ends.
            let words: Vec<&str> = said.split(['│', ' ', '\n']).filter(|word| !word.is_empty()).collect();
            assert!(words.join(" ").contains("is no path inside the project"), "{said}");
            let line = lock.lines().position(|line| line.contains("qps")).unwrap() + 1;
            assert!(said.contains(&format!("tiny.lock.kdl:{line}:")), "line {line} is not in:\n{said}");
        }
    }
}

#[test]
fn every_command_refuses_a_stale_lock_when_it_is_told_to() {
    let project = measuring_only();
    for command in ["workload", "real", "status"] {
        let said = project.fails(1, &[command, "--locked", SPEC, "--set", "workload.requests=9"]);
        assert!(said.contains("experiment.workload.requests: locked 6, wanted 9"), "{said}");
    }
    project.ok(&["workload", "--locked", SPEC, "--out", "out"]);
    edit(&project, "chunk-size 16", "chunk-size 32");
    let said = project.fails(1, &["workload", "--frozen", LOCK]);
    assert!(said.contains("chunk-size"), "{said}");
    assert!(!project.path("runs").exists());
}

#[test]
fn check_reads_the_pinned_bundle() {
    let project = Project::tiny();
    project.ok(&["lock", SPEC]);
    project.ok(&["lock", "--check", SPEC]);
    let folder = project.only("profiles");
    let meta = folder.join("bundle.json");
    let good = std::fs::read_to_string(&meta).unwrap();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();

    let other = good.replacen("\"noise_percent\": ", "\"noise_percent\": 1", 1);
    assert_ne!(good, other, "{good}");
    std::fs::write(&meta, other).unwrap();
    let said = project.fails(1, &["lock", "--check", SPEC]);
    assert!(said.contains("is not the pinned one"), "{said}");
    std::fs::write(&meta, &good[..good.len() / 2]).unwrap();
    let said = project.fails(1, &["lock", "--check", SPEC]);
    assert!(said.contains("bundle.json"), "{said}");
    std::fs::rename(&folder, project.path("elsewhere")).unwrap();
    let said = project.fails(1, &["lock", "--check", SPEC]);
    assert!(said.contains(&format!("profiles/{name} is missing")), "{said}");

    // A locked run names the bundle, and what does not need it goes on.
    std::fs::remove_dir_all(project.path(".xp/store")).unwrap();
    let said = project.fails(1, &["sim", "--locked", SPEC]);
    assert!(said.contains("the pinned bundle"), "{said}");
    project.ok(&["workload", "--locked", SPEC]);
}

#[test]
fn settings_given_with_a_lock_join_those_it_recorded() {
    let project = measuring_only();
    let chunk = "backend.sarathi.chunk-size=32";
    project.ok(&["lock", SPEC, "--set", "workload.requests=7", "--set", chunk]);
    project.ok(&["lock", LOCK, "--set", "workload.requests=9", "--set", "seed=8"]);
    let lock = text(&project, LOCK);
    let overrides = format!("overrides \"workload.requests=9\" \"{chunk}\" \"seed=8\"");
    assert!(lock.contains(&overrides), "{lock}");
    assert!(lock.contains("requests 9") && lock.contains("chunk-size 32"), "{lock}");
}

#[test]
fn an_experiment_is_locked_again_over_a_damaged_lock() {
    let project = measuring_only();
    let good = text(&project, LOCK);
    for (number, damaged) in [&good[..good.len() / 2], "lock 0", "\u{0}", "words"].iter().enumerate() {
        project.write(LOCK, damaged);
        let said = project.fails(1, &["lock", "--check", SPEC]);
        assert!(said.contains("cannot be read"), "{said}");
        project.fails(1, &["lock", LOCK]);
        project.fails(1, &["run", LOCK]);
        project.fails(1, &["workload", "--locked", SPEC]);
        assert_eq!(text(&project, LOCK), *damaged, "nothing was written so far");
        let said = project.ok(&["lock", SPEC]);
        let kept = format!(".xp/quarantine/locks-tiny.lock.kdl.{number}");
        assert!(said.contains(&kept), "{said}");
        assert_eq!(text(&project, &kept), *damaged);
        assert_eq!(text(&project, LOCK), good);
    }
    edit(&project, "lock 2", "lock 99");
    let said = project.fails(1, &["lock", SPEC]);
    assert!(said.contains("locks/tiny.lock.kdl has lock format 99"), "{said}");
    assert!(!said.contains(&project.path("").display().to_string()), "{said}");
}

#[test]
fn pins_of_our_side_outlive_a_conflict_of_text() {
    let project = Project::tiny();
    project.ok(&["lock", SPEC]);
    let good = text(&project, LOCK);
    // Of two bundles that fit, a lock made anew takes the first by name.
    let bundle = project.only("profiles");
    let name = bundle.file_name().unwrap().to_str().unwrap().to_owned();
    let other = project.path(&format!("profiles/{}-00000000", name.rsplit_once('-').unwrap().0));
    let copied = std::process::Command::new("cp").arg("-r").args([&bundle, &other]).status();
    assert!(copied.unwrap().success());
    let conflict = |ours: &str, theirs: &str| {
        let line = "        chunk-size 16\n";
        assert!(good.contains(line), "{good}");
        good.replacen(
            line,
            &format!("<<<<<<< HEAD\n{ours}||||||| base\n{line}=======\n{theirs}>>>>>>> b\n"),
            1,
        )
    };
    let (ours, theirs) = ("        chunk-size 16\n", "        chunk-size 8\n");
    // Also where our side alone is no lock.
    for (n, damaged) in [conflict(ours, theirs), conflict("        chunk-size -\n", ours)].iter().enumerate()
    {
        project.write(LOCK, damaged);
        let said = project.fails(1, &["lock", "--check", SPEC]);
        assert!(said.contains("unresolved conflict"), "{said}");
        let said = project.ok(&["lock", SPEC]);
        let kept = format!(".xp/quarantine/locks-tiny.lock.kdl.{n}");
        assert!(said.contains(&kept) && said.contains("its pins go on"), "{said}");
        assert_eq!(text(&project, &kept), *damaged);
        assert_eq!(text(&project, LOCK), good);
    }
    // Where neither is, nothing is pinned any more.
    project.write(LOCK, conflict("-\n", "-\n"));
    let said = project.ok(&["lock", SPEC]);
    assert!(said.contains("was no lock"), "{said}");
    assert_ne!(text(&project, LOCK), good);
}

#[test]
fn a_bundle_that_a_person_named_stays_where_it_is() {
    let project = Project::tiny();
    project.ok(&["lock", SPEC]);
    std::fs::rename(project.only("profiles"), project.path("mine")).unwrap();
    project.write(SPEC, TINY.replace("profile \"auto\"", "profile \"mine\""));
    project.ok(&["lock", SPEC]);
    project.write("mine/bundle.json", "a person's own");
    let said = project.fails(1, &["run", SPEC]);
    assert!(said.contains("mine/bundle.json"), "{said}");
    // Another bundle is measured, and this one is named and left alone.
    project.write(SPEC, TINY);
    let said = project.ok(&["lock", SPEC]);
    assert!(said.contains("mine is damaged") && said.contains("stays where it is"), "{said}");
    assert_eq!(text(&project, "mine/bundle.json"), "a person's own");
    assert!(!project.path(".xp/quarantine").exists());
}

#[test]
fn a_lock_does_not_depend_on_what_it_said_before() {
    let project = Project::tiny();
    project.ok(&["lock", SPEC]);
    assert!(text(&project, LOCK).contains("\nbundle {"));
    project.write(SPEC, alone());
    let said = project.fails(1, &["lock", "--check", SPEC]);
    assert!(said.contains("bundle.path") && said.contains("sim.sha256"), "{said}");
    project.ok(&["lock", SPEC]);
    assert_eq!(text(&project, LOCK), text(&measuring_only(), LOCK));

    project.write(SPEC, TINY.replace("profile \"auto\"", "profile \"bundles/none\""));
    let said = project.fails(1, &["lock", "--check", SPEC]);
    assert!(said.contains("no profiling bundle is pinned yet"), "{said}");
}

#[test]
fn paths_are_the_same_from_every_folder() {
    let project = Project::empty();
    project.write(SPEC, alone());
    std::fs::create_dir_all(project.path("experiments/sub")).unwrap();
    project.ok(&["lock", "experiments/sub/../tiny.kdl"]);
    assert!(text(&project, LOCK).contains("path \"experiments/tiny.kdl\""));
    project.ok(&["status", "experiments/sub/../../locks/tiny.lock.kdl"]);
    project.ok(&["lock", "--check", "experiments/../experiments/./tiny.kdl"]);
}

#[test]
fn two_experiments_do_not_share_a_lock() {
    let project = Project::empty();
    let (a, b) = ("experiments/a/tiny.kdl", "experiments/b/tiny.kdl");
    project.write(a, alone());
    project.write(b, alone().replace("seed 7", "seed 8"));
    project.ok(&["lock", a]);
    let before = project.read(LOCK);
    for args in [&["lock", b][..], &["workload", b], &["status", "--frozen", b]] {
        let said = project.fails(1, args);
        assert!(said.contains(a), "{said}");
    }
    assert_eq!(before, project.read(LOCK));
    // An experiment that was moved takes its lock along.
    std::fs::remove_file(project.path(a)).unwrap();
    project.ok(&["lock", b]);
    assert!(text(&project, LOCK).contains(&format!("path \"{b}\"")));
}

#[test]
fn a_matrix_holds_no_more_requests_than_memory() {
    let project = Project::empty();
    let matrix = "    matrix { workload.arrivals.qps 1 2 3; }\n}\n";
    let spec = alone().replace("requests 6", "requests 10000000");
    project.write(SPEC, spec.trim_end().strip_suffix('}').unwrap().to_owned() + matrix);
    let said = project.fails(1, &["check", SPEC]);
    assert!(said.contains("30000000 requests"), "{said}");
}

#[test]
fn a_lock_of_an_older_format_is_read_and_brought_up_to_date() {
    let project = measuring_only();
    let good = text(&project, LOCK);
    let (before, after) = good.split_once("versions {\n").unwrap();
    let (_, after) = after.split_once("}\n").unwrap();
    let old = format!("{}metrics-version 1\n{after}", before.replacen("lock 2", "lock 1", 1));
    project.write(LOCK, &old);
    // It says all that is needed: its results are of the first simulator, and nothing else is out of date.
    let said = project.fails(1, &["workload", "--locked", SPEC]);
    assert!(said.contains("versions.simulator: locked 1, wanted") && !said.contains("metrics"), "{said}");
    project.ok(&["diff", LOCK, LOCK]);
    assert_eq!(text(&project, LOCK), old);
    let said = project.fails(1, &["lock", "--check", SPEC]);
    assert!(said.contains("locked format 1, wanted format 2"), "{said}");
    project.ok(&["lock", SPEC]);
    assert_eq!(text(&project, LOCK), good);
}

#[test]
fn one_pin_is_moved_and_nothing_else() {
    let project = Project::tiny();
    project.ok(&["lock", SPEC]);
    let before = text(&project, LOCK);
    let said = project.ok(&["lock", SPEC]);
    assert!(said.contains("unchanged") && !said.contains("profile"), "{said}");
    assert_eq!(text(&project, LOCK), before);
    project.ok(&["lock", "--upgrade", "bundle", SPEC]);
    let after = text(&project, LOCK);
    let kept = |lock: &str| {
        let (head, rest) = lock.split_once("\nbundle {").unwrap();
        let (_, run) = rest.split_once("\nrun ").unwrap();
        (head.to_owned(), run.split_once("    sim {").unwrap().0.to_owned())
    };
    assert_ne!(before, after);
    assert_eq!(kept(&before), kept(&after));
    let said = project.fails(2, &["lock", "--upgrade", "nothing", SPEC]);
    assert!(said.contains("no pin is called \"nothing\"") && said.contains("all, bundle, model"), "{said}");
    assert_eq!(text(&project, LOCK), after);
}

#[test]
fn what_is_not_simulated_is_stale() {
    let project = Project::tiny();
    project.ok(&["lock", SPEC]);
    let before = text(&project, LOCK);
    let (head, _) = before.split_once("    sim {").unwrap();
    project.write(LOCK, format!("{head}}}\n"));
    let said = project.fails(1, &["lock", "--check", SPEC]);
    assert!(said.contains("no simulated result is pinned of run tiny"), "{said}");
    project.ok(&["lock", SPEC]);
    assert_eq!(text(&project, LOCK), before);
}

#[test]
fn what_is_remembered_may_be_lost_or_damaged() {
    let project = measuring_only();
    let good = text(&project, LOCK);
    let memo = ".xp/memo/locks-tiny.lock.kdl.memo";
    assert!(project.path(memo).exists());
    let kept = project.read(memo);
    for damaged in [&kept[..kept.len() / 2], b"", b"\xff\x00"] {
        project.write(memo, damaged);
        project.ok(&["lock", "--check", SPEC]);
        assert_eq!(project.read(memo), damaged, "a check writes nothing");
    }
    std::fs::remove_dir_all(project.path(".xp")).unwrap();
    project.ok(&["lock", "--check", SPEC]);
    assert!(!project.path(".xp").exists(), "a check writes nothing");
    project.ok(&["lock", SPEC]);
    assert_eq!(text(&project, LOCK), good);
}
