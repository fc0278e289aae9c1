//! Operator and step measurements of the engine that will run, and the
//! bundle format they are kept in.

mod bundle;

pub use bundle::{AttentionPoint, Bundle, BundleMeta, Feature, OpCurve, OpPoint, StepSample};
