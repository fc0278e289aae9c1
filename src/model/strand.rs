//! Rows of a pass, and the threads that carry them through the layers.
//!
//! A pass of few rows is one strand: the threads share out every product, so that each reads a part of the weights. A pass
//! of many rows is a strand for each thread: a thread carries its rows from layer to layer and hands nothing to
//! another but keys and values. What a core computes stays in its own caches; cores that share none would wait
//! for each other's rows longer than for the weights, which many rows make up for.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::kernels::{Workers, row_group};

use super::ops::{NoTimer, OpTimer};

/// Rows of each strand, at least, where there are several: as many as make up for reading the weights on every thread.
const MANY_ROWS: usize = 32;

/// Fewer rows are not worth another thread where little is done to each.
const ROWS_APART: usize = 16;

/// A buffer that grows to what is asked of it, and keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    /// Room for so many values; they may be anything.
    pub fn room(&mut self, count: usize) -> &mut [f32] {
        self.0.resize(count.max(self.0.len()), 0.0);
        &mut self.0[..count]
    }

    /// The first values.
    pub fn first(&self, count: usize) -> &[f32] {
        &self.0[..count]
    }
}

/// Rows that go through the layers together. Buffers are `[row][…]`.
#[derive(Debug)]
pub(super) struct Strand {
    /// Which of the pass.
    pub rows: Range<usize>,
    pub workers: Workers,
    /// What the layers add to, `[row][hidden]`.
    pub x: Buffer,
    pub normed: Buffer,
    /// Queries, keys and values, `[row][query heads, KV heads, KV heads][head_dim]`.
    pub qkv: Buffer,
    /// Normed and rotated.
    pub query: Buffer,
    pub key: Buffer,
    pub attended: Buffer,
    pub gate_up: Buffer,
    pub activated: Buffer,
}

impl Default for Strand {
    fn default() -> Self {
        Self {
            rows: 0..0,
            workers: Workers::Pool,
            x: Buffer::default(),
            normed: Buffer::default(),
            qkv: Buffer::default(),
            query: Buffer::default(),
            key: Buffer::default(),
            attended: Buffer::default(),
            gate_up: Buffer::default(),
            activated: Buffer::default(),
        }
    }
}

/// Fewest rows that a thread takes at a time where little is done to each.
pub(super) fn rows_apart(workers: Workers) -> usize {
    match workers {
        Workers::Pool => ROWS_APART,
        // All of them.
        Workers::Caller => usize::MAX,
    }
}

/// The activations of a pass, kept so that the next has their memory: fresh pages take long.
#[derive(Debug, Default)]
pub struct Activations {
    strands: Vec<Strand>,
    /// How many of them the pass has.
    busy: usize,
}

impl Activations {
    /// Shares out the rows of a pass over strands, of about the same cost each. `costs` are those of the rows.
    pub(super) fn share_out(&mut self, costs: &[f64]) {
        let threads = rayon::current_num_threads();
        self.busy = if costs.len() >= MANY_ROWS * threads { threads } else { 1 };
        if self.strands.len() < self.busy {
            self.strands.resize_with(self.busy, Strand::default);
        }
        let workers = if self.busy == 1 { Workers::Pool } else { Workers::Caller };
        let ends = ends(costs, self.busy, row_group());
        let mut from = 0;
        for (strand, end) in self.strands.iter_mut().zip(ends) {
            (strand.rows, strand.workers) = (from..end, workers);
            from = end;
        }
    }

    /// The pass's strands.
    pub(super) fn strands(&self) -> &[Strand] {
        &self.strands[..self.busy]
    }

    /// What the layers made of a row of the pass.
    pub(super) fn row(&self, row: usize, hidden: usize) -> &[f32] {
        let strands = self.strands();
        let strand = &strands[strands.partition_point(|strand| strand.rows.end <= row)];
        let from = (row - strand.rows.start) * hidden;
        &strand.x.first(from + hidden)[from..]
    }

