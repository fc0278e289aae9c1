//! What a lock pins, derived again.

use std::collections::HashMap;
use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::{Check, Outcome, What};
use crate::backend::{self, Backend, Job, SimRunner};
use crate::lock::{self, BundlePin, Change, Lock, ProfileUse, Resolved, RunPin, SpecPin};
use crate::metrics;
use crate::profile::Profile;
use crate::progress::{Progress, Silent};
use crate::run::{Project, StageStore, profile_step, result_digest, versions};
use crate::source::{Access, HubError, Network, SourceError};
use crate::spec::{self, Cell, Experiment};
use crate::store::{self, Digest, DigestCache, FileDigest, Memo, StagedDir, abbreviate};

/// How many steps [`checks`] reports: one for what is resolved together, one a simulation.
pub(super) fn count(lock: &Lock) -> u64 {
    1 + lock.runs.len() as u64
}

/// Checks model, data, workloads, bundles and simulations. `cells` are the experiments of the lock's runs.
pub(super) fn checks(
    project: &Project,
    data: Option<&Path>,
    lock: &Lock,
    cells: &[Cell],
    progress: &dyn Progress,
) -> Vec<Check> {
    let (resolved, bundles) =
        rayon::join(|| resolved(project, data, lock, cells.to_vec()), || bundles(project, data, lock, cells));
    progress.advance(1);
    let (mut checks, bundles) = bundles;
    match resolved {
        Ok(resolved) => {
            checks.extend(facts(lock, &resolved.lock));
            let simulations = lock.runs.par_iter().enumerate().map(|(index, run)| {
                let check = run
                    .sim
                    .as_ref()
                    .map(|_| simulation(lock, run, index, &resolved, bundles[index].as_deref()));
                progress.advance(1);
                check
            });
            checks.extend(simulations.flatten().collect::<Vec<_>>());
        }
        Err(check) => {
            // Nothing of the runs can be said.
            let why = format!("{} {} is not as it was", check.what.name(), check.name);
            for run in &lock.runs {
                checks.push(Check::absent(What::Workload, &run.id, &why));
                checks.extend(run.sim.as_ref().map(|_| Check::absent(What::Simulation, &run.id, &why)));
            }
            checks.push(check);
            progress.advance(lock.runs.len() as u64);
        }
    }
    checks
}

/// Resolves the lock's experiment anew, without a cache and without a network.
fn resolved(
    project: &Project,
    data: Option<&Path>,
    lock: &Lock,
    cells: Vec<Cell>,
) -> Result<Resolved, Check> {
    let (digests, memo) = (DigestCache::default(), Memo::default());
    let access = Access {
        inputs: &lock::data_folder(project.root(), lock.experiment.data.as_deref(), data),
        digests: &digests,
        memo: &memo,
        network: Network::Offline,
        progress: &Silent,
    };
    let pin = SpecPin { sha256: Digest::of_json(&lock.experiment), ..lock.spec.clone() };
    lock::resolve(&lock.experiment, cells, pin, versions(), Some(lock), &access).map_err(|error| {
        let (what, name) = match &error {
            lock::ResolveError::Source(_) => (What::ModelFile, lock.experiment.model.name.clone()),
            lock::ResolveError::DataFile { path, .. } => (What::DataFile, path.clone()),
            lock::ResolveError::Workload(_) => (What::DataFile, lock.experiment.workload.name.clone()),
            _ => (What::Fact, lock.experiment.name.clone()),
        };
        let outcome = if is_absence(&error) { Outcome::Absent } else { Outcome::Differs };
        Check { what, name, outcome, detail: in_full(&error) }
    })
}

