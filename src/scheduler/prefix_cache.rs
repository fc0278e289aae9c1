//! KV blocks that outlive their request: a prompt that begins like an earlier
//! one shares the blocks of the beginning (vLLM's automatic prefix caching).

use std::collections::HashMap;

use super::RequestId;
use super::decodes::DecodeGroup;
use super::kv::{Cached, KvStore};

/// What a full block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Content {
    /// A prompt up to and with this block, by the id that equal beginnings share.
    Prompt(u64),
    /// Block `index` of what one request computed: nobody else's.
    Own { serial: u64, index: u32 },
}

/// No block, in a list.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Block {
    /// Requests that hold it.
    holders: u32,
    content: Option<Content>,
    /// Neighbours in the list of free blocks.
    previous: u32,
    next: u32,
    /// Another block of the same content, cached later.
    twin: u32,
}

/// What is known of one request.
#[derive(Debug, Default)]
struct Owner {
    serial: u64,
    /// Ids of its prompt's full blocks.
    prefix: Vec<u64>,
    table: Vec<u32>,
    /// Blocks of the table whose content is known to the cache.
    kept: u32,
}

/// KV blocks with reference counts, an index by content, and a list of free ones in the order in
/// which they were freed. A free block keeps its content until it is handed out again, and is taken off the list when a
/// prompt finds it.
#[derive(Debug)]
pub struct PrefixCache {
    block_size: u32,
    blocks: Vec<Block>,
    /// First and last of the free list.
    first: u32,
    last: u32,
    free: u32,
    /// The first block that was cached with a content; its twins hang on it.
    index: HashMap<Content, u32>,
    owners: Vec<Owner>,
    next_serial: u64,
}

impl PrefixCache {
    /// `total` free blocks of `block_size` tokens, nothing cached. Blocks of no tokens are none.
    pub fn new(total: u32, block_size: u32) -> Self {
        let total = if block_size == 0 { 0 } else { total };
        let mut cache = Self {
            block_size,
            blocks: Vec::with_capacity(total as usize),
            first: NONE,
            last: NONE,
            free: 0,
            index: HashMap::new(),
            owners: Vec::new(),
            next_serial: 0,
        };
        for block in 0..total {
            cache.blocks.push(Block { holders: 0, content: None, previous: NONE, next: NONE, twin: NONE });
            cache.push_free(block);
        }
        cache
    }

    fn push_free(&mut self, block: u32) {
        let last = std::mem::replace(&mut self.last, block);
        self.blocks[block as usize].previous = last;
        self.blocks[block as usize].next = NONE;
        match last {
            NONE => self.first = block,
            last => self.blocks[last as usize].next = block,
        }
        self.free += 1;
    }

    fn remove_free(&mut self, block: u32) {
        let Block { previous, next, .. } = self.blocks[block as usize];
        match previous {
            NONE => self.first = next,
            previous => self.blocks[previous as usize].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.blocks[next as usize].previous = previous,
        }
        self.free -= 1;
    }

    /// The block's content is about to be overwritten.
    fn forget_content(&mut self, block: u32) {
        let Some(content) = self.blocks[block as usize].content.take() else { return };
        let twin = std::mem::replace(&mut self.blocks[block as usize].twin, NONE);
        let Some(&first) = self.index.get(&content) else { return };
        if first == block {
            match twin {
                NONE => self.index.remove(&content),
                twin => self.index.insert(content, twin),
            };
            return;
        }
        let mut before = first;
        while self.blocks[before as usize].twin != block {
            before = self.blocks[before as usize].twin;
        }
        self.blocks[before as usize].twin = twin;
    }

    fn remember(&mut self, block: u32, content: Content) {
        self.blocks[block as usize].content = Some(content);
        let Some(&first) = self.index.get(&content) else {
            self.index.insert(content, block);
            return;
        };
        let mut last = first;
        while self.blocks[last as usize].twin != NONE {
            last = self.blocks[last as usize].twin;
        }
        self.blocks[last as usize].twin = block;
    }

    fn content(owner: &Owner, index: u32) -> Content {
        match owner.prefix.get(index as usize) {
            Some(id) => Content::Prompt(*id),
            None => Content::Own { serial: owner.serial, index },
        }
    }

    fn owner(&mut self, request: RequestId) -> &mut Owner {
        let request = request as usize;
        if request >= self.owners.len() {
            self.owners.resize_with(request + 1, Owner::default);
        }
        &mut self.owners[request]
    }
}

impl KvStore for PrefixCache {
    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn total(&self) -> u32 {
        self.blocks.len() as u32
    }

    fn used(&self) -> u32 {
        self.total() - self.free
    }

    fn allocate(&mut self, request: RequestId, count: u32) -> bool {
        if count > self.free {
            return false;
        }
        for _ in 0..count {
            let block = self.first;
            self.remove_free(block);
            self.forget_content(block);
            self.blocks[block as usize].holders = 1;
            self.owner(request).table.push(block);
        }
        true
    }

    fn grow(&mut self, group: &DecodeGroup) {
        for request in group.growing() {
            let grown = self.allocate(request, 1);
            debug_assert!(grown, "no block for {request}");
        }
    }

