pub use crate::lock::Stage;
use crate::progress::{Progress, Silent};

/// Listens to a run. `cli/` renders it.
pub trait Observer: Sync {
    /// The lock was written, for these reasons.
    fn locked(&self, path: &str, reasons: &[String]);
    /// A stage begins, for this reason. `label` tells several of a kind apart (run, repeat).
    fn started(&self, stage: Stage, label: &str, reason: &str);
    /// The stage that began is done: what it made, and how long it took.
    fn finished(&self, stage: Stage, label: &str, what: &str, seconds: f64);
    /// A stage's result was at hand.
    fn reused(&self, stage: Stage, label: &str, what: &str);
    /// A stage's result was not in its place, for this reason, and was brought there from the store.
    fn restored(&self, stage: Stage, label: &str, what: &str, reason: &str);
    /// Something worth knowing that is no error.
    fn warned(&self, message: &str);
    /// Progress of the stage that is running.
    fn progress(&self) -> &dyn Progress;
}

/// Listens to nothing.
#[derive(Debug, Default)]
pub struct Quiet;

impl Observer for Quiet {
    fn locked(&self, _path: &str, _reasons: &[String]) {}
    fn started(&self, _stage: Stage, _label: &str, _reason: &str) {}
    fn finished(&self, _stage: Stage, _label: &str, _what: &str, _seconds: f64) {}
    fn reused(&self, _stage: Stage, _label: &str, _what: &str) {}
    fn restored(&self, _stage: Stage, _label: &str, _what: &str, _reason: &str) {}
    fn warned(&self, _message: &str) {}
    fn progress(&self) -> &dyn Progress {
        &Silent
    }
}
