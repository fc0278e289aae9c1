//! What follows from the facts of a merged lock: its digest, its runs and
//! their order, and which simulated results still hold.

use std::collections::{HashMap, HashSet};

use super::fact::{segment, segments as names_of};
use super::pins::{Lock, RunPin, SimPin};
use crate::spec::Experiment;
use crate::store::Digest;

/// Derives what can be derived without resolving the experiment. `outdated` names what cannot; with
/// the simulated results that are left out.
pub(super) fn settle(
    mut merged: Lock,
    base: Option<&Lock>,
    ours: &Lock,
    theirs: &Lock,
    mut outdated: Vec<String>,
) -> (Lock, Vec<String>) {
    let pinned = |lock: Option<&Lock>| lock.map(|lock| lock.spec.sha256);
    let (was, own, other) = (pinned(base), pinned(Some(ours)), pinned(Some(theirs)));
    if own != other && was != own && was != other {
        merged.spec.sha256 = Digest::of_json(&merged.experiment);
    }
    runs_of_matrix(&mut merged);
    let prefixes: HashSet<String> =
        merged.runs.iter().map(|run| format!("runs.{}", segment(&run.id))).collect();
    outdated.retain(|fact| {
        let run = names_of(fact).take(2).collect::<Vec<_>>().join(".");
        !fact.ends_with(".sim") && (!fact.starts_with("runs.") || prefixes.contains(&run))
    });
    let before = [base, Some(ours), Some(theirs)].map(|lock| lock.map(Simulated::of));
    let shared = shared_inputs(&merged);
    let simulated = merged.experiment.simulated().is_some();
    for run in &mut merged.runs {
        run.sim = None;
        if simulated {
            let found =
                before.each_ref().map(|lock| lock.as_ref().and_then(|lock| lock.result(&shared, run)));
            match chosen(found) {
                Some(sim) => run.sim = Some(sim.clone()),
                None => outdated.push(format!("runs.{}.sim", segment(&run.id))),
            }
        }
    }
    (merged, outdated)
}

/// Leaves the runs that the matrix has, in its order: the first axis is the slowest.
fn runs_of_matrix(lock: &mut Lock) {
    let matrix = Matrix::of(&lock.experiment);
    let mut places: Vec<(Vec<usize>, RunPin)> =
        lock.runs.drain(..).filter_map(|run| Some((matrix.place(&run)?, run))).collect();
    places.sort_by(|(one, _), (other, _)| one.cmp(other));
    lock.runs = places.into_iter().map(|(_, run)| run).collect();
}

/// The axes of an experiment.
struct Matrix {
    experiment: String,
    /// Path, and the place of each value by its text.
    axes: Vec<(String, HashMap<String, usize>)>,
}

impl Matrix {
    fn of(experiment: &Experiment) -> Self {
        let axes = experiment.matrix.iter().map(|axis| {
            let places = axis.values.iter().zip(0..).map(|(value, at)| (value.to_string(), at)).collect();
            (axis.path.clone(), places)
        });
        Self { experiment: experiment.name.clone(), axes: axes.collect() }
    }

    /// The place of a run's value on each axis; none if it is no cell of the matrix.
    fn place(&self, run: &RunPin) -> Option<Vec<usize>> {
        // Named after the experiment, with a digest where it has settings of its own.
        let digest = run.id.strip_prefix(&self.experiment)?;
        let named = digest.is_empty() || digest.strip_prefix('-').is_some_and(|digest| !digest.contains('-'));
        if self.axes.len() != run.set.len() || !named {
            return None;
        }
        let on = |(path, places): &(String, HashMap<String, usize>)| {
            let set = run.set.iter().find(|set| set.path == *path)?;
            places.get(&set.value.to_string()).copied()
        };
        self.axes.iter().map(on).collect()
    }
}

/// The simulated results of a lock, and what they were made from.
struct Simulated<'a> {
    shared: String,
    runs: HashMap<&'a str, &'a RunPin>,
}

impl<'a> Simulated<'a> {
    fn of(lock: &'a Lock) -> Self {
        let runs = lock.runs.iter().map(|run| (run.id.as_str(), run)).collect();
        Self { shared: shared_inputs(lock), runs }
    }

    /// The result of a run that has these inputs; the inner one is none where nothing is pinned.
    fn result(&self, shared: &str, run: &RunPin) -> Option<Option<&'a SimPin>> {
        let own = self.runs.get(run.id.as_str())?;
        let bundle = |run: &RunPin| run.bundle.as_ref().map(|bundle| bundle.sha256);
        let same = self.shared == shared
            && own.workload.sha256 == run.workload.sha256
            && own.scheduler == run.scheduler
            && bundle(own) == bundle(run);
        same.then_some(own.sim.as_ref())
    }
}

/// What every simulation of a lock is made from, as the stage's key has it.
fn shared_inputs(lock: &Lock) -> String {
    let simulated = lock.experiment.simulated();
    let inputs = (
        simulated.map(|backend| (&backend.name, backend.predictor)),
        lock.bundle.as_ref().map(|bundle| bundle.sha256),
        (&lock.experiment.model.name, lock.experiment.model.dtype),
        lock.experiment.hardware.threads,
        lock.resolved_model.sha256,
        lock.versions,
    );
    serde_json::to_string(&inputs).expect("pins are plain data")
}

/// The result that holds, of those that were made from the merged lock's inputs: base, ours, theirs.
fn chosen(found: [Option<Option<&SimPin>>; 3]) -> Option<&SimPin> {
    match found {
        // Both sides simulated just this: who has another result than before has another simulator.
        [base, Some(ours), Some(theirs)] => match () {
            () if ours == theirs => ours,
            () if base == Some(ours) => theirs,
            () if base == Some(theirs) => ours,
            () => None,
        },
        [_, Some(one), None] | [_, None, Some(one)] => one,
        [base, None, None] => base.flatten(),
    }
}
