//! GGUF files: the shape of a model and its chat template from their metadata, and its tensors under Hugging Face's
//! names.

mod chat;
mod metadata;

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, TensorInfo};

use self::metadata::Metadata;
use super::ModelError;
use super::weights::Stored;
use crate::catalog::{ModelConfig, RopeScaling};
use crate::kernels::WeightFormat;

/// An opened file.
pub struct GgufFile {
    path: PathBuf,
    content: Content,
    file_bytes: u64,
    config: ModelConfig,
}

impl GgufFile {
    /// Reads header and metadata, and no weight.
    ///
    /// # Errors
    /// It is no GGUF file, of another architecture than those that run here, or its metadata say no shape.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let file_bytes = file.metadata().map_err(io)?.len();
        let mut reader = BufReader::new(file);
        // Some hostile headers (an alignment of 0) are divided by before they are checked.
        let content = catch_unwind(AssertUnwindSafe(|| Content::read(&mut reader)))
            .map_err(|_| bad("its header is damaged"))?
            .map_err(|error| bad(&error.to_string()))?;
        let mut config = Metadata::of(&content).config()?;
        if let Some(factors) = content.tensor_infos.get("rope_freqs.weight") {
            let bytes = read(path, &content, file_bytes, factors, "rope_freqs.weight")?;
            if factors.ggml_dtype != GgmlDType::F32 || bytes.len() != 2 * config.head_dim as usize {
                return Err(bad("rope_freqs.weight is not one f32 for each pair of a head's dimensions"));
            }
            let factors = bytes.as_chunks().0.iter().map(|four| f64::from(f32::from_le_bytes(*four)));
            config.rope_scaling = Some(RopeScaling::Factors { factors: factors.collect() });
        }
        Ok(Self { path: path.to_owned(), content, file_bytes, config })
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whether the tensor of a Hugging Face name is there, in this shape and in a format that runs here.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        self.locate(name, shape).map(|_| ())
    }

    fn locate(&self, name: &str, shape: &[usize]) -> Result<Located<'_>, ModelError> {
        let wrong = |reason: String| ModelError::Tensor { name: name.to_owned(), reason };
        let (gguf, expert) =
            tensor_name(name).ok_or_else(|| wrong("has no name in GGUF files".to_owned()))?;
        let info =
            self.content.tensor_infos.get(&gguf).ok_or_else(|| wrong(format!("there is no {gguf}")))?;
        // Experts lie behind one another.
        let (expert, found) = match (expert, info.shape.dims()) {
            (Some(expert), [experts, rest @ ..]) if expert < *experts => (Some((expert, *experts)), rest),
            (Some(_), _) => return Err(wrong(format!("{gguf} has fewer experts"))),
            (None, dims) => (None, dims),
        };
        if found != shape {
            return Err(wrong(format!("{gguf} has shape {found:?}, the metadata want {shape:?}")));
        }
        let format = match info.ggml_dtype {
            GgmlDType::F32 => WeightFormat::F32,
            GgmlDType::F16 => WeightFormat::F16,
            GgmlDType::BF16 => WeightFormat::Bf16,
            GgmlDType::Q8_0 => WeightFormat::Q8_0,
            GgmlDType::Q4K => WeightFormat::Q4K,
            GgmlDType::Q6K => WeightFormat::Q6K,
            other => {
                return Err(wrong(format!("{gguf} is {other:?}, not F32, F16, BF16, Q8_0, Q4_K or Q6_K")));
            }
        };
        Ok(Located { gguf, info, format, expert })
    }

    /// The tensor of a Hugging Face name.
    pub(super) fn stored(&self, name: &str, shape: &[usize]) -> Result<Stored<'_>, ModelError> {
        let Located { gguf, info, format, expert } = self.locate(name, shape)?;
        let mut bytes = read(&self.path, &self.content, self.file_bytes, info, &gguf)?;
        if let Some((expert, experts)) = expert {
            let size = bytes.len() / experts;
            bytes = bytes[expert * size..(expert + 1) * size].to_vec();
        }
        let heads = match name {
            _ if self.config.model_type != "llama" => None,
            _ if name.ends_with("q_proj.weight") => Some(self.config.num_attention_heads),
            _ if name.ends_with("k_proj.weight") => Some(self.config.num_key_value_heads),
            _ => None,
        };
        if let Some(heads) = heads {
            bytes = halves_apart(&bytes, shape[0], heads as usize);
        }
        Ok(Stored { format, bytes: Cow::Owned(bytes) })
    }
}

