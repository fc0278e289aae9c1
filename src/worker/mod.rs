//! The Python worker of the `transformers` backend: the environment it runs in, the process and its pipe,
//! and the machine that computes batches with it. `docs/worker-protocol.md` describes the messages.

mod client;
mod environment;
mod error;
mod machine;
mod message;
mod process;
mod requirements;
#[cfg(test)]
mod tests;

pub use client::{LoadedWorker, SCRIPT, Worker};
pub use environment::{Interpreter, interpreter};
pub use error::WorkerError;
pub use machine::WorkerClock;
pub use message::{LoadedModel, PROTOCOL, Stepped, TorchDevice};
pub use requirements::{Requirements, RequirementsError};