    /// The last blocks are freed first, so that a prompt's beginning stays longest.
    fn release(&mut self, request: RequestId, count: u32) {
        let owner = self.owner(request);
        owner.kept = 0;
        let table = std::mem::take(&mut owner.table);
        debug_assert_eq!(table.len(), count as usize, "blocks of {request}");
        for &block in table.iter().rev() {
            self.blocks[block as usize].holders -= 1;
            if self.blocks[block as usize].holders == 0 {
                self.push_free(block);
            }
        }
    }

    fn blocks(&self, request: RequestId) -> &[u32] {
        self.owners.get(request as usize).map_or(&[], |owner| &owner.table)
    }

    fn introduce(&mut self, request: RequestId, prefix: &[u64]) {
        let serial = self.next_serial;
        self.next_serial += 1;
        *self.owner(request) = Owner { serial, prefix: prefix.to_vec(), table: Vec::new(), kept: 0 };
    }

    fn forget(&mut self, request: RequestId) {
        *self.owner(request) = Owner::default();
    }

    fn cached(&self, request: RequestId, tokens: u32) -> Cached {
        let mut cached = Cached::default();
        let Some(owner) = self.owners.get(request as usize) else { return cached };
        for index in 0..tokens.checked_div(self.block_size).unwrap_or(0) {
            let Some(block) = self.index.get(&Self::content(owner, index)) else { break };
            cached.blocks += 1;
            cached.free += u32::from(self.blocks[*block as usize].holders == 0);
        }
        cached
    }

    fn share(&mut self, request: RequestId, blocks: u32) {
        for index in 0..blocks {
            let owner = self.owner(request);
            let content = Self::content(owner, index);
            let Some(&block) = self.index.get(&content) else { break };
            if self.blocks[block as usize].holders == 0 {
                self.remove_free(block);
            }
            self.blocks[block as usize].holders += 1;
            self.owner(request).table.push(block);
        }
        self.owner(request).kept = blocks;
    }

    fn keep(&mut self, request: RequestId, tokens: u32) {
        let full = tokens.checked_div(self.block_size).unwrap_or(0);
        let owner = self.owner(request);
        let new = owner.kept..full.min(owner.table.len() as u32).max(owner.kept);
        owner.kept = new.end;
        for index in new {
            let owner = &self.owners[request as usize];
            let (block, content) = (owner.table[index as usize], Self::content(owner, index));
            self.remember(block, content);
        }
    }

    fn cached_prefix(&self, prefix: &[u64]) -> u32 {
        let found = prefix.iter().take_while(|id| self.index.contains_key(&Content::Prompt(**id)));
        (found.count() as u32).saturating_mul(self.block_size)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Blocks are held or free and never both, contents are found as long as nobody overwrote them,
        /// and what was freed first is overwritten first.
        #[test]
        fn never_leaks_and_never_lies(
            total in 1_u32..24,
            calls in prop::collection::vec((0_u32..5, 0_u32..4, prop::collection::vec(0_u64..4, 0..4)), 0..80),
        ) {
            let mut cache = PrefixCache::new(total, 4);
            let mut running: Vec<Option<u32>> = vec![None; 5];
            for (request, extra, ids) in calls {
                // Ids are chained: each stands for all before it as well.
                let prefix: Vec<u64> = ids.iter().scan(0, |chain, id| { *chain = *chain * 4 + id + 1; Some(*chain) }).collect();
                match running[request as usize].take() {
                    Some(held) => cache.release(request, held),
                    None => {
                        cache.introduce(request, &prefix);
                        let tokens = prefix.len() as u32 * 4 + extra + 1;
                        let cached = cache.cached(request, tokens - 1);
                        prop_assert!(cached.blocks >= cached.free);
                        let missing = cache.blocks_for(tokens) - cached.blocks;
                        if missing + cached.free <= cache.free() {
                            cache.share(request, cached.blocks);
                            prop_assert!(cache.allocate(request, missing));
                            cache.keep(request, tokens);
                            running[request as usize] = Some(cache.blocks_for(tokens));
                            prop_assert!(cache.cached_prefix(&prefix) >= prefix.len() as u32 * 4);
                        }
                    }
                }
                let mut holders = vec![0_u32; total as usize];
                (0..5).flat_map(|request| cache.blocks(request)).for_each(|block| holders[*block as usize] += 1);
                let mut free = 0;
                let mut block = cache.first;
                while block != NONE {
                    prop_assert_eq!(holders[block as usize], 0);
                    free += 1;
                    block = cache.blocks[block as usize].next;
                }
                prop_assert_eq!(free, cache.free);
                prop_assert_eq!(holders.iter().filter(|count| **count > 0).count() as u32, cache.used());
                for (block, count) in cache.blocks.iter().zip(&holders) {
                    prop_assert_eq!(block.holders, *count);
                }
                for (content, block) in &cache.index {
                    prop_assert_eq!(cache.blocks[*block as usize].content, Some(*content));
                }
            }
        }
    }
}
