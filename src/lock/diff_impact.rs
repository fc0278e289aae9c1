//! What differences do to results: impacts, and the stages that are made
//! again, by the table of `fact_rules`.

use std::collections::HashMap;

use super::diff::Difference;
use super::fact::{segment, segments};
use super::fact_rules::{self, Impact, MEASURED, Rule, SIMULATED};
use super::pins::{Lock, RunPin};
use super::resolve::measured_backend;
use super::stage::{Stage, Stages};

/// Of the runs that both locks have, by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunSet {
    All,
    /// Ascending.
    These(Vec<u32>),
}

/// Facts of one path, whatever their values and runs.
#[derive(Debug)]
struct Class {
    rule: &'static Rule,
    impact: Impact,
    stages: Stages,
    /// One for each common run: whether the fact differs there.
    runs: Vec<bool>,
    decides: Vec<usize>,
}

/// What all differences of two locks do.
#[derive(Debug)]
pub(super) struct Consequences {
    roles: Roles,
    classes: Vec<Class>,
    by_path: HashMap<String, usize>,
    /// Stages that the new lock has at all.
    existing: Stages,
    /// Stages that are made again for each common run.
    of_runs: Vec<Stages>,
}

/// Names of the two backends in both locks.
#[derive(Debug)]
struct Roles {
    measured: [Option<String>; 2],
    simulated: [Option<String>; 2],
}

const JUDGED: Stages = Stages::of(&[Stage::Compare, Stage::Report]);

impl Roles {
    fn of(old: &Lock, new: &Lock) -> Self {
        let both = |of: fn(&Lock) -> Option<String>| [of(old), of(new)];
        Self {
            measured: both(|lock| {
                measured_backend(&lock.experiment).ok().map(|backend| segment(backend.name()))
            }),
            simulated: both(|lock| lock.experiment.simulated().map(|backend| segment(&backend.name))),
        }
    }

    /// The path with the two backends named by what they do, and without the names of files.
    fn path(&self, path: &str) -> String {
        const NAMED: [&str; 6] = [
            "bundle.files.",
            "bundle.hardware.",
            "resolved-model.files.",
            "runs.*.workload.files.",
            "runs.*.bundle.files.",
            "runs.*.bundle.hardware.",
        ];
        if let Some(list) = NAMED.iter().find(|list| path.starts_with(**list)) {
            return format!("{list}*");
        }
        const BACKENDS: &str = "experiment.backends.";
        let Some(rest) = path.strip_prefix(BACKENDS) else { return path.to_owned() };
        let name = segments(rest).next().unwrap_or_default();
        let is = |names: &[Option<String>]| names.iter().any(|known| known.as_deref() == Some(name));
        let role = match () {
            () if is(&self.measured) => MEASURED,
            () if is(&self.simulated) => SIMULATED,
            () => return path.to_owned(),
        };
        format!("{BACKENDS}{role}{}", &rest[name.len()..])
    }
}

impl Consequences {
    /// Of all differences; `other_runs` tells whether a run was added or removed.
    pub fn of(
        old: &Lock,
        new: &Lock,
        common: &[(&RunPin, &RunPin)],
        differences: &[Difference],
        other_runs: bool,
    ) -> Self {
        let roles = Roles::of(old, new);
        let mut existing = vec![Stage::Workload, Stage::Real];
        if roles.simulated[1].is_some() {
            existing.extend([Stage::Profile, Stage::Sim]);
        }
        if new.experiment.compare.is_some() {
            existing.extend([Stage::Compare, Stage::Report]);
        }
        let mut made = Self {
            roles,
            classes: Vec::new(),
            by_path: HashMap::new(),
            existing: existing.into_iter().collect(),
            of_runs: Vec::new(),
        };
        for difference in differences {
            made.classify(common, difference);
        }
        for (path, [was, is]) in
            [(MEASURED, made.roles.measured.clone()), (SIMULATED, made.roles.simulated.clone())]
        {
            if was != is {
                made.classify(
                    common,
                    &Difference { path: path.to_owned(), old: was, new: is, runs: RunSet::All },
                );
            }
        }
        made.link();
        made.of_runs = made.stages_of_runs(common.len(), other_runs);
        made
    }

