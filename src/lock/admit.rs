//! What only the drawn requests and the resolved model tell: whether each run
//! can be served at all.

use super::resolve::ResolveError;
use super::resolved::Extent;
use crate::catalog::ModelConfig;
use crate::spec::{self, Experiment, Lengths};

/// Holds a run against its model: the rules of the experiment for a model of this shape, and the requests
/// themselves, whose lengths may come from a file.
///
/// # Errors
/// A rule is broken, or a request is longer than the model's context.
pub(super) fn admit(cell: &Experiment, model: &ModelConfig, extent: &Extent) -> Result<(), ResolveError> {
    if let Some(message) = spec::unfit(cell, model).into_iter().next() {
        return Err(ResolveError::Unfit { message });
    }
    let context = model.max_position_embeddings;
    let Some((index, tokens)) = extent.beyond_context else { return Ok(()) };
    let trace = cell.workload.trace.as_ref().map(|trace| &trace.path);
    let from = match (trace.or(cell.workload.prompts.as_ref()), &cell.workload.lengths) {
        (Some(path), _) | (None, Some(Lengths::Trace { path })) => format!(" of {path}"),
        _ => String::new(),
    };
    Err(ResolveError::TooLong { request: format!("request {}{from}", index + 1), tokens, context })
}
