//! The threads that compute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder, Yield};

/// A pool of threads that stay awake while there is work for them.
///
/// A step is some hundreds of parallel products with little between them. Rayon puts a thread to sleep that finds nothing
/// to do for some microseconds, and waking it takes longer than many of those products do.
#[derive(Debug)]
pub struct ComputeThreads {
    pool: ThreadPool,
}

impl ComputeThreads {
    /// # Errors
    /// The system gives no threads.
    pub fn new(threads: u32) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads as usize)
            .thread_name(|index| format!("engine-{index}"))
            .build()?;
        Ok(Self { pool })
    }

    /// Runs `work` on one of the threads. The others take parts of what it computes, and poll for more until it ends.
    pub fn run<T: Send>(&mut self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(|| {
            let _awake = Awake::start();
            work()
        })
    }
}

/// While it lives, the other threads of the pool look for work without pause.
struct Awake {
    over: Arc<AtomicBool>,
}

impl Awake {
    /// Begins on all other threads before it returns. Nothing else may run in the pool: a thread that began to poll
    /// within a job of somebody else would keep that job from ending.
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let begun = Arc::new(AtomicUsize::new(1));
        let caller = rayon::current_thread_index();
        let seen = (over.clone(), begun.clone());
        // Every thread gets a job of its own, which no other takes.
        rayon::spawn_broadcast(move |context| {
            let (over, begun) = &seen;
            if Some(context.index()) == caller {
                return;
            }
            begun.fetch_add(1, Ordering::Relaxed);
            while !over.load(Ordering::Relaxed) {
                if rayon::yield_now() != Some(Yield::Executed) {
                    std::hint::spin_loop();
                }
            }
        });
        while begun.load(Ordering::Relaxed) < rayon::current_num_threads() {
            std::hint::spin_loop();
        }
        Self { over }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    /// Nested, with more threads than processors: what waits for parts of its own takes others' meanwhile.
    fn work() -> u64 {
        (0..8_u64).into_par_iter().map(|i| (0..1000_u64).into_par_iter().map(|j| i ^ j).sum::<u64>()).sum()
    }

    #[test]
    fn work_ends_and_comes_to_all_threads() {
        let wanted: u64 = (0..8).flat_map(|i| (0..1000).map(move |j| i ^ j)).sum();
        for threads in [1, 2, 5] {
            let mut threads = ComputeThreads::new(threads).unwrap();
            for _ in 0..100 {
                assert_eq!(threads.run(|| (0..5).map(|_| work()).sum::<u64>()), 5 * wanted);
            }
        }
    }

    #[test]
    fn threads_are_free_again_after_a_panic() {
        let mut threads = ComputeThreads::new(3).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            threads.run(|| -> u64 { panic!("on purpose") })
        }));
        assert!(panicked.is_err());
        // All come to a broadcast.
        assert_eq!(threads.pool.broadcast(|context| context.index()), [0, 1, 2]);
        assert!(threads.run(work) > 0);
    }
}
