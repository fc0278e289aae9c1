//! The table of `lock::diff` against the keys of the stages: what a diff says
//! is made again is what has another key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::record::{StageRecord, key};
use super::steps::Step;
use super::{Quiet, Request, Session, Stage};
use crate::lock::{self, BundlePin, HardwareFact, Lock, RunPin, SimPin, Stages};
use crate::spec::{
    Backend, ByteSize, CandleBackend, CapacitySpec, Cell, Compare, Dtype, Grid, Interconnect, Overhead,
    ProfileSource, SimLog, Slo, Source, Vidur,
};
use crate::store::{self, Digest, FileDigest};

const BASE: &str = r#"experiment "keys" {
    description "what is keyed by what"
    seed 7
    model "qwen3-tiny" dtype="f32"
    hardware "cpu" threads=1
    workload "few" {
        requests 3
        lengths "uniform" min=12 max=40
        arrivals "poisson" qps=50
    }
    backend "sarathi" max-batch-size=4 kv-memory="4MiB" { sampling temperature=0.5; }
    backend "spare" kind="candle" chunk-size=16 kv-memory="4MiB" { sampling temperature=0.5; }
    backend "vidur" { profile "auto"; }
    backend "other" kind="sim"
    slo ttft-p99="500ms"
    compare real="sarathi" sim="vidur" pass="5%" warn="9%" repeats=2
    matrix {
        backend.sarathi.chunk-size 16 32
        backend.sarathi.sampling.temperature 0.5 0.9
    }
    report "reports/keys.pdf"
}"#;

const COMPARE: &str = "compare real=\"sarathi\" sim=\"vidur\" pass=\"5%\" warn=\"9%\" repeats=2";

/// A recording in the place of the spare engine.
const SPARE: &str =
    "backend \"spare\" kind=\"candle\" chunk-size=16 kv-memory=\"4MiB\" { sampling temperature=0.5; }";
const RECORDED: &str = "backend \"spare\" kind=\"recorded\" chunk-size=16 kv-memory=\"4MiB\" {
        file \"recorded.csv\"
        columns unit=\"s\" arrival=\"a\" first-token=\"f\" completion=\"c\"
    }";

fn compare(lock: &mut Lock) -> &mut Compare {
    lock.experiment.compare.as_mut().unwrap()
}

fn engine<'a>(lock: &'a mut Lock, name: &str) -> &'a mut CandleBackend {
    let mut backends = lock.experiment.backends.iter_mut();
    match backends.find(|backend| backend.name() == name) {
        Some(Backend::Candle(engine)) => engine,
        other => panic!("{other:?}"),
    }
}

/// A worker in the place of the spare engine.
const WORKER: &str = "backend \"spare\" kind=\"transformers\" kv-memory=\"4MiB\" step-timeout=\"9s\"";

/// A change of a lock.
struct Case {
    name: &'static str,
    change: Change,
}

enum Change {
    /// Another experiment.
    Text(String),
    /// What no text of an experiment does alone.
    Lock(fn(&mut Lock)),
}

