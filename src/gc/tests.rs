//! What is reached stays and is whole, whatever else is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::lock::{self, Lock, SpecPin, Versions};
use crate::progress::Silent;
use crate::run::{Inputs, Stage, StageRecord, StageStore};
use crate::source::{Access, Network};
use crate::spec::{self, Loaded};
use crate::store::{self, Digest, DigestCache, FileDigest, Memo, StoredResult};

const TINY: &str = r#"experiment "tiny" {
    seed 7
    model "qwen3-tiny"
    workload "few" { requests 3; lengths "fixed" prefill=9 decode=3; }
    backend "sarathi" chunk-size=16 kv-memory="4MiB"
    backend "vidur" { profile "auto"; }
    compare real="sarathi" sim="vidur" repeats=2
}"#;

/// A lock of one run; `number` tells it apart.
fn lock_of(number: u8) -> Lock {
    static TINY_LOCK: OnceLock<Lock> = OnceLock::new();
    let mut lock = TINY_LOCK
        .get_or_init(|| {
            let Loaded { experiment, cells, .. } = spec::load_text("tiny.kdl", TINY, &[]).unwrap();
            let pin = SpecPin {
                path: "experiments/tiny.kdl".to_owned(),
                sha256: Digest::of_json(&experiment),
                presets: Vec::new(),
                overrides: Vec::new(),
            };
            let versions = Versions { metrics: 1, workload: 1, engine: 1, simulator: 1 };
            let (digests, memo) = (DigestCache::default(), Memo::default());
            let access = Access {
                inputs: Path::new("."),
                digests: &digests,
                memo: &memo,
                network: Network::Offline,
                progress: &Silent,
            };
            lock::resolve(&experiment, cells, pin, versions, None, &access).unwrap().lock
        })
        .clone();
    lock.runs[0].workload.sha256 = Digest::of([number]);
    lock.bundle = Some(lock::BundlePin {
        path: format!("profiles/{number}"),
        sha256: Digest::of([number, 1]),
        fingerprint: Digest::of("machine"),
        hardware: Vec::new(),
        files: Vec::new(),
    });
    lock
}

struct World {
    dir: tempfile::TempDir,
    objects: ObjectStore,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let objects = ObjectStore::new(dir.path().join(".xp/store"));
        Self { dir, objects }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn write_lock(&self, number: u8) {
        let path = self.root().join(format!("locks/{number}.lock.kdl"));
        store::write(&path, lock_of(number).to_kdl().as_bytes()).unwrap();
    }

    /// Puts a result with these contents into the store.
    fn put(&self, stage: Stage, inputs: &Inputs, contents: &[&str]) -> StoredResult {
        let folder = tempfile::tempdir_in(self.root()).unwrap();
        for (index, content) in contents.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{index}.csv")), content).unwrap();
        }
        let result =
            StoredResult::new(stage.name(), inputs.clone(), self.objects.put_dir(folder.path()).unwrap());
        self.objects.put_result(&result).unwrap();
        result
    }

    /// Records it in the project, with its folder or file in place.
    fn record(&self, stage: Stage, label: &str, result: &StoredResult, output: &str) -> StageRecord {
        let place = self.root().join(output);
        match stage {
            Stage::Report => self.objects.fetch(&result.files[0], &place).unwrap(),
            _ => self.objects.fetch_dir(&result.files, &place).unwrap(),
        }
        let record = StageRecord {
            stage,
            label: label.to_owned(),
            inputs: result.inputs.clone(),
            output: output.to_owned(),
            files: result.files.clone(),
        };
        StageStore::new(self.root()).remember(&record).unwrap();
        record
    }

    fn gc(&self, request: &GcRequest) -> Result<Plan, GcError> {
        let sweep = plan_in(&Project::at(self.root().to_owned()), self.objects.clone(), request)?;
        sweep.carry_out()?;
        Ok(sweep.plan)
    }

    fn has(&self, result: &StoredResult) -> bool {
        let stage = Stage::named(&result.stage).unwrap();
        let found = self.objects.result(stage.name(), &result.key()).unwrap();
        found.is_some_and(|found| {
            found.files.iter().for_each(|file| self.objects.check(file).unwrap());
            true
        })
    }
}

