use super::forest::Forest;
use super::interpolate::Lattice;
use super::linear::Linear;
use super::search::Candidate;
use crate::profile::vidur::TrainingRow;

/// A trained regression of one operator.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Model {
    Linear(Linear),
    Forest(Forest),
    Lattice(Lattice),
}

impl Model {
    /// Trains with these settings; `key` decides what a forest draws.
    pub fn fit(rows: &[TrainingRow], features: usize, candidate: &Candidate, key: [u8; 32]) -> Self {
        match candidate {
            Candidate::Linear(options) => Self::Linear(Linear::fit(rows, features, options)),
            Candidate::Forest(options) => Self::Forest(Forest::fit(rows, features, options, key)),
            Candidate::Interpolate => Self::Lattice(Lattice::fit(rows, features)),
        }
    }

    /// Time at x, ms.
    pub fn predict(&self, x: [f64; 2]) -> f64 {
        match self {
            Self::Linear(model) => model.predict(x),
            Self::Forest(model) => model.predict(x),
            Self::Lattice(model) => model.predict(x),
        }
    }

    /// Whether every number of it is one.
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Linear(model) => model.is_finite(),
            Self::Forest(model) => model.is_finite(),
            Self::Lattice(model) => model.is_finite(),
        }
    }
}