    /// Does something to all strands, each on a thread of its own, which is the same from time to time. The calling thread
    /// takes the first, and its timer is told.
    pub(super) fn each(
        &mut self,
        timer: &mut dyn OpTimer,
        work: impl Fn(&mut Strand, &mut dyn OpTimer) + Sync,
    ) {
        let [first, others @ ..] = &mut self.strands[..self.busy] else { return };
        if others.is_empty() {
            return work(first, timer);
        }
        let others: Vec<Mutex<&mut Strand>> = others.iter_mut().map(Mutex::new).collect();
        let caller = rayon::current_thread_index();
        rayon::in_place_scope(|scope| {
            scope.spawn_broadcast(|_, context| {
                let index = context.index();
                let turn = match caller {
                    Some(caller) if caller == index => return,
                    Some(caller) if caller < index => index - 1,
                    _ => index,
                };
                if let Some(strand) = others.get(turn) {
                    work(&mut strand.lock().unwrap_or_else(PoisonError::into_inner), &mut NoTimer);
                }
            });
            work(first, timer);
        });
    }
}

/// Where each of `parts` ends, for costs that are as even as whole groups of rows can make them.
fn ends(costs: &[f64], parts: usize, group: usize) -> Vec<usize> {
    let total: f64 = costs.iter().sum();
    let mut ends = Vec::with_capacity(parts);
    let (mut end, mut sum) = (0, 0.0);
    for part in 1..parts {
        let wanted = total * part as f64 / parts as f64;
        while end < costs.len() {
            let next = (end + group).min(costs.len());
            let of_group: f64 = costs[end..next].iter().sum();
            // The nearer of both ends of the group.
            if sum + of_group / 2.0 > wanted {
                break;
            }
            (end, sum) = (next, sum + of_group);
        }
        ends.push(end);
    }
    ends.push(costs.len());
    ends
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_as_even_as_groups_allow(
            costs in prop::collection::vec(0.1_f64..3.0, 0..300),
            parts in 1_usize..9,
            group in 1_usize..5,
        ) {
            let ends = ends(&costs, parts, group);
            prop_assert_eq!((ends.len(), ends.last()), (parts, Some(&costs.len())));
            prop_assert!(ends.is_sorted());
            let even = costs.iter().sum::<f64>() / parts as f64;
            let dearest: f64 = costs.chunks(group).map(|group| group.iter().sum()).fold(0.0, f64::max);
            let mut from = 0;
            for end in ends {
                let cost: f64 = costs[from..end].iter().sum();
                prop_assert!((cost - even).abs() <= dearest + 1e-9, "{cost} of {even}");
                prop_assert!(end == costs.len() || end % group == 0);
                from = end;
            }
        }
    }

    #[test]
    fn each_strand_keeps_its_thread_and_few_rows_are_one() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.install(|| {
            let mut activations = Activations::default();
            activations.share_out(&[1.0; 3 * MANY_ROWS - 1]);
            assert_eq!((activations.strands().len(), activations.strands()[0].workers), (1, Workers::Pool));
            activations.share_out(&[1.0; 3 * MANY_ROWS]);
            let ranges: Vec<_> = activations.strands().iter().map(|strand| strand.rows.clone()).collect();
            assert_eq!(ranges, [0..32, 32..64, 64..96]);
            let threads = |activations: &mut Activations| {
                activations.each(&mut NoTimer, |strand, _| {
                    strand.x.room(1)[0] = rayon::current_thread_index().unwrap() as f32;
                });
                activations.strands().iter().map(|strand| strand.x.first(1)[0] as usize).collect::<Vec<_>>()
            };
            let first = threads(&mut activations);
            assert_eq!(first[0], rayon::current_thread_index().unwrap());
            assert_eq!(
                {
                    let mut all = first.clone();
                    all.sort_unstable();
                    all
                },
                [0, 1, 2]
            );
            assert!((0..50).all(|_| threads(&mut activations) == first));
        });
    }
}
