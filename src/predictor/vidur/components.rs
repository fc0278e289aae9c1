use crate::profile::vidur::VidurOp;

/// What a stage's time consists of. Times are those of one layer, ms, as Vidur adds them up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageComponents {
    pub attn_pre_proj: f64,
    pub attn_post_proj: f64,
    pub attn_rope: f64,
    pub attn_kv_cache_save: f64,
    /// With the overhead of several decodes; 0 without any.
    pub attn_decode: f64,
    /// With the overhead of several prefills; 0 without any.
    pub attn_prefill: f64,
    pub input_layernorm: f64,
    pub mlp_up_proj: f64,
    pub mlp_down_proj: f64,
    pub mlp_act: f64,
    /// 0 where the model has none.
    pub post_attention_layernorm: f64,
    pub add: f64,
    /// One all-reduce with its launch, of which a layer has two; 0 without tensor parallelism.
    pub tensor_parallel: f64,
    /// Sending to the next stage, once a batch; 0 for the last stage.
    pub pipeline_parallel: f64,
    /// CPU work, once a batch, in the order of [`VidurOp::CPU`]; 0 where it is not modelled.
    pub cpu: [f64; VidurOp::CPU.len()],
    /// Layers of the stage.
    pub layers: f64,
}

impl StageComponents {
    /// Query, key and value projections, the output projection, and rotary embedding, ms.
    pub(super) fn projections(&self) -> f64 {
        self.attn_pre_proj + self.attn_post_proj + self.attn_rope
    }

    /// The MLP of a layer with its all-reduce and norm, ms.
    pub(super) fn mlp(&self) -> f64 {
        self.mlp_up_proj
            + self.mlp_down_proj
            + self.mlp_act
            + self.tensor_parallel
            + self.post_attention_layernorm
    }

    /// CPU work, ms.
    pub(super) fn cpu_ms(&self) -> f64 {
        let [schedule, sampler, prepare, process, ray] = self.cpu;
        schedule + sampler + prepare + process + ray
    }

    /// The stage's time, s: sums in Vidur's order, so that it has Vidur's bits. No less than 0.
    pub fn total_s(&self) -> f64 {
        let attention = self.projections()
            + self.attn_kv_cache_save
            + self.attn_decode
            + self.attn_prefill
            + self.tensor_parallel
            + self.input_layernorm;
        let block = attention + self.mlp() + self.add;
        stage_s(block, self.layers, self.pipeline_parallel, self.cpu_ms())
    }
}

/// The stage's time, s, of the time of a layer, its layers, what is sent and CPU work, ms.
///
/// Fits may be negative at some features; where that makes a whole stage negative it takes no time, since
/// time does not run backwards. NaN stays NaN.
pub(super) fn stage_s(block: f64, layers: f64, pipeline: f64, cpu: f64) -> f64 {
    let total = (block * layers + pipeline) * 1e-3 + cpu * 1e-3;
    if total < 0.0 { 0.0 } else { total }
}
