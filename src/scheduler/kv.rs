use super::RequestId;
use super::decodes::DecodeGroup;

/// Bookkeeping of KV blocks: who holds how many, and, where somebody computes with them, which.
///
/// A policy decides by numbers of blocks alone, so it decides the same over either implementation:
/// [`KvBlocks`](super::KvBlocks) for an engine, [`BlockCount`] for a simulation.
pub trait KvStore: Send + std::fmt::Debug {
    /// Tokens in a block.
    fn block_size(&self) -> u32;

    /// Blocks in all.
    fn total(&self) -> u32;

    /// Blocks that some request holds.
    fn used(&self) -> u32;

    /// Blocks that can be handed out.
    fn free(&self) -> u32 {
        self.total() - self.used()
    }

    /// Blocks that hold `tokens` tokens: ⌈tokens / block size⌉. More than there are for blocks of no tokens.
    fn blocks_for(&self, tokens: u32) -> u32 {
        if self.block_size() == 0 { u32::MAX } else { tokens.div_ceil(self.block_size()) }
    }

    /// `count` more blocks for a request: all of them, or none and false when fewer are free.
    #[must_use]
    fn allocate(&mut self, request: RequestId, count: u32) -> bool;

    /// One more block for every member of the group that needs one for its next step. There must be
    /// as many ([`DecodeGroup::growth`]).
    fn grow(&mut self, group: &DecodeGroup);

    /// Takes back all blocks of a request, `count` of them.
    fn release(&mut self, request: RequestId, count: u32);

    /// The request's blocks in token order, where they are told apart.
    fn blocks(&self, request: RequestId) -> &[u32];

    /// A request arrives whose prompt's full blocks have these ids. Only a prefix cache wants to know.
    fn introduce(&mut self, _request: RequestId, _prefix: &[u64]) {}

    /// The request will not come back.
    fn forget(&mut self, _request: RequestId) {}

    /// What is cached of the request's first `tokens` tokens.
    fn cached(&self, _request: RequestId, _tokens: u32) -> Cached {
        Cached::default()
    }

    /// The request, which holds nothing, gets its first `blocks` blocks from the cache.
    fn share(&mut self, _request: RequestId, _blocks: u32) {}

    /// The request's first `tokens` tokens are computed: its full blocks may be cached.
    fn keep(&mut self, _request: RequestId, _tokens: u32) {}

    /// Tokens of a prompt whose full blocks have these ids that are cached.
    fn cached_prefix(&self, _prefix: &[u64]) -> u32 {
        0
    }
}

/// What a prefix cache has of a request's beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cached {
    /// Full blocks.
    pub blocks: u32,
    /// Those of them that nobody holds: sharing takes them off the free ones.
    pub free: u32,
}

/// Blocks that are counted and have no names.
#[derive(Debug)]
pub struct BlockCount {
    block_size: u32,
    total: u32,
    used: u32,
}

impl BlockCount {
    /// `total` free blocks of `block_size` tokens. Blocks of no tokens are none.
    pub fn new(total: u32, block_size: u32) -> Self {
        Self { block_size, total: if block_size == 0 { 0 } else { total }, used: 0 }
    }
}

impl KvStore for BlockCount {
    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn total(&self) -> u32 {
        self.total
    }

    fn used(&self) -> u32 {
        self.used
    }

    fn allocate(&mut self, _request: RequestId, count: u32) -> bool {
        let fits = count <= self.free();
        if fits {
            self.used += count;
        }
        fits
    }

    fn grow(&mut self, group: &DecodeGroup) {
        self.used += group.growth();
        debug_assert!(self.used <= self.total);
    }

    fn release(&mut self, _request: RequestId, count: u32) {
        self.used -= count;
    }

    fn blocks(&self, _request: RequestId) -> &[u32] {
        &[]
    }
}
