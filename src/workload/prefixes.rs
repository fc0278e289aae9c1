//! What prompts have in common: ids of their blocks.

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

    /// Keeps the first `requests` requests.
    pub fn truncate(&mut self, requests: usize) {
        self.ends.truncate(requests);
        self.ids.truncate(self.ends.last().copied().unwrap_or(0));
    }
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
}
