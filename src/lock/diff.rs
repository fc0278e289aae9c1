//! Two locks fact by fact, and what has to be made again.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Serialize, Serializer};

use super::diff_impact::{Consequences, RunSet};
use super::fact::{self, Facts, segment};
use super::fact_rules::Impact;
use super::pins::{Lock, RunPin, SetPin};
use super::stage::{Stage, Stages};

/// One fact that differs, in one run or alike in several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `runs.*.…` where several runs have the same change.
    pub path: String,
    /// None: the fact is new.
    pub old: Option<String>,
    /// None: the fact is gone.
    pub new: Option<String>,
    pub impact: Impact,
    /// Runs that it concerns.
    pub runs: Runs,
    /// Stages of these runs that it makes again.
    pub stages: Stages,
}

/// Some of the runs that both locks have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    All,
    These(Vec<String>),
}

impl Serialize for Runs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::These(ids) => ids.serialize(serializer),
        }
    }
}

/// A run that only one of the locks has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OtherRun {
    pub id: String,
    /// The settings of its cell.
    pub set: Vec<SetPin>,
}

/// Runs, and the stages that are made again for each of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invalidated {
    pub stages: Stages,
    pub runs: Vec<String>,
}

impl Invalidated {
    /// Whether these runs are simulated again and not timed again.
    pub fn measurements_stand(&self) -> bool {
        self.stages.has(Stage::Sim) && !self.stages.has(Stage::Real)
    }
}

/// What differs between two locks.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct LockDiff {
    /// The gravest first, then in the lock's order.
    pub changes: Vec<Change>,
    /// Runs of the new lock alone.
    pub added_runs: Vec<OtherRun>,
    /// Runs of the old lock alone.
    pub removed_runs: Vec<OtherRun>,
    /// Runs that both have, in the new lock's order.
    pub common_runs: Vec<String>,
    /// The common runs by what is made again of them, the most stages first.
    pub invalidated: Vec<Invalidated>,
}

impl LockDiff {
    /// Whether the locks say the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.added_runs.is_empty() && self.removed_runs.is_empty()
    }

    /// The gravest impact of a changed fact. Runs that are added or removed have none on the others.
    pub fn impact(&self) -> Option<Impact> {
        self.changes.first().map(|change| change.impact)
    }

    /// How many of the common runs have a stage made again.
    pub fn made_again(&self, stage: Stage) -> usize {
        let groups = self.invalidated.iter().filter(|group| group.stages.has(stage));
        groups.map(|group| group.runs.len()).sum()
    }
}

/// A difference before its impact is known.
#[derive(Debug)]
pub(super) struct Difference {
    /// `runs.*.…` for a fact of runs.
    pub path: String,
    pub old: Option<String>,
    pub new: Option<String>,
    /// Of the common runs, by their index.
    pub runs: RunSet,
}

/// Compares two locks.
pub fn diff(old: &Lock, new: &Lock) -> LockDiff {
    let old_runs: HashMap<&str, &RunPin> = old.runs.iter().map(|run| (run.id.as_str(), run)).collect();
    let new_ids: HashSet<&str> = new.runs.iter().map(|run| run.id.as_str()).collect();
    let common: Vec<(&RunPin, &RunPin)> =
        new.runs.iter().filter_map(|run| Some((*old_runs.get(run.id.as_str())?, run))).collect();
    let other = |run: &RunPin| OtherRun { id: run.id.clone(), set: run.set.clone() };
    let added_runs: Vec<OtherRun> =
        new.runs.iter().filter(|run| !old_runs.contains_key(run.id.as_str())).map(other).collect();
    let removed_runs: Vec<OtherRun> =
        old.runs.iter().filter(|run| !new_ids.contains(run.id.as_str())).map(other).collect();

    let mut differences = Vec::new();
    shared_differences(&fact::shared_facts(old), &fact::shared_facts(new), &mut differences);
    run_differences(&common, &mut differences);
    let ids = |runs: &[RunPin]| runs.iter().map(|run| run.id.clone()).collect::<Vec<_>>();
    differences.extend(order("runs", &ids(&old.runs), &ids(&new.runs)));

    let other_runs = !added_runs.is_empty() || !removed_runs.is_empty();
    let consequences = Consequences::of(old, new, &common, &differences, other_runs);
    let names = |index: &u32| common[*index as usize].1.id.clone();
    let mut changes: Vec<Change> = Vec::with_capacity(differences.len());
    for difference in differences {
        let (impact, runs, stages) = consequences.of_difference(&difference);
        let Difference { mut path, old, new, runs: of_runs } = difference;
        if let (RunSet::These(of_runs), Some(rest)) = (&of_runs, path.strip_prefix("runs.*."))
            && let [only] = of_runs.as_slice()
        {
            path = format!("runs.{}.{rest}", segment(&names(only)));
        }
        let runs = match runs {
            RunSet::All => Runs::All,
            RunSet::These(indices) => Runs::These(indices.iter().map(names).collect()),
        };
        changes.push(Change { path, old, new, impact, runs, stages });
    }
    changes.sort_by_key(|change| (std::cmp::Reverse(change.impact), section(&change.path)));
    let mut groups: BTreeMap<Stages, Vec<String>> = BTreeMap::new();
    for (index, stages) in consequences.of_runs() {
        groups.entry(stages).or_default().push(common[index].1.id.clone());
    }
    let mut invalidated: Vec<Invalidated> =
        groups.into_iter().map(|(stages, runs)| Invalidated { stages, runs }).collect();
    invalidated.sort_by_key(|group| std::cmp::Reverse(group.stages.iter().count()));
    let common_runs = common.iter().map(|(_, run)| run.id.clone()).collect();
    LockDiff { changes, added_runs, removed_runs, common_runs, invalidated }
}

