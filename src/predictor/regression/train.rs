use std::collections::BTreeMap;
use std::sync::Arc;

use super::bytes;
use super::error::RegressionError;
use super::model::Model;
use super::search::{Candidate, RegressorGrid, search};
use crate::profile::vidur::{MIN_ROWS, TrainingSet, VidurOp};
use crate::store::Digest;

/// Separates these digests from any other use of SHA-256.
const DOMAIN: &str = "xp forest v1";

/// A regression for each operator; cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedOperators {
    pub(super) operators: BTreeMap<VidurOp, Arc<TrainedOperator>>,
}

/// The regression of one operator and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedOperator {
    /// The settings that were chosen.
    pub candidate: Candidate,
    /// Their mean absolute percentage error in cross-validation, per cent; None where there was no choice.
    pub cv_mape: Option<f64>,
    pub(super) model: Model,
}

/// Most that is predicted, ms: a thousand hours. Far outside of its rows a polynomial may go beyond
/// what a float holds.
const MAX_MS: f64 = 3.6e9;

impl TrainedOperators {
    /// Chooses settings among `grid` for each operator and trains it with all of its rows. `seed` decides
    /// what forests draw. The same for any number of threads.
    ///
    /// # Errors
    /// An impossible grid, an operator with too few rows, or rows without a finite fit.
    pub fn train(set: &TrainingSet, grid: &RegressorGrid, seed: u64) -> Result<Self, RegressionError> {
        let candidates = grid.candidates()?;
        let mut operators = BTreeMap::new();
        for (op, rows) in set.tables() {
            let (name, features) = (op.name(), op.features().len());
            if rows.len() < MIN_ROWS {
                return Err(RegressionError::TooFew { op: name, rows: rows.len(), least: MIN_ROWS });
            }
            if !rows.iter().all(|row| row.ms.is_finite() && row.x.iter().all(|x| x.is_finite())) {
                return Err(RegressionError::Fit { op: name });
            }
            let key = *Digest::of(format!("{DOMAIN}\0{seed}\0{name}")).bytes();
            let (candidate, cv_mape) = search(&candidates, rows, features, key);
            let model = Model::fit(rows, features, &candidate, key);
            if !model.is_finite() || cv_mape.is_some_and(|error| !error.is_finite()) {
                return Err(RegressionError::Fit { op: name });
            }
            operators.insert(op, Arc::new(TrainedOperator { candidate, cv_mape, model }));
        }
        Ok(Self { operators })
    }

    /// Operators in order.
    pub fn operators(&self) -> impl Iterator<Item = (VidurOp, &TrainedOperator)> {
        self.operators.iter().map(|(op, trained)| (*op, trained.as_ref()))
    }

    /// An operator's regression, if it was trained.
    pub fn get(&self, op: VidurOp) -> Option<&TrainedOperator> {
        self.operators.get(&op).map(Arc::as_ref)
    }

    /// The same, to be kept.
    pub(in crate::predictor) fn shared(&self, op: VidurOp) -> Option<Arc<TrainedOperator>> {
        self.operators.get(&op).cloned()
    }

    /// As bytes that [`from_bytes`](Self::from_bytes) reads: a format number, a digest, and every number
    /// bit for bit.
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes::write(self)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// Any other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RegressionError> {
        bytes::read(bytes)
    }
}

impl TrainedOperator {
    /// Time at these features ([`VidurOp::features`]), ms; polynomials may give a negative one.
    pub fn predict_ms(&self, x: [f64; 2]) -> f64 {
        let ms = self.model.predict(x);
        if ms.is_nan() { MAX_MS } else { ms.clamp(-MAX_MS, MAX_MS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::vidur::TrainingRow;

    /// A few rows of an operator with one feature and of one with two.
    fn set() -> TrainingSet {
        let mut set = TrainingSet::default();
        for i in 0..40_u32 {
            let (a, b) = (f64::from(i % 8), f64::from(i / 8) * 64.0);
            let ms = 0.01 + 1e-3 * a + 1e-5 * a * b;
            set.push(VidurOp::Add, TrainingRow { x: [f64::from(i), 0.0], ms: 0.01 + 1e-4 * f64::from(i) });
            set.push(VidurOp::AttnDecode, TrainingRow { x: [a, b], ms });
        }
        set
    }

    fn grids() -> [RegressorGrid; 3] {
        [
            RegressorGrid::Linear {
                degree: vec![1, 2],
                include_bias: vec![true],
                interaction_only: vec![false],
                fit_intercept: vec![true],
            },
            RegressorGrid::Forest {
                n_estimators: vec![4],
                max_depth: vec![6],
                min_samples_split: vec![2, 4],
            },
            RegressorGrid::Interpolate,
        ]
    }

    #[test]
    fn trained_operators_survive_their_bytes_and_no_others() {
        for grid in grids() {
            let trained = TrainedOperators::train(&set(), &grid, 5).unwrap();
            let bytes = trained.to_bytes();
            assert_eq!(TrainedOperators::from_bytes(&bytes).unwrap(), trained);
            for at in 0..bytes.len() {
                let mut edited = bytes.clone();
                edited[at] ^= 4;
                assert!(TrainedOperators::from_bytes(&edited).is_err(), "byte {at}");
                assert!(TrainedOperators::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn the_seed_decides_what_forests_draw_and_nothing_else() {
        let [linear, forest, _] = grids();
        let train = |grid, seed| TrainedOperators::train(&set(), grid, seed).unwrap();
        assert_eq!(train(&linear, 1), train(&linear, 2));
        assert_eq!(train(&forest, 1), train(&forest, 1));
        assert_ne!(train(&forest, 1), train(&forest, 2));
    }

    #[test]
    fn rows_that_nothing_can_be_trained_with_are_refused() {
        let [linear, ..] = grids();
        let mut set = TrainingSet::default();
        set.push(VidurOp::Add, TrainingRow { x: [1.0, 0.0], ms: 1.0 });
        let error = TrainedOperators::train(&set, &linear, 0).unwrap_err();
        assert_eq!(error, RegressionError::TooFew { op: "add", rows: 1, least: 2 });
        set.push(VidurOp::Add, TrainingRow { x: [f64::NAN, 0.0], ms: 1.0 });
        assert_eq!(TrainedOperators::train(&set, &linear, 0), Err(RegressionError::Fit { op: "add" }));
    }

    #[test]
    fn far_outside_of_the_rows_a_prediction_is_still_a_number() {
        for grid in grids() {
            let trained = TrainedOperators::train(&set(), &grid, 0).unwrap();
            for (_, operator) in trained.operators() {
                for x in [0.0, 1e18, 1e300, f64::MAX] {
                    assert!(operator.predict_ms([x, x]).is_finite());
                }
            }
        }
    }
}
