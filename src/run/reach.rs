//! Which results locks and reports rest on. A lock reaches a result if it pins its inputs: those that
//! no lock pins (the machine, the repeat, a version of xp's own) may have any value, so that results of
//! another machine and older repeats are reached too.

use std::collections::BTreeSet;

use super::RunError;
use super::event::Stage;
use super::record::Inputs;
use super::steps::{self, Step, is_pinned};
use crate::lock::Lock;
use crate::spec;
use crate::store::{Digest, FileDigest, StoredResult};

/// A known result, wherever it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub stage: Stage,
    pub inputs: Inputs,
    /// Digest of its files, by which the stages after it name it.
    content: Digest,
}

impl Known {
    /// A result by its inputs and files.
    pub fn new(stage: Stage, inputs: &Inputs, files: &[FileDigest]) -> Self {
        Self { stage, inputs: inputs.clone(), content: Digest::of_json(&files) }
    }

    /// A result of the store; None for a stage that this xp does not know.
    pub fn of(result: &StoredResult) -> Option<Self> {
        Some(Self::new(Stage::named(&result.stage)?, &result.inputs, &result.files))
    }
}

/// What a set of locks and reports rests on.
#[derive(Debug, Default)]
pub struct Reach {
    /// Digests of a stage's pinned inputs.
    pinned: BTreeSet<Digest>,
    /// Digests of locks' inputs, which comparisons name.
    locks: BTreeSet<String>,
    /// Contents that a reached comparison or report reads.
    contents: BTreeSet<Digest>,
    /// Labels of the runs of all locks: what tells why a stage is stale is kept for them.
    labels: BTreeSet<(Stage, String)>,
}

/// Digest of the inputs that a lock pins.
fn pinned(stage: Stage, inputs: &Inputs) -> Digest {
    let pinned: Vec<(&String, &String)> = inputs.iter().filter(|(name, _)| is_pinned(stage, name)).collect();
    Digest::of_json(&(stage.name(), pinned))
}

/// Digests that an input lists, or is.
fn digests(inputs: &Inputs, name: &str) -> Vec<Digest> {
    let Some(value) = inputs.get(name) else { return Vec::new() };
    match value.parse() {
        Ok(digest) => vec![digest],
        Err(_) => serde_json::from_str(value).unwrap_or_default(),
    }
}

impl Reach {
    /// Adds what a lock pins.
    ///
    /// # Errors
    /// The lock's experiment has no runs that can be told: what it rests on is not known.
    pub fn add_lock(&mut self, lock: &Lock) -> Result<(), RunError> {
        let cells = spec::expand(&lock.experiment)?;
        if cells.len() != lock.runs.len() {
            return Err(RunError::OtherRuns { pinned: lock.runs.len(), cells: cells.len() });
        }
        self.locks.insert(lock.input_digest().to_string());
        lock.bundles().for_each(|(_, pin)| self.add(&steps::profile_step(pin)));
        let nowhere = Digest::of([]);
        for (run, cell) in lock.runs.iter().zip(&cells) {
            self.add(&steps::workload_step(run));
            steps::sim_step(lock, &cell.experiment, run).iter().for_each(|step| self.add(step));
            let real = steps::real_step(lock, &cell.experiment, run, &nowhere, 0)?;
            real.iter().for_each(|step| self.add(step));
            self.labels.insert((Stage::Compare, run.id.clone()));
        }
        self.labels.insert((Stage::Report, lock.experiment.name.clone()));
        Ok(())
    }

    fn add(&mut self, step: &Step) {
        self.pinned.insert(pinned(step.stage, &step.inputs));
        self.labels.insert((step.stage, without_repeat(step.stage, &step.label).to_owned()));
    }

    /// Adds a report that somebody has, and what it rests on.
    pub fn add_report(&mut self, inputs: &Inputs) {
        self.pinned.insert(pinned(Stage::Report, inputs));
    }