/// Where a fact stands in a lock.
fn section(path: &str) -> usize {
    const SECTIONS: [&str; 9] =
        ["lock", "xp", "versions", "spec", "experiment", "seeds", "resolved-model", "bundle", "runs"];
    let head = path.split('.').next().unwrap_or_default();
    SECTIONS.iter().position(|section| *section == head).unwrap_or(SECTIONS.len())
}

fn shared_differences(old: &Facts, new: &Facts, out: &mut Vec<Difference>) {
    of_facts(old, new, |path, old, new| {
        out.push(Difference { path: path.to_owned(), old, new, runs: RunSet::All });
    });
    for (path, new_keys) in &new.lists {
        if let Some((_, old_keys)) = old.lists.iter().find(|(known, _)| known == path) {
            out.extend(order(path, old_keys, new_keys));
        }
    }
}

/// Facts of one run after another; a change that several runs have alike is one difference.
fn run_differences(common: &[(&RunPin, &RunPin)], out: &mut Vec<Difference>) {
    type Key = (String, Option<String>, Option<String>);
    let mut known: HashMap<Key, usize> = HashMap::new();
    let mut order: HashMap<String, usize> = HashMap::new();
    let mut found: Vec<(Key, Vec<u32>)> = Vec::new();
    for (index, (old, new)) in (0..).zip(common) {
        if old == new {
            continue;
        }
        of_facts(&fact::run_facts(old), &fact::run_facts(new), |path, old, new| {
            let key = (path.to_owned(), old, new);
            match known.get(&key) {
                Some(at) => found[*at].1.push(index),
                None => {
                    let next = order.len();
                    order.entry(key.0.clone()).or_insert(next);
                    known.insert(key.clone(), found.len());
                    found.push((key, vec![index]));
                }
            }
        });
    }
    found.sort_by_key(|((path, ..), _)| order[path]);
    out.extend(found.into_iter().map(|((path, old, new), runs)| Difference {
        path: format!("runs.*.{path}"),
        old,
        new,
        runs: RunSet::These(runs),
    }));
}

/// Calls `report` for each fact that differs: those of the new ones in their order, then those that are gone.
fn of_facts(old: &Facts, new: &Facts, mut report: impl FnMut(&str, Option<String>, Option<String>)) {
    let same_paths = old.facts.len() == new.facts.len()
        && old.facts.iter().zip(&new.facts).all(|((was, _), (is, _))| was == is);
    if same_paths {
        for ((path, was), (_, is)) in old.facts.iter().zip(&new.facts) {
            if was != is {
                report(path, Some(was.clone()), Some(is.clone()));
            }
        }
        return;
    }
    let was: HashMap<&str, &str> =
        old.facts.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
    let is: HashSet<&str> = new.facts.iter().map(|(path, _)| path.as_str()).collect();
    for (path, value) in &new.facts {
        match was.get(path.as_str()) {
            Some(before) if before == value => {}
            before => report(path, before.map(|before| (*before).to_owned()), Some(value.clone())),
        }
    }
    for (path, value) in old.facts.iter().filter(|(path, _)| !is.contains(path.as_str())) {
        report(path, Some(value.clone()), None);
    }
}

/// A difference in the order of what both lists have.
fn order(path: &str, old: &[String], new: &[String]) -> Option<Difference> {
    let (in_old, in_new): (HashSet<&String>, HashSet<&String>) = (old.iter().collect(), new.iter().collect());
    let was = || old.iter().filter(|key| in_new.contains(key));
    let is = || new.iter().filter(|key| in_old.contains(key));
    if was().eq(is()) {
        return None;
    }
    // From where they part; a long list is not told to its end.
    const SHOWN: usize = 4;
    let same = was().zip(is()).take_while(|(was, is)| was == is).count();
    let told = |keys: Vec<&String>| {
        let shown: Vec<&str> = keys.iter().take(SHOWN).map(|key| key.as_str()).collect();
        let more = if keys.len() > SHOWN { ", …" } else { "" };
        Some(format!("{}{more}", shown.join(", ")))
    };
    Some(Difference {
        path: path.to_owned(),
        old: told(was().skip(same).collect()),
        new: told(is().skip(same).collect()),
        runs: RunSet::All,
    })
}