fn cases() -> Vec<Case> {
    let spec = |name, from: &str, to: &str| {
        assert!(BASE.contains(from), "{from:?} is not in the experiment");
        Case { name, change: Change::Text(BASE.replacen(from, to, 1)) }
    };
    let lock = |name, edit| Case { name, change: Change::Lock(edit) };
    vec![
        lock("nothing", |_| {}),
        // What decides other facts of a lock is resolved anew.
        spec("name", "experiment \"keys\"", "experiment \"locks\""),
        spec("measured backend", "real=\"sarathi\"", "real=\"spare\""),
        spec("seed", "seed 7", "seed 8"),
        spec("requests", "requests 3", "requests 4"),
        spec("batch size", "max-batch-size=4", "max-batch-size=5"),
        spec("a setting that the matrix overrides", "kv-memory=\"4MiB\"", "chunk-size=8 kv-memory=\"4MiB\""),
        spec("sampling that the matrix overrides", "sampling temperature=0.5", "sampling temperature=0.6"),
        spec("sampling", "sampling temperature=0.5", "sampling temperature=0.5 top-k=3"),
        spec("axis", "chunk-size 16 32", "chunk-size 16 64"),
        spec("order of an axis", "chunk-size 16 32", "chunk-size 32 16"),
        spec("no comparison", COMPARE, ""),
        Case {
            name: "measured elsewhere",
            change: Change::Text(
                BASE.replacen(SPARE, RECORDED, 1)
                    .replace("real=\"sarathi\"", "real=\"spare\"")
                    .replace(" repeats=2", ""),
            ),
        },
        Case {
            name: "measured by a worker",
            change: Change::Text(
                BASE.replacen(SPARE, WORKER, 1).replace("real=\"sarathi\"", "real=\"spare\""),
            ),
        },
        lock("description", |lock| lock.experiment.description = None),
        lock("report", |lock| lock.experiment.report = Some("reports/other.pdf".to_owned())),
        lock("data folder", |lock| lock.experiment.data = Some("data".to_owned())),
        lock("slo", |lock| lock.experiment.slo = Slo::default()),
        lock("limits", |lock| compare(lock).pass = "6%".parse().unwrap()),
        lock("repeats", |lock| compare(lock).repeats = 3),
        lock("simulated backend", |lock| compare(lock).sim = "other".to_owned()),
        lock("dtype", |lock| {
            lock.experiment.model.dtype = Dtype::Bf16;
            lock.resolved_model.sha256 = Digest::of("bf16");
        }),
        lock("threads", |lock| lock.experiment.hardware.threads = 2),
        lock("workload in words alone", |lock| lock.experiment.workload.name = "some".to_owned()),
        lock("chat template", |lock| {
            lock.experiment.workload.chat_template = true;
            lock.resolved_model.sha256 = Digest::of("with a template");
        }),
        lock("spare engine", |lock| engine(lock, "spare").chunk_size = 24),
        lock("spare engine's sampling", |lock| engine(lock, "spare").sampling.top_k = 9),
        lock("profile", |lock| {
            let Backend::Sim(sim) = &mut lock.experiment.backends[2] else { panic!() };
            sim.profile = ProfileSource::Folder("profiles/b".to_owned());
            lock.bundle.as_mut().unwrap().path = "profiles/b".to_owned();
        }),
        lock("spare simulation", |lock| {
            lock.experiment.backends.retain(|backend| backend.name() != "other");
        }),
        lock("model", |lock| {
            lock.experiment.model.name = "qwen3-other".to_owned();
            lock.resolved_model.config.num_hidden_layers += 1;
            lock.resolved_model.sha256 = Digest::of("other");
        }),
        lock("version", |lock| lock.xp = "9.9.9".to_owned()),
        lock("format", |lock| lock.lock = 0),
        lock("overrides", |lock| lock.spec.overrides.push("seed=7".to_owned())),
        lock("device", |lock| lock.experiment.hardware.device = "abacus".to_owned()),
        lock("device's memory", |lock| lock.experiment.hardware.memory = Some(ByteSize(1 << 34))),
        lock("price", |lock| lock.experiment.hardware.price_per_hour = Some(2.0)),
        lock("capacity", |lock| {
            lock.experiment.capacity = Some(CapacitySpec {
                min_qps: 1.0,
                max_qps: 2.0,
                tolerance: "2%".parse().unwrap(),
                delay_p99: None,
            });
        }),
        lock("interconnect", |lock| {
            lock.experiment.hardware.interconnect = Some(Interconnect {
                bandwidth: "25GB/s".parse().unwrap(),
                latency: "10us".parse().unwrap(),
                source: None,
            });
        }),
        lock("overhead", |lock| {
            let Backend::Sim(sim) = &mut lock.experiment.backends[2] else { panic!() };
            sim.overhead = Some(Overhead { step: "1ms".parse().unwrap(), source: None });
        }),
        lock("grid", |lock| {
            let Backend::Sim(sim) = &mut lock.experiment.backends[2] else { panic!() };
            sim.grid = Some(Grid { degree: Some(2), ..Grid::default() });
        }),
        lock("log", |lock| {
            let Backend::Sim(sim) = &mut lock.experiment.backends[2] else { panic!() };
            sim.log = SimLog::Requests;
        }),
        lock("vidur", |lock| {
            let Backend::Sim(sim) = &mut lock.experiment.backends[2] else { panic!() };
            sim.vidur = Some(Vidur {
                device: "a100".to_owned(),
                model: None,
                network: None,
                devices_per_node: 8,
                cpu_overhead: false,
            });
        }),
        lock("router seed", |lock| {
            lock.seeds.router = Some(1);
            lock.runs[1].cluster.replicas = 2;
        }),
        lock("one cluster", |lock| lock.runs[2].cluster.tensor_parallel = 2),
        lock("metric definitions", |lock| lock.versions.metrics += 1),
        lock("engine's version", |lock| lock.versions.engine += 1),
        lock("simulator's version", |lock| lock.versions.simulator += 1),
        lock("workload's version", |lock| lock.versions.workload += 1),
        lock("sampling seed", |lock| lock.seeds.sampling += 1),
        lock("weights seed", |lock| lock.seeds.weights += 1),
        lock("commit", |lock| lock.resolved_model.commit = Some("c0ffee".to_owned())),
        lock("model digest", |lock| lock.resolved_model.sha256 = Digest::of("other")),
        lock("model source", |lock| {
            lock.experiment.model.source = Source::Path { path: "models/x".to_owned() };
            lock.resolved_model.sha256 = Digest::of("other");
        }),
        lock("bundle", |lock| {
            let bundle = lock.bundle.as_mut().unwrap();
            bundle.sha256 = Digest::of("other");
            bundle.hardware[0].value = "other".to_owned();
        }),
        lock("bundle's place", |lock| lock.bundle.as_mut().unwrap().path = "profiles/b".to_owned()),
        lock("no bundle", |lock| lock.bundle = None),
        lock("a bundle of one run", |lock| {
            let other = BundlePin { sha256: Digest::of("other"), ..lock.bundle.clone().unwrap() };
            lock.runs[1].bundle = Some(other);
        }),
        lock("one workload", |lock| lock.runs[1].workload.sha256 = Digest::of("other")),
        lock("one total", |lock| lock.runs[1].workload.requests += 1),
        lock("one scheduler", |lock| lock.runs[2].scheduler.kv_blocks += 1),
        lock("one prefix cache", |lock| lock.runs[2].scheduler.prefix_caching = true),
        lock("one simulated result", |lock| {
            lock.runs[3].sim = Some(SimPin { sha256: Digest::of("other"), steps: 9 });
        }),
        lock("steps of one simulation", |lock| lock.runs[3].sim.as_mut().unwrap().steps += 1),
        lock("order of the runs", |lock| lock.runs.swap(0, 1)),
        lock("backends in another order", |lock| {
            lock.experiment.compare = None;
            lock.experiment.backends.swap(0, 1);
        }),
        lock("no simulation", |lock| {
            lock.experiment.backends.retain(|backend| matches!(backend, Backend::Candle(_)));
            (lock.experiment.compare, lock.bundle) = (None, None);
            lock.runs.iter_mut().for_each(|run| run.sim = None);
        }),
        lock("no run", |lock| {
            lock.runs.remove(0);
        }),
    ]
}

