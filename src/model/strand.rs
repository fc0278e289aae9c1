//! Rows of a pass, and the threads that carry them through the layers.
//!
//! A pass of many rows is a strand for each thread: a thread carries its rows from layer to layer and hands nothing to
//! another but keys and values. What a core computes stays in its own caches; cores that share none would wait
//! for each other's rows longer than for the weights, which many rows make up for. A pass of few rows is cut by columns
//! ([`super::columns`]), or, where its columns are no whole panels for each thread, is one strand: the threads share out
//! every product.

use std::sync::{Mutex, PoisonError};

use super::columns::Columns;
use super::ops::OpTimer;
use super::threads::on_threads;
use crate::kernels::{Buffer, Workers, row_group};

/// Rows of each strand, at least, where there are several: as many as make up for reading the weights on every thread.
const MANY_ROWS: usize = 24;

/// Consecutive rows of a request that go to the same strand: so many share their reading of keys and values. The strand
/// with the fewest rows takes the next, so that all have as many, and see as many tokens of a chunk.
const STRIPE: usize = 4;

/// Fewer rows are not worth another thread where little is done to each.
const ROWS_APART: usize = 16;

/// Rows that go through the layers together. Buffers are `[row][…]`.
#[derive(Debug, Default)]
pub(super) struct Strand {
    /// Which one of the pass.
    pub index: usize,
    /// Number of rows.
    pub rows: usize,
    pub workers: Workers,
    /// What the layers add to, `[row][hidden]`.
    pub x: Buffer<f32>,
    pub normed: Buffer<f32>,
    /// Queries, keys and values, `[row][query heads, KV heads, KV heads][head_dim]`.
    pub qkv: Buffer<f32>,
    /// Normed and rotated.
    pub query: Buffer<f32>,
    pub key: Buffer<f32>,
    pub attended: Buffer<f32>,
    pub gate_up: Buffer<f32>,
    pub activated: Buffer<f32>,
}

/// How rows of a pass are computed together: what takes as long as more rows would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grouping {
    /// More rows than this take as long as the next multiple of it.
    pub rows: usize,
    /// From so many tokens on, the threads take rows apart, and a number takes as long as the next multiple of the
    /// second.
    pub many: Option<(usize, usize)>,
}

impl Grouping {
    /// Every row takes its time.
    pub const NONE: Self = Self { rows: 1, many: None };

    /// That of the current thread pool, on this processor.
    pub fn of_pool() -> Self {
        let threads = rayon::current_num_threads();
        let many = (threads > 1).then_some((MANY_ROWS * threads, STRIPE * threads));
        Self { rows: row_group(), many }
    }
}

/// Fewest rows that a thread takes at a time where little is done to each.
pub(super) fn rows_apart(workers: Workers) -> usize {
    workers.least(ROWS_APART)
}

/// Whether the rows of a pass are so many that each thread takes some.
pub(super) fn many_rows(rows: usize, threads: usize) -> bool {
    rows >= MANY_ROWS * threads
}

/// The activations of a pass, kept so that the next has their memory: fresh pages take long.
#[derive(Debug, Default)]
pub struct Activations {
    strands: Vec<Strand>,
    /// How many of them the pass has.
    busy: usize,
    /// Which strand has each row of the pass, and where.
    places: Vec<(usize, usize)>,
    /// Of passes that are cut otherwise.
    pub(super) columns: Columns,
}

impl Activations {
    /// Shares out the rows of a pass over strands. Its requests have `tokens` rows each, one after the other.
    pub(super) fn share_out(&mut self, tokens: impl IntoIterator<Item = usize> + Clone) {
        let threads = rayon::current_num_threads();
        let rows: usize = tokens.clone().into_iter().sum();
        let busy = if many_rows(rows, threads) { threads } else { 1 };
        let workers = if busy == 1 { Workers::Pool } else { Workers::Caller };
        if self.strands.len() < busy {
            self.strands.resize_with(busy, Strand::default);
        }
        self.busy = busy;
        for (index, strand) in self.strands.iter_mut().enumerate().take(busy) {
            (strand.index, strand.rows, strand.workers) = (index, 0, workers);
        }
        // No strand has more than whole stripes that all of them could have.
        let most = rows.div_ceil(busy).next_multiple_of(STRIPE);
        self.places.clear();
        for mut left in tokens {
            while left > 0 {
                let strands = self.strands[..busy].iter_mut();
                let Some(strand) = strands.min_by_key(|strand| strand.rows) else { return };
                let stripe = left.min(STRIPE).min(most - strand.rows);
                self.places.extend((strand.rows..).take(stripe).map(|place| (strand.index, place)));
                strand.rows += stripe;
                left -= stripe;
            }
        }
    }

