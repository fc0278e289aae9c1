//! Regressions from measurements: polynomials, random forests, interpolation, and the search for the
//! settings that predict held-out rows best.

mod bytes;
mod error;
mod forest;
mod interpolate;
mod least_squares;
mod linear;
mod model;
mod search;
mod train;
mod tree;

pub use error::RegressionError;
pub use forest::ForestOptions;
pub use linear::LinearOptions;
pub use search::{Candidate, RegressorGrid};
pub use train::{TrainedOperator, TrainedOperators};
