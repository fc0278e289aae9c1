//! Two runs side by side: alignment, errors with their confidence, verdict.

mod comparison;
mod skeleton;

pub use comparison::{Comparison, MetricRow, Pin, RequestRow, TimelinePoint, Verdict, WholeRun};
pub use skeleton::{CompareError, CompareInput, SloLimits, compare, read_comparison, write_comparison};
