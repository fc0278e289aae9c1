//! Known model architectures and hardware, as embedded data files.

mod model;

pub use model::{ModelConfig, known_models, model};
