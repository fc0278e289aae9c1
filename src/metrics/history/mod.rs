//! What a run's record says of its replicas and requests over time. Steps of
//! several replicas, or of several pipeline stages of one, may overlap.

mod replicas;
mod requests;

pub(super) use replicas::{State, StepOrder, walk_busy, walk_states};
pub(super) use requests::{RequestHistory, request_histories};
