use std::fmt::Write as _;

use crate::progress::Progress;

/// Reports at most about a thousand times in a run, however many requests it has: a listener may
/// cost more than a simulated step.
pub(crate) struct Report<'a> {
    progress: &'a dyn Progress,
    every: u64,
    unreported: u64,
    note: String,
}

impl<'a> Report<'a> {
    pub fn start(progress: &'a dyn Progress, requests: usize) -> Self {
        progress.start("requests", requests as u64);
        Self { progress, every: (requests as u64 / 1000).max(1), unreported: 0, note: String::new() }
    }

    /// So many requests are done; `queue` is (running, waiting).
    pub fn done(&mut self, requests: usize, queue: (u32, u32)) {
        self.unreported += requests as u64;
        if self.unreported >= self.every {
            self.flush(queue);
        }
    }

    fn flush(&mut self, (running, waiting): (u32, u32)) {
        self.note.clear();
        if write!(self.note, "{running} running, {waiting} waiting").is_ok() {
            self.progress.note(&self.note);
        }
        self.progress.advance(std::mem::take(&mut self.unreported));
    }

    pub fn finish(mut self, queue: (u32, u32)) {
        if self.unreported > 0 {
            self.flush(queue);
        }
        self.progress.finish();
    }
}