/// Whether something is not here, rather than wrong.
fn is_absence(error: &lock::ResolveError) -> bool {
    // Without a network the hub's cache has a model, or has it not.
    if let lock::ResolveError::Source(SourceError::Hub(error)) = error {
        return !matches!(error, HubError::Wrong { .. } | HubError::Size { .. });
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error and its causes in one line.
fn in_full(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        cause = error.source();
    }
    out
}

/// Every fact that the lock pins against the one that follows from its experiment.
fn facts(pinned: &Lock, derived: &Lock) -> Vec<Check> {
    let mut derived = derived.clone();
    // These are checked by themselves, or say who wrote the lock.
    derived.xp.clone_from(&pinned.xp);
    derived.lock = pinned.lock;
    derived.bundle.clone_from(&pinned.bundle);
    for (run, pinned) in derived.runs.iter_mut().zip(&pinned.runs) {
        run.bundle.clone_from(&pinned.bundle);
        run.sim.clone_from(&pinned.sim);
    }
    let changes = lock::diff(pinned, &derived).changes;
    let mut checks: Vec<Check> = changes.iter().map(|change| difference(pinned, change)).collect();
    let changed = |prefix: &str, name: &str| {
        changes.iter().any(|change| change.path.starts_with(prefix) && change.path.contains(name))
    };
    let files = pinned.resolved_model.files.iter().map(|file| file.file.as_str());
    checks.extend(
        files
            .filter(|file| !changed("resolved-model.files.", file))
            .map(|file| Check::same(What::ModelFile, file)),
    );
    for run in &pinned.runs {
        let files = run.workload.files.iter().map(|file| file.file.as_str());
        checks.extend(
            files.filter(|file| !changed("runs.", file)).map(|file| Check::same(What::DataFile, file)),
        );
        if !changes.iter().any(|change| is_of_workload(change, run)) {
            checks.push(Check::same(What::Workload, &run.id));
        }
    }
    if checks.iter().all(|check| check.what != What::Fact) {
        checks.push(Check::same(What::Fact, "versions, seeds and settings"));
    }
    checks
}

fn is_of_workload(change: &Change, run: &RunPin) -> bool {
    change.path.starts_with("runs.") && change.path.contains(&run.id) && change.path.contains(".workload.")
}

fn difference(lock: &Lock, change: &Change) -> Check {
    let short = |value: &Option<String>| value.as_deref().map_or_else(|| "nothing".to_owned(), abbreviate);
    let detail = format!("pinned {}, here {}", short(&change.old), short(&change.new));
    let what = match change.path.as_str() {
        path if path.starts_with("resolved-model.files.") => What::ModelFile,
        path if path.starts_with("runs.") && path.contains(".workload.files.") => What::DataFile,
        _ if lock.runs.iter().any(|run| is_of_workload(change, run)) => What::Workload,
        _ => What::Fact,
    };
    Check::differs(what, &change.path, detail)
}

/// The bundle of each run where it is whole, and what the files of all came to. A bundle is read once for all runs that
/// read it alike.
fn bundles(
    project: &Project,
    data: Option<&Path>,
    lock: &Lock,
    cells: &[Cell],
) -> (Vec<Check>, Vec<Option<Arc<Profile>>>) {
    let mut known: HashMap<_, Option<Arc<Profile>>> = HashMap::new();
    let (mut checks, mut out) = (Vec::new(), Vec::with_capacity(lock.runs.len()));
    for (run, cell) in lock.runs.iter().zip(cells) {
        let Some(pin) = lock.bundle_of(run) else {
            out.push(None);
            continue;
        };
        let of_cell = || {
            let (found, profile) = bundle(project, data, lock, pin, &cell.experiment);
            checks.extend(found);
            profile.map(Arc::new)
        };
        let key = (&pin.path, pin.sha256, ProfileUse::of(&cell.experiment));
        out.push(known.entry(key).or_insert_with(of_cell).clone());
    }
    (checks, out)
}

/// A pinned bundle where it is whole, and what its files came to.
fn bundle(
    project: &Project,
    data: Option<&Path>,
    lock: &Lock,
    pin: &BundlePin,
    cell: &Experiment,
) -> (Vec<Check>, Option<Profile>) {
    let named = cell.simulated().is_some_and(|sim| matches!(sim.profile, spec::ProfileSource::Folder(_)));
    let inputs = lock::data_folder(project.root(), lock.experiment.data.as_deref(), data);
    let place = if named { Project::at(inputs) } else { project.clone() };
    let Ok(folder) = place.resolve(&pin.path) else {
        return (vec![Check::differs(What::BundleFile, &pin.path, "it lies outside of the project")], None);
    };
    if folder.is_dir() {
        return bundle_in(cell, pin, &folder);
    }
    // Where the folder is not here, the store may have it.
    let absent = || (vec![Check::absent(What::BundleFile, &pin.path, "it is not here")], None);
    let stages = StageStore::new(project.root());
    let step = profile_step(pin);
    let Ok(Some(result)) = stages.objects().result(step.stage.name(), &step.key()) else { return absent() };
    let Ok(staged) = StagedDir::new(&std::env::temp_dir().join("xp-verify")) else { return absent() };
    match stages.objects().fetch_dir(&result.files, staged.path()) {
        Ok(()) => bundle_in(cell, pin, staged.path()),
        Err(_) => absent(),
    }
}

fn bundle_in(cell: &Experiment, pin: &BundlePin, folder: &Path) -> (Vec<Check>, Option<Profile>) {
    let file = |file: &FileDigest| {
        let name = format!("{}/{}", pin.path, file.file);
        match store::digest_file(&folder.join(&file.file)) {
            Ok(found) if found == (file.bytes, file.sha256) => Check::same(What::BundleFile, name),
            Ok((_, found)) => {
                let detail = format!("pinned {}…, here {}…", file.sha256.short(12), found.short(12));
                Check::differs(What::BundleFile, name, detail)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Check::absent(What::BundleFile, name, "it is not here")
            }
            Err(error) => Check::differs(What::BundleFile, name, error.to_string()),
        }
    };
    let mut checks: Vec<Check> = pin.files.par_iter().map(file).collect();
    let headless = cell.simulated().is_some_and(|sim| sim.vidur.is_some())
        || pin.files.iter().any(|file| file.file == "meta.yaml");
    let head = if headless { pin.path.clone() } else { format!("{}/bundle.json", pin.path) };
    match backend::read_profile(cell, folder) {
        Ok(bundle) if bundle.digest() == pin.sha256 => {
            checks.push(Check::same(What::BundleFile, head));
            (checks, Some(bundle))
        }
        Ok(_) => {
            checks.push(Check::differs(What::BundleFile, head, "it is not the pinned one"));
            (checks, None)
        }
        Err(error) => {
            checks.push(Check::differs(What::BundleFile, head, in_full(&error)));
            (checks, None)
        }
    }
}

/// Simulates a run in memory.
fn simulation(
    lock: &Lock,
    run: &RunPin,
    index: usize,
    resolved: &Resolved,
    bundle: Option<&Profile>,
) -> Check {
    let Some(pin) = &run.sim else { return Check::same(What::Simulation, &run.id) };
    let absent = |why: &str| Check::absent(What::Simulation, &run.id, why);
    let Some(bundle) = bundle else { return absent("its bundle is not here, or not as it was") };
    if resolved.lock.runs[index].workload.sha256 != run.workload.sha256 {
        return absent("its workload is not as it was");
    }
    let differs = |why: String| Check::differs(What::Simulation, &run.id, why);
    let workload = match resolved.simulated_workload(index) {
        Ok(workload) => workload,
        Err(error) => return differs(in_full(&error)),
    };
    let cell = &resolved.cells[index].experiment;
    let Some(sim) = cell.simulated() else {
        return differs("the experiment simulates nothing".to_owned());
    };
    let predictor = match backend::predictor(lock, index, cell, bundle, None) {
        Ok(predictor) => predictor,
        Err(error) => return differs(in_full(&error)),
    };
    let job = Job {
        run,
        workload: &workload,
        model_name: &lock.experiment.model.name,
        model: &lock.resolved_model,
        dtype: lock.experiment.model.dtype,
        hardware: &cell.hardware,
        repeat: 0,
    };
    let mut runner = SimRunner {
        name: &sim.name,
        profile: bundle,
        predictor: predictor.as_ref(),
        log: sim.log,
        router_seed: lock.seeds.router.unwrap_or_default(),
    };
    let made = runner.serve(&job, &Silent).map_err(|error| in_full(&error)).and_then(|(record, meta)| {
        let files = metrics::digest_run(&record, &meta).map_err(|error| in_full(&error))?;
        Ok((result_digest(&files), meta.num_steps))
    });
    match made {
        Ok((sha256, steps)) if (sha256, steps) == (pin.sha256, pin.steps) => {
            Check::same(What::Simulation, &run.id)
        }
        Ok((sha256, _)) => {
            differs(format!("pinned {}…, simulating gives {}…", pin.sha256.short(12), sha256.short(12)))
        }
        Err(why) => differs(why),
    }
}
