//! The engine: the shared scheduler, a wall clock, and candle doing the work.

mod clock;
#[cfg(feature = "cuda")]
mod cuda;
mod executor;
mod loaded;
#[cfg(test)]
mod properties;
mod reference;
mod sequence;
mod threads;

pub use executor::Executor;
pub use loaded::LoadedModel;
pub use reference::{Lead, representative_layers, until_next_speed};
pub use sequence::Sequence;
pub use threads::ComputeThreads;

use clock::WallClock;
use reference::reference_blocks;

use crate::drive::drive;
use crate::machine::{DisturbedSteps, SpeedPoint};
use crate::metrics::RunRecord;
use crate::model::{ModelError, NoTimer, Sampler, Tokenizer, TokenizerError};
use crate::progress::Progress;
use crate::scheduler::{self, SchedulerConfig};
use crate::source::ModelFiles;
use crate::spec::Dtype;
use crate::workload::{Prefixes, Workload};

/// Version of the engine: raised with every change that moves its timing, so that older measurements
/// and bundles are not taken for its own.
pub const ENGINE_VERSION: u32 = 8;

/// A model in memory, with the threads that run it.
#[derive(Debug)]
pub struct Engine {
    model: Box<dyn LoadedModel>,
    threads: ComputeThreads,
}

/// A served workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub record: RunRecord,
    /// How fast the machine was before, in and after the run.
    pub speed: Vec<SpeedPoint>,
    pub disturbed: DisturbedSteps,
}

/// The engine could not load or serve.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum EngineError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The system gives no threads.
    #[error("cannot start {threads} compute threads")]
    #[diagnostic(code(xp::engine::threads), help("lower `hardware threads=`"))]
    Threads { threads: u32, source: rayon::ThreadPoolBuildError },
    /// The KV cache and the weights do not fit.
    #[error("{what} needs {needed_mib} MiB, {available_mib} MiB are free")]
    #[diagnostic(code(xp::engine::memory), help("lower kv-memory, or choose a smaller model"))]
    Memory { what: &'static str, needed_mib: u64, available_mib: u64, source: std::io::Error },
    /// The experiment wants a GPU, and this program has no code for it.
    #[error("the model is to run on {device:?}, and this xp runs on the CPU alone")]
    #[diagnostic(
        code(xp::engine::no_cuda),
        help(
            "build it with CUDA: `cargo build --release --features cuda`, where NVIDIA's toolkit is installed; or write `hardware \"cpu\"`"
        )
    )]
    NoCuda { device: String },
    /// The GPU's kernels do not take this.
    #[error("the model cannot run on a GPU so: {reason}")]
    #[diagnostic(
        code(xp::engine::unfit),
        help("change `dtype` or `block-size`, or write `hardware \"cpu\"`")
    )]
    Unfit { reason: String },
    /// Nothing can be said of what such weights compute.
    #[error("the model computes numbers that are none")]
    #[diagnostic(
        code(xp::engine::not_finite),
        help("its weights hold NaN or infinite numbers, or do not fit the number format")
    )]
    NotFinite,
    /// A workload without texts cannot be served.
    #[error("the workload has no prompts, only lengths")]
    #[diagnostic(code(xp::engine::no_prompts))]
    NoPrompts,
    /// A prompt has another number of tokens than the workload says.
    #[error("the prompt of request {request} has {found} tokens, the workload says {wanted}")]
    #[diagnostic(
        code(xp::engine::prompt),
        help("the workload was made with another tokenizer: make it again")
    )]
    Prompt { request: u32, wanted: u32, found: usize },
}

impl Engine {
    /// Loads a model in `dtype` onto a device, with `threads` compute threads.
    pub fn load(files: &ModelFiles, dtype: Dtype, device: &str, threads: u32) -> Result<Self, EngineError> {
        let mut threads =
            ComputeThreads::new(threads).map_err(|source| EngineError::Threads { threads, source })?;
        let model = threads.run(|| loaded::load(files, dtype, device))?;
        Ok(Self { model, threads })
    }

    /// The loaded model.
    pub fn model(&self) -> &dyn LoadedModel {
        &*self.model
    }

    /// Serves a workload by the wall clock. Every request yields exactly the tokens it asks for: an
    /// end-of-sequence token does not stop it, so that a run is as long as its workload says.
    pub fn serve(
        &mut self,
        config: &SchedulerConfig,
        workload: &Workload,
        tokenizer: &Tokenizer,
        sampler: &Sampler,
        progress: &dyn Progress,
    ) -> Result<Served, EngineError> {
        let sequences = sequences(workload, tokenizer)?;
        // What is cached is what is computed: ids follow from tokens, whatever the workload declares.
        let prefixes = config
            .prefix_caching
            .then(|| Prefixes::of_tokens(config.block_size, sequences.iter().map(Sequence::tokens)));
        let blocks = config.kv_blocks.saturating_add(reference_blocks(config.block_size));
        self.model.reserve_kv(blocks, config.block_size)?;
        let Self { model, threads } = self;
        threads.run(|| {
            let mut executor = Executor::new(&mut **model, sequences, sampler, tokenizer);
            executor.warm_up(config.chunk_size)?;
            let mut scheduler = scheduler::build(config);
            let mut machine = WallClock::start(executor, NoTimer)?;
            let mut record = drive(scheduler.as_mut(), workload, prefixes.as_ref(), &mut machine, progress)?;
            let (executor, disturbed, speed) = machine.stop()?;
            record.token_ids = Some(executor.into_outputs());
            Ok(Served { record, speed, disturbed })
        })
    }

    /// Runs `work` on the compute threads, with the model and a KV cache of so many blocks of so many tokens.
    pub fn with_model<T: Send>(
        &mut self,
        (blocks, block_size): (u32, u32),
        work: impl FnOnce(&mut dyn LoadedModel) -> T + Send,
    ) -> Result<T, EngineError> {
        self.model.reserve_kv(blocks, block_size)?;
        let Self { model, threads } = self;
        Ok(threads.run(|| work(&mut **model)))
    }
}

/// Tokenizes all prompts before the clock starts.
fn sequences(workload: &Workload, tokenizer: &Tokenizer) -> Result<Vec<Sequence>, EngineError> {
    let prompts = prompts(workload, tokenizer)?;
    let asked = workload.requests.iter().map(|request| request.num_decode_tokens as usize);
    Ok(prompts.into_iter().zip(asked).map(|(prompt, outputs)| Sequence::new(prompt, outputs)).collect())
}

/// The tokens of every request's prompt, in request order.
///
/// # Errors
/// The workload has no texts, or the tokenizer makes another number of tokens of one.
pub fn prompts(workload: &Workload, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, EngineError> {
    if workload.prompts.is_empty() && !workload.requests.is_empty() {
        return Err(EngineError::NoPrompts);
    }
    let prompts =
        workload.prompts.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
    (0..)
        .zip(&workload.requests)
        .map(|(request, spec)| {
            let prompt = prompts.get(spec.prompt_id as usize).ok_or(EngineError::NoPrompts)?;
            if prompt.len() != spec.num_prefill_tokens as usize {
                let (wanted, found) = (spec.num_prefill_tokens, prompt.len());
                return Err(EngineError::Prompt { request, wanted, found });
            }
            Ok(prompt.clone())
        })
        .collect()
}
