//! What fits into a device's memory: weights, activations, and the KV blocks of what is left.

use super::engine::{EngineSettings, KvSize};
use super::experiment::{Dtype, Hardware};
use super::units::ByteSize;
use crate::catalog::{self, ModelConfig};

/// KV memory where nothing says how much a device has.
const UNKNOWN_DEVICE: ByteSize = ByteSize(1 << 30);

/// What the driver and the libraries hold on a device, bytes: a CUDA context and the workspaces of its libraries. Rounded
/// from what one run of vLLM 0.19 left (2,588 blocks on an RTX 4090, where this plans 2,589): a fit to one number.
const RUNTIME_BYTES: u64 = 256 << 20;

/// Bytes of a logit while tokens are drawn: its value in the model's format aside, in f32, its
/// probability, and both sorted with their places.
const SAMPLER_BYTES: u64 = 4 + 4 + 4 + 8;

/// The KV cache of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvCache {
    /// Bytes of a block: keys and values of all layers.
    pub block_bytes: u64,
    /// Blocks that there are.
    pub blocks: u64,
    /// Blocks that are kept free when a request is admitted while others run.
    pub watermark: u64,
}

/// What a device holds besides KV blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePlan {
    /// Memory of the device.
    pub memory_bytes: u64,
    /// Share of the weights, of the device that has most.
    pub weights_bytes: u64,
    /// Largest intermediate results of a step.
    pub activation_bytes: u64,
    /// Left for KV blocks within the share that may be used.
    pub kv_bytes: u64,
}

