//! Compute threads that do not sleep between two products.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::Yield;

/// While it lives, the other threads of the current pool look for work without pause. Rayon puts a thread to sleep that
/// finds none for some microseconds, and waking it takes longer than many of a step's products do.
#[derive(Debug)]
pub struct Awake(Arc<AtomicBool>);

impl Awake {
    /// From now on. Does nothing outside of a pool's threads.
    pub fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        if let Some(caller) = rayon::current_thread_index() {
            let seen = over.clone();
            // Every thread gets a job of its own, which no other takes: the caller's ends at once, for it may be begun
            // while the caller waits for work of its own.
            rayon::spawn_broadcast(move |context| {
                while context.index() != caller && !seen.load(Ordering::Relaxed) {
                    if rayon::yield_now() != Some(Yield::Executed) {
                        std::hint::spin_loop();
                    }
                }
            });
        }
        Self(over)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn work_is_done_and_threads_are_free_again() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for _ in 0..200 {
            let sum: u64 = pool.install(|| {
                let _awake = Awake::start();
                (0..10).map(|_| (0..1000_u64).into_par_iter().sum::<u64>()).sum()
            });
            assert_eq!(sum, 10 * 499_500);
        }
        // Nobody spins any more: all threads come to a broadcast.
        assert_eq!(pool.broadcast(|context| context.index()).len(), 3);
        drop(Awake::start());
    }
}
