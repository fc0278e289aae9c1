//! A model as a folder of files, for an engine that reads files. What is drawn is written with the same weights that
//! xp's own engine draws.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::config::architecture_of;
use super::{CONFIG, ModelFiles, SourceError, TensorShape, tensor_table};
use crate::catalog::ModelConfig;
use crate::model::{ModelError, WeightReader, Weights};
use crate::spec::Dtype;
use crate::store::{self, Digest, StagedDir};

/// Raised when the files of a model change.
const EXPORT_FORMAT: u32 = 1;

impl ModelFiles {
    /// Refuses a model whose weights only xp's own engine reads.
    ///
    /// # Errors
    /// They are a GGUF file.
    pub fn require_safetensors(&self) -> Result<(), SourceError> {
        match &self.weights {
            Weights::Gguf(path) => Err(no_safetensors(path)),
            Weights::Safetensors(_) | Weights::Synthetic { .. } => Ok(()),
        }
    }
}

fn no_safetensors(gguf: &Path) -> SourceError {
    let file = gguf.file_name().unwrap_or_default().to_string_lossy().into_owned();
    SourceError::NoSafetensors { file }
}

/// The folder with `config.json` and safetensors of a model: where its files are, or below `folder` for a model whose
/// weights are drawn. That is written when it is first asked for.
///
/// # Errors
/// Its weights are no safetensors, the system refuses a file, or there is no memory for a tensor.
pub fn model_folder(model: &ModelFiles, dtype: Dtype, folder: &Path) -> Result<PathBuf, SourceError> {
    let seed = match &model.weights {
        Weights::Synthetic { seed } => *seed,
        Weights::Safetensors(paths) => {
            return Ok(paths.first().and_then(|path| path.parent()).unwrap_or(folder).to_owned());
        }
        Weights::Gguf(path) => return Err(no_safetensors(path)),
    };
    let config = &model.config;
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
        write_tensor(tensor, reader, dtype, out)?;
    }
    Ok(())
}

fn write_tensor(
    tensor: &TensorShape,
    reader: &WeightReader,
    dtype: Dtype,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    let shape: Vec<usize> = tensor.shape.iter().map(|size| *size as usize).collect();
    Ok(out.write_all(&reader.tensor(&tensor.name, &shape, dtype)?.bytes)?)
}

/// `config.json` of a model, as Hugging Face's libraries read it.
fn huggingface(config: &ModelConfig, dtype: Dtype) -> Value {
    let mut value = serde_json::to_value(config).expect("plain data");
    let dtype = match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
    };
    let more = json!({
        "architectures": architecture_of(&config.model_type).as_slice(),
        "attention_bias": false,
        "decoder_sparse_step": 1,
        "hidden_act": "silu",
        "mlp_bias": false,
        "mlp_only_layers": config.dense_layers,
        "torch_dtype": dtype,
        "use_cache": true,
        "use_sliding_window": false,
    });
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.remove("dense_layers");
        value.extend(more);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::source::tests::resolve_in;

    fn drawn(name: &str, seed: u64) -> ModelFiles {
        resolve_in(Path::new("."), &Source::Synthetic, name, seed).unwrap()
    }

    #[test]
    fn a_synthetic_model_reads_back_as_it_was_drawn() {
        let dir = tempfile::tempdir().unwrap();
        for (name, dtype) in [
            ("qwen3-tiny", Dtype::F32),
            ("qwen3-tiny", Dtype::Bf16),
            ("qwen3-tiny", Dtype::F16),
            ("llama-tiny", Dtype::Bf16),
            ("qwen3-moe-tiny", Dtype::F32),
        ] {
            let made = drawn(name, 9);
            let folder = model_folder(&made, dtype, dir.path()).unwrap();
            assert_eq!(model_folder(&made, dtype, dir.path()).unwrap(), folder);
            let weights = Weights::Safetensors(vec![folder.join("model.safetensors")]);
            let files = ModelFiles { weights, ..made.clone() };
            assert_eq!(model_folder(&files, dtype, Path::new("/none")).unwrap(), folder);
            let readers = [&made, &files].map(|model| WeightReader::open(&model.weights).unwrap());
            for tensor in tensor_table(&made.config) {
                let bytes = readers.each_ref().map(|reader| {
                    let mut bytes = Vec::new();
                    write_tensor(&tensor, reader, dtype, &mut bytes).unwrap();
                    bytes
                });
                assert_eq!(bytes[0].len() as u64, tensor.elements() * dtype.bytes(), "{}", tensor.name);
                assert!(bytes[0] == bytes[1], "{} {dtype:?}", tensor.name);
            }
            let text = std::fs::read_to_string(folder.join(CONFIG)).unwrap();
            assert_eq!(crate::source::parse_config(CONFIG, &text).unwrap(), made.config);
        }
        let [one, other] =
            [9, 8].map(|seed| model_folder(&drawn("qwen3-tiny", seed), Dtype::F32, dir.path()).unwrap());
        assert_ne!(one, other);
    }

    #[test]
    fn every_known_model_has_a_config_that_says_its_shape() {
        for name in crate::catalog::known_models() {
            let config = crate::catalog::model(name).unwrap();
            let text = huggingface(config, Dtype::Bf16).to_string();
            assert_eq!(&crate::source::parse_config(CONFIG, &text).unwrap(), config, "{name}");
        }
    }

    #[test]
    fn a_gguf_file_is_refused() {
        let model = ModelFiles { weights: Weights::Gguf("models/a/b.gguf".into()), ..drawn("qwen3-tiny", 1) };
        let refused = model_folder(&model, Dtype::F32, Path::new("/none"));
        assert!(matches!(refused, Err(SourceError::NoSafetensors { file }) if file == "b.gguf"));
    }
}
