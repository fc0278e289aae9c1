//! xp: a declarative experiment-spec compiler with reproducibility lockfiles
//! for LLM-inference performance work.
//!
//! One folder per concept; arrows point one way (see `docs/architecture.md`).

pub mod backend;
pub mod capacity;
pub mod catalog;
pub mod cli;
pub mod compare;
pub mod drive;
pub mod engine;
pub mod explain;
#[doc(hidden)]
pub mod fuzzing;
pub mod gc;
pub mod git;
pub mod kernels;
pub mod lock;
pub mod machine;
pub mod metrics;
pub mod model;
pub mod predictor;
pub mod profile;
pub mod progress;
pub mod report;
pub mod run;
pub mod scheduler;
pub mod sim;
pub mod source;
pub mod spec;
pub mod store;
pub mod verify;
pub mod worker;
pub mod workload;
