//! Vidur's execution model: a batch is a few features, an operator's time a look-up by them, a stage the sum
//! of its operators. `docs/predictors.md` has the formulae and the differences.

mod components;
mod error;
mod features;
mod lazy;
mod options;
mod stage;
mod step;
#[cfg(test)]
mod tests;
mod times;

pub use components::StageComponents;
pub use error::VidurError;
pub use features::BatchFeatures;
pub use options::{StageShape, VidurOptions};
pub use stage::VidurPredictor;