/// Opens an experiment, with a bundle and simulated results as if they had been made.
fn open(folder: &Path, text: &str) -> Session<'static> {
    let target = folder.join("experiments/keys.kdl");
    store::write(&target, text.as_bytes()).unwrap();
    store::write(&folder.join("recorded.csv"), b"a,f,c\n").unwrap();
    let mut session = Session::open(Request { target, ..Request::default() }, &Quiet).unwrap();
    session.resolved.lock.bundle = Some(BundlePin {
        path: "profiles/a".to_owned(),
        sha256: Digest::of("bundle"),
        fingerprint: Digest::of("machine"),
        hardware: vec![HardwareFact { name: "cpu".to_owned(), value: "one".to_owned() }],
        files: Vec::new(),
    });
    for index in 0..session.resolved.lock.runs.len() {
        let sha256 = session.sim_step(index).map(|step| key(Stage::Sim, &step.inputs));
        session.resolved.lock.runs[index].sim = sha256.map(|sha256| SimPin { sha256, steps: 5 });
    }
    session
}

/// Puts another lock in the place of a session's, with the cells that it stands for.
fn put(session: &mut Session<'_>, lock: Lock, cells: &[Cell]) {
    let cell = |run: &RunPin| {
        let set: Vec<_> = run.set.iter().map(|pin| (pin.path.clone(), pin.value.clone())).collect();
        let mut cell = cells.iter().find(|cell| cell.overrides == set).unwrap().clone();
        cell.experiment.compare = lock.experiment.compare.clone();
        cell.experiment.hardware = lock.experiment.hardware.clone();
        // Of its own, a cell has the settings of its engines; all else is the experiment's.
        let backends = lock.experiment.backends.iter().map(|backend| {
            let mut own = cell.experiment.backends.iter();
            match backend {
                Backend::Sim(_) => backend.clone(),
                _ => own.find(|own| own.name() == backend.name()).unwrap().clone(),
            }
        });
        cell.experiment.backends = backends.collect();
        cell
    };
    session.resolved.cells = lock.runs.iter().map(cell).collect();
    session.resolved.lock = lock;
}

