//! Two runs side by side: alignment, errors with their confidence, verdict.
//!
//! The method is in `docs/comparison.md`, and in the doc comments of the files
//! it is made of: who may be compared (`admission`), which requests and tokens
//! (`align`), how sure an error is (`bootstrap`), what it means (`verdict`).

mod admission;
mod align;
mod assemble;
mod bootstrap;
mod budget;
mod comparison;
mod error;
mod files;
mod headline;
mod round;
mod summary;
mod timeline;
mod verdict;
mod whole_run;

pub use crate::metrics::SloLimits;
pub use assemble::{CompareInput, compare};
pub use comparison::{
    Budget, BudgetRow, COMPARISON_FORMAT, Comparison, MetricRow, PercentileRow, Pin, RequestRow,
    TimelinePoint, Verdict, WholeRun,
};
pub use error::{CompareError, Difference};
pub use files::{comparison_json, parse_comparison, read_comparison, write_comparison};
pub use summary::{duration, verdict_sentence};
pub(crate) use summary::{recorded_note, summary};
pub use verdict::{MIN_REQUESTS_TO_PASS, VERDICT_RULE};
