//! Operator and step measurements of the engine that will run, and the
//! bundle format they are kept in.

mod bundle;

pub use bundle::{AttentionPoint, Bundle, BundleMeta, Feature, OpCurve, OpPoint, StepSample};

mod skeleton;

pub use skeleton::{
    Limits, MachineFacts, ProfileError, engine_id, machine, measure, read_bundle, write_bundle,
};
