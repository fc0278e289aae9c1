//! Every single operation on the file system fails once, and is the last once.

use super::project::{DAMAGED, FRESH, GARBAGE, LOCKED, Place, REMADE, Random, SPEC, Template, on_all_cores};
use super::results::Results;
use super::trial::{Disturbance, Operation, Rest, disturb, operations};

/// The operations of an undisturbed command.
pub fn count(template: &Template, args: &[&str]) -> Vec<Operation> {
    let place = Place::like(template);
    let log = place.beside("operations");
    let output =
        place.command(args).env("XP_FAULT", "count").env("XP_FAULT_LOG", &log).output().expect("xp starts");
    assert!(output.status.success(), "xp {args:?}:\n{}", crate::project::both(&output));
    if args[0] == "run" {
        Results::of(&place).check_equal(&template.after).unwrap();
    }
    operations(&log)
}

/// All that can happen at the operations of a command.
fn disturbances(operations: &[Operation]) -> Vec<Disturbance> {
    let mut out = Vec::new();
    for operation in operations {
        let n = operation.number;
        out.push(Disturbance::Fail { n, error: if n % 2 == 0 { "ENOSPC" } else { "EIO" } });
        out.push(Disturbance::Stop { n });
        if operation.name == "Write" {
            out.push(Disturbance::Torn { n });
        }
    }
    out
}

/// A command, what happens to it, and how far xp goes on.
#[derive(Clone, Copy)]
struct Case {
    template: &'static Template,
    args: [&'static str; 2],
    disturbance: Disturbance,
    rest: Rest,
}

/// Cases of the sweeps: a first lock, one in the place of garbage, a run of a lock, one that brings back what is
/// damaged, and one that makes it again.
fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (template, args) in [
        (&*FRESH, ["lock", SPEC]),
        (&*GARBAGE, ["lock", SPEC]),
        (&*LOCKED, ["run", SPEC]),
        (&*DAMAGED, ["run", SPEC]),
        (&*REMADE, ["run", SPEC]),
    ] {
        let operations = count(template, &args);
        eprintln!("xp {args:?} in the {} project: {} operations", template.name, operations.len());
        assert!(operations.len() > 20, "{operations:?}");
        let mut all = disturbances(&operations);
        // A disk that stays full or read-only from some point on.
        all.extend((0..8).map(|part| {
            let n = 1 + operations.len() * part / 8;
            Disturbance::FailFrom { n, error: if part % 2 == 0 { "ENOSPC" } else { "EROFS" } }
        }));
        let at_report = |n: usize| {
            let from = operations.iter().position(|of| of.paths.iter().any(|path| path.contains("/reports")));
            from.is_some_and(|from| n > from)
        };
        out.extend(all.into_iter().enumerate().map(|(number, disturbance)| {
            let whole = number % 8 == 0 || at_report(disturbance.number());
            Case { template, args, disturbance, rest: if whole { Rest::All } else { Rest::ButTheReport } }
        }));
    }
    out
}

fn sweep(cases: &[Case]) {
    let started = std::time::Instant::now();
    on_all_cores(cases, |case| disturb(case.template, &case.args, case.disturbance, case.rest));
    eprintln!("{} trials in {:.0} s", cases.len(), started.elapsed().as_secs_f64());
}

#[test]
fn a_sample_of_faults_does_no_harm() {
    if !cfg!(debug_assertions) {
        return eprintln!("skipped: a release cannot be told to fail");
    }
    let (mut random, all) = (Random::new(), cases());
    let sample: Vec<_> = (0..15).map(|_| all[random.below(all.len())]).collect();
    eprintln!("seed {}", random.seed);
    sweep(&sample);
}

#[test]
#[ignore = "minutes; .ci/run does it"]
fn a_fault_at_every_single_operation_does_no_harm() {
    if !cfg!(debug_assertions) {
        return eprintln!("skipped: a release cannot be told to fail");
    }
    sweep(&cases());
}
