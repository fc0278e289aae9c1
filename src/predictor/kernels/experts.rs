//! The experts' block of one layer on one rank.
//!
//! A router that balances sends each token to `k` of `E` experts, any as likely as another. After `T` tokens
//! an expert has had none with probability `(1 − k/E)^T`, so that `E × (1 − (1 − k/E)^T)` experts read their
//! weights. Of `R` ranks with whole experts each runs `T × k / R` pairs of token and expert, as `T / R`
//! tokens would with all experts at hand: that is where the table is read. Ranks with a slice of every
//! expert run `1 / R` of all pairs' work and read `1 / R` of all weights, which is the same place.

use super::deployment::ExpertShape;
use crate::profile::llmservingsim::ExpertTable;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Experts {
    table: ExpertTable,
    shape: ExpertShape,
    /// Ranks that the experts are spread over.
    ranks: f64,
    /// Of whole experts, those of the fullest rank; else all.
    local: f64,
    whole: bool,
    /// By tokens of all ranks together, as far as kept.
    kept: Vec<f64>,
}

impl Experts {
    /// `tokens`: up to where durations are kept.
    pub fn new(table: &ExpertTable, shape: ExpertShape, ranks: u32, whole: bool, tokens: u32) -> Self {
        let local = if whole { shape.count.div_ceil(ranks) } else { shape.count };
        let mut experts = Self {
            table: table.clone(),
            shape,
            ranks: f64::from(ranks),
            local: f64::from(local),
            whole,
            kept: Vec::new(),
        };
        experts.kept = (0..=tokens).map(|tokens| experts.predict(u64::from(tokens))).collect();
        experts
    }

    /// The block of one layer when all ranks together have `tokens`, ns.
    pub fn layer_ns(&self, tokens: u64) -> f64 {
        let kept = usize::try_from(tokens).ok().and_then(|tokens| self.kept.get(tokens));
        kept.copied().unwrap_or_else(|| self.predict(tokens))
    }

    /// Experts of one rank that read their weights, when all ranks together have `tokens`. Of slices, as
    /// many whole experts as they would make.
    fn activated(&self, tokens: u64) -> f64 {
        let missed = 1.0 - f64::from(self.shape.per_token) / f64::from(self.shape.count);
        let activated = self.local * (1.0 - libm::pow(missed, tokens as f64));
        if self.whole { activated } else { activated / self.ranks }
    }

    fn predict(&self, tokens: u64) -> f64 {
        let activated = self.activated(tokens);
        let local = tokens as f64 / self.ranks;
        if tokens == 0 {
            return 0.0;
        }
        let rows = &self.table;
        let row = |index: usize| level(&rows[index].1, activated);
        let count = |index: usize| f64::from(rows[index].0);
        match rows.partition_point(|(count, _)| f64::from(*count) < local) {
            0 => row(0),
            above if above == rows.len() => {
                let last = rows.len() - 1;
                let half = rows.iter().rposition(|(count, _)| *count <= rows[last].0 / 2).unwrap_or(0);
                let slope = ((row(last) - row(half)) / (count(last) - count(half))).max(0.0);
                row(last) + slope * (local - count(last))
            }
            above => {
                let (low, high) = (above - 1, above);
                let share = (local - count(low)) / (count(high) - count(low));
                row(low) + (row(high) - row(low)) * share
            }
        }
    }
}

/// On the line between two numbers of experts; level outside. A few tokens cannot go to more experts than
/// the row has.
fn level(curve: &[(u32, f64)], experts: f64) -> f64 {
    let above = curve.partition_point(|(count, _)| f64::from(*count) < experts);
    match (above.checked_sub(1).and_then(|low| curve.get(low)), curve.get(above)) {
        (Some(&(x0, y0)), Some(&(x1, y1))) => y0 + (y1 - y0) * (experts - f64::from(x0)) / f64::from(x1 - x0),
        (Some(&(_, only)), None) | (None, Some(&(_, only))) => only,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 ns a token and 10 an expert.
    fn table() -> ExpertTable {
        let row = |tokens: u32| {
            let experts = [2, 4, 8].into_iter().filter(|experts| *experts <= tokens * 2);
            (tokens, experts.map(|experts| (experts, f64::from(tokens * 100 + experts * 10))).collect())
        };
        [1, 2, 4, 8, 16].map(row).into()
    }

    const SHAPE: ExpertShape = ExpertShape { count: 8, per_token: 2 };

    #[test]
    fn one_rank_reads_the_table_at_the_experts_it_expects() {
        let experts = Experts::new(&table(), SHAPE, 1, true, 64);
        // 1 − 3/4, 1 − (3/4)², … of 8.
        for (tokens, activated) in [(1_u32, 2.0), (2, 3.5), (4, 5.46875)] {
            let wanted = f64::from(tokens * 100) + activated * 10.0;
            assert!((experts.layer_ns(tokens.into()) - wanted).abs() < 1e-9, "{tokens}");
        }
        // All eight, and beyond the table as from 8 to 16.
        assert!((experts.layer_ns(1000) - 100_080.0).abs() < 1.0);
        assert_eq!(experts.layer_ns(0), 0.0);
    }

    #[test]
    fn ranks_share_the_work() {
        let one = Experts::new(&table(), SHAPE, 1, true, 64);
        let whole = Experts::new(&table(), SHAPE, 2, true, 64);
        let slices = Experts::new(&table(), SHAPE, 2, false, 64);
        for tokens in [8, 16, 30] {
            assert!(whole.layer_ns(tokens) < one.layer_ns(tokens));
            assert!((whole.layer_ns(tokens) - slices.layer_ns(tokens)).abs() < 1e-9, "{tokens}");
        }
        // 16 tokens are 8 on each, over 4 experts: nearly all of them.
        let wanted = 800.0 + 40.0 * (1.0 - 0.75_f64.powi(16));
        assert!((whole.layer_ns(16) - wanted).abs() < 1e-9);
    }
}
