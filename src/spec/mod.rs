//! KDL text → [`Experiment`], with spans; JSON-Schema validation; overrides;
//! matrix expansion.
//!
//! The way of a file: [`guard`] (bounded structure) → [`parse`] (KDL) →
//! [`lower`] (JSON instance by the [`grammar`] table, places of all values) →
//! [`overrides`] → [`violations`] of the [`schema`] and [`check`] (rules between
//! settings), all at once → [`Experiment`] → [`matrix`].

mod check;
mod check_texts;
mod diagnostic;
mod experiment;
mod grammar;
mod guard;
mod kdl_value;
mod lexeme;
mod load;
mod lower;
mod lower_kind;
mod lower_matrix;
mod matrix;
mod overrides;
mod parse;
mod path;
mod place;
mod schema;
mod starter;
mod suggest;
mod units;
mod violations;

#[cfg(test)]
mod tests;

pub use diagnostic::SpecErrors;
pub(crate) use diagnostic::long_place;
pub use experiment::{
    Arrivals, Axis, Backend, CandleBackend, Compare, Dtype, Experiment, Hardware, Lengths, Model, Predictor,
    ProfileSource, Sampling, SimBackend, Slo, Source, WorkloadSpec,
};
pub use load::{Fault, Loaded, faults, load, load_text};
pub use matrix::{Cell, MAX_MATRIX_REQUESTS, expand};
pub use overrides::Override;
pub use parse::parse_kdl;
pub use schema::experiment_schema;
pub use starter::starter;
pub use units::{ByteSize, Duration, ParseUnitError, Percent};
