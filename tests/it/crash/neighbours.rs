//! Other processes, and what they left: two commands at once, readers, clocks, leftovers.

use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::project::{FRESH, LOCK, LOCKED, Place, Random, SPEC, Template};
use super::results::Results;
use super::trial::{flat, go_on};
use crate::project::both;

/// Runs a command twice at once, the second `after` the first.
fn twice(place: &Place, args: &[&str], after: Duration) -> [Output; 2] {
    let first = place.command(args).spawn().expect("xp starts");
    std::thread::sleep(after);
    let second = place.command(args).spawn().expect("xp starts");
    [first, second].map(|child| child.wait_with_output().expect("xp ends"))
}

fn check_twice(template: &Template, args: &[&str], after: Duration) {
    let place = Place::like(template);
    let outputs = twice(&place, args, after);
    assert!(outputs.iter().any(|output| output.status.success()), "{outputs:?}");
    for output in &outputs {
        let said = flat(&both(output));
        let refused = output.status.code() == Some(2) && said.contains("another xp is running");
        assert!(output.status.success() || refused, "{}: {said}", output.status);
    }
    go_on(&place, template).unwrap();
}

#[test]
fn two_runs_at_once_end_well() {
    let mut random = Random::new();
    for template in [&*FRESH, &*LOCKED] {
        check_twice(template, &["run", SPEC], Duration::from_secs_f64(0.3 * random.share()));
    }
}

#[test]
fn two_locks_at_once_end_well() {
    let mut random = Random::new();
    for _ in 0..3 {
        check_twice(&FRESH, &["lock", SPEC], Duration::from_secs_f64(0.2 * random.share()));
    }
}

#[test]
fn a_reader_finds_the_old_or_the_new_and_always_one_of_them() {
    let place = Place::like(&LOCKED);
    let lock = |requests: &str| place.ok(&["lock", SPEC, "--set", requests]).unwrap();
    let folder = |requests: &str| place.ok(&["workload", SPEC, "--set", requests, "--out", "out"]).unwrap();
    let (three, four) = ("workload.requests=3", "workload.requests=4");
    let mut versions = Vec::new();
    for requests in [three, four] {
        lock(requests);
        folder(requests);
        let read = |name: &str| std::fs::read(place.path(name)).unwrap();
        versions.push([read(LOCK), read("out/trace_lengths.csv")]);
    }
    let done = AtomicBool::new(false);
    let read = |index: usize, name: &str| {
        let mut found = [0, 0];
        while !done.load(Ordering::Relaxed) {
            let bytes = std::fs::read(place.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let version = versions.iter().position(|version| version[index] == bytes);
            found[version.unwrap_or_else(|| panic!("{name} is half-written: {bytes:?}"))] += 1;
        }
        found
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(|| read(0, LOCK)), scope.spawn(|| read(1, "out/trace_lengths.csv"))];
        for requests in [three, four, three] {
            lock(requests);
            folder(requests);
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let found = reader.join().expect("a reader finds a whole file each time");
            assert!(found[0] > 0 && found[1] > 0, "both versions were read: {found:?}");
        }
    });
}

fn every_path(folder: &Path, act: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            every_path(&path, act);
        }
        act(&path);
    }
}

fn set_time(path: &Path, time: SystemTime) {
    std::fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn times_of_files_decide_nothing() {
    let place = Place::like(&FRESH);
    place.ok(&["run", SPEC]).unwrap();
    let before = Results::of(&place);
    let ages = [SystemTime::UNIX_EPOCH, SystemTime::now() + Duration::from_secs(75 * 365 * 86_400)];
    for time in ages {
        every_path(&place.path(""), &mut |path| set_time(path, time));
        let said = place.ok(&["status", SPEC]).unwrap();
        assert!(!said.contains("stale"), "{said}");
        place.ok(&["lock", "--check", SPEC]).unwrap();
        place.ok(&["run", "--locked", SPEC]).unwrap();
        before.check_whole(&Results::of(&place), &before).unwrap();

        // Other content under an old time is noticed, and so is other content under the same.
        let mut reports = Vec::new();
        every_path(&place.path("runs/sim_runs"), &mut |path| {
            if path.ends_with("steps.csv") {
                reports.push(path.to_owned());
            }
        });
        let good = std::fs::read(&reports[0]).unwrap();
        std::fs::write(&reports[0], good.to_ascii_uppercase().iter().rev().copied().collect::<Vec<_>>())
            .unwrap();
        set_time(&reports[0], time);
        let said = place.ok(&["status", SPEC]).unwrap();
        assert!(said.contains("steps.csv was changed or damaged"), "{said}");
        let spec = std::fs::read_to_string(place.path(SPEC)).unwrap();
        place.write(SPEC, spec.replace("requests 4", "requests 3"));
        set_time(&place.path(SPEC), time);
        let output = place.xp(&["lock", "--check", SPEC]);
        assert_eq!(output.status.code(), Some(1), "{}", both(&output));
        assert!(both(&output).contains("workload.requests: locked 4, wanted 3"), "{}", both(&output));
        place.write(SPEC, spec);
        place.ok(&["run", SPEC]).unwrap();
        Results::of(&place).check_equal(&FRESH.after).unwrap();
    }
}

#[test]
fn leftovers_of_killed_processes_do_no_harm() {
    let place = Place::like(&FRESH);
    let litter = |place: &Place| {
        let mut folders = vec![place.path("")];
        every_path(&place.path(""), &mut |path| {
            if path.is_dir() {
                folders.push(path.to_owned());
            }
        });
        for folder in folders {
            std::fs::write(folder.join(".xp-Ab12Cd.tmp"), "{ half a fi").unwrap();
            std::fs::create_dir_all(folder.join(".xp-Ef34Gh.tmp/old")).unwrap();
            std::fs::write(folder.join(".xp-Ef34Gh.tmp/run_meta.json"), "{ half a fi").unwrap();
        }
    };
    litter(&place);
    go_on(&place, &FRESH).unwrap();
    litter(&place);
    let said = place.ok(&["run", "--locked", SPEC]).unwrap();
    assert!(!said.contains("not made yet") && !said.contains("missing"), "{said}");
    go_on(&place, &FRESH).unwrap();

    // In folders of one's own too: they are written again, read, compared and reported.
    let stages = [
        &["workload", SPEC, "--out", "out/w"][..],
        &["real", SPEC, "--workload", "out/w", "--out", "out/r"],
        &["sim", SPEC, "--workload", "out/w", "--out", "out/s"],
        &["compare", "--real", "out/r", "--sim", "out/s", "--out", "out/c"],
        &["report", "out/c"],
    ];
    for stage in stages {
        place.ok(stage).unwrap();
    }
    let clean = std::fs::read(place.path("out/c/comparison.json")).unwrap();
    litter(&place);
    place.ok(stages[3]).unwrap();
    assert!(clean == std::fs::read(place.path("out/c/comparison.json")).unwrap(), "a leftover was compared");
    litter(&place);
    for stage in stages {
        place.ok(stage).unwrap();
    }
}
