//! Operator and step measurements of the engine that will run, and the
//! bundle format they are kept in.

mod bundle;
mod error;
mod machine;
mod measure;
mod overhead;
mod plan;
mod read;
mod samples;
mod write;

pub use bundle::{AttentionPoint, BUNDLE_FORMAT, Bundle, BundleMeta, Feature, OpCurve, OpPoint, StepSample};
pub use error::ProfileError;
pub use machine::{MachineFacts, engine_id, machine};
pub use measure::{Subject, measure};
pub use plan::Limits;
pub use read::read_bundle;
pub use write::write_bundle;
