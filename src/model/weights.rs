use std::path::PathBuf;

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::ModelError;
use crate::store::Digest;

/// Standard deviation of synthetic weights, as at the start of a training.
const STD: f32 = 0.02;

/// Where weights come from.
#[derive(Debug, Clone)]
pub enum Weights {
    /// Drawn from a seed.
    Synthetic { seed: u64 },
    /// Safetensors files, absolute paths, sorted by name.
    Safetensors(Vec<PathBuf>),
}

/// Where tensors come from while a model is loaded.
pub enum WeightReader {
    /// Drawn from a seed; each tensor has a stream of its own, named by the tensor.
    Synthetic { seed: u64 },
    /// Memory-mapped safetensors.
    Files(MmapedSafetensors),
}

impl WeightReader {
    /// Opens the weights a source resolved to.
    pub fn open(weights: &Weights) -> Result<Self, ModelError> {
        match weights {
            Weights::Synthetic { seed } => Ok(Self::Synthetic { seed: *seed }),
            Weights::Safetensors(paths) => Ok(Self::Files(map(paths)?)),
        }
    }

    /// The tensor `name` of `shape` in `dtype`.
    pub fn get(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor, ModelError> {
        match self {
            Self::Synthetic { seed } => Ok(draw(*seed, name, shape)?.to_dtype(dtype)?),
            Self::Files(files) => {
                let wrong = |reason: String| ModelError::Tensor { name: name.to_owned(), reason };
                let tensor = files.load(name, &Device::Cpu).map_err(|error| wrong(error.to_string()))?;
                if tensor.dims() != shape {
                    return Err(wrong(format!("has shape {:?}, the config wants {shape:?}", tensor.dims())));
                }
                Ok(tensor.to_dtype(dtype)?)
            }
        }
    }
}

#[allow(unsafe_code)]
fn map(paths: &[PathBuf]) -> Result<MmapedSafetensors, ModelError> {
    // SAFETY: the files were hashed when the lock was resolved; like every program that maps
    // weights, this one relies on nobody cutting them short while it runs.
    Ok(unsafe { MmapedSafetensors::multi(paths)? })
}

/// Uniform weights of mean 0 and deviation [`STD`]; norm weights are 1.
fn draw(seed: u64, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
    let count: usize = shape.iter().product();
    if name.ends_with("norm.weight") {
        return Ok(Tensor::ones(shape, DType::F32, &Device::Cpu)?);
    }
    let mut rng = ChaCha8Rng::from_seed(*Digest::of(format!("{seed}/{name}")).bytes());
    // A uniform distribution on [-a, a] has deviation a/√3.
    let unit = STD * 3.0_f32.sqrt() / (1 << 23) as f32;
    let mut bytes = vec![0_u8; 4 << 16];
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        rng.fill_bytes(&mut bytes);
        let left = count - values.len();
        values.extend(bytes.chunks_exact(4).take(left).map(|four| {
            let bits = u32::from_le_bytes([four[0], four[1], four[2], four[3]]) >> 8;
            (bits as i32 - (1 << 23)) as f32 * unit
        }));
    }
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_weights_depend_on_seed_and_name_alone() {
        let values = |seed, name: &str| {
            draw(seed, name, &[300, 400]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let first = values(1, "a.weight");
        assert_eq!(first, values(1, "a.weight"));
        assert_ne!(first, values(2, "a.weight"));
        assert_ne!(first, values(1, "b.weight"));
        let mean = first.iter().sum::<f32>() / first.len() as f32;
        let std = (first.iter().map(|x| x * x).sum::<f32>() / first.len() as f32).sqrt();
        assert!(mean.abs() < 2e-4 && (std / STD - 1.0).abs() < 0.01, "{mean} {std}");
    }
}
