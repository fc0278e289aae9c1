//! What prompts have in common: ids of their blocks.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

/// Ids of the full blocks of each request's prompt. An id stands for a block and all before it: two prompts that
/// share an id share all of their tokens up to there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes {
    block_size: u32,
    ids: Vec<u64>,
    /// Where request i's ids end; they begin where request i−1's end.
    ends: Vec<usize>,
}

impl Prefixes {
    /// Of no request yet; a block has `block_size` tokens.
    pub fn new(block_size: u32) -> Self {
        Self { block_size, ids: Vec::new(), ends: Vec::new() }
    }

    /// Of prompts in tokens: prompts that begin with the same full blocks, and no others, share the ids of these.
    pub fn of_tokens<'t>(block_size: u32, prompts: impl IntoIterator<Item = &'t [u32]>) -> Self {
        let (mut out, mut chain) = (Self::new(block_size), TokenChain::default());
        prompts.into_iter().for_each(|tokens| out.push(chain.ids(tokens, block_size)));
        out
    }

    /// Adds the ids of the next request.
    pub fn push(&mut self, ids: impl IntoIterator<Item = u64>) {
        self.ids.extend(ids);
        self.ends.push(self.ids.len());
    }

    /// Tokens in a block.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// The ids of a request, in the order of its blocks; none of one that is not there.
    pub fn of(&self, request: usize) -> &[u64] {
        let Some(end) = self.ends.get(request) else { return &[] };
        let start = request.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.ids[start..*end]
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no request.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The same in blocks of another size. A block's id is made of the id of the block that holds its last token, so
    /// prompts that share it share all of its tokens; tokens that they share of a block that differs are not seen.
    pub fn in_blocks(&self, block_size: u32) -> Self {
        if block_size == self.block_size || block_size == 0 {
            return self.clone();
        }
        let (from, to) = (u64::from(self.block_size), u64::from(block_size));
        let mut out = Self::new(block_size);
        for request in 0..self.len() {
            let ids = self.of(request);
            let blocks = ids.len() as u64 * from / to;
            out.push((0..blocks).map(|block| {
                let last = ((block + 1) * to).div_ceil(from) - 1;
                mix(ids[last as usize], block)
            }));
        }
        out
    }

    /// Keeps the first `requests` requests.
    pub fn truncate(&mut self, requests: usize) {
        self.ends.truncate(requests);
        self.ids.truncate(self.ends.last().copied().unwrap_or(0));
    }
}

/// Ids of blocks of tokens: equal where a block and all before it are equal, numbered as they appear.
#[derive(Debug, Default)]
pub(super) struct TokenChain {
    /// By the SHA-256 of the digest of all blocks before and of the block's tokens.
    known: HashMap<[u8; 32], u64>,
}

impl TokenChain {
    /// Ids of the full blocks of `block_size` tokens; none where blocks have no tokens.
    pub fn ids(&mut self, tokens: &[u32], block_size: u32) -> impl Iterator<Item = u64> {
        let mut before = [0; 32];
        let blocks = if block_size == 0 { &[] } else { tokens };
        blocks.chunks_exact(block_size.max(1) as usize).map(move |block| {
            let mut hasher = Sha256::new();
            hasher.update(before);
            block.iter().for_each(|token| hasher.update(token.to_le_bytes()));
            before = hasher.finalize().into();
            let next = self.known.len() as u64;
            *self.known.entry(before).or_insert(next)
        })
    }
}

/// An id of an id and a number (the finalizer of SplitMix64; Steele, Lea and Flood, "Fast splittable pseudorandom
/// number generators", OOPSLA 2014).
pub(super) fn mix(id: u64, number: u64) -> u64 {
    let mut z = id ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_its_ids() {
        let mut prefixes = Prefixes::new(16);
        for ids in [vec![1, 2], vec![], vec![1]] {
            prefixes.push(ids);
        }
        assert_eq!(
            (prefixes.of(0), prefixes.of(1), prefixes.of(2), prefixes.of(3)),
            (&[1, 2][..], &[][..], &[1][..], &[][..])
        );
        prefixes.truncate(1);
        assert_eq!((prefixes.len(), prefixes.of(0), prefixes.of(1)), (1, &[1, 2][..], &[][..]));
        prefixes.truncate(0);
        assert!(prefixes.is_empty() && prefixes.block_size() == 16);
    }

    #[test]
    fn prompts_share_ids_as_far_as_they_share_full_blocks_of_tokens() {
        let prompts: [&[u32]; 6] = [
            &[1, 2, 3, 4, 5, 6, 7],
            // The block that differs, and all after it, are others.
            &[1, 2, 3, 4, 5, 9, 7, 8],
            &[1, 2, 9, 4, 5, 6],
            // The same tokens at another place.
            &[3, 4, 1, 2],
            &[1],
            &[],
        ];
        let prefixes = Prefixes::of_tokens(2, prompts);
        let ids: Vec<&[u64]> = (0..prompts.len()).map(|request| prefixes.of(request)).collect();
        assert_eq!(ids, [&[0, 1, 2][..], &[0, 1, 3, 4], &[0, 5, 6], &[7, 8], &[], &[]]);
        assert_eq!((prefixes.len(), prefixes.block_size()), (6, 2));
        assert!(Prefixes::of_tokens(0, prompts).of(0).is_empty());
    }

    #[test]
    fn blocks_of_another_size_are_shared_where_all_their_tokens_are() {
        let mut prefixes = Prefixes::new(12);
        prefixes.push([1, 2, 3]);
        prefixes.push([1, 2, 9]);
        for (size, blocks, shared) in [(12, 3, 2), (4, 9, 6), (24, 1, 1), (18, 2, 1), (8, 4, 3), (40, 0, 0)] {
            let other = prefixes.in_blocks(size);
            let same = other.of(0).iter().zip(other.of(1)).take_while(|(one, other)| one == other).count();
            assert_eq!((other.block_size(), other.of(0).len(), same), (size, blocks, shared), "{size}");
            let different: std::collections::BTreeSet<_> = other.of(0).iter().collect();
            assert_eq!(different.len(), blocks);
        }
    }
}
