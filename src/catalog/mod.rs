//! Known model architectures and hardware, as embedded data files.

mod device;
mod model;

pub use device::{Device, device, known_devices};
pub use model::{ModelConfig, RopeScaling, known_models, model};
