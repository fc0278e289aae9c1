//! KDL text → [`Experiment`], with spans; JSON-Schema validation; overrides;
//! matrix expansion.

mod experiment;
mod units;

pub use experiment::{
    Arrivals, Axis, Backend, CandleBackend, Compare, Dtype, Experiment, Hardware, Lengths, Model, Predictor,
    ProfileSource, Sampling, SimBackend, Slo, Source, WorkloadSpec,
};
pub use units::{ByteSize, Duration, ParseUnitError, Percent};

mod load;

pub use load::{Cell, Loaded, Override, SpecErrors, expand, experiment_schema, load, parse_kdl, starter};
