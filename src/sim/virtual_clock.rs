use std::convert::Infallible;

use crate::drive::Machine;
use crate::scheduler::{Batch, Scheduler};

/// A [`Machine`] without hands: a batch takes as long as a function says, and waiting takes no time.
///
/// The function sees each batch once, in order, so it may also replay the durations of a measured run.
#[derive(Debug)]
pub struct VirtualClock<F> {
    now_ns: u64,
    duration_ns: F,
}

impl<F: FnMut(&Batch) -> u64> VirtualClock<F> {
    /// A clock at 0.
    pub fn new(duration_ns: F) -> Self {
        Self { now_ns: 0, duration_ns }
    }
}

impl<F: FnMut(&Batch) -> u64> Machine for VirtualClock<F> {
    type Error = Infallible;

    fn now_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn wait_until(&mut self, time_ns: u64) {
        self.now_ns = self.now_ns.max(time_ns);
    }

    /// Time ends, and does not wrap, after 584 years.
    fn execute(&mut self, batch: &Batch, _scheduler: &dyn Scheduler) -> Result<(), Infallible> {
        self.now_ns = self.now_ns.saturating_add((self.duration_ns)(batch));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{Policy, SchedulerConfig, build};

    #[test]
    fn time_never_decreases() {
        let config = SchedulerConfig::new(Policy::Sarathi, (1, 1), (1, 1, 0), 1);
        let scheduler = build(&config);
        let mut durations = [5, 0, u64::MAX].into_iter();
        let mut clock = VirtualClock::new(|_: &Batch| durations.next().unwrap_or(0));
        let mut times = Vec::new();
        for wait in [10, 3, 0, 0] {
            clock.wait_until(wait);
            let Ok(()) = clock.execute(&Batch::default(), &*scheduler);
            times.push(clock.now_ns());
        }
        assert_eq!(times, [15, 15, u64::MAX, u64::MAX]);
    }
}
