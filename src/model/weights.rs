//! Where tensors come from while a model is loaded, as they are stored.

use std::borrow::Cow;
use std::path::PathBuf;

use candle_core::safetensors::MmapedSafetensors;
use half::{bf16, f16};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::ModelError;
use super::gguf::GgufFile;
use crate::kernels::WeightFormat;
use crate::spec::Dtype;
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
    /// A GGUF file, absolute path.
    Gguf(PathBuf),
}

/// Where tensors come from while a model is loaded.
pub enum WeightReader {
    /// Drawn from a seed; each tensor has a stream of its own, named by the tensor.
    Synthetic {
        seed: u64,
    },
    /// Memory-mapped safetensors.
    Safetensors(MmapedSafetensors),
    Gguf(Box<GgufFile>),
}

/// A tensor as it is stored, row after row.
#[derive(Debug)]
pub struct Stored<'a> {
    pub format: WeightFormat,
    pub bytes: Cow<'a, [u8]>,
}

impl WeightReader {
    /// Opens the weights a source resolved to.
    pub fn open(weights: &Weights) -> Result<Self, ModelError> {
        match weights {
            Weights::Synthetic { seed } => Ok(Self::Synthetic { seed: *seed }),
            Weights::Safetensors(paths) => Ok(Self::Safetensors(map(paths)?)),
            Weights::Gguf(path) => Ok(Self::Gguf(Box::new(GgufFile::open(path)?))),
        }
    }

    /// The tensor `name` of `shape` (of a matrix `[outputs, inputs]`), in `dtype` unless it is stored in blocks of
    /// integers.
    pub fn tensor(&self, name: &str, shape: &[usize], dtype: Dtype) -> Result<Stored<'_>, ModelError> {
        let stored = self.stored(name, shape)?;
        let wanted = match dtype {
            Dtype::F32 => WeightFormat::F32,
            Dtype::F16 => WeightFormat::F16,
            Dtype::Bf16 => WeightFormat::Bf16,
        };
        if stored.format == wanted || !is_float(stored.format) {
            return Ok(stored);
        }
        let values = floats(stored.format, &stored.bytes);
        let bytes = match wanted {
            WeightFormat::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            WeightFormat::Bf16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
            _ => values.flat_map(f32::to_le_bytes).collect(),
        };
        Ok(Stored { format: wanted, bytes: Cow::Owned(bytes) })
    }

    /// The vector `name` of so many numbers.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let stored = self.stored(name, &[len])?;
        if !is_float(stored.format) {
            let reason = format!("is stored as {:?}, which is for matrices", stored.format);
            return Err(ModelError::Tensor { name: name.to_owned(), reason });
        }
        Ok(floats(stored.format, &stored.bytes).collect())
    }

    fn stored(&self, name: &str, shape: &[usize]) -> Result<Stored<'_>, ModelError> {
        let wrong = |reason: String| ModelError::Tensor { name: name.to_owned(), reason };
        match self {
            Self::Synthetic { seed } => {
                let values = draw(*seed, name, shape.iter().product());
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                Ok(Stored { format: WeightFormat::F32, bytes: Cow::Owned(bytes) })
            }
            Self::Safetensors(files) => {
                let view = files.get(name).map_err(|error| wrong(error.to_string()))?;
                if view.shape() != shape {
                    let found = view.shape();
                    return Err(wrong(format!("has shape {found:?}, the config wants {shape:?}")));
                }
                let format = match view.dtype() {
                    safetensors::Dtype::F32 => WeightFormat::F32,
                    safetensors::Dtype::F16 => WeightFormat::F16,
                    safetensors::Dtype::BF16 => WeightFormat::Bf16,
                    other => return Err(wrong(format!("is {other:?}, not F32, F16 or BF16"))),
                };
                Ok(Stored { format, bytes: Cow::Borrowed(view.data()) })
            }
            Self::Gguf(file) => file.stored(name, shape),
        }
    }
}

fn is_float(format: WeightFormat) -> bool {
    matches!(format, WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16)
}

/// Numbers that are stored as such.
fn floats(format: WeightFormat, bytes: &[u8]) -> Box<dyn Iterator<Item = f32> + '_> {
    match format {
        WeightFormat::F16 => {
            Box::new(bytes.as_chunks().0.iter().map(|two| f16::from_le_bytes(*two).to_f32()))
        }
        WeightFormat::Bf16 => {
            Box::new(bytes.as_chunks().0.iter().map(|two| bf16::from_le_bytes(*two).to_f32()))
        }
        _ => Box::new(bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four))),
    }
}

#[allow(unsafe_code)]
fn map(paths: &[PathBuf]) -> Result<MmapedSafetensors, ModelError> {
    // SAFETY: the files were hashed when the lock was resolved; like every program that maps
    // weights, this one relies on nobody cutting them short while it runs.
    Ok(unsafe { MmapedSafetensors::multi(paths)? })
}

/// Uniform weights of mean 0 and deviation [`STD`]; norm weights are 1.
fn draw(seed: u64, name: &str, count: usize) -> Vec<f32> {
    if name.ends_with("norm.weight") {
        return vec![1.0; count];
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
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_weights_depend_on_seed_and_name_alone() {
        let values = |seed, name: &str| draw(seed, name, 120_000);
        let first = values(1, "a.weight");
        assert_eq!(first, values(1, "a.weight"));
        assert_ne!(first, values(2, "a.weight"));
        assert_ne!(first, values(1, "b.weight"));
        let mean = first.iter().sum::<f32>() / first.len() as f32;
        let std = (first.iter().map(|x| x * x).sum::<f32>() / first.len() as f32).sqrt();
        assert!(mean.abs() < 2e-4 && (std / STD - 1.0).abs() < 0.01, "{mean} {std}");
    }

    #[test]
    fn a_matrix_comes_in_the_wanted_format() {
        let reader = WeightReader::Synthetic { seed: 3 };
        let all = |dtype| {
            let stored = reader.tensor("a.weight", &[4, 6], dtype).unwrap();
            floats(stored.format, &stored.bytes).collect::<Vec<_>>()
        };
        let exact = all(Dtype::F32);
        assert_eq!(all(Dtype::Bf16), exact.iter().map(|x| bf16::from_f32(*x).to_f32()).collect::<Vec<_>>());
        assert_eq!(all(Dtype::F16), exact.iter().map(|x| f16::from_f32(*x).to_f32()).collect::<Vec<_>>());
    }
}