/// A finished stage whose bytes are as good as its key.
fn record(step: &Step, content: &str) -> StageRecord {
    let digest = Digest::of(format!("{} {content}", key(step.stage, &step.inputs)));
    StageRecord {
        stage: step.stage,
        label: step.label.clone(),
        inputs: step.inputs.clone(),
        output: step.output.clone(),
        files: vec![FileDigest { file: "result".to_owned(), bytes: 1, sha256: digest }],
    }
}

/// What each stage of each run is keyed by; the report's is that of no run.
fn keys(session: &Session<'_>) -> BTreeMap<(String, Stage), String> {
    let lock = &session.resolved.lock;
    let mut out = BTreeMap::new();
    let mut compared = Vec::new();
    let lock_digest = lock.input_digest();
    for (index, run) in lock.runs.iter().enumerate() {
        let mut put = |stage: Stage, key: String| out.insert((run.id.clone(), stage), key);
        let of = |step: &Step| key(step.stage, &step.inputs).to_string();
        put(Stage::Workload, of(&session.workload_step(run)));
        let repeats = lock.experiment.compare.as_ref().map_or(1, |compare| compare.repeats);
        let real: Vec<Step> =
            (0..repeats).map(|repeat| session.real_step(index, repeat).unwrap().unwrap()).collect();
        put(Stage::Real, real.iter().map(of).collect());
        if session.sim_backend().is_none() {
            continue;
        }
        // The simulator's version is in the stage's key and not in the lock: another result with the
        // same inputs is another simulator's.
        let pinned = run.sim.as_ref().map_or("none".to_owned(), |sim| sim.sha256.to_string());
        put(Stage::Profile, lock.bundle_of(run).map_or("none".to_owned(), |pin| pin.sha256.to_string()));
        let step = session.sim_step(index);
        put(Stage::Sim, format!("{} {pinned}", step.as_ref().map_or("none".to_owned(), of)));
        if lock.experiment.compare.is_none() {
            continue;
        }
        let real: Vec<StageRecord> = real.iter().map(|step| record(step, "")).collect();
        // Without a bundle the comparison waits, and is not fresh.
        let step = step
            .map(|step| session.compare_step(index, &real, &record(&step, &pinned), lock_digest).unwrap());
        put(Stage::Compare, step.as_ref().map_or("waits".to_owned(), of));
        compared.extend(step.map(|step| record(&step, "")));
    }
    if lock.experiment.compare.is_some() {
        let step = session.report_step(compared.iter());
        let waits = compared.len() < lock.runs.len();
        out.insert((String::new(), Stage::Report), format!("{} {waits}", key(Stage::Report, &step.inputs)));
    }
    out
}

