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