    /// Adds what reached results were made from, among all that are known.
    pub fn close(&mut self, known: &[Known]) {
        // Each stage before those that it is made from. A report of reached comparisons is reached by itself.
        for stage in [Stage::Report, Stage::Compare, Stage::Real, Stage::Sim] {
            let reached = known.iter().filter(|result| result.stage == stage && self.reaches(result));
            for result in reached.collect::<Vec<_>>() {
                match stage {
                    Stage::Report => self.contents.extend(digests(&result.inputs, "comparisons")),
                    Stage::Compare => {
                        self.contents.extend(digests(&result.inputs, "real"));
                        self.contents.extend(digests(&result.inputs, "sim"));
                    }
                    _ => {
                        for (stage, input) in [(Stage::Workload, "workload"), (Stage::Profile, "bundle")] {
                            let one = result.inputs.get_key_value(input);
                            let inputs = one.map(|(name, value)| (name.clone(), value.clone()));
                            self.pinned.insert(pinned(stage, &inputs.into_iter().collect()));
                        }
                    }
                }
            }
        }
        let compared = known.iter().filter(|result| result.stage == Stage::Compare && self.reaches(result));
        let compared: BTreeSet<Digest> = compared.map(|result| result.content).collect();
        for report in known.iter().filter(|result| result.stage == Stage::Report) {
            let comparisons = digests(&report.inputs, "comparisons");
            if !comparisons.is_empty() && comparisons.iter().all(|content| compared.contains(content)) {
                self.pinned.insert(pinned(Stage::Report, &report.inputs));
            }
        }
    }

    /// Whether a lock or a report rests on it, or is it.
    pub fn reaches(&self, result: &Known) -> bool {
        self.pinned.contains(&pinned(result.stage, &result.inputs))
            || (result.stage == Stage::Compare
                && result.inputs.get("lock").is_some_and(|lock| self.locks.contains(lock)))
            || self.contents.contains(&result.content)
    }

    /// Whether a lock has a run of this label.
    pub fn has_label(&self, stage: Stage, label: &str) -> bool {
        self.labels.contains(&(stage, without_repeat(stage, label).to_owned()))
    }
}

/// A label without the number of its repeat.
fn without_repeat(stage: Stage, label: &str) -> &str {
    let repeat = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match label.rsplit_once("-r") {
        Some((run, number)) if stage == Stage::Real && repeat(number) => run,
        _ => label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(list: &[(&str, String)]) -> Inputs {
        list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn known(stage: Stage, list: &[(&str, String)], content: &str) -> Known {
        Known { stage, inputs: inputs(list), content: Digest::of(content) }
    }

    #[test]
    fn a_report_reaches_all_it_was_made_from() {
        let json = |names: &[&str]| {
            serde_json::to_string(&names.iter().map(Digest::of).collect::<Vec<_>>()).unwrap()
        };
        let workload = Digest::of("w").to_string();
        let all = [
            known(Stage::Workload, &[("workload", workload.clone())], "w files"),
            known(Stage::Profile, &[("bundle", Digest::of("b").to_string())], "b files"),
            known(Stage::Real, &[("workload", workload.clone()), ("repeat", "1".to_owned())], "r1"),
            known(Stage::Sim, &[("workload", workload), ("bundle", Digest::of("b").to_string())], "s"),
            known(Stage::Compare, &[("real", json(&["r1"])), ("sim", Digest::of("s").to_string())], "c"),
            known(Stage::Report, &[("comparisons", json(&["c"]))], "pdf"),
        ];
        let stranger = known(Stage::Real, &[("workload", Digest::of("other").to_string())], "x");
        let mut reach = Reach::default();
        reach.close(&all);
        assert!(all.iter().all(|result| !reach.reaches(result)));
        reach.add_report(&all[5].inputs);
        reach.close(&all);
        assert!(all.iter().all(|result| reach.reaches(result)));
        assert!(!reach.reaches(&stranger));
    }

    #[test]
    fn labels_of_repeats_belong_to_their_run() {
        assert_eq!(without_repeat(Stage::Real, "tiny-r12"), "tiny");
        assert_eq!(without_repeat(Stage::Real, "tiny-run"), "tiny-run");
        assert_eq!(without_repeat(Stage::Sim, "tiny-r12"), "tiny-r12");
    }
}
