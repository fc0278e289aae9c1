//! The threads of a pass.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::ops::{NoTimer, OpTimer};

/// Does parts `0..count` of some work, each on a thread of its own, which is the same from time to time. The calling
/// thread takes the first, and its timer is told. There are at most as many parts as the pool has threads.
pub(super) fn on_threads(
    count: usize,
    timer: &mut dyn OpTimer,
    work: impl Fn(usize, &mut dyn OpTimer) + Sync,
) {
    if count < 2 {
        return (0..count).for_each(|part| work(part, timer));
    }
    let caller = rayon::current_thread_index();
    rayon::in_place_scope(|scope| {
        scope.spawn_broadcast(|_, context| {
            let index = context.index();
            let part = match caller {
                Some(caller) if caller == index => return,
                Some(caller) if caller < index => index,
                _ => index + 1,
            };
            if part < count {
                work(part, &mut NoTimer);
            }
        });
        work(0, timer);
    });
}

/// Looks for the others before a thread that waits lets the system run another.
const PATIENCE: u32 = 1 << 14;

/// Where threads wait for one another. They look for each other without pause: what they compute in between takes less
/// time than it does to be woken.
#[derive(Debug)]
pub(super) struct Meeting {
    threads: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    /// A thread will never come again.
    broken: AtomicBool,
}

impl Meeting {
    /// Of so many threads.
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// A thread that takes part until the result is dropped: if it panics, so do those that wait for it.
    pub fn member(&self) -> Member<'_> {
        Member(self)
    }
}

/// One thread of a [`Meeting`].
#[derive(Debug)]
pub(super) struct Member<'a>(&'a Meeting);

impl Member<'_> {
    /// Returns when all threads have come. What each did before, the others see after.
    ///
    /// # Panics
    /// Another has panicked.
    pub fn meet(&self) {
        let Meeting { threads, arrived, round, broken } = self.0;
        let current = round.load(Ordering::Acquire);
        if arrived.fetch_add(1, Ordering::AcqRel) + 1 == *threads {
            arrived.store(0, Ordering::Relaxed);
            round.store(current.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut looks = 0;
        while round.load(Ordering::Acquire) == current {
            assert!(!broken.load(Ordering::Relaxed), "another thread of the pass has panicked");
            if looks < PATIENCE {
                looks += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn each_part_keeps_its_thread() {
        pool(3).install(|| {
            let threads = |count: usize| {
                let seen = Mutex::new(vec![None; count]);
                on_threads(count, &mut NoTimer, |part, _| {
                    seen.lock().unwrap()[part] = rayon::current_thread_index();
                });
                seen.into_inner().unwrap()
            };
            let first = threads(3);
            assert_eq!(first[0], rayon::current_thread_index());
            let mut all = first.clone();
            all.sort_unstable();
            assert_eq!(all, [Some(0), Some(1), Some(2)]);
            assert!((0..50).all(|_| threads(3) == first));
            assert_eq!(threads(2), first[..2]);
            assert_eq!(threads(1), first[..1]);
            assert!(threads(0).is_empty());
        });
    }

    #[test]
    fn nobody_goes_on_before_all_have_come() {
        let (threads, rounds) = (3, 2_000);
        let (meeting, sum) = (Meeting::new(threads), AtomicUsize::new(0));
        pool(threads).install(|| {
            on_threads(threads, &mut NoTimer, |_, _| {
                let member = meeting.member();
                for round in 0..rounds {
                    sum.fetch_add(1, Ordering::Relaxed);
                    member.meet();
                    assert_eq!(sum.load(Ordering::Relaxed), (round + 1) * threads);
                    member.meet();
                }
            });
        });
    }

    #[test]
    fn a_panic_leaves_nobody_waiting() {
        let meeting = Meeting::new(2);
        let run = || {
            pool(2).install(|| {
                on_threads(2, &mut NoTimer, |part, _| {
                    let member = meeting.member();
                    assert!(part == 0, "as wished");
                    member.meet();
                });
            });
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    }
}
