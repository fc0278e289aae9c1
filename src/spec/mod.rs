//! KDL text → [`Experiment`], with spans; JSON-Schema validation; includes,
//! presets and overrides; matrix expansion.
//!
//! The way of a file: [`guard`] (bounded structure) → [`parse`] (KDL) →
//! [`layers`] (what it includes first, its presets last) → [`lower`] (JSON
//! instance by the [`grammar`] table, places of all values) → [`overrides`] →
//! [`violations`] of the [`schema`], [`check`] (rules between settings) and
//! [`admission`] (rules about the model's shape), all at once → [`Experiment`] →
//! [`matrix`] and its [`cells`]. Files are read through a [`World`].

mod admission;
mod blank;
mod cells;
mod check;
mod check_backend;
mod check_capacity;
mod check_matrix;
mod check_texts;
mod check_workload;
mod devices;
mod diagnostic;
mod document;
mod engine;
mod experiment;
mod format;
mod grammar;
mod guard;
mod implied;
mod kdl_value;
mod layers;
mod lexeme;
mod load;
mod lower;
mod lower_kind;
mod lower_list;
mod lower_matrix;
mod matrix;
mod memory;
mod overrides;
mod parse;
mod path;
mod place;
mod presets;
mod recording;
mod recover;
mod schema;
mod simulator;
mod starter;
mod suggest;
mod units;
mod violations;
mod world;

#[cfg(test)]
mod tests;

pub(crate) use diagnostic::long_place;
pub use diagnostic::{Mistake, SpecErrors};
pub use engine::{
    CandleBackend, EngineBackend, EngineSettings, GPU_BLOCK_MULTIPLE, KvSize, Parallel, RecordedBackend,
    Replicas, Sampling, TransformersBackend,
};
pub use experiment::{
    Arrivals, Axis, Backend, CapacitySpec, Compare, Dtype, Experiment, Hardware, Interconnect, Lengths,
    Model, Sessions, Slo, Source, Trace, TraceFormat, WorkloadSpec,
};
pub use format::canonical;
pub use load::{Changes, Fault, Loaded, faults, load, load_text, read_stream, read_text, unfit};
pub use matrix::{Cell, MAX_MATRIX_REQUESTS, MAX_RUNS, MAX_RUNS_DEFAULT, expand};
pub use memory::{DevicePlan, KvCache, device_memory, kv_cache, plan};
pub use overrides::{Override, take_data};
pub use parse::parse_kdl;
pub use recording::{RecordedColumns, TimeUnit};
pub use schema::experiment_schema;
pub use simulator::{Grid, Overhead, Predictor, ProfileSource, SimBackend, SimLog, Vidur};
pub use starter::starter;
pub use units::{Bandwidth, ByteSize, Duration, ParseUnitError, Percent};
pub use world::World;
