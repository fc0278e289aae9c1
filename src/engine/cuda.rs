//! A model on the first CUDA device.

use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::result::mem_get_info;

use super::EngineError;
use super::loaded::{LoadedModel, enough, kv_bytes};
use crate::catalog::ModelConfig;
use crate::model::{GpuDecoder, GpuKv, Grouping, ModelError, OpTimer, Share, WeightReader};
use crate::source::ModelFiles;
use crate::spec::{Dtype, GPU_BLOCK_MULTIPLE};

/// FlashAttention takes heads of a multiple of so many dimensions, up to so many.
const HEAD_MULTIPLE: u32 = 8;
const LONGEST_HEAD: u32 = 512;

/// Loads a model onto the first CUDA device.
///
/// # Errors
/// There is none, it has no memory left, or FlashAttention cannot serve this model in this number format.
pub(super) fn load(
    files: &ModelFiles,
    dtype: Dtype,
    _device: &str,
) -> Result<Box<dyn LoadedModel>, EngineError> {
    let config = &files.config;
    let unfit = |reason: String| Err(EngineError::Unfit { reason });
    if dtype == Dtype::F32 {
        return unfit("FlashAttention computes in bf16 or f16, not in f32".to_owned());
    }
    if !config.head_dim.is_multiple_of(HEAD_MULTIPLE) || config.head_dim > LONGEST_HEAD {
        let dim = config.head_dim;
        return unfit(format!(
            "FlashAttention takes heads of a multiple of {HEAD_MULTIPLE} dimensions up to {LONGEST_HEAD}, the model's have {dim}"
        ));
    }
    let device = Device::new_cuda(0).map_err(ModelError::from)?;
    enough("the model", config.num_parameters() * dtype.bytes(), free_bytes())?;
    let weights = WeightReader::open(&files.weights)?;
    let decoder =
        GpuDecoder::load(config, &weights, dtype, config.max_position_embeddings as usize, &device)?;
    Ok(Box::new(CudaModel { decoder, kv: None, element_bytes: dtype.bytes() }))
}

/// What the device has left; 0 where it does not say.
fn free_bytes() -> u64 {
    mem_get_info().map_or(0, |(free, _)| free as u64)
}

#[derive(Debug)]
struct CudaModel {
    decoder: GpuDecoder,
    kv: Option<GpuKv>,
    /// Of a number in the KV cache.
    element_bytes: u64,
}

impl LoadedModel for CudaModel {
    fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    fn renew_kv(&mut self, num_blocks: u32, block_size: u32) -> Result<(), EngineError> {
        if !block_size.is_multiple_of(GPU_BLOCK_MULTIPLE) {
            let reason = format!(
                "FlashAttention takes KV blocks of a multiple of {GPU_BLOCK_MULTIPLE} tokens, not {block_size}"
            );
            return Err(EngineError::Unfit { reason });
        }
        self.kv = None;
        let tokens = u64::from(num_blocks) * u64::from(block_size);
        enough("the KV cache", kv_bytes(self.decoder.config(), tokens, self.element_bytes), free_bytes())?;
        self.kv = Some(self.decoder.new_kv(num_blocks as usize, block_size as usize)?);
        Ok(())
    }

    fn num_blocks(&self) -> u32 {
        self.kv.as_ref().map_or(0, |kv| kv.num_blocks() as u32)
    }

    fn block_size(&self) -> u32 {
        self.kv.as_ref().map_or(0, |kv| kv.block_size() as u32)
    }

    fn grouping(&self) -> Grouping {
        Grouping::NONE
    }

    fn forward(
        &mut self,
        shares: &[Share<'_>],
        num_layers: usize,
        timer: &mut dyn OpTimer,
    ) -> Result<Vec<f32>, ModelError> {
        let Some(kv) = &mut self.kv else { unreachable!("reserved before the first step") };
        self.decoder.forward(shares, kv, num_layers, timer)
    }
}