    /// Adds a difference to the class of its path.
    fn classify(&mut self, common: &[(&RunPin, &RunPin)], difference: &Difference) {
        let path = self.roles.path(&difference.path);
        let rule = fact_rules::rule(&path);
        let at = *self.by_path.entry(path).or_insert_with(|| {
            let class = Class {
                rule,
                impact: Impact::Cosmetic,
                stages: Stages::NONE,
                runs: vec![false; common.len()],
                decides: Vec::new(),
            };
            self.classes.push(class);
            self.classes.len() - 1
        });
        let class = &mut self.classes[at];
        let value = |value: &Option<String>| value.as_deref().or(rule.absent).map(str::to_owned);
        if value(&difference.old) == value(&difference.new) {
            return;
        }
        let mut holds = false;
        match &difference.runs {
            RunSet::All => {
                let setting = matrix_path(&difference.path);
                for (of_run, (_, run)) in class.runs.iter_mut().zip(common) {
                    *of_run |=
                        setting.as_ref().is_none_or(|setting| run.set.iter().all(|set| set.path != *setting));
                    holds |= *of_run;
                }
                holds |= common.is_empty();
            }
            RunSet::These(runs) => {
                runs.iter().for_each(|run| class.runs[*run as usize] = true);
                holds = true;
            }
        }
        if holds {
            (class.impact, class.stages) = (rule.impact, rule.stages);
        }
    }

    /// Notes which classes decide which others.
    fn link(&mut self) {
        for at in 0..self.classes.len() {
            let rule = self.classes[at].rule;
            let decided = self.by_path.iter().filter(|(path, other)| {
                **other != at && rule.decides.iter().any(|pattern| fact_rules::matches(pattern, path))
            });
            self.classes[at].decides = decided.map(|(_, other)| *other).collect();
        }
    }

    /// A class and all that it decides, at any remove.
    fn reach(&self, from: usize) -> Vec<usize> {
        let mut reached = vec![from];
        let mut next = 0;
        while next < reached.len() {
            for other in &self.classes[reached[next]].decides {
                if !reached.contains(other) {
                    reached.push(*other);
                }
            }
            next += 1;
        }
        reached
    }

    /// Impact, runs and stages of one difference.
    pub fn of_difference(&self, difference: &Difference) -> (Impact, RunSet, Stages) {
        let at = self.by_path[&self.roles.path(&difference.path)];
        let own = match &difference.runs {
            RunSet::All => None,
            RunSet::These(runs) => Some(runs),
        };
        let concerns =
            |class: &Class| own.is_none_or(|runs| runs.iter().any(|run| class.runs[*run as usize]));
        let (mut impact, mut stages) = (Impact::Cosmetic, Stages::NONE);
        let mut decisive: Vec<&Class> = Vec::new();
        for class in self.reach(at).into_iter().map(|at| &self.classes[at]).filter(|class| concerns(class)) {
            impact = impact.max(class.impact);
            stages = stages.with(class.stages);
            if class.impact > Impact::Cosmetic || !class.stages.is_empty() {
                decisive.push(class);
            }
        }
        if self.classes[at].rule.quoted || !stages.is_empty() {
            stages = stages.with(JUDGED);
        }
        let runs = match own {
            Some(runs) => RunSet::These(runs.clone()),
            None if decisive.is_empty() => RunSet::All,
            None => some_of(&decisive),
        };
        (impact, runs, stages.within(self.existing))
    }

    /// The common runs of which anything is made again, and what.
    pub fn of_runs(&self) -> impl Iterator<Item = (usize, Stages)> {
        self.of_runs.iter().copied().enumerate().filter(|(_, stages)| !stages.is_empty())
    }

    fn stages_of_runs(&self, runs: usize, other_runs: bool) -> Vec<Stages> {
        let quoted = other_runs || self.classes.iter().any(|class| class.rule.quoted);
        let stages = (0..runs).map(|run| {
            let differing = self.classes.iter().filter(|class| class.runs[run]);
            let own = differing.fold(Stages::NONE, |all, class| all.with(class.stages));
            let judged = if quoted || !own.is_empty() { JUDGED } else { Stages::NONE };
            own.with(judged).within(self.existing)
        });
        stages.collect()
    }
}

/// The runs in which any of the classes differs.
fn some_of(classes: &[&Class]) -> RunSet {
    let count = classes.first().map_or(0, |class| class.runs.len());
    let any = |run: &usize| classes.iter().any(|class| class.runs[*run]);
    let runs: Vec<u32> = (0..count).filter(any).filter_map(|run| u32::try_from(run).ok()).collect();
    if runs.len() == count { RunSet::All } else { RunSet::These(runs) }
}

/// How a matrix names the setting of a backend or of the hardware: runs may say it for themselves.
fn matrix_path(path: &str) -> Option<String> {
    let setting = path.strip_prefix("experiment.")?;
    match setting.strip_prefix("backends.") {
        Some(of_backend) => Some(format!("backend.{of_backend}")),
        None => setting.starts_with("hardware.").then(|| setting.to_owned()),
    }
}

/// The row of the table that a changed fact is in, by the first of the row's facts.
#[cfg(test)]
pub(crate) fn row_of(old: &Lock, new: &Lock, path: &str) -> &'static str {
    let mut names: Vec<&str> = segments(path).collect();
    if names.len() > 1 && names[0] == "runs" {
        names[1] = "*";
    }
    fact_rules::rule(&Roles::of(old, new).path(&names.join("."))).facts[0]
}
