use std::collections::HashMap;
use std::sync::OnceLock;

use super::components::{StageComponents, stage_s};
use super::error::VidurError;
use super::features::BatchFeatures;
use super::lazy::LazyTable;
use super::options::{StageShape, VidurOptions};
use super::times::{Key, Times};
use crate::predictor::regression::TrainedOperators;
use crate::profile::vidur::VidurOp;

/// Predicts how long a pipeline stage takes for a batch, as Vidur does.
#[derive(Debug)]
pub struct VidurPredictor {
    shape: StageShape,
    options: VidurOptions,
    times: Times,
    layers: f64,
    /// Factors of several decodes, and of several prefills.
    batching: [f64; 2],
    /// What an all-reduce costs besides its look-up, ms.
    launch_ms: f64,
    skew_ms: f64,
    /// By tokens / 8.
    by_tokens: Vec<OnceLock<TokenRow>>,
    /// By tokens.
    kv_save: LazyTable,
    /// By decodes, and their KV / granularity.
    decode: LazyTable,
    /// By the KV of prefills / granularity, and their chunk.
    prefill: LazyTable,
    /// By requests.
    cpu: LazyTable,
}

/// What depends on the number of tokens alone, ms, added up as far as Vidur's order allows.
#[derive(Debug, Clone, Copy)]
struct TokenRow {
    projections: f64,
    tensor_parallel: f64,
    input_layernorm: f64,
    mlp: f64,
    add: f64,
    send: f64,
}

impl VidurPredictor {
    /// Predicts with trained operators.
    ///
    /// # Errors
    /// A number is impossible, or an operator that the shape and the options need was not trained.
    pub fn new(
        trained: &TrainedOperators,
        shape: StageShape,
        options: VidurOptions,
    ) -> Result<Self, VidurError> {
        Self::with(Times::of(trained), shape, options)
    }

    /// Looks times up, ms, by operator and key: tokens rounded up to 8 (`attn_kv_cache_save`: tokens),
    /// (decodes, KV), or (KV, chunk²); the second number is 0 where there is one. A batch that needs others
    /// takes NaN seconds, and [`missing`](Self::missing) names what it needs.
    ///
    /// # Errors
    /// A number is impossible.
    pub fn from_recorded(
        recorded: HashMap<(VidurOp, u64, u64), f64>,
        shape: StageShape,
        options: VidurOptions,
    ) -> Result<Self, VidurError> {
        Self::with(Times::Recorded(recorded), shape, options)
    }

    fn with(times: Times, shape: StageShape, options: VidurOptions) -> Result<Self, VidurError> {
        shape.check()?;
        options.check()?;
        let mut needed = VidurOp::ALL.into_iter().filter(|op| is_needed(*op, &shape, &options));
        if let Some(op) = needed.find(|op| !times.has(*op)) {
            return Err(VidurError::Untrained { op: op.name(), table: table_of(op) });
        }
        let factor = |overhead: f64| if shape.is_grouped() { 1.0 + overhead } else { 1.0 };
        let kv_rows = options.max_tokens.div_ceil(options.kv_granularity) + 1;
        Ok(Self {
            layers: f64::from(shape.layers_per_stage),
            batching: [factor(options.decode_batching_overhead), factor(options.prefill_batching_overhead)],
            launch_ms: options.nccl_launch_ms,
            skew_ms: options.nccl_skew_ms * libm::pow(f64::from(shape.tensor_parallel), 1.25),
            by_tokens: (0..=options.max_tokens.div_ceil(8)).map(|_| OnceLock::new()).collect(),
            kv_save: LazyTable::new(1, options.max_tokens + 1),
            decode: LazyTable::new(options.max_batch_size + 1, kv_rows),
            prefill: LazyTable::new(kv_rows, options.max_prefill_chunk + 1),
            cpu: LazyTable::new(1, if options.cpu_overhead { options.max_batch_size + 1 } else { 1 }),
            times,
            shape,
            options,
        })
    }

    /// What its stages compute.
    pub fn shape(&self) -> &StageShape {
        &self.shape
    }

    /// Features of no requests yet, with the granularity of this predictor.
    pub fn features(&self) -> BatchFeatures {
        BatchFeatures::new(self.options.kv_granularity)
    }

    /// How long a stage takes for a batch, s. A batch has the same features at all of its stages: those of
    /// the moment at which its first one starts.
    pub fn stage_s(&self, features: &BatchFeatures, is_last_stage: bool) -> f64 {
        let tokens = features.tokens();
        let row = self.token_row(features.tokens_r8());
        let save = self.kv_save.get(0, tokens, || self.times.ms((VidurOp::AttnKvCacheSave, tokens, 0)));
        let attention = row.projections
            + save
            + self.decode_ms(features)
            + self.prefill_ms(features)
            + row.tensor_parallel
            + row.input_layernorm;
        let block = attention + row.mlp + row.add;
        let cpu = match self.options.cpu_overhead {
            true => self.cpu.get(0, features.requests(), || self.components(features, true).cpu_ms()),
            false => 0.0,
        };
        stage_s(block, self.layers, if is_last_stage { 0.0 } else { row.send }, cpu)
    }

    /// What the time of [`stage_s`](Self::stage_s) consists of; its total has the same bits.
    pub fn components(&self, features: &BatchFeatures, is_last_stage: bool) -> StageComponents {
        let mut out = self.of_tokens(features.tokens_r8());
        out.attn_kv_cache_save = self.times.ms((VidurOp::AttnKvCacheSave, features.tokens(), 0));
        out.attn_decode = self.decode_ms(features);
        out.attn_prefill = self.prefill_ms(features);
        if is_last_stage {
            out.pipeline_parallel = 0.0;
        }
        if self.options.cpu_overhead {
            out.cpu = VidurOp::CPU.map(|op| self.times.ms((op, features.requests(), 0)));
        }
        out
    }