    /// What belongs to the rows of a pass, by strand.
    pub(super) fn by_strand<T>(&self, of_rows: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
        let mut all: Vec<Vec<T>> =
            self.strands().iter().map(|strand| Vec::with_capacity(strand.rows)).collect();
        for ((strand, _), of_row) in self.places.iter().zip(of_rows) {
            all[*strand].push(of_row);
        }
        all
    }

    /// The pass's strands.
    pub(super) fn strands(&self) -> &[Strand] {
        &self.strands[..self.busy]
    }

    /// What the layers made of a row of the pass.
    pub(super) fn row(&self, row: usize, hidden: usize) -> &[f32] {
        let (strand, row) = self.places[row];
        &self.strands[strand].x.first((row + 1) * hidden)[row * hidden..]
    }

    /// Does something to all strands, each on a thread of its own, which is the same from time to time. The calling thread
    /// takes the first, and its timer is told.
    pub(super) fn each(
        &mut self,
        timer: &mut dyn OpTimer,
        work: impl Fn(&mut Strand, &mut dyn OpTimer) + Sync,
    ) {
        let strands: Vec<Mutex<&mut Strand>> = self.strands[..self.busy].iter_mut().map(Mutex::new).collect();
        on_threads(strands.len(), timer, |index, timer| {
            work(&mut strands[index].lock().unwrap_or_else(PoisonError::into_inner), timer);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NoTimer;

    #[test]
    fn strands_take_rows_in_turns() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| {
            let mut activations = Activations::default();
            for tokens in [&[0][..], &[1], &[47], &[48], &[1, 1, 1, 45], &[78], &[1, 60, 1, 2, 90]] {
                activations.share_out(tokens.iter().copied());
                let rows: usize = tokens.iter().sum();
                let by_strand = activations.by_strand(0..rows);
                let counts: Vec<usize> = activations.strands().iter().map(|strand| strand.rows).collect();
                assert_eq!(counts, by_strand.iter().map(Vec::len).collect::<Vec<_>>());
                let most = rows.div_ceil(counts.len()).next_multiple_of(STRIPE);
                assert!(counts.iter().all(|count| *count <= most), "{counts:?}");
                for (strand, rows) in by_strand.iter().enumerate() {
                    for (at, row) in rows.iter().enumerate() {
                        assert_eq!(activations.places[*row], (strand, at));
                    }
                }
            }
            activations.share_out([1, 1, 1, 45]);
            let rows = |ranges: &[std::ops::Range<i32>]| ranges.iter().cloned().flatten().collect::<Vec<_>>();
            assert_eq!(
                activations.by_strand(0..48),
                [
                    rows(&[0..1, 2..3, 7..11, 15..19, 23..27, 31..35, 39..43, 46..48]),
                    rows(&[1..2, 3..7, 11..15, 19..23, 27..31, 35..39, 43..46]),
                ]
            );
        });
    }

    #[test]
    fn each_thread_has_a_strand_and_few_rows_are_one() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.install(|| {
            let mut activations = Activations::default();
            activations.share_out([3 * MANY_ROWS - 1]);
            assert_eq!((activations.strands().len(), activations.strands()[0].workers), (1, Workers::Pool));
            activations.share_out([3 * MANY_ROWS]);
            assert!(activations.strands().iter().all(|strand| strand.workers == Workers::Caller));
            activations.each(&mut NoTimer, |strand, _| strand.x.room(1)[0] = strand.index as f32);
            assert!((0..3).all(|index| activations.strands()[index].x.first(1) == [index as f32]));
        });
    }
}
