//! The engine: the shared scheduler, a wall clock, and candle doing the work.

mod clock;
mod executor;
#[cfg(test)]
mod properties;
mod reference;
mod sequence;
mod threads;

pub use executor::Executor;
pub use reference::representative_layers;
pub use sequence::Sequence;
pub use threads::ComputeThreads;

use clock::WallClock;

use crate::drive::drive;
use crate::machine::DisturbedSteps;
use crate::metrics::RunRecord;
use crate::model::{Decoder, ModelError, NoTimer, PagedKv, Sampler, Tokenizer, TokenizerError, WeightReader};
use crate::progress::Progress;
use crate::scheduler::{self, SchedulerConfig};
use crate::source::ModelFiles;
use crate::spec::Dtype;
use crate::workload::{Prefixes, Workload};

/// Version of the engine: raised with every change that moves its timing, so that older measurements
/// and bundles are not taken for its own.
pub const ENGINE_VERSION: u32 = 3;

/// A model in memory, with the threads that run it.
#[derive(Debug)]
pub struct Engine {
    model: Decoder,
    threads: ComputeThreads,
    /// Kept between runs of the same shape: touching its pages takes time.
    kv: Option<PagedKv>,
}

/// A served workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub record: RunRecord,
    /// Mean duration of the reference step before and after the run, ns.
    pub reference_ns: u64,
    pub disturbed: DisturbedSteps,
}

/// How often the reference step is timed before a run, and after it.
const REFERENCES: u32 = 4;

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

/// Refuses what memory cannot hold, before the system kills the process for it.
fn require_memory(what: &'static str, needed: u64) -> Result<(), EngineError> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let available = system.available_memory();
    if available > 0 && needed > available {
        return Err(EngineError::Memory {
            what,
            needed_mib: needed >> 20,
            available_mib: available >> 20,
            source: std::io::ErrorKind::OutOfMemory.into(),
        });
    }
    Ok(())
}

impl Engine {
    /// Loads a model in `dtype` onto `threads` compute threads.
    pub fn load(files: &ModelFiles, dtype: Dtype, threads: u32) -> Result<Self, EngineError> {
        let mut threads =
            ComputeThreads::new(threads).map_err(|source| EngineError::Threads { threads, source })?;
        require_memory("the model", files.config.num_parameters() * dtype.bytes())?;
        let weights = WeightReader::open(&files.weights)?;
        let max_context = files.config.max_position_embeddings as usize;
        let model = threads.run(|| Decoder::load(&files.config, &weights, dtype, max_context))?;
        Ok(Self { model, threads, kv: None })
    }

    /// The loaded model.
    pub fn model(&self) -> &Decoder {
        &self.model
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
        self.reserve_kv(config.kv_blocks, config.block_size)?;
        let Self { model, threads, kv: Some(kv) } = self else { unreachable!("reserved above") };
        let layers = representative_layers(model);
        threads.run(|| {
            let mut executor = Executor::new(model, kv, sequences, sampler, tokenizer);
            executor.warm_up(config.chunk_size)?;
            let mut executor = executor.with_layers(layers);
            let mut references = 0;
            for _ in 0..REFERENCES {
                references += executor.reference_ns()?;
            }
            let mut scheduler = scheduler::build(config);
            let mut machine = WallClock::start(executor.with_all_layers(), NoTimer);
            let mut record = drive(scheduler.as_mut(), workload, prefixes.as_ref(), &mut machine, progress)?;
            let (executor, disturbed) = machine.stop();
            let mut executor = executor.with_layers(layers);
            for _ in 0..REFERENCES {
                references += executor.reference_ns()?;
            }
            record.token_ids = Some(executor.into_outputs());
            Ok(Served { record, reference_ns: references / u64::from(2 * REFERENCES), disturbed })
        })
    }

    /// Runs `work` on the compute threads with the model and a KV cache of so many blocks of so many tokens.
    pub fn with_parts<T: Send>(
        &mut self,
        (blocks, block_size): (u32, u32),
        work: impl FnOnce(&Decoder, &mut PagedKv) -> T + Send,
    ) -> Result<T, EngineError> {
        self.reserve_kv(blocks, block_size)?;
        let Self { model, threads, kv: Some(kv) } = self else { unreachable!("reserved above") };
        Ok(threads.run(|| work(model, kv)))
    }

    fn reserve_kv(&mut self, blocks: u32, block_size: u32) -> Result<(), EngineError> {
        let (blocks, block_size) = (blocks as usize, block_size as usize);
        if self.kv.as_ref().is_some_and(|kv| kv.num_blocks() == blocks && kv.block_size() == block_size) {
            return Ok(());
        }
        self.kv = None;
        let config = self.model.config();
        let per_token =
            u64::from(2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim) * 4;
        require_memory("the KV cache", blocks as u64 * block_size as u64 * per_token)?;
        self.kv = Some(PagedKv::new(
            config.num_hidden_layers as usize,
            blocks,
            block_size,
            config.num_key_value_heads as usize,
            config.head_dim as usize,
        ));
        Ok(())
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
