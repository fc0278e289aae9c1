//! Every single operation on the file system fails once, and is the last once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::project::{DAMAGED, FRESH, GARBAGE, LOCKED, Place, REMADE, Random, SPEC, Template, on_all_cores};
use super::results::{Results, is_temporary};
use super::trial::{Disturbance, Operation, Rest, disturb, operations};

/// The operations of an undisturbed command, and the project's folder.
pub fn count(template: &Template, args: &[&str]) -> (Vec<Operation>, String) {
    let place = Place::like(template);
    let log = place.beside("operations");
    let output =
        place.command(args).env("XP_FAULT", "count").env("XP_FAULT_LOG", &log).output().expect("xp starts");
    assert!(output.status.success(), "xp {args:?}:\n{}", crate::project::both(&output));
    if args[0] == "run" {
        Results::of(&place).check_equal(&template.after).unwrap();
    }
    (operations(&log), place.path("").display().to_string())
}

/// What an operation does, without what differs between one file and the next: its number, the digits
/// of digests, temporary names, and names inside a folder that is being filled.
fn kind(operation: &Operation, root: &str) -> String {
    let mut out = operation.name.clone();
    for path in &operation.paths {
        out.push(' ');
        let mut is_inside = false;
        for part in path.strip_prefix(root).unwrap_or(path).split('/') {
            let end = part.rsplit('-').next().unwrap_or_default();
            let is_digest = |text: &str| text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            out.push('/');
            out.push_str(match part {
                _ if is_temporary(Path::new(part)) => "temporary",
                _ if is_inside => "inside",
                _ if is_digest(end.trim_end_matches(".json")) => "digest",
                _ => part,
            });
            is_inside |= is_temporary(Path::new(part));
        }
    }
    out
}

/// Numbers of the first and of the last operation of each kind.
fn ends_of_kinds(operations: &[Operation], root: &str) -> BTreeSet<usize> {
    let mut ends: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for operation in operations {
        let n = operation.number;
        ends.entry(kind(operation, root)).and_modify(|(_, last)| *last = n).or_insert((n, n));
    }
    ends.into_values().flat_map(|(first, last)| [first, last]).collect()
}

/// A command, what happens to it, and how far xp goes on.
#[derive(Clone, Copy)]
struct Case {
    template: &'static Template,
    args: [&'static str; 2],
    disturbance: Disturbance,
    rest: Rest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    EveryOperation,
    /// The first and the last of each kind.
    EveryKind,
}

/// All that can happen to a command.
fn cases(template: &'static Template, args: [&'static str; 2], extent: Extent) -> Vec<Case> {
    let (operations, root) = count(template, &args);
    assert!(operations.len() > 20, "{operations:?}");
    let ends = ends_of_kinds(&operations, &root);
    let is_taken = |of: &&Operation| extent == Extent::EveryOperation || ends.contains(&of.number);
    let mut disturbances = Vec::new();
    for operation in operations.iter().filter(is_taken) {
        let n = operation.number;
        disturbances.push(Disturbance::Fail { n, error: if n % 2 == 0 { "ENOSPC" } else { "EIO" } });
        disturbances.push(Disturbance::Stop { n });
        if operation.name == "Write" {
            disturbances.push(Disturbance::Torn { n });
        }
    }
    // A disk that stays full or read-only from some point on.
    disturbances.extend((0..8).map(|part| {
        let n = 1 + operations.len() * part / 8;
        Disturbance::FailFrom { n, error: if part % 2 == 0 { "ENOSPC" } else { "EROFS" } }
    }));
    let report = operations.iter().find(|of| of.paths.iter().any(|path| path.contains("/reports")));
    let is_late = |n: usize| report.is_some_and(|report| n >= report.number);
    eprintln!(
        "xp {args:?} in the {} project: {} operations, {} trials",
        template.name,
        operations.len(),
        disturbances.len()
    );
    let case = |(number, disturbance): (usize, Disturbance)| {
        let whole = number.is_multiple_of(8) || is_late(disturbance.number());
        Case { template, args, disturbance, rest: if whole { Rest::All } else { Rest::ButTheReport } }
    };
    disturbances.into_iter().enumerate().map(case).collect()
}

/// A first lock, one in the place of garbage, a run of a lock, one that brings back what is damaged, and
/// one that makes it again.
fn all_cases(extent: Extent) -> Vec<Case> {
    let commands = [
        (&*FRESH, ["lock", SPEC]),
        (&*GARBAGE, ["lock", SPEC]),
        (&*LOCKED, ["run", SPEC]),
        (&*DAMAGED, ["run", SPEC]),
        (&*REMADE, ["run", SPEC]),
    ];
    commands.into_iter().flat_map(|(template, args)| cases(template, args, extent)).collect()
}

fn sweep(cases: &[Case]) {
    let started = std::time::Instant::now();
    on_all_cores(cases, |case| disturb(case.template, &case.args, case.disturbance, case.rest));
    eprintln!("{} trials in {:.0} s", cases.len(), started.elapsed().as_secs_f64());
}

/// Whether this build of xp can be told to fail.
fn can_fail() -> bool {
    if !cfg!(debug_assertions) {
        eprintln!("skipped: a release cannot be told to fail");
    }
    cfg!(debug_assertions)
}

#[test]
fn a_sample_of_faults_does_no_harm() {
    if !can_fail() {
        return;
    }
    let (mut random, all) = (Random::new(), all_cases(Extent::EveryOperation));
    eprintln!("XP_CRASH_SEED={} draws this sample again", random.seed);
    let sample: Vec<Case> = (0..15).map(|_| all[random.below(all.len())]).collect();
    sweep(&sample);
}

#[test]
#[ignore = "minutes: for CI"]
fn a_fault_at_every_kind_of_operation_does_no_harm() {
    if can_fail() {
        sweep(&all_cases(Extent::EveryKind));
    }
}

#[test]
#[ignore = "thousands of trials: on demand"]
fn a_fault_at_every_single_operation_does_no_harm() {
    if can_fail() {
        sweep(&all_cases(Extent::EveryOperation));
    }
}

#[test]
fn operations_are_told_apart_by_what_they_do() {
    let operation = |number: usize, name: &str, path: &str| Operation {
        number,
        name: name.to_owned(),
        paths: vec![format!("/p/{path}")],
    };
    let operations = [
        operation(1, "Write", "runs/.xp-Ab12Cd.tmp/a.csv"),
        operation(2, "Write", "runs/.xp-Ab12Cd.tmp/figs/b.svg"),
        operation(3, "Sync", "runs/.xp-Ab12Cd.tmp/a.csv"),
        operation(4, "Write", "runs/.xp-Ef34Gh.tmp/c.csv"),
        operation(5, "CreateDir", "objects/0f"),
        operation(6, "CreateDir", "objects/a1"),
        operation(7, "CreateDir", "objects/b2"),
        operation(8, "Write", "locks/.xp-Ef34Gh.tmp"),
    ];
    let kept: Vec<usize> = ends_of_kinds(&operations, "/p").into_iter().collect();
    assert_eq!(kept, [1, 2, 3, 4, 5, 7, 8]);
}