impl Dtype {
    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// Memory of a device, as far as it is known.
pub fn device_memory(hardware: &Hardware) -> Option<u64> {
    let known = || catalog::device(&hardware.device).map(|device| device.memory_bytes);
    hardware.memory.map(|memory| memory.0).or_else(known)
}

/// Shares a device's memory out; None where its size is not known.
///
/// Weights are split over `tensor × pipeline`, those of experts over `data` besides; the first and the last stage hold the embedding and the output
/// projection. Activations are those of the largest step: hidden states with their residual, before and after a
/// projection, and the MLP's three intermediates for each of `chunk-size` tokens, or the logits of
/// `max-batch-size` sequences while their tokens are drawn; both are counted, since allocators keep what they had.
pub fn plan(
    engine: &EngineSettings,
    shape: &ModelConfig,
    dtype: Dtype,
    hardware: &Hardware,
    share: f64,
) -> Option<DevicePlan> {
    let memory_bytes = device_memory(hardware)?;
    let (tensor, pipeline) = (u64::from(engine.parallel.tensor), u64::from(engine.parallel.pipeline));
    let element = dtype.bytes();
    let layers = u64::from(shape.num_hidden_layers);
    let experts = shape.num_expert_parameters() / layers.max(1);
    let layer = shape.num_layer_parameters() / layers.max(1) - experts;
    // Whole experts or slices of them, over all ranks that share them.
    let expert_ranks = tensor * u64::from(engine.parallel.data);
    let embedding = shape.num_output_parameters();
    let ends = match (pipeline > 1, shape.tie_word_embeddings) {
        (true, _) | (false, true) => embedding,
        (false, false) => 2 * embedding,
    };
    let of_stage = layers.div_ceil(pipeline);
    let weights = (of_stage * layer + ends).div_ceil(tensor) + (of_stage * experts).div_ceil(expert_ranks);
    let weights_bytes = weights * element;
    let (tokens, sequences) = (u64::from(engine.chunk_size), u64::from(engine.max_batch_size));
    let intermediate = u64::from(shape.intermediate_size).div_ceil(tensor);
    let hidden = tokens * (4 * u64::from(shape.hidden_size) + 3 * intermediate) * element;
    let logits = sequences * u64::from(shape.vocab_size) * (element + SAMPLER_BYTES);
    let activation_bytes = hidden.saturating_add(logits);
    let used = weights_bytes.saturating_add(activation_bytes).saturating_add(RUNTIME_BYTES);
    let kv_bytes = ((memory_bytes as f64 * share) as u64).saturating_sub(used);
    Some(DevicePlan { memory_bytes, weights_bytes, activation_bytes, kv_bytes })
}

/// The blocks that an engine's settings make of a model's keys and values.
pub fn kv_cache(engine: &EngineSettings, shape: &ModelConfig, dtype: Dtype, hardware: &Hardware) -> KvCache {
    let element = engine.kv_format.element_bytes(dtype, hardware);
    let of = |layers: u64, heads: u64| 2 * layers * heads * u64::from(shape.head_dim) * element;
    let (layers, heads) = (u64::from(shape.num_hidden_layers), u64::from(shape.num_key_value_heads));
    let block_bytes = of(layers, heads) * u64::from(engine.block_size);
    let blocks = match engine.kv {
        KvSize::Blocks(blocks) => u64::from(blocks),
        KvSize::Memory(memory) => memory.0 / block_bytes.max(1),
        KvSize::Share(share) => match plan(engine, shape, dtype, hardware, share.0 / 100.0) {
            Some(plan) => {
                // A device with fewer heads than there are devices holds one all the same.
                let parallel = engine.parallel;
                let own = of(
                    layers.div_ceil(u64::from(parallel.pipeline)),
                    heads.div_ceil(u64::from(parallel.tensor)).max(1),
                );
                plan.kv_bytes / (own * u64::from(engine.block_size)).max(1)
            }
            None => UNKNOWN_DEVICE.0 / block_bytes.max(1),
        },
    };
    KvCache { block_bytes, blocks, watermark: (blocks as f64 * engine.watermark.0 / 100.0) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{EngineBackend, Percent};

    fn engine(settings: serde_json::Value) -> EngineSettings {
        let mut all = serde_json::json!({ "name": "vllm", "scheduler": "vllm_v1" });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        serde_json::from_value::<EngineBackend>(all).unwrap().settings()
    }

    #[test]
    fn a_device_holds_weights_activations_and_blocks() {
        let shape = catalog::model("qwen3-8b").unwrap();
        let hardware = Hardware { device: "a100-80gb".to_owned(), ..Hardware::default() };
        let one = engine(serde_json::json!({ "chunk-size": 2048, "max-batch-size": 256 }));
        let found = plan(&one, shape, Dtype::Bf16, &hardware, 0.9).unwrap();
        assert_eq!(found.weights_bytes / 2, (shape.num_parameters() - 4096) / 8 * 8);
        // Two tensor-parallel devices hold half each, of weights and of every block.
        let two = engine(
            serde_json::json!({ "chunk-size": 2048, "max-batch-size": 256, "parallel": { "tensor": 2 } }),
        );
        let halved = plan(&two, shape, Dtype::Bf16, &hardware, 0.9).unwrap();
        assert_eq!(halved.weights_bytes, found.weights_bytes / 2);
        let blocks = |engine: &EngineSettings| kv_cache(engine, shape, Dtype::Bf16, &hardware).blocks;
        assert!(blocks(&two) > 2 * blocks(&one), "{} {}", blocks(&two), blocks(&one));
        // 36 layers, 8 heads of 128 values, keys and values, 2 bytes each, 16 tokens.
        assert_eq!(kv_cache(&one, shape, Dtype::Bf16, &hardware).block_bytes, 36 * 8 * 128 * 2 * 2 * 16);
    }

    #[test]
    fn what_is_said_wins_over_what_is_planned() {
        let shape = catalog::model("qwen3-tiny").unwrap();
        let hardware = Hardware { device: "l4".to_owned(), ..Hardware::default() };
        let of = |settings| kv_cache(&engine(settings), shape, Dtype::F32, &hardware);
        let said = of(serde_json::json!({ "kv-blocks": 700, "watermark": "2%" }));
        assert_eq!((said.blocks, said.watermark), (700, 14));
        // 2 layers, 2 heads of 16 values, keys and values, 4 bytes each, 16 tokens: 8 KiB.
        assert_eq!(of(serde_json::json!({ "kv-memory": "1MiB" })).blocks, 128);
        let planned = of(serde_json::json!({ "memory-utilization": "50%" }));
        assert!((1_000_000..1_600_000).contains(&planned.blocks), "{}", planned.blocks);
        // A model that fills the device leaves nothing.
        let large = catalog::model("qwen3-8b").unwrap();
        let none = kv_cache(&engine(serde_json::json!({})), large, Dtype::F32, &hardware);
        assert_eq!((none.blocks, Percent(1.0)), (0, Percent(1.0)));
    }
}
