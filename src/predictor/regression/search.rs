//! Which settings predict best what they have not seen.

use rayon::prelude::*;

use super::error::RegressionError;
use super::forest::{Forest, ForestOptions};
use super::linear::LinearOptions;
use super::model::Model;
use crate::profile::vidur::TrainingRow;

/// Folds of a cross-validation.
const FOLDS: usize = 10;
/// Folds where there are fewer rows than [`FOLDS`].
const FEW_FOLDS: usize = 2;
/// Most combinations of settings.
const MAX_CANDIDATES: usize = 10_000;

/// Settings to choose among: every combination of the lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegressorGrid {
    /// Polynomials, as Vidur's `linear_regression`.
    Linear {
        degree: Vec<u32>,
        include_bias: Vec<bool>,
        interaction_only: Vec<bool>,
        fit_intercept: Vec<bool>,
    },
    /// Random forests, as Vidur's `random_forrest`.
    Forest { n_estimators: Vec<u32>, max_depth: Vec<u32>, min_samples_split: Vec<u32> },
    /// Multilinear interpolation, which Vidur does not have and which has nothing to choose.
    Interpolate,
}

/// One combination of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    Linear(LinearOptions),
    Forest(ForestOptions),
    Interpolate,
}

impl RegressorGrid {
    /// Vidur's default for `linear_regression`.
    pub fn linear() -> Self {
        let both = || vec![true, false];
        Self::Linear {
            degree: (1..=5).collect(),
            include_bias: both(),
            interaction_only: both(),
            fit_intercept: both(),
        }
    }

    /// Vidur's default for `random_forrest`, its default predictor.
    pub fn forest() -> Self {
        Self::Forest {
            n_estimators: vec![250, 500, 750],
            max_depth: vec![8, 16, 32],
            min_samples_split: vec![2, 5, 10],
        }
    }

    /// Every combination, in scikit-learn's order: settings by name, the last of them fastest.
    pub fn candidates(&self) -> Result<Vec<Candidate>, RegressionError> {
        let mut out = Vec::new();
        let lengths = match self {
            Self::Linear { degree, include_bias, interaction_only, fit_intercept } => {
                vec![degree.len(), include_bias.len(), interaction_only.len(), fit_intercept.len()]
            }
            Self::Forest { n_estimators, max_depth, min_samples_split } => {
                vec![n_estimators.len(), max_depth.len(), min_samples_split.len()]
            }
            Self::Interpolate => vec![1],
        };
        let count = lengths.iter().fold(1_usize, |product, length| product.saturating_mul(*length));
        if !(1..=MAX_CANDIDATES).contains(&count) {
            return Err(RegressionError::Grid {
                name: "a grid of combinations:",
                found: count.to_string(),
                wanted: format!("lists with 1 to {MAX_CANDIDATES} combinations"),
            });
        }
        match self {
            Self::Linear { degree, include_bias, interaction_only, fit_intercept } => {
                for &fit_intercept in fit_intercept {
                    for &degree in degree {
                        for &include_bias in include_bias {
                            for &interaction_only in interaction_only {
                                let options =
                                    LinearOptions { degree, include_bias, interaction_only, fit_intercept };
                                options.check()?;
                                out.push(Candidate::Linear(options));
                            }
                        }
                    }
                }
            }
            Self::Forest { n_estimators, max_depth, min_samples_split } => {
                for &max_depth in max_depth {
                    for &min_samples_split in min_samples_split {
                        for &n_estimators in n_estimators {
                            let options = ForestOptions { n_estimators, max_depth, min_samples_split };
                            options.check()?;
                            out.push(Candidate::Forest(options));
                        }
                    }
                }
            }
            Self::Interpolate => out.push(Candidate::Interpolate),
        }
        Ok(out)
    }
}

/// Mean absolute percentage error, per cent; of a time of 0, any other prediction is 100 % off.
fn mape(pairs: impl ExactSizeIterator<Item = (f64, f64)>) -> f64 {
    let count = pairs.len().max(1) as f64;
    let error = |(measured, predicted): (f64, f64)| match measured == 0.0 {
        true if predicted == 0.0 => 0.0,
        true => 100.0,
        false => ((measured - predicted) / measured).abs() * 100.0,
    };
    pairs.map(error).sum::<f64>() / count
}

/// Where folds of rows in their order end; the first have one row more where they cannot be equal.
fn folds(rows: usize) -> Vec<std::ops::Range<usize>> {
    let count = if rows < FOLDS { FEW_FOLDS } else { FOLDS };
    let mut start = 0;
    let length = |fold: usize| rows / count + usize::from(fold < rows % count);
    (0..count)
        .map(|fold| {
            let range = start..start + length(fold);
            start = range.end;
            range
        })
        .collect()
}

