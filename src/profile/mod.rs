//! Operator and step measurements of the engine that will run, and the
//! bundle format they are kept in.

mod after_chunks;
mod beside_chunks;
mod bundle;
mod engine_id;
mod error;
mod formats;
pub mod llmservingsim;
mod measure;
mod overhead;
mod pauses;
mod plan;
mod read;
#[cfg(test)]
mod sample;
mod samples;
pub mod vidur;
mod whole_steps;
mod write;

pub use bundle::{
    AfterChunkPoint, AttentionPoint, BUNDLE_FORMAT, BesideChunkPoint, Bundle, BundleMeta, Feature, ManyRows,
    OpCurve, OpPoint, PausePoint, StepSample,
};
pub use engine_id::engine_id;
pub use error::ProfileError;
pub use formats::{FormatError, Kernels, MeasuredProfile, Profile};
pub use measure::{Subject, measure};
pub use plan::Limits;
pub(crate) use read::parse_bundle;
pub use read::read_bundle;
#[cfg(test)]
pub(crate) use sample::sample_bundle;
#[cfg(test)]
pub(crate) use whole_steps::sample_steps;
pub use whole_steps::{StepPoint, StepProfile, StepSubject, measure_steps, read_steps, write_steps};
pub(crate) use write::render;
pub use write::{content_digest, write_bundle};