    /// The first look-up of a batch whose time was not recorded; none for trained operators.
    pub fn missing(&self, features: &BatchFeatures, is_last_stage: bool) -> Option<(VidurOp, u64, u64)> {
        let keys = VidurOp::ALL.into_iter().filter(|op| is_needed(*op, &self.shape, &self.options));
        let mut keys = keys.filter_map(|op| match op {
            VidurOp::AttnDecode => decode_key(features),
            VidurOp::AttnPrefill => prefill_key(features),
            VidurOp::AttnKvCacheSave => Some((op, features.tokens(), 0)),
            VidurOp::SendRecv if is_last_stage => None,
            op if VidurOp::CPU.contains(&op) => Some((op, features.requests(), 0)),
            op => Some((op, features.tokens_r8(), 0)),
        });
        keys.find(|key| self.times.ms(*key).is_nan())
    }

    fn token_row(&self, tokens_r8: u64) -> TokenRow {
        let compute = || {
            let parts = self.of_tokens(tokens_r8);
            TokenRow {
                projections: parts.projections(),
                tensor_parallel: parts.tensor_parallel,
                input_layernorm: parts.input_layernorm,
                mlp: parts.mlp(),
                add: parts.add,
                send: parts.pipeline_parallel,
            }
        };
        let index = usize::try_from(tokens_r8 / 8).unwrap_or(usize::MAX);
        match self.by_tokens.get(index) {
            Some(cell) => *cell.get_or_init(compute),
            None => compute(),
        }
    }

    /// What depends on the number of tokens alone; the rest is 0.
    fn of_tokens(&self, tokens_r8: u64) -> StageComponents {
        let ms = |op: VidurOp| match is_needed(op, &self.shape, &self.options) {
            true => self.times.ms((op, tokens_r8, 0)),
            false => 0.0,
        };
        let tensor_parallel = match self.shape.tensor_parallel {
            1 => 0.0,
            _ => ms(VidurOp::AllReduce) + self.launch_ms + self.skew_ms,
        };
        StageComponents {
            attn_pre_proj: ms(VidurOp::AttnPreProj),
            attn_post_proj: ms(VidurOp::AttnPostProj),
            attn_rope: ms(VidurOp::AttnRope),
            attn_kv_cache_save: 0.0,
            attn_decode: 0.0,
            attn_prefill: 0.0,
            input_layernorm: ms(VidurOp::InputLayernorm),
            mlp_up_proj: ms(VidurOp::MlpUpProj),
            mlp_down_proj: ms(VidurOp::MlpDownProj),
            mlp_act: ms(VidurOp::MlpAct),
            post_attention_layernorm: ms(VidurOp::PostAttentionLayernorm),
            add: ms(VidurOp::Add),
            tensor_parallel,
            pipeline_parallel: ms(VidurOp::SendRecv),
            cpu: [0.0; VidurOp::CPU.len()],
            layers: self.layers,
        }
    }

    fn decode_ms(&self, features: &BatchFeatures) -> f64 {
        let Some(key) = decode_key(features) else { return 0.0 };
        let ms = match self.kv_index(features, key.2) {
            Some(kv) => self.decode.get(key.1, kv, || self.times.ms(key)),
            None => self.times.ms(key),
        };
        if features.decodes() > 1 { ms * self.batching[0] } else { ms }
    }

    fn prefill_ms(&self, features: &BatchFeatures) -> f64 {
        let Some(key) = prefill_key(features) else { return 0.0 };
        let ms = match self.kv_index(features, key.1) {
            Some(kv) => self.prefill.get(kv, features.prefill_chunk(), || self.times.ms(key)),
            None => self.times.ms(key),
        };
        if features.prefills() > 1 { ms * self.batching[1] } else { ms }
    }

    /// The place of KV tokens in tables; none for features of another granularity.
    fn kv_index(&self, features: &BatchFeatures, kv: u64) -> Option<u64> {
        let step = self.options.kv_granularity;
        (features.granularity() == step).then(|| kv / step)
    }
}

fn decode_key(features: &BatchFeatures) -> Option<Key> {
    (features.decodes() > 0).then(|| (VidurOp::AttnDecode, features.decodes(), features.decode_kv()))
}

fn prefill_key(features: &BatchFeatures) -> Option<Key> {
    let chunk = features.prefill_chunk();
    let key = (VidurOp::AttnPrefill, features.prefill_kv(), chunk.saturating_mul(chunk));
    (features.prefills() > 0).then_some(key)
}

/// Whether stages of the shape have the operator.
fn is_needed(op: VidurOp, shape: &StageShape, options: &VidurOptions) -> bool {
    match op {
        VidurOp::AllReduce => shape.tensor_parallel > 1,
        VidurOp::SendRecv => shape.pipeline_stages > 1,
        VidurOp::PostAttentionLayernorm => shape.post_attn_norm,
        op if VidurOp::CPU.contains(&op) => options.cpu_overhead,
        _ => true,
    }
}

/// The table that an operator is measured in.
fn table_of(op: VidurOp) -> &'static str {
    match op {
        VidurOp::AttnKvCacheSave | VidurOp::AttnDecode | VidurOp::AttnPrefill => "attention.csv",
        VidurOp::AllReduce => "all_reduce.csv",
        VidurOp::SendRecv => "send_recv.csv",
        op if VidurOp::CPU.contains(&op) => "cpu_overhead.csv",
        _ => "mlp.csv",
    }
}
