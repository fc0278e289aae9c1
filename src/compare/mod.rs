//! Two runs side by side: alignment, errors with their confidence, verdict.

mod comparison;

pub use comparison::{Comparison, MetricRow, Pin, RequestRow, TimelinePoint, Verdict, WholeRun};
