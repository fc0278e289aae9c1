//! Projects to disturb, copied from templates, and `xp` run in them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::results::Results;
use crate::project::both;

pub const SPEC: &str = "experiments/tiny.kdl";
pub const LOCK: &str = "locks/tiny.lock.kdl";

/// One repeat of four short requests.
const TINY: &str = r#"experiment "tiny" {
    seed 7
    model "qwen3-tiny" { source "synthetic"; }
    hardware "cpu" threads=1
    workload "few" {
        requests 4
        lengths "uniform" min=8 max=16 prefill-to-decode=3
        arrivals "poisson" qps=200
    }
    backend "sarathi" chunk-size=16 max-batch-size=4 kv-memory="1MiB"
    backend "vidur" { profile "auto"; }
    compare real="sarathi" sim="vidur" pass="10%" warn="20%" repeats=1
}
"#;

/// A project of one's own, and a folder for what `xp` puts into the system's temporary one.
pub struct Place {
    root: PathBuf,
    temporary: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    /// An empty project.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Self {
            root: folder.path().join("project"),
            temporary: folder.path().join("temporary"),
            _folder: Some(folder),
        };
        std::fs::create_dir(&place.temporary).expect("a folder");
        std::fs::create_dir(&place.root).expect("a folder");
        place
    }

    /// A project in a folder that is there; its temporary files lie elsewhere.
    pub fn at(root: PathBuf, temporary: PathBuf) -> Self {
        Self { root, temporary, _folder: None }
    }

    /// A copy of a template.
    pub fn like(template: &Template) -> Self {
        let place = Self::new();
        copy(template.place.path(""), &place.root);
        place
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// A file that is no part of the project.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.temporary.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("xp"));
        command.current_dir(&self.root).env("TMPDIR", &self.temporary).env("NO_COLOR", "1").args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn xp(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("xp starts")
    }

    /// Runs `xp`, which must succeed; what it printed.
    pub fn ok(&self, args: &[&str]) -> Result<String, String> {
        let output = self.xp(args);
        let text = both(&output);
        match output.status.success() {
            true => Ok(text),
            false => Err(format!("xp {args:?} ended with {}:\n{text}", output.status)),
        }
    }
}

/// Copies all of a folder into another.
pub fn copy(from: impl AsRef<Path>, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a kind").is_dir() {
            true => copy(entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}

/// A project in some state, and what an undisturbed run makes of it.
pub struct Template {
    pub name: &'static str,
    pub place: Place,
    /// Contents of files that xp cannot make again: they may be set aside, and never lost.
    pub precious: &'static [&'static str],
    /// What is there already.
    pub before: Results,
    /// What `xp run` leaves.
    pub after: Results,
}

impl Template {
    fn new(name: &'static str, place: Place, precious: &'static [&'static str]) -> Self {
        let before = Results::of(&place);
        let mut template = Self { name, place, precious, before, after: Results::default() };
        let undisturbed = Place::like(&template);
        undisturbed.ok(&["run", SPEC]).unwrap();
        template.after = Results::of(&undisturbed);
        template
    }

    fn copied(&self) -> Place {
        Place::like(self)
    }
}

/// An experiment and a bundle; nothing is locked.
pub static FRESH: LazyLock<Template> = LazyLock::new(|| {
    let place = Place::new();
    place.write(SPEC, TINY);
    place.ok(&["profile", SPEC]).unwrap();
    let fresh = Place::new();
    copy(place.path("experiments"), &fresh.path("experiments"));
    copy(place.path("profiles"), &fresh.path("profiles"));
    Template::new("fresh", fresh, &[])
});

/// The same, with a lock.
pub static LOCKED: LazyLock<Template> = LazyLock::new(|| {
    let place = FRESH.copied();
    place.ok(&["lock", SPEC]).unwrap();
    Template::new("locked", place, &[])
});

/// Everything was made once. Now files of every stage are gone or garbage, so the run sets aside and
/// brings back what is there.
pub static DAMAGED: LazyLock<Template> = LazyLock::new(|| {
    let place = FRESH.copied();
    place.ok(&["run", SPEC]).unwrap();
    let file = |folder: &str, name: &str| {
        let found = std::fs::read_dir(place.path(folder)).expect("a folder").next().expect("an entry");
        found.expect("an entry").path().join(name)
    };
    std::fs::remove_file(file("runs/workloads", "prompts.jsonl")).unwrap();
    std::fs::remove_file(file("runs/sim_runs", "steps.csv")).unwrap();
    std::fs::write(file("runs/real_runs", "request_metrics.csv"), "garbage of a run").unwrap();
    std::fs::write(place.path("reports/tiny.pdf"), "garbage of a report").unwrap();
    Template::new("damaged", place, &["garbage of a run", "garbage of a report"])
});

/// The same with an older lock, and without the store that results are brought back from: they are made
/// again, in the place of what is there.
pub static REMADE: LazyLock<Template> = LazyLock::new(|| {
    let place = DAMAGED.copied();
    std::fs::remove_dir_all(place.path(".xp/store")).unwrap();
    let other = FRESH.copied();
    other.ok(&["lock", SPEC, "--set", "workload.requests=3"]).unwrap();
    std::fs::copy(other.path(LOCK), place.path(LOCK)).unwrap();
    Template::new("remade", place, DAMAGED.precious)
});

/// What stands in the lock's place is none.
pub static GARBAGE: LazyLock<Template> = LazyLock::new(|| {
    let place = FRESH.copied();
    place.write(LOCK, "garbage of a lock");
    Template::new("garbage", place, &["garbage of a lock"])
});

/// Pseudo-random numbers whose seed `XP_CRASH_SEED` gives, for a failure to be seen again.
pub struct Random {
    pub seed: u64,
    rng: ChaCha8Rng,
}

impl Random {
    pub fn new() -> Self {
        let seed = std::env::var("XP_CRASH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        Self { seed, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Uniform over 0 ≤ x < 1.
    pub fn share(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.share() * end as f64) as usize
    }
}

/// Does all jobs on as many threads as there are cores; what went wrong, at most the first few.
pub fn on_all_cores<T: Sync>(jobs: &[T], job: impl Fn(&T) -> Result<(), String> + Sync) {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(input) = jobs.get(number) else { break };
                    if number % 100 == 99 {
                        eprintln!("{} of {} trials", number + 1, jobs.len());
                    }
                    if let Err(text) = job(input) {
                        eprintln!("trial {number} failed");
                        failures.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let (failed, all) = (failures.len(), jobs.len());
    let shown = failures.into_iter().take(5).collect::<Vec<_>>().join("\n\n");
    assert!(failed == 0, "{failed} of {all} trials failed:\n\n{shown}");
}
