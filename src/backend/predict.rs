//! The predictor of a run, from the profile that its lock pins.

use std::path::Path;

use super::{BackendError, vidur};
use crate::lock::Lock;
use crate::predictor::kernels::{
    Deployment, ExpertShape, KernelPredictor, Link, MAX_STEP, ModelShape, Network, Parallelism,
    vllm_graph_sizes,
};
use crate::predictor::{Interpolate, PaddedSteps, Predictor, WithOverhead};
use crate::profile::{FormatError, Kernels, Profile};
use crate::scheduler::{Policy, SchedulerConfig};
use crate::spec::{self, Experiment, SimBackend};

/// Reads a folder as the kind of profile that the simulated backend of a run's experiment names.
///
/// # Errors
/// It is no such profile.
pub fn read_profile(cell: &Experiment, folder: &Path) -> Result<Profile, FormatError> {
    let tables = cell.simulated().and_then(|sim| vidur::tables(cell, sim));
    Profile::read(folder, tables.as_ref())
}

/// Prepares the predictor that the simulated backend of a run names, for the `index`-th run of a lock, whose
/// experiment is `cell`. Trained operators are kept in the folder `trained`, if there is one.
///
/// # Errors
/// Nothing is simulated, the predictor is none for this kind of profile, or the profile does not cover what is
/// deployed.
pub fn predictor(
    lock: &Lock,
    index: usize,
    cell: &Experiment,
    profile: &Profile,
    trained: Option<&Path>,
) -> Result<Box<dyn Predictor>, BackendError> {
    let Some(sim) = cell.simulated() else {
        return refuse("the experiment simulates nothing", "add `backend \"vidur\"`");
    };
    let predictor = without_overhead((lock, index, cell), sim, profile, trained)?;
    let overhead_ns = sim.overhead.as_ref().map_or(0, |overhead| overhead.step.0);
    // That of kernels has a place among their components.
    Ok(match (sim.predictor, overhead_ns) {
        (spec::Predictor::Kernels, _) | (_, 0) => predictor,
        _ => Box::new(WithOverhead { predictor, overhead_ns }),
    })
}

fn refuse<T>(why: &str, help: &str) -> Result<T, BackendError> {
    Err(BackendError::Predictor { why: why.to_owned(), help: help.to_owned() })
}

/// A run: its lock, its place there, and its experiment.
type Run<'a> = (&'a Lock, usize, &'a Experiment);

fn without_overhead(
    run: Run<'_>,
    sim: &SimBackend,
    profile: &Profile,
    trained: Option<&Path>,
) -> Result<Box<dyn Predictor>, BackendError> {
    let (lock, index, cell) = run;
    match (sim.predictor, profile) {
        (spec::Predictor::Interpolate, Profile::Own(bundle)) => Ok(Box::new(Interpolate::new(bundle)?)),
        (spec::Predictor::Interpolate, Profile::Steps(steps)) => match lock.runs[index].scheduler.policy {
            Policy::Static => Ok(Box::new(PaddedSteps::new(steps)?)),
            _ => refuse(
                "the profile is of padded batches of whole prompts",
                "it predicts the policy `static` alone; measure a profile of the engine whose settings are simulated",
            ),
        },
        (spec::Predictor::Kernels, Profile::Kernels(kernels)) => {
            Ok(Box::new(of_kernels(lock, index, cell, sim, kernels)?))
        }
        (_, Profile::Vidur(folder)) => match vidur::grid(sim) {
            Some(grid) => Ok(Box::new(vidur::predictor(&lock.runs[index], lock, folder, &grid, trained)?)),
            None => refuse(
                "a folder of Vidur's has no kernels of a GPU",
                "write `predictor \"linear\"`, `\"forest\"` or `\"interpolate\"`",
            ),
        },
        (spec::Predictor::Linear | spec::Predictor::Forest, _) => refuse(
            "it is trained with tables of Vidur's, and the profile has none",
            "say which tables of the profile are meant: `vidur \"a100\"`",
        ),
        (spec::Predictor::Interpolate, Profile::Kernels(_)) => {
            refuse("the profile is of a GPU's kernels", "write `predictor \"kernels\"`")
        }
        (spec::Predictor::Kernels, Profile::Own(_) | Profile::Steps(_)) => refuse(
            "the profile was measured by xp, and has no kernels of a GPU",
            "write `predictor \"interpolate\"`, or name the folder of a kernel profile",
        ),
    }
}

fn of_kernels(
    lock: &Lock,
    index: usize,
    cell: &Experiment,
    sim: &SimBackend,
    kernels: &Kernels,
) -> Result<KernelPredictor, BackendError> {
    let (run, model) = (&lock.runs[index], &lock.resolved_model.config);
    let (scheduler, cluster) = (&run.scheduler, &run.cluster);
    let experts = model
        .num_experts
        .map(|count| ExpertShape { count, per_token: model.num_experts_per_tok.unwrap_or(1) });
    let link = cell
        .hardware
        .interconnect
        .as_ref()
        .map(|link| Link { bytes_per_second: link.bandwidth.0, latency_ns: link.latency.0 });
    let deployment = Deployment {
        shape: ModelShape {
            layers: model.num_hidden_layers,
            heads: model.num_attention_heads,
            kv_heads: model.num_key_value_heads,
            hidden: model.hidden_size,
            vocab: model.vocab_size,
            value_bytes: lock.experiment.model.dtype.bytes() as u32,
            experts,
        },
        parallel: Parallelism {
            tensor: cluster.tensor_parallel,
            pipeline: scheduler.pipeline_stages,
            data: cluster.data_parallel,
            expert: cluster.expert_parallel > 1,
        },
        network: Network { link, ..Network::default() },
        graph_sizes: if cluster.eager { Vec::new() } else { vllm_graph_sizes(scheduler.max_batch_size) },
        max_tokens: longest_step(scheduler),
        max_sequences: scheduler.max_batch_size,
        overhead_ns: sim.overhead.as_ref().map_or(0, |overhead| overhead.step.0),
    };
    Ok(KernelPredictor::new(&kernels.read(cluster.tensor_parallel)?, &deployment)?)
}

/// Most tokens of a step: a policy that takes prompts whole takes one of any length.
fn longest_step(scheduler: &SchedulerConfig) -> u32 {
    let tokens = match scheduler.policy.chunks_prompts() {
        true => scheduler.chunk_size,
        false => scheduler.chunk_size.max(scheduler.max_context),
    };
    tokens.clamp(1, MAX_STEP)
}
