use std::collections::HashMap;
use std::sync::Arc;

use crate::predictor::regression::{TrainedOperator, TrainedOperators};
use crate::profile::vidur::VidurOp;

/// An operator and its look-up key; the second number is 0 where the operator has one feature.
pub(super) type Key = (VidurOp, u64, u64);

/// Where times come from.
#[derive(Debug)]
pub(super) enum Times {
    /// By operator, in the order of [`VidurOp::ALL`].
    Trained(Vec<Option<Arc<TrainedOperator>>>),
    Recorded(HashMap<Key, f64>),
}

impl Times {
    pub fn of(trained: &TrainedOperators) -> Self {
        Self::Trained(VidurOp::ALL.iter().map(|op| trained.shared(*op)).collect())
    }

    pub fn has(&self, op: VidurOp) -> bool {
        match self {
            Self::Trained(operators) => operators.get(op as usize).is_some_and(Option::is_some),
            Self::Recorded(_) => true,
        }
    }

    /// Time, ms; NaN where none was recorded.
    pub fn ms(&self, (op, first, second): Key) -> f64 {
        match self {
            Self::Trained(operators) => match operators.get(op as usize) {
                Some(Some(operator)) => operator.predict_ms([first as f64, second as f64]),
                _ => f64::NAN,
            },
            Self::Recorded(table) => table.get(&(op, first, second)).copied().unwrap_or(f64::NAN),
        }
    }
}
