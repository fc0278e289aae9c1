//! Vidur's published profiling folders: which rows train which operator.
//!
//! Vidur (Agrawal et al., "Vidur: A Large-Scale Simulation Framework for LLM Inference", MLSys 2024)
//! publishes medians of operators by model, tensor-parallel degree and device. Its simulator picks rows by
//! the model's shape and fits a regression for each operator; this room picks the same rows.

mod error;
mod files;
mod folder;
mod op;
mod rows;
#[cfg(test)]
pub(crate) mod sample;
mod select;
#[cfg(test)]
mod tests;
mod training;

pub use error::VidurProfileError;
pub use files::VidurFiles;
pub use folder::{VidurFolder, VidurTables};
pub use op::VidurOp;
pub use select::{VidurSelection, VidurShape, parse_training, read_training};
pub(crate) use training::MIN_ROWS;
pub use training::{TrainingRow, TrainingSet, read_filtered};
