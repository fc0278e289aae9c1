use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;

use super::error::RegressionError;
use super::tree::{Limits, Sorted, Tree};
use crate::profile::vidur::TrainingRow;

/// Settings of a random forest, with scikit-learn's names for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForestOptions {
    /// Trees: 1 to [`MAX_TREES`].
    pub n_estimators: u32,
    /// Longest way from a root to a leaf: 1 to [`MAX_DEPTH`].
    pub max_depth: u32,
    /// Fewest different rows of a node that is split: 2 or more.
    pub min_samples_split: u32,
}

/// Most trees of a forest.
pub(super) const MAX_TREES: u32 = 10_000;
/// Deepest tree.
pub(super) const MAX_DEPTH: u32 = 64;

/// Trees of samples drawn with replacement; they predict their mean (Breiman, "Random Forests", Machine
/// Learning 45, 2001). Every split looks at every feature.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Forest {
    pub trees: Vec<Tree>,
}

impl ForestOptions {
    pub(super) fn check(&self) -> Result<(), RegressionError> {
        let refuse = |name, found: u32, wanted: String| {
            Err(RegressionError::Grid { name, found: found.to_string(), wanted })
        };
        match *self {
            Self { n_estimators, .. } if !(1..=MAX_TREES).contains(&n_estimators) => {
                refuse("n_estimators", n_estimators, format!("1 to {MAX_TREES} trees"))
            }
            Self { max_depth, .. } if !(1..=MAX_DEPTH).contains(&max_depth) => {
                refuse("max_depth", max_depth, format!("a depth from 1 to {MAX_DEPTH}"))
            }
            Self { min_samples_split, .. } if min_samples_split < 2 => {
                refuse("min_samples_split", min_samples_split, "2 rows or more".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn limits(&self) -> Limits {
        Limits { max_depth: self.max_depth, min_samples_split: self.min_samples_split }
    }
}

impl Forest {
    /// Grows a forest. Tree k draws its rows from stream k of ChaCha8 under `key`, so neither the number
    /// of threads nor that of trees changes a tree.
    pub fn fit(rows: &[TrainingRow], features: usize, options: &ForestOptions, key: [u8; 32]) -> Self {
        let sorted = Sorted::new(rows, features);
        let rng = ChaCha8Rng::from_seed(key);
        let trees = (0..options.n_estimators).into_par_iter().map(|tree| {
            let mut rng = rng.clone();
            rng.set_stream(tree.into());
            let mut weights = vec![0_u32; rows.len()];
            for _ in 0..rows.len() {
                if let Some(drawn) = weights.get_mut(below(&mut rng, rows.len() as u32) as usize) {
                    *drawn += 1;
                }
            }
            Tree::grow(&sorted, &weights, options.limits())
        });
        Self { trees: trees.collect() }
    }

    /// Time at x, ms.
    pub fn predict(&self, x: [f64; 2]) -> f64 {
        let sum: f64 = self.trees.iter().map(|tree| tree.predict(x)).sum();
        sum / self.trees.len().max(1) as f64
    }

    /// Time at x, ms, of the forest with fewer trees and tighter limits: it is within this one.
    pub fn predict_within(&self, x: [f64; 2], options: &ForestOptions) -> f64 {
        let trees = self.trees.iter().take(options.n_estimators as usize);
        let count = trees.len().max(1) as f64;
        let sum: f64 = trees.map(|tree| tree.predict_within(x, options.limits())).sum();
        sum / count
    }

    pub fn is_finite(&self) -> bool {
        self.trees.iter().flat_map(|tree| &tree.nodes).all(|node| node.ms.is_finite())
    }
}

/// A number below `n` ≥ 1, each equally likely (Lemire, "Fast Random Integer Generation in an
/// Interval", ACM TOMACS 29(1), 2019).
fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(n);
        if product as u32 >= n || product as u32 >= n.wrapping_neg() % n {
            return (product >> 32) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<TrainingRow> {
        let places = (0..15).flat_map(|a| (0..15).map(move |b| [f64::from(a), f64::from(b)]));
        places.map(|x| TrainingRow { x, ms: 0.1 + x[0] * x[1] + x[1] }).collect()
    }

    const OPTIONS: ForestOptions = ForestOptions { n_estimators: 40, max_depth: 12, min_samples_split: 2 };

    #[test]
    fn a_forest_follows_its_rows() {
        let rows = rows();
        let forest = Forest::fit(&rows, 2, &OPTIONS, [1; 32]);
        let error = |row: &TrainingRow| (forest.predict(row.x) - row.ms).abs();
        let mean = rows.iter().map(error).sum::<f64>() / rows.len() as f64;
        assert!(mean < 2.0, "{mean}");
        let values: std::collections::BTreeSet<u64> =
            forest.trees.iter().map(|tree| tree.predict([7.0, 7.0]).to_bits()).collect();
        assert!(values.len() > 1, "every tree drew the same rows");
    }

    #[test]
    fn neither_threads_nor_more_trees_change_a_tree() {
        let rows = rows();
        let fit = |threads, options: &ForestOptions| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Forest::fit(&rows, 2, options, [7; 32]))
        };
        let one = fit(1, &OPTIONS);
        assert_eq!(one, fit(3, &OPTIONS));
        assert_ne!(one, Forest::fit(&rows, 2, &OPTIONS, [8; 32]));
        let small = ForestOptions { n_estimators: 5, max_depth: 4, min_samples_split: 9 };
        let small_forest = fit(2, &small);
        for row in &rows {
            assert_eq!(small_forest.predict(row.x), one.predict_within(row.x, &small));
        }
    }

    #[test]
    fn settings_that_no_forest_has_are_refused() {
        OPTIONS.check().unwrap();
        for bad in [
            ForestOptions { n_estimators: 0, ..OPTIONS },
            ForestOptions { n_estimators: 1 << 20, ..OPTIONS },
            ForestOptions { max_depth: 0, ..OPTIONS },
            ForestOptions { min_samples_split: 1, ..OPTIONS },
        ] {
            assert!(matches!(bad.check(), Err(RegressionError::Grid { .. })), "{bad:?}");
        }
    }
}
