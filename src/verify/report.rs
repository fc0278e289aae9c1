use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use super::{Check, Verified, VerifyError, What};
use crate::backend;
use crate::capacity;
use crate::compare::{self, CompareInput, Comparison};
use crate::lock::{self, Lock};
use crate::metrics::{self, Replay, RunMeta, RunRecord};
use crate::progress::Progress;
use crate::report::{self, CAPACITY, Contents, LOCK, PRICES, Prices};
use crate::run::{Project, Runs, Stage, StageRecord, StageState, StageStore, compare_input, replay_all};
use crate::spec::{self, Cell};
use crate::store::{self, Digest, FetchError, FileDigest, ObjectStore, StagedDir};

/// No honest report is larger, in bytes.
const MAX_PDF: u64 = 1 << 30;

/// A comparison inside a PDF.
struct Attached {
    name: String,
    sha256: Digest,
    comparison: Comparison,
}

/// Checks a PDF against the data attached to it, and those against the project that it lies in.
///
/// # Errors
/// The file cannot be read, or is no report with data.
pub fn verify_report(path: &Path, progress: &dyn Progress) -> Result<Verified, VerifyError> {
    let pdf = store::read_bounded(path, MAX_PDF)?;
    let files = report::attachments(&pdf)?;
    if files.is_empty() {
        return Err(VerifyError::NoData { path: path.to_owned() });
    }
    let project = Project::of(path).map_err(|source| VerifyError::Io { path: path.to_owned(), source })?;
    let mut checks = Vec::new();
    let mut attached = Vec::new();
    let mut lock_text = None;
    let (mut searched, mut prices) = (None, None);
    for file in &files {
        let wrong = |what: What, error: String| Check::differs(what, &file.name, error);
        match file.name.as_str() {
            LOCK => lock_text = std::str::from_utf8(&file.bytes).ok(),
            CAPACITY => match capacity::parse_capacity(CAPACITY, &file.bytes) {
                Ok(found) => searched = Some(found),
                Err(error) => checks.push(wrong(What::Pages, error.to_string())),
            },
            PRICES => match serde_json::from_slice::<Prices>(&file.bytes) {
                Ok(found) => prices = Some(found),
                Err(error) => checks.push(wrong(What::Pages, error.to_string())),
            },
            name => match compare::parse_comparison(name, &file.bytes) {
                Ok(comparison) => attached.push(Attached {
                    name: name.to_owned(),
                    sha256: Digest::of(&file.bytes),
                    comparison,
                }),
                Err(error) => checks.push(wrong(What::Comparison, error.to_string())),
            },
        }
    }
    if !checks.is_empty() || (attached.is_empty() && searched.is_none()) {
        checks.push(Check::differs(What::Pages, shown(path), "its data are none"));
        return Ok(Verified::of(checks));
    }
    progress.start("verifying", attached.len() as u64 + 1);
    let all: Vec<Comparison> = attached.iter().map(|attached| attached.comparison.clone()).collect();
    let contents =
        Contents { comparisons: &all, lock: lock_text, capacity: searched.as_ref(), prices: prices.as_ref() };
    let pages = pages(path, &pdf, &contents);
    progress.advance(1);
    checks.push(pages);
    let lock = lock_of(&project, lock_text, &attached, &mut checks);
    let cells = lock.as_ref().and_then(|lock| spec::expand(&lock.experiment).ok()).unwrap_or_default();
    let stages = StageStore::new(project.root());
    let known = comparisons(&stages);
    let runs = attached.par_iter().flat_map_iter(|attached| {
        let found = known.get(&attached.sha256).map(|known| in_project(&stages, attached, known));
        let found = found.unwrap_or_else(|| {
            Check::absent(What::Comparison, &attached.name, "neither runs/ nor the store has it")
        });
        let figures =
            figures(&project, stages.objects(), attached, lock.as_ref().map(|lock| (lock, &cells[..])));
        progress.advance(1);
        [found, figures]
    });
    checks.extend(runs.collect::<Vec<_>>());
    progress.finish();
    Ok(Verified::of(checks))
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Draws the report again: the same data give the same bytes.
fn pages(path: &Path, pdf: &[u8], contents: &Contents<'_>) -> Check {
    let name = shown(path);
    let here = env!("CARGO_PKG_VERSION");
    let made = contents.comparisons.first().map(|comparison| comparison.xp_version.as_str());
    let made = made.or(contents.capacity.map(|capacity| capacity.xp_version.as_str()));
    match report::render(contents) {
        Ok(drawn) if drawn == pdf => Check::same(What::Pages, name),
        Ok(_) if made.is_some_and(|made| made != here) => {
            let detail = format!("xp {} drew it, and this is {here}", made.unwrap_or_default());
            Check::absent(What::Pages, name, detail)
        }
        Ok(_) => Check::differs(What::Pages, name, "it does not show the data attached to it"),
        Err(error) => Check::differs(What::Pages, name, error.to_string()),
    }
}

/// The attached lock, against the comparisons and the project's.
fn lock_of(
    project: &Project,
    text: Option<&str>,
    attached: &[Attached],
    checks: &mut Vec<Check>,
) -> Option<Lock> {
    let Some(text) = text else {
        checks.push(Check::absent(What::Lock, LOCK, "the report was made from folders, not from a lock"));
        return None;
    };
    let lock = match lock::parse(Path::new(LOCK), text) {
        Ok(lock) => lock,
        Err(error) => {
            checks.push(Check::differs(What::Lock, LOCK, error.to_string()));
            return None;
        }
    };
    let digest = lock.input_digest();
    for Attached { name, comparison, .. } in attached {
        let of_lock = comparison.lock_digest == digest;
        checks.push(Check::of(of_lock, What::Lock, format!("{LOCK} of {name}"), "it is of another lock"));
    }
    let path = project.lock_of(Path::new(&lock.spec.path));
    let name = project.relative(&path);
    checks.push(match lock::read(&path) {
        Ok(found) if found.input_digest() == digest => Check::same(What::Lock, name),
        Ok(_) => Check::differs(What::Lock, name, "it pins something else than the report's lock"),
        Err(lock::LockError::Read(error)) => Check::absent(What::Lock, name, error.to_string()),
        Err(error) => Check::differs(What::Lock, name, error.to_string()),
    });
    Some(lock)
}

/// A comparison that the project or its store knows.
struct KnownComparison {
    files: Vec<FileDigest>,
    /// Records of the places where the project has it.
    places: Vec<StageRecord>,
}

/// Comparisons of the project and of the store, by the content of their `comparison.json`.
fn comparisons(stages: &StageStore) -> BTreeMap<Digest, KnownComparison> {
    let records = StageStore::records(stages.root()).unwrap_or_default().into_iter();
    let of_project = records
        .filter(|(_, record)| record.stage == Stage::Compare)
        .map(|(_, record)| (record.files.clone(), Some(record)));
    let results = stages.objects().results().unwrap_or_default().into_iter().flatten();
    let of_store =
        results.filter(|result| result.stage == Stage::Compare.name()).map(|result| (result.files, None));
    let mut known: BTreeMap<Digest, KnownComparison> = BTreeMap::new();
    for (files, place) in of_project.chain(of_store) {
        let Some(head) = files.iter().find(|file| file.file == "comparison.json") else { continue };
        let known = known
            .entry(head.sha256)
            .or_insert_with(|| KnownComparison { files: files.clone(), places: Vec::new() });
        known.places.extend(place);
    }
    known
}

/// Whether a comparison that the project knows is whole, in the store or in its place.
fn in_project(stages: &StageStore, attached: &Attached, known: &KnownComparison) -> Check {
    let name = &attached.name;
    let problems: Vec<FetchError> =
        known.files.iter().filter_map(|file| stages.objects().check(file).err()).collect();
    let is_absent = |error: &FetchError| matches!(error, FetchError::Absent { .. });
    if let Some(damage) = problems.iter().find(|error| !is_absent(error)) {
        return Check::differs(What::Comparison, name, damage.to_string());
    }
    let Some(absent) = problems.first() else { return Check::same(What::Comparison, name) };
    // What the store lacks may be whole in its place.
    let states: Vec<_> = known.places.iter().map(|record| stages.problem(record)).collect();
    if states.iter().any(Option::is_none) {
        return Check::same(What::Comparison, name);
    }
    match states.into_iter().flatten().find(|state| matches!(state, StageState::Damaged { .. })) {
        Some(damaged) => Check::differs(What::Comparison, name, damaged.reason()),
        None => Check::absent(What::Comparison, name, absent.to_string()),
    }
}

/// Computes a comparison's figures again from its runs, wherever those are. `lock` is the attached one, with the
/// experiments of its runs.
fn figures(
    project: &Project,
    objects: &ObjectStore,
    attached: &Attached,
    lock: Option<(&Lock, &[Cell])>,
) -> Check {
    let name = &attached.name;
    let absent = |why: String| Check::absent(What::Figures, name, why);
    let Ok(staged) = StagedDir::new(&std::env::temp_dir().join("xp-verify")) else {
        return absent("the temporary folder cannot be written".to_owned());
    };
    // Runs in the order of the comparison, the simulated one last.
    let mut folders: Vec<&str> = Vec::new();
    for file in &attached.comparison.files {
        let Some((folder, file_name)) = file.file.rsplit_once('/').filter(|_| store::is_inside(&file.file))
        else {
            return Check::differs(What::Figures, name, format!("{:?} is no file of a run", file.file));
        };
        if folders.last() != Some(&folder) {
            folders.push(folder);
        }
        let to = staged.path().join((folders.len() - 1).to_string()).join(file_name);
        if objects.fetch(file, &to).is_err() && !copied(project, file, &to) {
            return absent(format!("{} is neither in runs/ nor in the store", file.file));
        }
    }
    let Some((_, real)) = folders.split_last() else {
        return Check::differs(What::Figures, name, "it names no runs".to_owned());
    };
    let read = |index: usize| metrics::read_run(&staged.path().join(index.to_string()));
    let runs =
        (0..real.len()).map(read).collect::<Result<Vec<_>, _>>().and_then(|all| Ok((all, read(real.len())?)));
    let (real, sim) = match runs {
        Ok(runs) => runs,
        Err(error) => return Check::differs(What::Figures, name, error.to_string()),
    };
    let lock_of_budget = lock.filter(|_| attached.comparison.budget.is_some());
    let replays = lock_of_budget.and_then(|lock| replays(project, &attached.comparison, lock, &real));
    let is_replayed = replays.is_some();
    let replays = replays.unwrap_or_default();
    let runs = Runs { real, sim, replays, files: attached.comparison.files.clone() };
    let input = match input(&attached.comparison, lock, runs) {
        Ok(input) => input,
        Err(why) => return Check::differs(What::Figures, name, why),
    };
    // Without the profile nothing tells whose an error is: how large it is can be told all the same.
    let again = compare::compare(&input).map(|again| match is_replayed {
        true => again,
        false => Comparison { budget: attached.comparison.budget.clone(), ..again },
    });
    let here = env!("CARGO_PKG_VERSION");
    match again {
        Ok(again) if again == attached.comparison => Check::same(What::Figures, name),
        Ok(_) if attached.comparison.xp_version != here => {
            absent(format!("xp {} computed them, and this is {here}", attached.comparison.xp_version))
        }
        Ok(_) => Check::differs(What::Figures, name, "its runs give other figures".to_owned()),
        Err(error) => Check::differs(What::Figures, name, error.to_string()),
    }
}

/// The measured runs replayed; None where the profile is not here, or not as it was, or where what prompts share has to
/// be known, which neither lock nor runs tell.
fn replays(
    project: &Project,
    comparison: &Comparison,
    (lock, cells): (&Lock, &[Cell]),
    real: &[(RunRecord, RunMeta)],
) -> Option<Vec<Replay>> {
    let index = lock.runs.iter().position(|run| run.id == comparison.run)?;
    let run = lock.runs.get(index).filter(|run| !run.scheduler.prefix_caching)?;
    let (pin, cell) = (lock.bundle_of(run)?, &cells.get(index)?.experiment);
    let profile = backend::read_profile(cell, &project.root().join(&pin.path)).ok()?;
    let profile = Some(profile).filter(|profile| profile.digest() == pin.sha256)?;
    let predictor = backend::predictor(lock, index, cell, &profile, None).ok()?;
    Some(replay_all(run, predictor.as_ref(), None, profile.speed().as_ref(), real))
}

/// Takes a run's file from its place in the project, if it is the one.
fn copied(project: &Project, file: &FileDigest, to: &Path) -> bool {
    let from = project.root().join("runs").join(&file.file);
    store::digest_file(&from).is_ok_and(|found| found == (file.bytes, file.sha256))
        && store::copy(&from, to).is_ok()
}

/// What the comparison was made from: the lock's facts, or where there is none, its own.
fn input(
    comparison: &Comparison,
    lock: Option<(&Lock, &[Cell])>,
    runs: Runs,
) -> Result<CompareInput, String> {
    let foreign = comparison.foreign_bundle;
    if let Some((lock, cells)) = lock {
        let index = lock.runs.iter().position(|run| run.id == comparison.run);
        let index = index.ok_or_else(|| format!("the lock has no run {}", comparison.run))?;
        let cell =
            cells.get(index).ok_or_else(|| format!("the lock's matrix has no run {}", comparison.run))?;
        return compare_input(lock, &cell.experiment, index, runs, comparison.lock_digest, foreign)
            .map_err(|error| error.to_string());
    }
    Ok(CompareInput {
        run: comparison.run.clone(),
        description: comparison.description.clone(),
        facts: comparison.facts.clone(),
        pins: comparison.pins.clone(),
        files: runs.files,
        real: runs.real,
        sim: runs.sim,
        replays: runs.replays,
        pass_percent: comparison.pass_percent,
        warn_percent: comparison.warn_percent,
        lock_digest: comparison.lock_digest,
        allow_foreign_bundle: foreign,
        slo: comparison.slo,
    })
}