/// The inputs of the stages of a lock's run, as its records have them.
fn inputs_of(lock: &Lock, machine: u8, repeat: u8) -> BTreeMap<Stage, Inputs> {
    let steps = crate::run::steps_of(lock, &Digest::of([machine]), repeat.into()).unwrap();
    steps.into_iter().map(|step| (step.stage, step.inputs)).collect()
}

fn inputs(list: &[(&str, String)]) -> Inputs {
    list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn content(result: &StoredResult) -> Digest {
    Digest::of_json(&result.files)
}

/// A lock's comparison of one measurement and one simulation, and its report.
fn compared(
    world: &World,
    number: u8,
    real: &StoredResult,
    sim: &StoredResult,
) -> (StoredResult, StoredResult) {
    let json = |list: &[Digest]| serde_json::to_string(list).unwrap();
    let of = inputs(&[
        ("lock", lock_of(number).input_digest().to_string()),
        ("real", json(&[content(real)])),
        ("sim", content(sim).to_string()),
    ]);
    let comparison = world.put(Stage::Compare, &of, &[&format!("comparison {number}"), "style"]);
    let report = inputs(&[("comparisons", json(&[content(&comparison)]))]);
    let report = world.put(Stage::Report, &report, &[&format!("%PDF- {number}")]);
    (comparison, report)
}

#[test]
fn what_a_lock_rests_on_stays_with_every_machine_and_repeat() {
    let world = World::new();
    world.write_lock(1);
    let mut kept = Vec::new();
    let mut gone = Vec::new();
    for (number, list) in [(1, &mut kept), (2, &mut gone)] {
        for (machine, repeat) in [(0, 0), (0, 7), (9, 0)] {
            for (stage, of) in inputs_of(&lock_of(number), machine, repeat) {
                list.push(world.put(
                    stage,
                    &of,
                    &[&format!("{number} {stage} {machine} {repeat}"), "shared"],
                ));
            }
        }
        let find = |list: &[StoredResult], stage: &str| {
            list.iter().find(|result| result.stage == stage).unwrap().clone()
        };
        let (comparison, report) = compared(&world, number, &find(list, "real"), &find(list, "sim"));
        list.extend([comparison, report]);
    }
    let plan = world.gc(&GcRequest::default()).unwrap();
    assert!(kept.iter().all(|result| world.has(result)));
    assert!(gone.iter().all(|result| !world.has(result)));
    assert_eq!(plan.roots, 1);
    let shared = kept[0].files[1].sha256;
    assert!(plan.garbage.iter().all(|garbage| garbage.path != world.objects.object_path(&shared)));
    assert_eq!(world.gc(&GcRequest::default()).unwrap().garbage, []);
}

#[test]
fn a_pdf_keeps_what_it_was_made_from_after_its_lock_has_moved_on() {
    let world = World::new();
    let of = inputs_of(&lock_of(1), 0, 0);
    let results: BTreeMap<Stage, StoredResult> = of
        .iter()
        .map(|(stage, inputs)| (*stage, world.put(*stage, inputs, &[&format!("of {stage}")])))
        .collect();
    let (comparison, report) = compared(&world, 1, &results[&Stage::Real], &results[&Stage::Sim]);
    world.record(Stage::Report, "tiny", &report, "reports/tiny.pdf");
    let all = || results.values().chain([&comparison, &report]);
    world.gc(&GcRequest::default()).unwrap();
    assert!(all().all(|result| world.has(result)));
    // An edited PDF is still somebody's.
    std::fs::write(world.root().join("reports/tiny.pdf"), "edited").unwrap();
    world.gc(&GcRequest::default()).unwrap();
    assert!(all().all(|result| world.has(result)));
    std::fs::remove_file(world.root().join("reports/tiny.pdf")).unwrap();
    world.gc(&GcRequest::default()).unwrap();
    assert!(all().all(|result| !world.has(result)));
    assert_eq!(world.objects.objects().unwrap(), []);
}

#[test]
fn folders_of_runs_go_with_their_records_unless_somebody_changed_them() {
    let world = World::new();
    world.write_lock(1);
    let mut outputs = Vec::new();
    for (number, name) in [(1, "reached"), (2, "whole"), (3, "edited"), (4, "with-notes")] {
        let of = &inputs_of(&lock_of(number), 0, 0)[&Stage::Sim];
        let result = world.put(Stage::Sim, of, &[name]);
        let output = format!("runs/sim_runs/{name}");
        world.record(Stage::Sim, name, &result, &output);
        outputs.push(world.root().join(output));
    }
    std::fs::write(outputs[2].join("0.csv"), "other").unwrap();
    std::fs::write(outputs[3].join("notes.txt"), "mine").unwrap();
    store::write(&world.root().join("runs/real_runs/by-hand/x.csv"), b"mine").unwrap();
    store::write(&world.root().join("profiles/by-hand/bundle.json"), b"mine").unwrap();
    let plan = world.gc(&GcRequest::default()).unwrap();
    let left: Vec<bool> = outputs.iter().map(|output| output.is_dir()).collect();
    assert_eq!(left, [true, false, true, true]);
    assert!(world.root().join("runs/real_runs/by-hand/x.csv").is_file());
    assert!(world.root().join("profiles/by-hand/bundle.json").is_file());
    let why: Vec<&str> = plan.kept.iter().map(|kept| kept.why).collect();
    assert_eq!(why.len(), 3, "{why:?}");
    let again = world.gc(&GcRequest::default()).unwrap();
    assert_eq!(again.garbage, []);
}

#[test]
fn a_root_that_cannot_be_read_protects_everything() {
    let world = World::new();
    let of = &inputs_of(&lock_of(1), 0, 0)[&Stage::Sim];
    let result = world.put(Stage::Sim, of, &["x"]);
    let bad = world.root().join("locks/bad.lock.kdl");
    for text in ["words", "", "lock 99", "lock 1"] {
        store::write(&bad, text.as_bytes()).unwrap();
        assert!(matches!(world.gc(&GcRequest::default()), Err(GcError::Lock { .. })), "{text:?}");
    }
    let mut edited = lock_of(1);
    edited.runs.push(edited.runs[0].clone());
    edited.runs[1].id = "tiny-2".to_owned();
    store::write(&bad, edited.to_kdl().as_bytes()).unwrap();
    assert!(matches!(world.gc(&GcRequest::default()), Err(GcError::Unclear { .. })));
    std::fs::remove_file(&bad).unwrap();

    // So does a damaged result: what it names is not known.
    let path = world.objects.result_path("real", &Digest::of("key"));
    store::write(&path, b"{}").unwrap();
    assert!(matches!(world.gc(&GcRequest::default()), Err(GcError::Result { .. })));
    std::fs::remove_file(&path).unwrap();

    // A project that uses the store and is not there, until it is said that it was deleted.
    let (here, gone) = (world.root().join("here"), world.root().join("gone"));
    std::fs::create_dir_all(&here).unwrap();
    crate::run::register(world.objects.root(), &here).unwrap();
    crate::run::register(world.objects.root(), &gone).unwrap();
    assert!(matches!(world.gc(&GcRequest::default()), Err(GcError::ProjectGone { root }) if root == gone));
    store::write(&here.join("locks/a.lock.kdl"), lock_of(1).to_kdl().as_bytes()).unwrap();
    let forget = GcRequest { forget_missing: true, ..GcRequest::default() };
    let plan = world.gc(&forget).unwrap();
    assert_eq!(plan.garbage.iter().map(|garbage| garbage.kind).collect::<Vec<_>>(), [Kind::Project]);
    assert!(world.has(&result), "another project's lock keeps its results");
    assert_eq!(world.gc(&GcRequest::default()).unwrap().garbage, []);
}

#[test]
fn nothing_is_removed_while_somebody_is_at_work() {
    let world = World::new();
    let project = Project::at(world.root().to_owned());
    let of = &inputs_of(&lock_of(1), 0, 0)[&Stage::Sim];
    let result = world.put(Stage::Sim, of, &["x"]);
    let writer = project.guard().unwrap();
    assert!(matches!(world.gc(&GcRequest::default()), Err(GcError::ProjectBusy { .. })));
    drop(writer);
    let reader = world.objects.share().unwrap();
    assert!(matches!(world.gc(&GcRequest::default()), Err(GcError::Busy { .. })));
    drop(reader);
    assert!(world.has(&result));
    // While a plan is held, nobody writes.
    let sweep = plan_in(&project, world.objects.clone(), &GcRequest::default()).unwrap();
    assert!(project.guard().is_err());
    assert!(world.objects.seize().unwrap().is_none());
    assert!(world.has(&result), "a plan removes nothing");
    sweep.carry_out().unwrap();
    drop(sweep);
    assert!(!world.has(&result));
    project.guard().unwrap();
}

#[test]
fn leftovers_and_quarantine_go_by_age_and_a_clock_set_back_keeps_them() {
    let world = World::new();
    let at = |name: &str| world.root().join(name);
    let aged = |name: &str, seconds: i64| {
        let path = at(name);
        store::write(&path, b"left").unwrap();
        let now = SystemTime::now();
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { now - distance } else { now + distance };
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    const DAY: i64 = 86_400;
    let store = ".xp/store";
    let leftovers = [
        "runs/sim_runs/.xp-a.tmp",
        "reports/.xp-b.tmp",
        ".xp/store/objects/.xp-c.tmp",
        ".xp/stages/.xp-d.tmp",
    ];
    leftovers.iter().for_each(|name| aged(name, -DAY));
    aged("runs/.xp-new.tmp", 0);
    aged("runs/.xp-future.tmp", DAY);
    aged("notes/.xp-mine.tmp", -DAY);
    aged(".xp/quarantine/old", -40 * DAY);
    aged(".xp/quarantine/young", -DAY);
    aged(".xp/quarantine/future", 40 * DAY);
    aged(&format!("{store}/quarantine/object"), -40 * DAY);
    aged("profiles/.xp-e.tmp/old", -DAY);
    let plan = world.gc(&GcRequest::default()).unwrap();
    assert!(leftovers.iter().all(|name| !at(name).exists()), "{plan:?}");
    assert!(plan.garbage.iter().all(|garbage| garbage.kind == Kind::Leftover));
    assert_eq!(plan.kept.len(), 7, "{:?}", plan.kept);
    let month = GcRequest {
        quarantine_older_than: Some(Duration::from_secs(30 * DAY as u64)),
        ..GcRequest::default()
    };
    let plan = world.gc(&month).unwrap();
    assert_eq!(plan.garbage.len(), 2, "{plan:?}");
    assert!(!at(".xp/quarantine/old").exists() && at(".xp/quarantine/young").exists());
    assert!(at(".xp/quarantine/future").exists() && at("notes/.xp-mine.tmp").exists());
    assert!(at("profiles/.xp-e.tmp/old").exists(), "it may be the only copy");
}

#[test]
fn worktrees_and_branches_are_roots() {
    let world = World::new();
    let (main, linked) = (world.root().join("main"), world.root().join("linked"));
    let git = |dir: &Path, args: &[&str]| {
        let mut command = std::process::Command::new("git");
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(variable);
        }
        let names = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"];
        command.current_dir(dir).args(names).args(args).output().is_ok_and(|output| output.status.success())
    };
    let lock = |root: &Path, number: u8| {
        let path = root.join(format!("bench/locks/{number}.lock.kdl"));
        store::write(&path, lock_of(number).to_kdl().as_bytes()).unwrap();
    };
    std::fs::create_dir_all(&main).unwrap();
    if !git(&main, &["init"]) {
        eprintln!("git is not there: branches are not tested");
        return;
    }
    // 1 is committed on main, 2 on a branch that is not checked out, 3 only in the other worktree.
    lock(&main, 1);
    assert!(git(&main, &["add", "."]) && git(&main, &["commit", "-m", "one"]));
    assert!(git(&main, &["checkout", "-b", "other"]));
    lock(&main, 2);
    assert!(git(&main, &["add", "."]) && git(&main, &["commit", "-m", "two"]));
    assert!(git(&main, &["checkout", "main"]));
    assert!(git(&main, &["worktree", "add", "-b", "third", "../linked", "main"]));
    lock(&linked, 3);
    std::fs::remove_file(main.join("bench/locks/1.lock.kdl")).unwrap();
    let sims: Vec<StoredResult> = (1..=4)
        .map(|number| {
            world.put(Stage::Sim, &inputs_of(&lock_of(number), 0, 0)[&Stage::Sim], &[&number.to_string()])
        })
        .collect();
    for root in [&main, &linked] {
        let project = Project::at(root.join("bench"));
        let sweep = plan_in(&project, world.objects.clone(), &GcRequest::default()).unwrap();
        assert_eq!(sweep.plan.garbage.len(), 2, "the result of 4 and its object: {:?}", sweep.plan);
        assert_eq!(sweep.plan.garbage[0].path, world.objects.result_path("sim", &sims[3].key()));
    }
    let project = Project::at(main.join("bench"));
    let request = GcRequest { no_branches: true, ..GcRequest::default() };
    let sweep = plan_in(&project, world.objects.clone(), &request).unwrap();
    assert_eq!(sweep.plan.garbage.len(), 4, "2 too; 1 is still in the linked worktree: {:?}", sweep.plan);
    drop(sweep);

    // A lock of a branch that is none protects everything.
    assert!(git(&main, &["checkout", "other"]));
    store::write(&main.join("bench/locks/2.lock.kdl"), b"words").unwrap();
    assert!(git(&main, &["commit", "-am", "bad"]) && git(&main, &["checkout", "-f", "main"]));
    let refused = plan_in(&project, world.objects.clone(), &GcRequest::default()).unwrap_err();
    let GcError::Lock { lock, branch: true, .. } = refused else { panic!("{refused}") };
    assert_eq!(lock, "other:bench/locks/2.lock.kdl");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever results, objects and locks there are: what a lock that is there pins is there afterwards and
    /// whole, the rest is gone, and a second gc finds nothing.
    #[test]
    fn gc_keeps_what_is_reached_and_nothing_else(
        locks in proptest::collection::btree_set(0u8..5, 0..4),
        results in proptest::collection::vec((0u8..5, 0usize..4, 0u8..3, 0u8..3, 0u8..6, 0u8..6), 0..12),
        strays in proptest::collection::vec(0u8..10, 0..4),
        recorded in proptest::collection::btree_set(0usize..12, 0..6),
    ) {
        let world = World::new();
        locks.iter().for_each(|number| world.write_lock(*number));
        for stray in &strays {
            store::write(&world.root().join("stray"), format!("stray {stray}").as_bytes()).unwrap();
            world.objects.put_file(&world.root().join("stray")).unwrap();
        }
        let mut all = Vec::new();
        for (index, (number, stage, machine, repeat, one, two)) in results.into_iter().enumerate() {
            let of = inputs_of(&lock_of(number), machine, repeat);
            let (stage, of) = of.into_iter().nth(stage).unwrap();
            let made = world.put(stage, &of, &[&one.to_string(), &two.to_string()]);
            if recorded.contains(&index) && stage != Stage::Profile {
                // Of several measurements of one key the store has the first, and this project its own.
                world.record(stage, &format!("r{index}"), &made, &format!("runs/x/r{index}"));
            }
            all.push((number, made));
        }
        // Of one key the first result stays.
        let expected: BTreeSet<(String, Digest)> = all
            .iter()
            .filter(|(number, _)| locks.contains(number))
            .map(|(_, result)| (result.stage.clone(), result.key()))
            .collect();
        let plan = world.gc(&GcRequest::default()).unwrap();
        let left: Vec<StoredResult> =
            world.objects.results().unwrap().into_iter().collect::<Result<_, _>>().unwrap();
        let found: BTreeSet<(String, Digest)> =
            left.iter().map(|result| (result.stage.clone(), result.key())).collect();
        prop_assert_eq!(found, expected);
        let mut contents = BTreeSet::new();
        for file in left.iter().flat_map(|result| &result.files) {
            world.objects.check(file).unwrap();
            contents.insert(file.sha256);
        }
        for (_, record) in StageStore::records(world.root()).unwrap() {
            let mut check = |file: &FileDigest| world.objects.check(file).map(|()| contents.insert(file.sha256));
            record.files.iter().try_for_each(|file| check(file).map(drop)).unwrap();
        }
        let objects: BTreeSet<Digest> = world.objects.objects().unwrap().into_iter().map(|(name, _)| name).collect();
        prop_assert_eq!(objects, contents);
        prop_assert_eq!(plan.roots, locks.len());
        prop_assert_eq!(world.gc(&GcRequest::default()).unwrap().garbage, vec![]);
    }
}
