use super::grid::Grid;

/// What decodes beside a chunk take longer than by themselves: many rows are computed apart, each with all of its
/// attention on one thread, and what decodes are alone shares that out.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct BesideChunk {
    /// Over (decodes, mean KV tokens).
    extra: Option<Grid>,
}

impl BesideChunk {
    /// From (decodes, their KV tokens, ns more than by themselves).
    pub fn new(points: impl Iterator<Item = (u32, u32, f64)>) -> Self {
        let points = points.flat_map(|(decodes, kv, ns)| [(0, kv, 0.0), (decodes, kv, ns.max(0.0))]);
        let mut points: Vec<_> = points.collect();
        points.sort_by_key(|(decodes, kv, _)| (*decodes, *kv));
        points.dedup_by_key(|(decodes, kv, _)| (*decodes, *kv));
        Self { extra: Grid::new(points) }
    }

    /// Extra duration of a step of so many decodes beside a chunk, ns.
    pub fn at(&self, decodes: u64, mean_kv: f64) -> f64 {
        match &self.extra {
            Some(extra) if decodes > 0 => extra.at(decodes as f64, mean_kv),
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_decodes_and_their_context_and_is_never_less_than_nothing() {
        let points = [(4, 64, 100.0), (4, 256, 300.0), (16, 64, 400.0), (16, 256, -5.0)];
        let beside = BesideChunk::new(points.into_iter());
        let at = |decodes, kv| beside.at(decodes, kv);
        assert_eq!(
            [at(0, 64.0), at(2, 64.0), at(4, 160.0), at(16, 64.0), at(16, 256.0)],
            [0.0, 50.0, 200.0, 400.0, 0.0]
        );
        assert_eq!(BesideChunk::new(std::iter::empty()).at(3, 9.0), 0.0);
    }
}