#[test]
fn a_diff_says_which_stages_have_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let old = open(dir.path(), BASE);
    let old_keys = keys(&old);
    let mut edited = open(dir.path(), BASE);
    let mut rules = BTreeSet::new();
    let mut told = String::new();
    for case in cases() {
        let opened;
        let new = match case.change {
            Change::Text(text) => {
                opened = open(dir.path(), &text);
                &opened
            }
            Change::Lock(edit) => {
                let mut lock = old.resolved.lock.clone();
                edit(&mut lock);
                put(&mut edited, lock, &old.resolved.cells);
                &edited
            }
        };
        let new_keys = keys(new);
        for (old, new, old_keys, new_keys, way) in
            [(&old, new, &old_keys, &new_keys, "made"), (new, &old, &new_keys, &old_keys, "taken back")]
        {
            let (old, new) = (&old.resolved.lock, &new.resolved.lock);
            let diff = lock::diff(old, new);
            let of_run = |id: &String| -> Stages {
                let stages = new_keys.keys().filter(|(run, _)| run == id).map(|(_, stage)| *stage);
                stages
                    .filter(|stage| {
                        old_keys.get(&(id.clone(), *stage)) != new_keys.get(&(id.clone(), *stage))
                    })
                    .collect()
            };
            let report = !of_run(&String::new()).is_empty();
            for id in &diff.common_runs {
                let told = diff.invalidated.iter().find(|group| group.runs.contains(id));
                let told = told.map(|group| group.stages).unwrap_or_default();
                let of_report = Stages::of(&[Stage::Report]);
                let found = of_run(id);
                let found = if found.has(Stage::Compare) { found.with(of_report) } else { found };
                assert_eq!(told.to_string(), found.to_string(), "{}, {way}: run {id}\n{diff:#?}", case.name);
                assert!(report || !told.has(Stage::Report), "{}, {way}: the report", case.name);
            }
            rules.extend(diff.changes.iter().map(|change| lock::row_of(old, new, &change.path)));
            if way == "made" {
                let groups = diff.invalidated.iter().map(|group| {
                    let all = if group.runs.len() == diff.common_runs.len() { " (all)" } else { "" };
                    format!("{}{all}", group.stages)
                });
                let groups = groups.collect::<Vec<_>>().join("; ");
                let groups = if groups.is_empty() { "nothing is made again" } else { &groups };
                let impact = diff.impact().map_or("-", lock::Impact::name);
                told += &format!("{}: {impact}: {groups}\n", case.name);
            }
        }
    }
    // Every row has to have been seen; the last three are of no fact that a lock has today.
    let unseen: Vec<&str> = lock::rows().filter(|row| !rules.contains(row)).collect();
    assert_eq!(unseen, ["<measured>", "<simulated>", "**"]);
    insta::assert_snapshot!(told, @r"
    nothing: -: nothing is made again
    name: cosmetic: nothing is made again
    measured backend: measurement: sim, real, compare, report (all)
    seed: comparison-breaking: workload, sim, real, compare, report (all)
    requests: comparison-breaking: workload, sim, real, compare, report (all)
    batch size: measurement: sim, real, compare, report (all)
    a setting that the matrix overrides: cosmetic: compare, report (all)
    sampling that the matrix overrides: cosmetic: compare, report (all)
    sampling: measurement: real, compare, report (all)
    axis: cosmetic: compare, report (all)
    order of an axis: cosmetic: compare, report (all)
    no comparison: measurement: real (all)
    measured elsewhere: measurement: sim, real, compare, report (all)
    measured by a worker: measurement: sim, real, compare, report (all)
    description: cosmetic: compare, report (all)
    report: cosmetic: compare, report (all)
    data folder: cosmetic: compare, report (all)
    slo: verdict: compare, report (all)
    limits: verdict: compare, report (all)
    repeats: measurement: real, compare, report (all)
    simulated backend: simulation: sim, compare, report (all)
    dtype: comparison-breaking: sim, real, compare, report (all)
    threads: measurement: sim, real, compare, report (all)
    workload in words alone: cosmetic: compare, report (all)
    chat template: comparison-breaking: sim, real, compare, report (all)
    spare engine: cosmetic: compare, report (all)
    spare engine's sampling: cosmetic: compare, report (all)
    profile: cosmetic: compare, report (all)
    spare simulation: cosmetic: compare, report (all)
    model: comparison-breaking: sim, real, compare, report (all)
    version: cosmetic: nothing is made again
    format: cosmetic: compare, report (all)
    overrides: cosmetic: compare, report (all)
    device: measurement: real, compare, report (all)
    device's memory: cosmetic: compare, report (all)
    price: verdict: compare, report (all)
    capacity: verdict: compare, report (all)
    interconnect: simulation: sim, compare, report (all)
    overhead: simulation: sim, compare, report (all)
    grid: simulation: sim, compare, report (all)
    log: simulation: sim, compare, report (all)
    vidur: simulation: sim, compare, report (all)
    router seed: simulation: sim, compare, report (all)
    one cluster: simulation: sim, compare, report; compare, report
    metric definitions: comparison-breaking: sim, real, compare, report (all)
    engine's version: measurement: real, compare, report (all)
    simulator's version: simulation: sim, compare, report (all)
    workload's version: cosmetic: compare, report (all)
    sampling seed: measurement: real, compare, report (all)
    weights seed: measurement: real, compare, report (all)
    commit: cosmetic: compare, report (all)
    model digest: comparison-breaking: sim, real, compare, report (all)
    model source: comparison-breaking: sim, real, compare, report (all)
    bundle: simulation: profile, sim, compare, report (all)
    bundle's place: cosmetic: compare, report (all)
    no bundle: simulation: profile, sim, compare, report (all)
    a bundle of one run: simulation: profile, sim, compare, report; compare, report
    one workload: comparison-breaking: workload, sim, real, compare, report; compare, report
    one total: cosmetic: compare, report (all)
    one scheduler: measurement: sim, real, compare, report; compare, report
    one prefix cache: measurement: sim, real, compare, report; compare, report
    one simulated result: simulation: sim, compare, report
    steps of one simulation: cosmetic: nothing is made again
    order of the runs: cosmetic: compare, report (all)
    backends in another order: measurement: real (all)
    no simulation: measurement: real (all)
    no run: -: compare, report (all)
    ");
}

