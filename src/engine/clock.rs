use std::time::{Duration, Instant};

use super::EngineError;
use super::executor::Executor;
use crate::drive::Machine;
use crate::machine::{DisturbedSteps, Watch};
use crate::model::OpTimer;
use crate::scheduler::{Batch, Scheduler};

/// Executes batches while the wall clock runs.
pub(super) struct WallClock<'a, T> {
    executor: Executor<'a>,
    timer: T,
    started: Instant,
    watch: Watch,
    steps: u32,
    disturbed: DisturbedSteps,
}

impl<'a, T> WallClock<'a, T> {
    /// The run starts now.
    pub fn start(executor: Executor<'a>, timer: T) -> Self {
        let (watch, disturbed) = (Watch::start(), DisturbedSteps::default());
        Self { executor, timer, started: Instant::now(), watch, steps: 0, disturbed }
    }

    /// The run is over: what executed it, and what disturbed it.
    pub fn stop(self) -> (Executor<'a>, DisturbedSteps) {
        (self.executor, self.disturbed)
    }
}

impl<T: OpTimer> Machine for WallClock<'_, T> {
    type Error = EngineError;

    fn now_ns(&mut self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn wait_until(&mut self, time_ns: u64) {
        // Polling, as the other compute threads do: a core that slept is slow to come back (its clock rate, its
        // caches, its host), and the first step after a pause would pay for it.
        let until = self.started + Duration::from_nanos(time_ns);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        // Whoever ran while there was nothing to do disturbed nothing.
        self.watch.lap();
    }

    fn execute(&mut self, batch: &Batch, scheduler: &dyn Scheduler) -> Result<(), EngineError> {
        self.executor.step(batch, |request| scheduler.blocks(request), &mut self.timer)?;
        self.disturbed.add(self.steps, self.watch.lap());
        self.steps += 1;
        Ok(())
    }
}
