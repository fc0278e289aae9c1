//! All cells of a matrix, each on a core of its own.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::objectives::Objectives;
use super::search::{Answer, Found, Range, search};
use crate::progress::Progress;

/// Runs a cell at a request rate. Pure: the same cell and rate give the same answer, on any thread.
pub trait Simulate: Sync {
    type Error: Send;

    /// Simulates cell `cell` at `qps` requests/s. It may stop when a [`super::Watch`] of these objectives says that
    /// one is out of reach. The workloads of one cell's probes should differ in their arrival times alone, scaled
    /// by the rate: then a probe says something of the rate and not of another draw.
    ///
    /// # Errors
    /// The cell cannot be simulated.
    fn at(&self, cell: usize, qps: f64, objectives: &Objectives) -> Result<Answer, Self::Error>;
}

/// Searches cells 0 to `cells` − 1, as many at once as the thread pool has threads; results are in the order of
/// cells and depend on nothing of the pool.
///
/// # Errors
/// Of the first cell, in order, whose simulation has one.
pub fn explore<S: Simulate>(
    cells: usize,
    range: &Range,
    objectives: &Objectives,
    simulate: &S,
    progress: &dyn Progress,
) -> Result<Vec<Found>, S::Error> {
    progress.start("cells", cells as u64);
    let first_error = AtomicUsize::new(usize::MAX);
    let searched: Vec<Option<Result<Found, S::Error>>> = (0..cells)
        .into_par_iter()
        .with_max_len(1)
        .map(|cell| {
            // Cells after one with an error change nothing; those before it may have one too.
            if cell > first_error.load(Ordering::Relaxed) {
                return None;
            }
            let found = search(range, objectives, |qps| simulate.at(cell, qps, objectives));
            if found.is_err() {
                first_error.fetch_min(cell, Ordering::Relaxed);
            }
            progress.advance(1);
            Some(found)
        })
        .collect();
    progress.finish();
    searched.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::load::Load;
    use super::super::sample_queue::{serve_all, told};
    use super::*;
    use crate::progress::Silent;

    /// Cell k serves a token in 1 + k ms; requests are evenly spaced.
    struct Queue {
        fails_from: usize,
    }

    impl Simulate for Queue {
        type Error = usize;

        fn at(&self, cell: usize, qps: f64, objectives: &Objectives) -> Result<Answer, usize> {
            if cell >= self.fails_from {
                return Err(cell);
            }
            let gap = (1e9 / qps) as u64;
            let run = serve_all(&vec![(gap, 10); 150], 1_000_000 * (1 + cell as u64));
            let watched = told(&run, objectives);
            Ok(watched.map_or_else(|| Answer::Served(Load::of(&run, objectives)), Answer::Stopped))
        }
    }

    fn in_threads(threads: usize, fails_from: usize) -> Result<Vec<Found>, usize> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let range = Range::new(1.0, 1_000.0, 0.01).unwrap();
        let objectives = Objectives { ttft_p99_ns: Some(50_000_000), ..Objectives::default() };
        pool.install(|| explore(9, &range, &objectives, &Queue { fails_from }, &Silent))
    }

    #[test]
    fn the_answer_is_that_of_a_queue_and_the_same_in_any_number_of_threads() {
        let found = in_threads(1, 99).unwrap();
        for threads in [2, 3, 8] {
            assert_eq!(found, in_threads(threads, 99).unwrap(), "{threads}");
        }
        for (cell, found) in found.iter().enumerate() {
            // Ten tokens a request: the queue grows from here on. 150 requests may pile up a little.
            let served_per_s = 100.0 / (1.0 + cell as f64);
            let highest = found.outcome.highest_qps().unwrap();
            assert!((served_per_s * 0.99..served_per_s * 1.06).contains(&highest), "{cell}: {highest}");
            assert!(found.probes.iter().any(|probe| matches!(probe.answer, Answer::Stopped(_))));
        }
    }

    #[test]
    fn the_first_cell_with_an_error_is_told() {
        for threads in [1, 4] {
            for _ in 0..8 {
                assert_eq!(in_threads(threads, 3), Err(3));
            }
        }
    }
}
