use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::merge::{Labels, Merged};
use super::merge_conflict::{ConflictError, Version, conflicts, take};
use super::pins::{BundlePin, Lock, SetPin, SimPin};
use super::{merge, parse, read, samples};
use crate::spec::{Axis, Backend, CandleBackend, Lengths};
use crate::store::Digest;

/// A change that a person or xp makes to a lock.
type Edit = (&'static str, fn(&mut Lock, u32));

fn engine(lock: &mut Lock) -> &mut CandleBackend {
    let Some(Backend::Candle(engine)) = lock.experiment.backends.first_mut() else { panic!() };
    engine
}

/// Changes by what they touch; the number is the new value.
const EDITS: &[Edit] = &[
    ("seed", |lock, n| {
        lock.experiment.seed = u64::from(n);
        lock.seeds.root = u64::from(n);
        lock.seeds.lengths = u64::from(n) * 3;
        content(lock, "seed", n);
    }),
    ("requests", |lock, n| {
        lock.experiment.workload.requests = Some(n + 1);
        content(lock, "requests", n);
    }),
    ("lengths", |lock, n| {
        lock.experiment.workload.lengths = Some(Lengths::Fixed { prefill: n + 1, decode: Some(2) });
        content(lock, "lengths", n);
    }),
    ("longest", |lock, n| {
        if let Some(Lengths::Uniform { min, max, .. }) = &mut lock.experiment.workload.lengths {
            (*min, *max) = ((*min).min(20 + n), 20 + n);
            content(lock, "longest", n);
        }
    }),
    ("shortest", |lock, n| {
        if let Some(Lengths::Uniform { min, max, .. }) = &mut lock.experiment.workload.lengths {
            (*min, *max) = (20 + n, (*max).max(20 + n));
            content(lock, "shortest", n);
        }
    }),
    ("chunk size", |lock, n| {
        engine(lock).chunk_size = 16 + n;
        lock.runs.iter_mut().for_each(|run| run.scheduler.chunk_size = 16 + n);
    }),
    ("batch size", |lock, n| {
        engine(lock).max_batch_size = 4 + n;
        lock.runs.iter_mut().for_each(|run| run.scheduler.max_batch_size = 4 + n);
    }),
    ("pass", |lock, n| {
        lock.experiment.compare.as_mut().unwrap().pass = format!("{}%", n % 10).parse().unwrap();
    }),
    ("repeats", |lock, n| lock.experiment.compare.as_mut().unwrap().repeats = 1 + n),
    ("description", |lock, n| lock.experiment.description = Some(format!("says \"{n}\" {{"))),
    ("threads", |lock, n| lock.experiment.hardware.threads = 1 + n),
    ("bundle", |lock, n| {
        let bundle = lock.bundle.as_mut().unwrap();
        bundle.path = format!("profiles/{n}");
        bundle.sha256 = Digest::of(n.to_string());
    }),
    ("bundle of a run", |lock, n| {
        let bundle = lock.bundle.clone().unwrap();
        // Not of the first run, which others are made from.
        let run = lock.runs.iter_mut().find(|run| run.id == "tiny-3").unwrap();
        // With a path of its own: it must not depend on whether the lock's bundle was changed before.
        let (path, sha256) = (format!("profiles/own-{n}"), Digest::of(format!("own {n}")));
        run.bundle = Some(BundlePin { path, sha256, ..bundle });
    }),
    ("commit", |lock, n| lock.resolved_model.commit = Some(format!("c0ffee{n}"))),
    ("version", |lock, n| lock.xp = format!("0.{n}.0")),
    ("overrides", |lock, n| lock.spec.overrides = vec![format!("seed={n}")]),
    ("spare engine", |lock, n| {
        let mut spare = engine(lock).clone();
        spare.name = format!("spare-{}", n % 2);
        (spare.chunk_size, spare.max_batch_size) = (8 + n, 2);
        let at = lock.experiment.backends.len() - 1;
        lock.experiment.backends.insert(at, Backend::Candle(spare));
        let mut names = std::collections::BTreeSet::new();
        lock.experiment.backends.retain(|backend| names.insert(backend.name().to_owned()));
    }),
    ("one rate more", |lock, n| {
        let value = serde_json::json!(10 + n % 3);
        let axis: &mut Axis = &mut lock.experiment.matrix[0];
        if !axis.values.contains(&value) {
            axis.values.push(value.clone());
            let mut run = lock.runs[0].clone();
            run.id = format!("tiny-{value}");
            run.set = vec![SetPin { path: axis.path.clone(), value: value.clone() }];
            run.workload.sha256 = Digest::of(format!("rate {value}"));
            lock.runs.push(run);
        }
    }),
    ("one rate less", |lock, _| {
        lock.experiment.matrix[0].values.remove(1);
        lock.runs.remove(1);
    }),
];

/// The workloads have other content.
fn content(lock: &mut Lock, what: &str, n: u32) {
    for run in &mut lock.runs {
        run.workload.sha256 = Digest::of(format!("{} {what} {n}", run.workload.sha256));
        run.workload.prefill_tokens += u64::from(n);
    }
}

/// What xp derives: the digest of the experiment, and each simulation's of its inputs.
fn derived(mut lock: Lock) -> Lock {
    lock.spec.sha256 = Digest::of_json(&lock.experiment);
    let shared = (lock.bundle.as_ref().map(|bundle| bundle.sha256), lock.experiment.hardware.threads);
    for run in &mut lock.runs {
        let own = run.bundle.as_ref().map(|bundle| bundle.sha256);
        let inputs = (&shared, own, &run.workload.sha256, &run.scheduler);
        run.sim = Some(SimPin { sha256: Digest::of_json(&inputs), steps: 9 });
    }
    lock
}

fn edited(base: &Lock, edits: &[(usize, u32)]) -> Lock {
    let mut lock = base.clone();
    for (edit, n) in edits {
        (EDITS[*edit].1)(&mut lock, *n);
    }
    derived(lock)
}

fn base() -> Lock {
    derived(samples::lock(3))
}

fn merged(base: Option<&Lock>, ours: &Lock, theirs: &Lock) -> Merged {
    merge(base, ours, theirs, &Labels::default())
}

fn of(name: &str) -> usize {
    EDITS.iter().position(|(known, _)| *known == name).unwrap()
}

/// Some edits, each once.
fn edits() -> impl Strategy<Value = Vec<(usize, u32)>> {
    vec((0..EDITS.len(), 1..9_u32), 0..4).prop_map(|mut edits| {
        edits.sort_unstable();
        edits.dedup_by_key(|(edit, _)| *edit);
        edits
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_changed_nothing_has_no_say(edits in edits()) {
        let (base, other) = (base(), edited(&base(), &edits));
        for merged in [
            merged(Some(&base), &base, &other),
            merged(Some(&base), &other, &base),
            merged(Some(&base), &other, &other),
            merged(None, &other, &other),
        ] {
            prop_assert_eq!(&merged.text, &other.to_kdl());
            prop_assert!(merged.conflicts.is_empty() && merged.outdated.is_empty());
        }
    }

    #[test]
    fn a_merge_reads_as_a_lock_or_names_its_conflicts(one in edits(), two in edits(), has_base: bool) {
        let base = base();
        let (ours, theirs) = (edited(&base, &one), edited(&base, &two));
        let base = has_base.then_some(&base);
        let made = merged(base, &ours, &theirs);
        if made.conflicts.is_empty() {
            let lock = parse(Path::new("x"), &made.text);
            prop_assert!(lock.is_ok(), "{:?}\n{}", lock, made.text);
            prop_assert_eq!(lock.unwrap().to_kdl(), made.text.clone());
            prop_assert_eq!(conflicts(&made.text).len(), 0);
        } else {
            let named: Vec<String> = conflicts(&made.text).into_iter().map(|found| found.fact).collect();
            let told: Vec<String> = made.conflicts.iter().map(|found| found.fact.clone()).collect();
            prop_assert_eq!(&named, &told, "{}", made.text);
            let refused = matches!(parse(Path::new("x"), &made.text), Err(read::LockError::Conflict(_)));
            prop_assert!(refused);
        }
        // The other way round, the same but for who is who.
        let back = merged(base, &theirs, &ours);
        prop_assert_eq!(take(&made.text, Version::Ours), take(&back.text, Version::Theirs));
        prop_assert_eq!(take(&made.text, Version::Theirs), take(&back.text, Version::Ours));
        prop_assert_eq!(made.outdated, back.outdated);
        prop_assert_eq!(made.conflicts.len(), back.conflicts.len());
    }

    #[test]
    fn changes_of_different_facts_commute(one in edits(), two in edits()) {
        let two: Vec<_> = two.into_iter().filter(|(edit, _)| one.iter().all(|(other, _)| other != edit)).collect();
        let all: Vec<(usize, u32)> = one.iter().chain(&two).copied().collect();
        let has = |names: &[&str]| all.iter().filter(|(edit, _)| names.contains(&EDITS[*edit].0)).count();
        // These touch one another's facts, or make no valid experiment together.
        prop_assume!(has(&["lengths", "longest", "shortest"]) <= 1);
        prop_assume!(has(&["one rate more", "one rate less"]) <= 1);
        let base = base();
        let made = merged(Some(&base), &edited(&base, &one), &edited(&base, &two));
        prop_assert_eq!(&made.conflicts, &Vec::new());
        let merged = parse(Path::new("x"), &made.text).unwrap();
        let mut expected = edited(&base, &all);
        // What is out of date is named, and all else is as if both changes had been made to one lock.
        prop_assert_eq!(merged.runs.len(), expected.runs.len());
        for (run, expected) in merged.runs.iter().zip(&mut expected.runs) {
            let named = |part: &str| {
                let path = format!("runs.{}.{part}", super::fact::segment(&run.id));
                made.outdated.iter().any(|fact| fact.starts_with(&path))
            };
            let added = !base.runs.iter().any(|other| other.id == run.id);
            if named("workload") || added {
                expected.workload = run.workload.clone();
            }
            if named("scheduler") || added {
                expected.scheduler = run.scheduler.clone();
            }
            if named("sim") {
                prop_assert_eq!(&run.sim, &None);
            }
            if named("sim") || named("workload") || named("scheduler") || added {
                expected.sim = run.sim.clone();
            }
        }
        prop_assert!(merged == expected, "{:#?}", super::diff(&expected, &merged));
    }
}

#[test]
fn neighbours_merge_clean_and_the_simulation_is_left_out() {
    let base = base();
    let made = merged(
        Some(&base),
        &edited(&base, &[(of("chunk size"), 4)]),
        &edited(&base, &[(of("batch size"), 5)]),
    );
    assert!(made.conflicts.is_empty() && made.both_changed_settings);
    assert!(made.text.contains("chunk-size 20\n        max-batch-size 9\n"), "{}", made.text);
    assert_eq!(made.outdated, ["runs.tiny-1.sim", "runs.tiny-2.sim", "runs.tiny-3.sim"]);
    let lock = parse(Path::new("x"), &made.text).unwrap();
    assert!(lock.runs.iter().all(|run| run.sim.is_none()));
    assert_eq!(lock.spec.sha256, Digest::of_json(&lock.experiment));
}

#[test]
fn a_result_stays_where_its_inputs_are_those_of_one_side() {
    let base = base();
    let ours = edited(&base, &[(of("chunk size"), 4)]);
    let made = merged(Some(&base), &ours, &edited(&base, &[(of("pass"), 7)]));
    assert!(made.outdated.is_empty(), "{:?}", made.outdated);
    let lock = parse(Path::new("x"), &made.text).unwrap();
    assert!(lock.runs.iter().zip(&ours.runs).all(|(run, ours)| run.sim == ours.sim));
}

/// What is left of a text around its first conflict.
fn around(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("<<<<<<<")).unwrap();
    let last = lines.iter().rposition(|line| line.starts_with(">>>>>>>")).unwrap();
    lines[first.saturating_sub(2)..(last + 3).min(lines.len())].join("\n")
}

#[test]
fn a_conflict_is_one_fact() {
    let base = base();
    let with = |n| edited(&base, &[(of("chunk size"), n), (of("seed"), 3)]);
    let labels = Labels { ours: "HEAD".to_owned(), theirs: "faster".to_owned() };
    let made = merge(Some(&base), &with(4), &with(5), &labels);
    insta::assert_snapshot!(format!("{:?}\n\n{}", made.conflicts, around(&made.text)), @r#"
    [MergeConflict { fact: "experiment.backends.sarathi.chunk-size", base: Some("16"), ours: Some("20"), theirs: Some("21") }]

            kind "candle"
            scheduler "sarathi"
    <<<<<<< HEAD
            chunk-size 20
    =======
            chunk-size 21
    >>>>>>> faster
            max-batch-size 4
            block-size 16
    "#);
}

#[test]
fn bundles_and_kinds_are_taken_as_a_whole() {
    let base = base();
    let made = merged(
        Some(&base),
        &edited(&base, &[(of("bundle"), 1), (of("lengths"), 4)]),
        &edited(&base, &[(of("bundle"), 2), (of("longest"), 5)]),
    );
    let conflicts: Vec<String> = made
        .conflicts
        .iter()
        .map(|conflict| {
            format!("{}: {:?} {:?} {:?}", conflict.fact, conflict.base, conflict.ours, conflict.theirs)
        })
        .collect();
    insta::assert_snapshot!(conflicts.join("\n"), @r#"
experiment.workload.lengths: Some("kind uniform, 4 lines") Some("kind fixed, 3 lines") Some("kind uniform, 4 lines")
bundle: Some("path profiles/qwen3-tiny-a, 8 lines") Some("path profiles/1, 8 lines") Some("path profiles/2, 8 lines")
"#);
}

#[test]
fn what_makes_no_experiment_together_is_a_conflict() {
    let base = base();
    // From 28 tokens on, and to 21 at most: each is fine with the other's old value.
    let made =
        merged(Some(&base), &edited(&base, &[(of("shortest"), 8)]), &edited(&base, &[(of("longest"), 1)]));
    assert_eq!(made.conflicts.len(), 1, "{}", made.text);
    assert_eq!(made.conflicts[0].fact, "experiment.workload.lengths");
    let ours = take(&made.text, Version::Ours);
    assert!(ours.contains("min 28") && ours.contains("max 40"), "{ours}");
}

#[test]
fn runs_that_both_sides_add_stand_in_the_order_of_the_matrix() {
    let base = base();
    let (more, less) = (of("one rate more"), of("one rate less"));
    let made = merged(
        Some(&base),
        &edited(&base, &[(more, 1), (of("chunk size"), 8)]),
        &edited(&base, &[(more, 1), (of("pass"), 8)]),
    );
    let lock = parse(Path::new("x"), &made.text).unwrap();
    let ids: Vec<&str> = lock.runs.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(ids, ["tiny-1", "tiny-2", "tiny-3", "tiny-11"]);
    // One side removes a run that the other changes: there is none in the matrix any more.
    let made = merged(Some(&base), &edited(&base, &[(less, 1)]), &edited(&base, &[(of("chunk size"), 8)]));
    let lock = parse(Path::new("x"), &made.text).unwrap();
    assert_eq!(lock.runs.len(), 2);
    assert!(made.outdated.is_empty(), "{:?}", made.outdated);
    // Two axes with other values are a conflict of that fact.
    let made = merged(Some(&base), &edited(&base, &[(more, 1)]), &edited(&base, &[(more, 2)]));
    let facts: Vec<&str> = made.conflicts.iter().map(|conflict| conflict.fact.as_str()).collect();
    assert_eq!(facts, ["experiment.matrix.\"workload.arrivals.qps\".values"]);
}

#[test]
fn markers_of_any_kind_are_found() {
    let text = base().to_kdl();
    let conflict = "<<<<<<< HEAD\n        chunk-size 32\n||||||| merged common ancestors\n        chunk-size 16\n=======\n        chunk-size 64\n>>>>>>> topic\n";
    let with = |text: &str, conflict: &str| text.replacen("        chunk-size 16\n", conflict, 1);
    let both = with(&text, conflict);
    let found = conflicts(&both);
    assert_eq!(found[0].fact, "experiment.backends.sarathi.chunk-size");
    assert_eq!((found[0].ours.as_deref(), found[0].theirs.as_deref()), (Some("32"), Some("64")));
    assert!(
        take(&both, Version::Theirs).contains("chunk-size 64")
            && !take(&both, Version::Ours).contains("chunk-size 64")
    );
    // Half of a conflict, and one that was cut off.
    for rest in [">>>>>>> topic\n", "<<<<<<< HEAD\n        chunk-size 32\n", "=======\n"] {
        assert_eq!(conflicts(&with(&text, rest)).len(), 1, "{rest}");
        assert!(parse(Path::new("x"), &with(&text, rest)).is_err());
    }
    assert!(conflicts(&text).is_empty());
    assert!(conflicts("experiment \"<<<<<<< \" {\n}\n").is_empty());
}

#[test]
fn a_lock_with_conflicts_is_refused_with_their_names() {
    let base = base();
    let made = merged(Some(&base), &edited(&base, &[(of("pass"), 4)]), &edited(&base, &[(of("pass"), 5)]));
    let error = match parse(Path::new("locks/tiny.lock.kdl"), &made.text) {
        Err(read::LockError::Conflict(error)) => error,
        other => panic!("{other:?}"),
    };
    let mut out = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor());
    handler.with_context_lines(1).render_report(&mut out, &error as &ConflictError).unwrap();
    insta::assert_snapshot!(out, @r#"
    xp::lock::conflict

      × unresolved conflict in experiment.compare.pass
        ╭─[locks/tiny.lock.kdl:64:1]
     63 │             sim "vidur"
     64 │ ╭─▶ <<<<<<< ours
     65 │ │           pass "4%"
     66 │ │   =======
     67 │ │           pass "5%"
     68 │ ├─▶ >>>>>>> theirs
        · ╰──── ours 4%, theirs 5%
     69 │             warn "20%"
        ╰────
      help: settle the experiment first; then `xp lock experiments/tiny.kdl` writes the lock anew from it
    "#);
}
