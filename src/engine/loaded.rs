//! A model in the memory of what computes it.

use std::fmt::Debug;
use std::sync::Arc;

use super::EngineError;
use crate::catalog::ModelConfig;
use crate::model::{Activations, Decoder, Grouping, ModelError, OpTimer, PagedKv, Share, WeightReader};
use crate::source::ModelFiles;
use crate::spec::Dtype;

/// A model and its KV cache, wherever they lie.
pub trait LoadedModel: Debug + Send {
    /// The model's shape.
    fn config(&self) -> &ModelConfig;

    /// Makes a new KV cache of so many blocks of so many tokens, in place of the one there is.
    ///
    /// # Errors
    /// There is no memory for it, or the device cannot work with such blocks.
    fn renew_kv(&mut self, num_blocks: u32, block_size: u32) -> Result<(), EngineError>;

    /// The same, but a cache of this size is kept: touching its pages takes time.
    ///
    /// # Errors
    /// Those of [`renew_kv`](Self::renew_kv).
    fn reserve_kv(&mut self, num_blocks: u32, block_size: u32) -> Result<(), EngineError> {
        match (self.num_blocks(), self.block_size()) == (num_blocks, block_size) {
            true => Ok(()),
            false => self.renew_kv(num_blocks, block_size),
        }
    }

    /// Blocks in the KV cache.
    fn num_blocks(&self) -> u32;

    /// Tokens in a KV block.
    fn block_size(&self) -> u32;

    /// How it computes rows together.
    fn grouping(&self) -> Grouping;

    /// Computes all shares in one pass over the first `num_layers` layers: as
    /// [`Decoder::forward`](crate::model::Decoder::forward).
    fn forward(
        &mut self,
        shares: &[Share<'_>],
        num_layers: usize,
        timer: &mut dyn OpTimer,
    ) -> Result<Vec<f32>, ModelError>;
}

/// Loads a model where `hardware "…"` wants it: every device that is not the CPU is a GPU of NVIDIA's.
pub(super) fn load(
    files: &ModelFiles,
    dtype: Dtype,
    device: &str,
) -> Result<Box<dyn LoadedModel>, EngineError> {
    if device != "cpu" {
        return on_gpu(files, dtype, device);
    }
    require_memory("the model", files.config.num_parameters() * dtype.bytes())?;
    let weights = WeightReader::open(&files.weights)?;
    let max_context = files.config.max_position_embeddings as usize;
    let decoder = Decoder::load(&files.config, &weights, dtype, max_context)?;
    Ok(Box::new(CpuModel::new(Arc::new(decoder))))
}

#[cfg(not(feature = "cuda"))]
fn on_gpu(_files: &ModelFiles, _dtype: Dtype, device: &str) -> Result<Box<dyn LoadedModel>, EngineError> {
    Err(EngineError::NoCuda { device: device.to_owned() })
}

#[cfg(feature = "cuda")]
use super::cuda::load as on_gpu;

/// Refuses what memory cannot hold, before the system kills the process for it.
fn require_memory(what: &'static str, needed: u64) -> Result<(), EngineError> {
    enough(what, needed, available_bytes())
}

/// What is free; 0 where the system does not say.
fn available_bytes() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    system.available_memory()
}

/// Nothing is refused where the system does not say what is free.
pub(super) fn enough(what: &'static str, needed: u64, available: u64) -> Result<(), EngineError> {
    if available > 0 && needed > available {
        return Err(no_memory(what, needed, available, std::io::ErrorKind::OutOfMemory.into()));
    }
    Ok(())
}

fn no_memory(what: &'static str, needed: u64, available: u64, source: std::io::Error) -> EngineError {
    EngineError::Memory { what, needed_mib: needed >> 20, available_mib: available >> 20, source }
}

/// Bytes of a KV cache of so many tokens, with `element_bytes` for each number.
pub(super) fn kv_bytes(config: &ModelConfig, tokens: u64, element_bytes: u64) -> u64 {
    let numbers = u64::from(2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim);
    tokens * numbers * element_bytes
}

/// On the CPU, whose threads are the engine's.
#[derive(Debug)]
pub(super) struct CpuModel {
    decoder: Arc<Decoder>,
    kv: PagedKv,
    activations: Activations,
}

impl CpuModel {
    /// Without a KV cache.
    pub fn new(decoder: Arc<Decoder>) -> Self {
        Self { decoder, kv: PagedKv::default(), activations: Activations::default() }
    }
}

impl LoadedModel for CpuModel {
    fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    fn renew_kv(&mut self, num_blocks: u32, block_size: u32) -> Result<(), EngineError> {
        self.kv = PagedKv::default();
        let config = self.decoder.config();
        let tokens = u64::from(num_blocks) * u64::from(block_size);
        let (what, needed) = ("the KV cache", kv_bytes(config, tokens, size_of::<f32>() as u64));
        require_memory(what, needed)?;
        self.kv = PagedKv::new(
            config.num_hidden_layers as usize,
            num_blocks as usize,
            block_size as usize,
            config.num_key_value_heads as usize,
            config.head_dim as usize,
        )
        .map_err(|source| no_memory(what, needed, available_bytes(), source))?;
        Ok(())
    }

    fn num_blocks(&self) -> u32 {
        self.kv.num_blocks() as u32
    }

    fn block_size(&self) -> u32 {
        self.kv.block_size() as u32
    }

    fn grouping(&self) -> Grouping {
        Grouping::of_pool()
    }

    fn forward(
        &mut self,
        shares: &[Share<'_>],
        num_layers: usize,
        timer: &mut dyn OpTimer,
    ) -> Result<Vec<f32>, ModelError> {
        self.decoder.forward(shares, &mut self.kv, &mut self.activations, num_layers, timer)
    }
}
