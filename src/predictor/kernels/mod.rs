//! Step → duration, from the kernels of a GPU: what an engine such as vLLM runs on it, layer by layer, on
//! one rank or many. The rules, and the formulas of collectives and experts, are in `docs/vllm-model.md`.
//!
//! But for `stage.rs`, nothing of it knows a scheduler: a step is plain numbers ([`StepFeatures`]).

mod attention;
mod curve;
mod deployment;
mod experts;
mod features;
mod network;
mod predict;
#[cfg(test)]
mod published;
mod stage;
#[cfg(test)]
mod tests;

pub use deployment::{
    Deployment, ExpertShape, Link, MAX_STEP, ModelShape, Network, Parallelism, vllm_graph_sizes,
};
pub use features::{Chunk, StepFeatures};
pub use predict::{KernelPredictor, StepTime};

/// A profile cannot predict a deployment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum KernelPredictorError {
    /// The numbers are of no deployment.
    #[error("no deployment has {found}")]
    #[diagnostic(code(xp::predictor::deployment), help("right would be: {right}"))]
    Deployment { found: String, right: String },
    /// The kernels are of ranks that hold another part of the model.
    #[error("the profile is of tensor-parallel degree {profile}, and {wanted} is deployed")]
    #[diagnostic(code(xp::predictor::degree), help("read the profile's folder `tp{wanted}`"))]
    Degree { profile: u32, wanted: u32 },
    /// Ranks exchange values, and nothing says how long that takes.
    #[error("nothing says how long the ranks take to exchange values")]
    #[diagnostic(
        code(xp::predictor::network),
        help("declare the link between them (bandwidth and latency), or give a network profile")
    )]
    Network,
    /// Model and profile disagree about experts.
    #[error("{}", experts_disagree(*model, *mlp))]
    #[diagnostic(
        code(xp::predictor::experts),
        help(
            "a model with experts needs `tp1/moe.csv` and no MLP in `dense.csv`; another model the reverse"
        )
    )]
    Experts { model: bool, mlp: bool },
}

fn experts_disagree(model: bool, mlp: bool) -> &'static str {
    match (model, mlp) {
        (true, true) => "the model has experts, and the profile an MLP",
        (true, false) => "the model has experts, and the profile has none",
        (false, _) => "the model has no experts, and the profile has",
    }
}
