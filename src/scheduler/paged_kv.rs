//! Paged KV cache bookkeeping: which fixed-size blocks of cache slots hold
//! which request's tokens (Kwon et al., "Efficient Memory Management for Large
//! Language Model Serving with PagedAttention", SOSP 2023).
//!
//! A block is in exactly one place: in one request's table, on the stack of
//! returned blocks, or among the never used ones. Blocks move between these
//! places and are never copied, so none can be freed twice.

use super::RequestId;
use super::decodes::DecodeGroup;
use super::kv::KvStore;

/// A request without a block table.
const NO_TABLE: u32 = u32::MAX;

/// Hands out KV blocks `0..total` and keeps each request's block table.
///
/// Free blocks form one stack: the block returned last is handed out next, so
/// the same calls give the same block numbers on every machine. Below the
/// returned blocks lie the never used ones in ascending order; they are a
/// counter, so a cache of any size costs nothing before it is used.
#[derive(Debug)]
pub struct KvBlocks {
    block_size: u32,
    total: u32,
    used: u32,
    /// Blocks from here to `total` were never handed out.
    never_used: u32,
    /// Blocks that came back; the last is handed out next.
    returned: Vec<u32>,
    /// Block tables of requests that hold blocks, and emptied ones kept for their memory.
    tables: Vec<Vec<u32>>,
    /// Indexes of empty tables.
    spare_tables: Vec<u32>,
    /// Each request's index into `tables`, or [`NO_TABLE`].
    table_of: Vec<u32>,
}

impl KvBlocks {
    /// `total` free blocks of `block_size` tokens. Blocks of no tokens are none.
    pub fn new(total: u32, block_size: u32) -> Self {
        Self {
            block_size,
            total: if block_size == 0 { 0 } else { total },
            used: 0,
            never_used: 0,
            returned: Vec::new(),
            tables: Vec::new(),
            spare_tables: Vec::new(),
            table_of: Vec::new(),
        }
    }

    fn table_index(&mut self, request: RequestId) -> usize {
        let request = request as usize;
        if request >= self.table_of.len() {
            self.table_of.resize(request + 1, NO_TABLE);
        }
        if self.table_of[request] == NO_TABLE {
            self.table_of[request] = self.spare_tables.pop().unwrap_or_else(|| {
                self.tables.push(Vec::new());
                (self.tables.len() - 1) as u32
            });
        }
        self.table_of[request] as usize
    }
}

impl KvStore for KvBlocks {
    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn total(&self) -> u32 {
        self.total
    }

    fn used(&self) -> u32 {
        self.used
    }

    /// Appends `count` free blocks to the request's table.
    fn allocate(&mut self, request: RequestId, count: u32) -> bool {
        if count > self.free() {
            return false;
        }
        let table = self.table_index(request);
        let table = &mut self.tables[table];
        for _ in 0..count {
            table.push(self.returned.pop().unwrap_or_else(|| {
                let block = self.never_used;
                self.never_used += 1;
                block
            }));
        }
        self.used += count;
        true
    }

    fn grow(&mut self, group: &DecodeGroup) {
        for request in group.growing() {
            let grown = self.allocate(request, 1);
            debug_assert!(grown, "no block for {request}");
        }
    }

    /// One that holds none is left alone. The same request, allocating as much again, would get the
    /// same blocks in the same order.
    fn release(&mut self, request: RequestId, count: u32) {
        let Some(slot) = self.table_of.get_mut(request as usize).filter(|slot| **slot != NO_TABLE) else {
            return;
        };
        let index = std::mem::replace(slot, NO_TABLE);
        let table = &mut self.tables[index as usize];
        debug_assert_eq!(table.len(), count as usize, "blocks of {request}");
        self.used -= table.len() as u32;
        self.returned.extend(table.drain(..).rev());
        self.spare_tables.push(index);
    }

    /// Token `t` lies in block `t / block_size` of this slice.
    fn blocks(&self, request: RequestId) -> &[u32] {
        match self.table_of.get(request as usize) {
            Some(&index) if index != NO_TABLE => &self.tables[index as usize],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hands_out_fresh_blocks_in_order_and_returned_ones_first() {
        let mut kv = KvBlocks::new(8, 16);
        assert!(kv.allocate(0, 3) && kv.allocate(1, 2));
        assert_eq!((kv.blocks(0), kv.blocks(1)), (&[0, 1, 2][..], &[3, 4][..]));
        kv.release(0, 3);
        assert_eq!((kv.used(), kv.free()), (2, 6));
        assert!(kv.allocate(2, 4));
        assert_eq!(kv.blocks(2), [0, 1, 2, 5]);
        assert_eq!(kv.blocks(0), [0_u32; 0]);
    }

    #[test]
    fn takes_all_or_nothing() {
        let mut kv = KvBlocks::new(4, 16);
        assert!(kv.allocate(0, 3));
        assert!(!kv.allocate(1, 2));
        assert_eq!((kv.used(), kv.blocks(1).len()), (3, 0));
        assert!(kv.allocate(0, 1) && !kv.allocate(0, 1));
        assert_eq!(kv.blocks(0), [0, 1, 2, 3]);
    }

    #[test]
    fn a_second_release_changes_nothing() {
        let mut kv = KvBlocks::new(4, 16);
        assert!(kv.allocate(0, 2) && kv.allocate(1, 1));
        kv.release(0, 2);
        kv.release(0, 2);
        kv.release(77, 1);
        assert_eq!(kv.free(), 3);
        assert!(kv.allocate(2, 3) && !kv.allocate(3, 1));
    }

    #[test]
    fn counts_blocks() {
        let kv = KvBlocks::new(10, 16);
        assert_eq!([1, 16, 17, 160].map(|tokens| kv.blocks_for(tokens)), [1, 1, 2, 10]);
        let none = KvBlocks::new(10, 0);
        assert_eq!((none.total(), none.blocks_for(1)), (0, u32::MAX));
    }

    proptest! {
        /// Against a stack filled with all blocks from the start, and a table per request.
        #[test]
        fn behaves_like_one_stack(
            total in 0_u32..40,
            calls in prop::collection::vec((0_u32..6, prop::option::of(0_u32..12)), 0..200),
        ) {
            let mut kv = KvBlocks::new(total, 16);
            let mut stack: Vec<u32> = (0..total).rev().collect();
            let mut tables = vec![Vec::new(); 6];
            for (request, call) in calls {
                let table = &mut tables[request as usize];
                match call {
                    Some(count) => {
                        let fits = count as usize <= stack.len();
                        prop_assert_eq!(kv.allocate(request, count), fits);
                        if fits {
                            table.extend((0..count).filter_map(|_| stack.pop()));
                        }
                    }
                    None => {
                        kv.release(request, table.len() as u32);
                        stack.extend(table.drain(..).rev());
                    }
                }
                let mut seen: Vec<u32> = (0..6).flat_map(|request| kv.blocks(request)).copied().collect();
                prop_assert_eq!(kv.used() as usize, seen.len());
                prop_assert_eq!(kv.free() as usize, stack.len());
                prop_assert!(seen.iter().all(|block| *block < total));
                seen.sort_unstable();
                prop_assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "a block with two owners");
                for (request, table) in (0..).zip(&tables) {
                    prop_assert_eq!(kv.blocks(request), &table[..]);
                }
            }
        }
    }
}
