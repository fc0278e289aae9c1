//! How long work reports what it is doing. The library never prints: `cli/`
//! renders these events, tests ignore them.

/// A listener for one stage's progress. Methods take `&self` so that a stage
/// may report from several threads.
pub trait Progress: Send + Sync {
    /// Work begins: `total` is its length in units of its own (requests, steps), 0 when unknown.
    fn start(&self, what: &str, total: u64);
    /// Work begins whose units are bytes.
    fn start_bytes(&self, what: &str, total: u64) {
        self.start(what, total);
    }
    /// `done` units of the total are finished.
    fn advance(&self, done: u64);
    /// A short remark beside the bar, such as the queue length now.
    fn note(&self, note: &str);
    /// Work ended; the bar may be removed.
    fn finish(&self);
}

/// Listens to nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _what: &str, _total: u64) {}
    fn advance(&self, _done: u64) {}
    fn note(&self, _note: &str) {}
    fn finish(&self) {}
}