/// The first of the candidates with the least error over all folds, and that error, per cent. A single
/// candidate is not validated.
pub(super) fn search(
    candidates: &[Candidate],
    rows: &[TrainingRow],
    features: usize,
    key: [u8; 32],
) -> (Candidate, Option<f64>) {
    if let [only] = candidates {
        return (*only, None);
    }
    let folds = folds(rows.len());
    let mut totals = vec![0.0; candidates.len()];
    for held_out in &folds {
        let (train, test): (Vec<_>, Vec<_>) =
            rows.iter().enumerate().partition(|(index, _)| !held_out.contains(index));
        let rows = |part: Vec<(usize, &TrainingRow)>| -> Vec<TrainingRow> {
            part.into_iter().map(|(_, row)| *row).collect()
        };
        let errors = errors(candidates, &rows(train), &rows(test), features, key);
        for (total, error) in totals.iter_mut().zip(errors) {
            // A fit that went beyond the floats predicts nothing.
            *total += if error.is_nan() { f64::INFINITY } else { error };
        }
    }
    let best = (0..totals.len()).fold(0, |best, at| if totals[at] < totals[best] { at } else { best });
    (candidates[best], Some(totals[best] / folds.len() as f64))
}

/// The error of every candidate over one fold, per cent.
fn errors(
    candidates: &[Candidate],
    train: &[TrainingRow],
    test: &[TrainingRow],
    features: usize,
    key: [u8; 32],
) -> Vec<f64> {
    let error = |predict: &dyn Fn([f64; 2]) -> f64| mape(test.iter().map(|row| (row.ms, predict(row.x))));
    let forests = candidates.iter().filter_map(|candidate| match candidate {
        Candidate::Forest(options) => Some(*options),
        _ => None,
    });
    // The largest forest holds every other: more trees and looser limits only add to it.
    let widest = forests.reduce(|a, b| ForestOptions {
        n_estimators: a.n_estimators.max(b.n_estimators),
        max_depth: a.max_depth.max(b.max_depth),
        min_samples_split: a.min_samples_split.min(b.min_samples_split),
    });
    let widest = widest.map(|options| Forest::fit(train, features, &options, key));
    candidates
        .par_iter()
        .map(|candidate| match (candidate, &widest) {
            (Candidate::Forest(options), Some(forest)) => error(&|x| forest.predict_within(x, options)),
            _ => {
                let model = Model::fit(train, features, candidate, key);
                error(&|x| model.predict(x))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u32, f: impl Fn(f64) -> f64) -> Vec<TrainingRow> {
        (0..count).map(|i| f64::from(i) * 8.0).map(|x| TrainingRow { x: [x, 0.0], ms: f(x) }).collect()
    }

    #[test]
    fn folds_are_unshuffled_and_as_equal_as_can_be() {
        let lengths = |rows| folds(rows).iter().map(std::iter::ExactSizeIterator::len).collect::<Vec<_>>();
        assert_eq!(lengths(23), [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!((lengths(9), lengths(2)), (vec![5, 4], vec![1, 1]));
        assert_eq!(folds(10).last(), Some(&(9..10)));
    }

    #[test]
    fn a_time_of_nothing_is_met_or_wholly_missed() {
        let pairs = [(0.0, 0.0), (0.0, 0.1), (2.0, 1.0), (1.0, 3.0)];
        assert_eq!(mape(pairs.into_iter()), (0.0 + 100.0 + 50.0 + 200.0) / 4.0);
    }

    #[test]
    fn the_degree_of_the_rows_is_found() {
        let candidates = RegressorGrid::linear().candidates().unwrap();
        assert_eq!(candidates.len(), 40);
        let wiggle = |x: f64| 1.0 + 1e-5 * f64::from((x as u32 / 8 * 7919) % 13);
        let (best, error) = search(&candidates, &rows(60, |x| (1e4 + x * x) * wiggle(x)), 1, [0; 32]);
        let Candidate::Linear(options) = best else { panic!("{best:?}") };
        assert!(!options.interaction_only && options.degree >= 2, "{options:?}");
        assert!(error.unwrap() < 0.1, "{error:?}");
    }

    #[test]
    fn the_result_does_not_depend_on_threads() {
        let grid = RegressorGrid::Forest {
            n_estimators: vec![3, 10],
            max_depth: vec![2, 6],
            min_samples_split: vec![2, 8],
        };
        let (candidates, rows) = (grid.candidates().unwrap(), rows(40, |x| 1.0 + x % 72.0));
        let found = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| search(&candidates, &rows, 1, [3; 32]))
        });
        assert_eq!(found[0], found[1]);
        // And it is what one gets by growing every forest on its own.
        let alone = candidates.iter().map(|candidate| {
            let of_fold = folds(rows.len()).into_iter().map(|test| {
                let train: Vec<_> = [&rows[..test.start], &rows[test.end..]].concat();
                let model = Model::fit(&train, 1, candidate, [3; 32]);
                mape(rows[test].iter().map(|row| (row.ms, model.predict(row.x))))
            });
            of_fold.sum::<f64>() / 10.0
        });
        let least = alone.fold(f64::INFINITY, f64::min);
        assert_eq!(found[0].1, Some(least));
    }

    #[test]
    fn grids_without_a_combination_or_with_impossible_ones_are_refused() {
        let linear = |degree: Vec<u32>| RegressorGrid::Linear {
            degree,
            include_bias: vec![true],
            interaction_only: vec![false],
            fit_intercept: vec![true],
        };
        for bad in [vec![], vec![0], vec![7], vec![2; 20_000]] {
            let error = linear(bad).candidates().unwrap_err();
            assert!(matches!(error, RegressionError::Grid { .. }), "{error}");
        }
    }
}