#[test]
fn a_recording_is_keyed_by_its_file_and_its_columns() {
    let dir = tempfile::tempdir().unwrap();
    let text = BASE
        .replacen(SPARE, RECORDED, 1)
        .replace("real=\"sarathi\"", "real=\"spare\"")
        .replace(" repeats=2", "");
    let old = open(dir.path(), &text);
    let real = |session: &Session<'_>| session.real_step(0, 0).unwrap().unwrap().key();
    let told = |new: &Session<'_>| {
        let found = lock::diff(&old.resolved.lock, &new.resolved.lock);
        let stages = found.invalidated.first().map(|group| group.stages.to_string()).unwrap_or_default();
        (stages, real(new) != real(&old))
    };
    let columns = open(dir.path(), &text.replace("unit=\"s\"", "unit=\"ms\""));
    assert_eq!(told(&columns), ("real, compare, report".to_owned(), true));
    let mut other = open(dir.path(), &text);
    other.resolved.lock.runs.iter_mut().for_each(|run| {
        run.recorded.as_mut().unwrap().sha256 = Digest::of("other");
    });
    assert_eq!(told(&other), ("real, compare, report".to_owned(), true));
    let mut moved = open(dir.path(), &text);
    moved.resolved.lock.runs.iter_mut().for_each(|run| run.recorded.as_mut().unwrap().path += "2");
    assert_eq!(told(&moved), ("compare, report".to_owned(), false));
}

