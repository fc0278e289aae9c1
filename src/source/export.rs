//! A synthetic model as files, for an engine that reads files: the same weights that xp's own engine draws.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use candle_core::DType;
use serde_json::{Map, Value, json};

use super::{CONFIG, SourceError, tensor_table};
use crate::catalog::ModelConfig;
use crate::model::{ModelError, WeightReader, Weights};
use crate::spec::Dtype;
use crate::store::{self, Digest, StagedDir};

/// Raised when the files of a model change.
const EXPORT_FORMAT: u32 = 1;

/// The folder with `config.json` and safetensors of a model: where its files are, or below `folder` for a model whose
/// weights are drawn. That is written when it is first asked for.
///
/// # Errors
/// The system refuses a file, or there is no memory for a tensor.
pub fn model_folder(
    config: &ModelConfig,
    weights: &Weights,
    dtype: Dtype,
    folder: &Path,
) -> Result<PathBuf, SourceError> {
    let seed = match weights {
        Weights::Safetensors(paths) => {
            return Ok(paths.first().and_then(|path| path.parent()).unwrap_or(folder).to_owned());
        }
        Weights::Synthetic { seed } => *seed,
    };
    let key = Digest::of_json(&(EXPORT_FORMAT, config, seed, dtype));
    let place = folder.join(key.short(16));
    if place.is_dir() {
        return Ok(place);
    }
    let refused = |source| SourceError::io(&place, source);
    let staged = StagedDir::new(&place).map_err(refused)?;
    let mut failed = None;
    let written = store::write_with(&staged.path().join("model.safetensors"), |out| {
        write_tensors(config, &WeightReader::Synthetic { seed }, dtype, out).map_err(|error| {
            let text = error.to_string();
            match error {
                Stop::Io(error) => error,
                Stop::Model(error) => {
                    failed = Some(error);
                    io::Error::other(text)
                }
            }
        })
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    written.map_err(refused)?;
    let text = serde_json::to_vec_pretty(&huggingface(config, dtype)).expect("plain data");
    store::write_part(&staged.path().join(CONFIG), &text).map_err(refused)?;
    staged.commit().map_err(refused)?;
    Ok(place)
}

/// What ends the writing of tensors.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<candle_core::Error> for Stop {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}

/// A safetensors file: the length of its header, the header, then the tensors, one in memory at a time.
fn write_tensors(
    config: &ModelConfig,
    reader: &WeightReader,
    dtype: Dtype,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let table = tensor_table(config);
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let name = format!("{dtype:?}").to_uppercase();
    let mut offset = 0;
    for tensor in &table {
        let end = offset + tensor.elements() * dtype.bytes();
        let entry = json!({ "dtype": name, "shape": tensor.shape, "data_offsets": [offset, end] });
        header.insert(tensor.name.clone(), entry);
        offset = end;
    }
    let mut header = Value::Object(header).to_string();
    // Tensors begin at a multiple of eight.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for tensor in &table {
        let shape: Vec<usize> = tensor.shape.iter().map(|&size| size as usize).collect();
        let kind = match dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 => DType::BF16,
        };
        let mut bytes = Vec::new();
        reader.get(&tensor.name, &shape, kind)?.write_bytes(&mut bytes)?;
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// `config.json` of a dense Qwen3 model, as Hugging Face's libraries read it.
fn huggingface(config: &ModelConfig, dtype: Dtype) -> Value {
    let mut value = serde_json::to_value(config).expect("plain data");
    let dtype = match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
    };
    let more = json!({
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": false,
        "hidden_act": "silu",
        "torch_dtype": dtype,
        "use_cache": true,
        "use_sliding_window": false,
    });
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn a_synthetic_model_reads_back_as_it_was_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let config = catalog::model("qwen3-tiny").unwrap();
        let weights = Weights::Synthetic { seed: 9 };
        for (dtype, kind) in [(Dtype::F32, DType::F32), (Dtype::Bf16, DType::BF16), (Dtype::F16, DType::F16)]
        {
            let folder = model_folder(config, &weights, dtype, dir.path()).unwrap();
            assert_eq!(model_folder(config, &weights, dtype, dir.path()).unwrap(), folder);
            let files = Weights::Safetensors(vec![folder.join("model.safetensors")]);
            assert_eq!(model_folder(config, &files, dtype, Path::new("/none")).unwrap(), folder);
            let (drawn, read) = (WeightReader::open(&weights).unwrap(), WeightReader::open(&files).unwrap());
            for tensor in tensor_table(config) {
                let shape: Vec<usize> = tensor.shape.iter().map(|&size| size as usize).collect();
                let values = |reader: &WeightReader| {
                    let tensor = reader.get(&tensor.name, &shape, kind).unwrap();
                    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
                };
                assert_eq!(values(&drawn), values(&read), "{} {dtype:?}", tensor.name);
            }
            let text = std::fs::read_to_string(folder.join(CONFIG)).unwrap();
            assert_eq!(&crate::source::parse_config(CONFIG, &text).unwrap(), config);
        }
        let other = model_folder(config, &Weights::Synthetic { seed: 8 }, Dtype::F32, dir.path()).unwrap();
        assert_ne!(other, model_folder(config, &weights, Dtype::F32, dir.path()).unwrap());
    }
}
