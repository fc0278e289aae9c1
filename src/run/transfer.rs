//! Results to and from another store, such as a folder that several machines mount.

use std::collections::BTreeSet;
use std::path::Path;

use super::project::Project;
use super::reach::{Known, Reach};
use super::record::{StageState, StageStore};
use super::restore::Restored;
use super::steps::{self, Step};
use super::worktree::register;
use super::{Observer, RunError, Stage};
use crate::lock::Lock;
use crate::store::{ObjectStore, StoredResult, Transferred, transfer};

/// Copies results of the project's store into another: those that the locks reach, or all.
///
/// # Errors
/// The folder is no store, a result cannot be read, or the system refuses.
pub fn push(
    project: &Project,
    other: &Path,
    locks: &[Lock],
    observer: &dyn Observer,
) -> Result<Transferred, RunError> {
    let stages = StageStore::new(project.root());
    let other = other_store(&stages, other, true)?;
    let out = copy(stages.objects(), &other, locks, observer)?;
    // Whoever sweeps that store is to know that somebody relies on it.
    register(other.root(), project.root()).map_err(|source| RunError::io(other.root(), source))?;
    Ok(out)
}

/// Copies results of another store into the project's: those that the locks reach, or all. What the locks
/// reach is brought to its place.
///
/// # Errors
/// The folder is no store, the project is in use, a result cannot be read, or the system refuses.
pub fn pull(
    project: &Project,
    other: &Path,
    locks: &[Lock],
    observer: &dyn Observer,
) -> Result<Transferred, RunError> {
    let stages = StageStore::new(project.root());
    let other = other_store(&stages, other, false)?;
    let _guard = project.guard()?;
    let io = |source| RunError::io(stages.objects().root(), source);
    stages.place.register(project.root()).map_err(io)?;
    let out = copy(&other, stages.objects(), locks, observer)?;
    for lock in locks {
        materialize(project, &stages, lock, observer)?;
    }
    Ok(out)
}

/// The other store. One that is to be written may be a new or empty folder.
fn other_store(stages: &StageStore, folder: &Path, may_be_new: bool) -> Result<ObjectStore, RunError> {
    let io = |source| RunError::io(folder, source);
    let same = folder.canonicalize().ok().zip(stages.objects().root().canonicalize().ok());
    if same.is_some_and(|(one, other)| one == other) {
        return Err(RunError::SameStore { folder: folder.to_owned() });
    }
    let is_store = folder.join("results").is_dir() || folder.join("objects").is_dir();
    let is_empty = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_be_new => true,
        Err(error) => return Err(io(error)),
    };
    if is_store || (may_be_new && is_empty) {
        return Ok(ObjectStore::new(std::path::absolute(folder).map_err(io)?));
    }
    Err(RunError::NoStore { folder: folder.to_owned() })
}

fn copy(
    from: &ObjectStore,
    to: &ObjectStore,
    locks: &[Lock],
    observer: &dyn Observer,
) -> Result<Transferred, RunError> {
    let found = from.results().map_err(|source| RunError::io(from.root(), source))?;
    let mut damaged = Vec::new();
    let mut results = Vec::with_capacity(found.len());
    for result in found {
        match result {
            Ok(result) => results.push(result),
            Err(error) => damaged.push(error.to_string()),
        }
    }
    if !locks.is_empty() {
        let reach = reach(locks, &results)?;
        results.retain(|result| Known::of(result).is_some_and(|known| reach.reaches(&known)));
    }
    let progress = observer.progress();
    progress.start("copying results", results.len() as u64);
    let out = transfer(&results, from, to, &|| progress.advance(1));
    progress.finish();
    let mut out = out?;
    damaged.append(&mut out.damaged);
    Ok(Transferred { damaged, ..out })
}

fn reach(locks: &[Lock], results: &[StoredResult]) -> Result<Reach, RunError> {
    let mut reach = Reach::default();
    locks.iter().try_for_each(|lock| reach.add_lock(lock))?;
    reach.close(&results.iter().filter_map(Known::of).collect::<Vec<_>>());
    Ok(reach)
}

/// Brings every result of the store that a lock reaches to its place, whatever machine it is of.
fn materialize(
    project: &Project,
    stages: &StageStore,
    lock: &Lock,
    observer: &dyn Observer,
) -> Result<(), RunError> {
    let found = stages.objects().results().map_err(|source| RunError::io(stages.objects().root(), source))?;
    let results: Vec<StoredResult> = found.into_iter().flatten().collect();
    let reach = reach(std::slice::from_ref(lock), &results)?;
    let mut steps: Vec<Step> = Vec::new();
    for result in &results {
        if let Some(known) = Known::of(result).filter(|known| reach.reaches(known)) {
            steps.extend(steps::places_of(lock, &known)?);
        }
    }
    steps.sort_by(|a, b| (a.stage, &a.output).cmp(&(b.stage, &b.output)));
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for step in steps {
        // A path of a lock or a result leads out of no project.
        project.resolve(&step.output)?;
        // A PDF that is there is the reader's; of two bundles in one place, the first.
        let in_the_way = step.stage == Stage::Report && project.root().join(&step.output).exists();
        if in_the_way || !taken.insert(step.output.clone()) {
            continue;
        }
        let StageState::Stored { record, why } = stages.state_of(&step) else { continue };
        let (restored, notes) = stages.restore(&record)?;
        notes.iter().for_each(|note| observer.warned(note));
        match restored {
            Restored::Whole => observer.restored(step.stage, &step.label, &record.output, &why.reason()),
            Restored::Lost(lost) => lost.iter().for_each(|lost| observer.warned(lost)),
        }
    }
    Ok(())
}
