use std::time::{Duration, Instant};

use super::EngineError;
use super::executor::Executor;
use super::reference::until_next_speed;
use crate::drive::Machine;
use crate::machine::{DisturbedSteps, SpeedPoint, Watch};
use crate::model::OpTimer;
use crate::scheduler::{Batch, Scheduler};

/// Executes batches while the wall clock runs.
pub(super) struct WallClock<'a, T> {
    executor: Executor<'a>,
    timer: T,
    started: Instant,
    /// Time that went to reference steps: the run's clock stands still meanwhile.
    apart: Duration,
    watch: Watch,
    steps: u32,
    disturbed: DisturbedSteps,
    speed: Vec<SpeedPoint>,
    /// When the next reference steps are due, on the run's clock.
    due: Duration,
}

/// Reference steps are timed so often, unless they take more than their share of the time.
const SPEED_EVERY: Duration = Duration::from_millis(200);
/// How often they are timed before a run, and after it.
const AROUND: usize = 3;

impl<'a, T> WallClock<'a, T> {
    /// The run starts now.
    pub fn start(mut executor: Executor<'a>, timer: T) -> Result<Self, EngineError> {
        let speed = (0..AROUND).map(|_| executor.speed(0)).collect::<Result<_, _>>()?;
        Ok(Self {
            executor,
            timer,
            started: Instant::now(),
            apart: Duration::ZERO,
            watch: Watch::start(),
            steps: 0,
            disturbed: DisturbedSteps::default(),
            speed,
            due: SPEED_EVERY,
        })
    }

    /// The run is over: what executed it, what disturbed it, and how fast the machine was.
    pub fn stop(mut self) -> Result<(Executor<'a>, DisturbedSteps, Vec<SpeedPoint>), EngineError> {
        let end_ns = nanoseconds(self.now());
        for _ in 0..AROUND {
            self.speed.push(self.executor.speed(end_ns)?);
        }
        Ok((self.executor, self.disturbed, self.speed))
    }

    /// On the run's clock.
    fn now(&self) -> Duration {
        self.started.elapsed() - self.apart
    }

    /// Times the reference steps if they are due.
    fn look_at_speed(&mut self) -> Result<(), EngineError> {
        let now = self.now();
        if now < self.due {
            return Ok(());
        }
        let started = Instant::now();
        self.speed.push(self.executor.speed(nanoseconds(now))?);
        let took = started.elapsed();
        self.apart += took;
        self.due = now + until_next_speed(SPEED_EVERY, took);
        // Nobody was disturbed in it.
        self.watch.lap();
        Ok(())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<T: OpTimer> Machine for WallClock<'_, T> {
    type Error = EngineError;

    fn now_ns(&mut self) -> u64 {
        nanoseconds(self.now())
    }

    fn wait_until(&mut self, time_ns: u64) {
        // Polling, as the other compute threads do: a core that slept is slow to come back (its clock rate, its
        // caches, its host), and the first step after a pause would pay for it.
        let until = Duration::from_nanos(time_ns);
        while self.now() < until {
            std::hint::spin_loop();
        }
        // Whoever ran while there was nothing to do disturbed nothing.
        self.watch.lap();
    }

    fn execute(&mut self, batch: &Batch, scheduler: &dyn Scheduler) -> Result<(), EngineError> {
        self.executor.step(batch, |request| scheduler.blocks(request), &mut self.timer)?;
        self.disturbed.add(self.steps, self.watch.lap());
        self.steps += 1;
        // Before the next step, or before a pause, which then is as long as it would have been.
        self.look_at_speed()
    }
}
