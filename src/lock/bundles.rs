//! Which bundle each run is simulated from: that of the lock, or where the matrix varies the profile, one of its own.

use std::collections::{HashMap, HashSet};

use super::pins::{BundlePin, Lock, RunPin};
use crate::spec::{Cell, Experiment, ProfileSource, Vidur};
use crate::store::Digest;

/// What a run's profile is read from and as. Runs with the same are simulated from the same profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProfileUse<'a> {
    pub source: &'a ProfileSource,
    /// The tables that are meant, of a folder of Vidur's.
    pub vidur: Option<&'a Vidur>,
}

impl<'a> ProfileUse<'a> {
    /// That of a run's experiment; none where nothing is simulated.
    pub fn of(cell: &'a Experiment) -> Option<Self> {
        let sim = cell.simulated()?;
        Some(Self { source: &sim.profile, vidur: sim.vidur.as_ref() })
    }

    /// Whether the bundle at `path` may be the one.
    fn admits(self, path: &str) -> bool {
        match self.source {
            ProfileSource::Auto => true,
            ProfileSource::Folder(folder) => folder == path,
        }
    }
}

impl Lock {
    /// The bundle that a run of this lock is simulated from.
    pub fn bundle_of<'l>(&'l self, run: &'l RunPin) -> Option<&'l BundlePin> {
        run.bundle.as_ref().or(self.bundle.as_ref())
    }

    /// Every bundle once, each with the first run that is simulated from it, in the order of these.
    pub fn bundles(&self) -> impl Iterator<Item = (usize, &BundlePin)> {
        let mut known: HashSet<(&str, Digest)> = HashSet::new();
        let pins =
            self.runs.iter().enumerate().filter_map(|(index, run)| Some((index, self.bundle_of(run)?)));
        pins.filter(move |(_, pin)| known.insert((pin.path.as_str(), pin.sha256)))
    }
}

/// Takes over the bundles that `previous` pins and the experiment still simulates from.
pub(super) fn keep_bundles(lock: &mut Lock, previous: &Lock, cells: &[Cell]) {
    let admits = |cell: &Experiment, pin: &BundlePin| {
        ProfileUse::of(cell).is_some_and(|profile| profile.admits(&pin.path))
    };
    if !lock.experiment.varies_profile() {
        lock.bundle = previous.bundle.clone().filter(|pin| admits(&lock.experiment, pin));
        return;
    }
    let locked: HashMap<&str, &RunPin> = previous.runs.iter().map(|run| (run.id.as_str(), run)).collect();
    for (run, cell) in lock.runs.iter_mut().zip(cells) {
        let pinned = locked.get(run.id.as_str()).and_then(|run| previous.bundle_of(run));
        run.bundle = pinned.filter(|pin| admits(&cell.experiment, pin)).cloned();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lock::samples;
    use crate::spec::{Axis, Backend};

    fn cells(lock: &Lock, profiles: &[&str]) -> Vec<Cell> {
        let cell = |profile: &&str| {
            let mut experiment = lock.experiment.clone();
            let sim = experiment.backends.iter_mut().find_map(|backend| match backend {
                Backend::Sim(sim) => Some(sim),
                _ => None,
            });
            sim.unwrap().profile = ProfileSource::from((*profile).to_owned());
            Cell { experiment, overrides: Vec::new() }
        };
        profiles.iter().map(cell).collect()
    }

    fn pin(lock: &Lock, path: &str) -> BundlePin {
        BundlePin { path: path.to_owned(), sha256: Digest::of(path), ..lock.bundle.clone().unwrap() }
    }

    #[test]
    fn bundles_are_the_locks_or_the_runs_own_and_each_is_told_once() {
        let mut lock = samples::lock(3);
        let told = |lock: &Lock| lock.bundles().map(|(at, pin)| (at, pin.path.clone())).collect::<Vec<_>>();
        assert_eq!(told(&lock), [(0, "profiles/qwen3-tiny-a".to_owned())]);
        let shared = lock.bundle.clone();
        lock.bundle = None;
        assert!(told(&lock).is_empty());
        for (run, path) in [(0, "b"), (1, "a"), (2, "b")] {
            lock.bundle.clone_from(&shared);
            lock.runs[run].bundle = Some(pin(&lock, path));
            lock.bundle = None;
        }
        assert_eq!(told(&lock), [(0, "b".to_owned()), (1, "a".to_owned())]);
        assert_eq!(lock.bundle_of(&lock.runs[2]).unwrap().path, "b");
        assert_eq!(crate::lock::parse(std::path::Path::new("x"), &lock.to_kdl()).unwrap(), lock);
        assert_eq!(crate::lock::parse_canonical(&lock.to_kdl()), Some(lock));
    }

    #[test]
    fn a_run_keeps_its_bundle_while_it_is_simulated_from_it() {
        let previous = samples::lock(2);
        let mut lock = previous.clone();
        lock.experiment.matrix.push(Axis {
            path: "backend.vidur.profile".to_owned(),
            values: vec![json!("a"), json!("b")],
            zip: None,
        });
        lock.bundle = None;
        let mut before = lock.clone();
        before.runs[0].bundle = Some(pin(&previous, "a"));
        before.runs[1].bundle = Some(pin(&previous, "a"));
        let cells = cells(&lock, &["a", "b"]);
        keep_bundles(&mut lock, &before, &cells);
        assert_eq!(lock.runs[0].bundle, before.runs[0].bundle);
        assert!(lock.runs[1].bundle.is_none() && lock.bundle.is_none());
    }
}