/// Where a tensor is.
struct Located<'a> {
    /// Its name in the file.
    gguf: String,
    info: &'a TensorInfo,
    format: WeightFormat,
    /// Which of how many experts.
    expert: Option<(usize, usize)>,
}

fn bad(reason: &str) -> ModelError {
    ModelError::Gguf { reason: reason.to_owned() }
}

/// The bytes of a tensor.
fn read(
    path: &Path,
    content: &Content,
    file_bytes: u64,
    info: &TensorInfo,
    name: &str,
) -> Result<Vec<u8>, ModelError> {
    let wrong = |reason: &str| ModelError::Tensor { name: name.to_owned(), reason: reason.to_owned() };
    let dims = info.shape.dims().iter();
    let elements = dims.copied().try_fold(1_usize, usize::checked_mul);
    let block = info.ggml_dtype.block_size();
    let row = info.shape.dims().last().copied().unwrap_or(0);
    let bytes = elements
        .filter(|_| row.is_multiple_of(block))
        .and_then(|elements| (elements / block).checked_mul(info.ggml_dtype.type_size()))
        .ok_or_else(|| wrong("has a shape that is no whole blocks"))?;
    let from = content.tensor_data_offset.saturating_add(info.offset);
    if from.saturating_add(bytes as u64) > file_bytes {
        return Err(wrong("lies beyond the end of the file"));
    }
    let io = |source| ModelError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut out = vec![0; bytes];
    file.seek(SeekFrom::Start(from)).map_err(io)?;
    file.read_exact(&mut out).map_err(io)?;
    Ok(out)
}

/// GGUF files of Llama models have the dimensions that are rotated together side by side; here they lie half a head
/// apart, as in Hugging Face's files.
fn halves_apart(bytes: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let row_bytes = bytes.len() / rows.max(1);
    let half = rows / heads.max(1) / 2;
    let row = |index: usize| &bytes[index * row_bytes..(index + 1) * row_bytes];
    let from = |head: usize, side: usize, pair: usize| row(2 * (head * half + pair) + side);
    let halves = (0..heads).flat_map(|head| [(head, 0), (head, 1)]);
    halves.flat_map(|(head, side)| (0..half).flat_map(move |pair| from(head, side, pair))).copied().collect()
}

/// The name in GGUF files, and which of its experts.
fn tensor_name(name: &str) -> Option<(String, Option<usize>)> {
    let plain = |name: &str| Some((name.to_owned(), None));
    match name {
        "model.embed_tokens.weight" => return plain("token_embd.weight"),
        "model.norm.weight" => return plain("output_norm.weight"),
        "lm_head.weight" => return plain("output.weight"),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.strip_suffix(".weight")?.split_once('.')?;
    let part = match rest {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "mlp.gate" => "ffn_gate_inp",
        _ => {
            let (expert, part) = rest.strip_prefix("mlp.experts.")?.split_once('.')?;
            let part = match part {
                "gate_proj" => "ffn_gate_exps",
                "up_proj" => "ffn_up_exps",
                "down_proj" => "ffn_down_exps",
                _ => return None,
            };
            return Some((format!("blk.{layer}.{part}.weight"), Some(expert.parse().ok()?)));
        }
    };
    Some((format!("blk.{layer}.{part}.weight"), None))
}
