//! What the commands do at the edges: without a comparison, with overrides,
//! with streams that are gone, with files that are none.

use std::process::{Command, Stdio};

use crate::project::{Project, TINY, folders};

fn without_compare(spec: &str) -> String {
    spec.lines().filter(|line| !line.contains("compare")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn without_compare_a_run_simulates_measures_once_and_says_so() {
    let project = Project::empty();
    project.write("experiments/tiny.kdl", without_compare(TINY));
    let run = ["run", "experiments/tiny.kdl"];
    let text = project.ok(&run);
    assert!(text.contains("nothing is compared"), "{text}");
    for parent in ["runs/workloads", "runs/sim_runs", "runs/real_runs"] {
        assert_eq!(folders(&project.path(parent)).len(), 1, "{parent}:\n{text}");
    }
    assert!(!project.path("runs/comparisons").exists() && !project.path("reports").exists());
    let again = project.ok(&["run", "--locked", "experiments/tiny.kdl"]);
    assert_eq!(again.matches("reused").count(), 4, "{again}");
    let status = project.ok(&["status", "experiments/tiny.kdl"]);
    assert!(!status.contains("stale") && !status.contains("compare"), "{status}");

    // `compare` and `report` have nothing to do, and say so before they do anything.
    std::fs::remove_dir_all(project.path("runs")).unwrap();
    for command in ["compare", "report"] {
        let text = project.fails(1, &[command, "experiments/tiny.kdl"]);
        assert!(text.contains("compares nothing"), "{text}");
    }
    assert!(!project.path("runs").exists());

    // Without a simulated backend there is no bundle either.
    let alone: String = without_compare(TINY).replace("    backend \"vidur\" { profile \"auto\"; }\n", "");
    project.write("experiments/alone.kdl", alone);
    let text = project.ok(&["run", "experiments/alone.kdl"]);
    assert!(!text.contains("profile") && !text.contains(" sim "), "{text}");
    let status = project.ok(&["status", "experiments/alone.kdl"]);
    assert!(!status.contains("stale"), "{status}");
}

#[test]
fn compare_and_report_keep_the_overrides_they_are_given() {
    let project = Project::tiny();
    let set = ["experiments/tiny.kdl", "--set", "workload.requests=5"];
    project.ok(&[&["run"][..], &set].concat());
    let lock = project.read("locks/tiny.lock.kdl");
    for command in ["compare", "report"] {
        project.ok(&[&[command][..], &set].concat());
        assert_eq!(lock, project.read("locks/tiny.lock.kdl"), "{command} locked again");
        project.ok(&[command, "--frozen", "locks/tiny.lock.kdl"]);
        let text = project.fails(1, &[command, "--locked", "experiments/tiny.kdl"]);
        assert!(text.contains("out of date"), "{text}");
        assert_eq!(lock, project.read("locks/tiny.lock.kdl"), "{command} --locked changed the lock");
    }

    // Folders have no lock, and a lock has thresholds and folders of its own.
    let folders = ["--real", "r", "--sim", "s", "--out", "c"];
    for flag in [&["--locked"][..], &["--frozen"], &["--set", "seed=1"]] {
        project.fails(2, &[&["compare"][..], &folders, flag].concat());
        let comparison = project.only("runs/comparisons");
        project.fails(2, &[&["report", comparison.to_str().unwrap()][..], flag].concat());
    }
    for flag in [["--out", "c"], ["--pass", "1"], ["--warn", "1"]] {
        project.fails(2, &["compare", "experiments/tiny.kdl", flag[0], flag[1]]);
    }
}

#[test]
fn a_missing_lock_is_a_missing_file() {
    let project = Project::tiny();
    for mode in ["--locked", "--frozen"] {
        let text = project.fails(2, &["run", mode, "experiments/tiny.kdl"]);
        assert!(text.contains("locks/tiny.lock.kdl does not exist"), "{text}");
    }
}

#[test]
fn every_stage_refuses_a_stale_lock_before_it_does_anything() {
    let project = Project::tiny();
    project.ok(&["lock", "experiments/tiny.kdl"]);
    project.write("experiments/tiny.kdl", TINY.replace("requests 6", "requests 5"));
    let before = folders(&project.path("runs"));
    for command in ["workload", "profile", "sim", "real", "compare", "report", "run"] {
        let text = project.fails(1, &[command, "--locked", "experiments/tiny.kdl"]);
        assert!(text.contains("tiny.lock.kdl is out of date"), "{command}:\n{text}");
    }
    assert_eq!(before, folders(&project.path("runs")));
}

#[test]
fn nobody_waits_for_arrivals_of_days() {
    let project = Project::tiny();
    let slow = ["experiments/tiny.kdl", "--set", "workload.arrivals.qps=0.00001"];
    for command in ["run", "real", "compare"] {
        let text = project.fails(1, &[&[command][..], &slow].concat());
        assert!(text.contains("hours"), "{text}");
    }
    let text = project.fails(1, &[&["real"][..], &slow, &["--out", "r"]].concat());
    assert!(text.contains("hours"), "{text}");
    assert!(!project.path("locks").exists() && !project.path("r").exists());
    // Simulated time costs nothing.
    project.ok(&[&["sim"][..], &slow].concat());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_a_reader_that_is_gone_is_not() {
    let project = Project::tiny();
    project.ok(&["workload", "experiments/tiny.kdl"]);
    let xp = |args: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("xp"));
        command.current_dir(project.path("")).args(args).stdin(Stdio::null());
        command
    };
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = ["status", "experiments/tiny.kdl"];
    for args in
        [&["check", "experiments/tiny.kdl"][..], &["schema", "lock"], &["schema"], &status, &["--help"]]
    {
        let output = xp(args).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "xp {args:?}:\n{text}");
        assert!(text.contains("cannot write to standard output"), "xp {args:?}:\n{text}");

        // A pipe whose reader is gone before the first byte.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = xp(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), text.as_ref()), (Some(0), ""), "xp {args:?}");

        // Complaints have nowhere to go.
        assert_eq!(xp(args).stdout(full()).stderr(full()).status().unwrap().code(), Some(2), "xp {args:?}");
    }
    assert_eq!(xp(&["check", "none.kdl"]).stderr(full()).status().unwrap().code(), Some(2));
    let locked = xp(&["workload", "experiments/tiny.kdl"]).stderr(full()).status().unwrap();
    assert_eq!(locked.code(), Some(0));
}

#[cfg(unix)]
#[test]
fn folders_pipes_and_devices_are_no_files() {
    let project = Project::tiny();
    let text = project.fails(2, &["check", "experiments"]);
    assert!(text.contains("it is a folder"), "{text}");
    let text = project.fails(2, &["lock", "/dev/null"]);
    assert!(text.contains("it is a pipe, a socket or a device"), "{text}");

    // A pipe without a writer would be waited for without end.
    project.write("experiments/path.kdl", TINY.replace("source \"synthetic\"", "source \"path\" \"model\""));
    std::fs::create_dir(project.path("model")).unwrap();
    let made = Command::new("mkfifo").arg(project.path("model/config.json")).status();
    assert!(made.unwrap().success());
    let text = project.fails(2, &["lock", "experiments/path.kdl"]);
    assert!(text.contains("config.json is not a file"), "{text}");
}