#[test]
fn a_worker_is_keyed_by_its_program_and_its_packages() {
    let dir = tempfile::tempdir().unwrap();
    let text = BASE.replacen(SPARE, WORKER, 1).replace("real=\"sarathi\"", "real=\"spare\"");
    let old = open(dir.path(), &text);
    let real = |session: &Session<'_>| session.real_step(0, 0).unwrap().unwrap().key();
    let told = |new: &Session<'_>| {
        let found = lock::diff(&old.resolved.lock, &new.resolved.lock);
        let stages = found.invalidated.first().map(|group| group.stages.to_string()).unwrap_or_default();
        (stages, real(new) != real(&old))
    };
    let measured = ("real, compare, report".to_owned(), true);
    let edited = |edit: fn(&mut lock::WorkerPin)| {
        let mut new = open(dir.path(), &text);
        new.resolved.lock.runs.iter_mut().for_each(|run| edit(run.worker.as_mut().unwrap()));
        told(&new)
    };
    assert_eq!(edited(|pin| pin.script = Digest::of("other")), measured);
    assert_eq!(edited(|pin| pin.protocol += 1), measured);
    assert_eq!(edited(|pin| pin.device = "a100".to_owned()), measured);
    assert_eq!(edited(|pin| pin.packages.push("tokenizers==1".to_owned())), measured);
    // What is installed decides, not which file says so.
    let list = lock::Lock::clone(&old.resolved.lock).runs[0].worker.clone().unwrap().packages.join("\n");
    std::fs::write(dir.path().join("list.txt"), list).unwrap();
    let named = text.replace("step-timeout=\"9s\"", "step-timeout=\"9s\" requirements=\"list.txt\"");
    assert_eq!(told(&open(dir.path(), &named)), ("compare, report".to_owned(), false));
    let patient = open(dir.path(), &text.replace("9s", "10s"));
    assert_eq!(told(&patient), ("compare, report".to_owned(), false));
    // A lock with a worker reads as it was written.
    let lock = &old.resolved.lock;
    assert_eq!(&lock::parse(Path::new("x"), &lock.to_kdl()).unwrap(), lock);
    let reasons = lock::staleness(lock, &{
        let mut other = lock.clone();
        other
            .runs
            .iter_mut()
            .for_each(|run| run.worker.as_mut().unwrap().packages[0] = "torch==1".to_owned());
        other
    });
    let told = reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    assert!(told.contains("worker.packages: locked \"torch==2.15.0\""), "{told}");
}

#[test]
fn a_setting_of_the_simulation_that_every_run_says_for_itself_makes_nothing_again() {
    let dir = tempfile::tempdir().unwrap();
    let text = |step: &str, link: &str| {
        BASE.replacen("profile \"auto\";", &format!("profile \"auto\"; overhead step=\"{step}\";"), 1)
            .replacen(
                "threads=1",
                &format!("threads=1 {{ interconnect bandwidth=\"{link}\" latency=\"1us\"; }}"),
                1,
            )
            .replacen("matrix {", "matrix {\n        backend.vidur.overhead.step \"2ms\" \"3ms\"", 1)
    };
    let (old, new, linked) = (
        open(dir.path(), &text("1ms", "1GB/s")),
        open(dir.path(), &text("4ms", "1GB/s")),
        open(dir.path(), &text("1ms", "2GB/s")),
    );
    let sim = |session: &Session<'_>, index: usize| session.sim_step(index).unwrap().key();
    assert_ne!(sim(&old, 0), sim(&old, 4), "the two overheads");
    let told = |new: &Session<'_>| {
        let groups = lock::diff(&old.resolved.lock, &new.resolved.lock).invalidated;
        (groups.iter().map(|group| group.stages.to_string()).collect::<Vec<_>>(), sim(new, 0) != sim(&old, 0))
    };
    assert_eq!(told(&new), (vec!["compare, report".to_owned()], false));
    assert_eq!(told(&linked), (vec!["sim, compare, report".to_owned()], true));
}
