use serde::{Deserialize, Serialize};

/// The operators of a forward pass, in Vidur's vocabulary where it has a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Embedding look-up, once a step.
    Emb,
    InputLayernorm,
    /// Query, key and value projections.
    AttnPreProj,
    /// Query and key norms, and rotary embedding.
    AttnRope,
    /// Keys and values into their KV blocks.
    AttnKvCacheSave,
    /// Softmax(QKᵀ)V over the KV blocks.
    Attention,
    /// Output projection and residual.
    AttnPostProj,
    PostAttentionLayernorm,
    /// Gate and up projections.
    MlpUpProj,
    /// SiLU(gate) × up.
    MlpAct,
    /// Down projection and residual.
    MlpDownProj,
    /// Final norm and output projection of the rows that yield a token, once a step.
    LmHead,
    /// Choice and detokenization of the next tokens, once a step.
    Sampling,
}

impl Op {
    /// All operators in the order of a pass.
    pub const ALL: [Self; 13] = [
        Self::Emb,
        Self::InputLayernorm,
        Self::AttnPreProj,
        Self::AttnRope,
        Self::AttnKvCacheSave,
        Self::Attention,
        Self::AttnPostProj,
        Self::PostAttentionLayernorm,
        Self::MlpUpProj,
        Self::MlpAct,
        Self::MlpDownProj,
        Self::LmHead,
        Self::Sampling,
    ];

    /// Name in bundles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emb => "emb",
            Self::InputLayernorm => "input_layernorm",
            Self::AttnPreProj => "attn_pre_proj",
            Self::AttnRope => "attn_rope",
            Self::AttnKvCacheSave => "attn_kv_cache_save",
            Self::Attention => "attention",
            Self::AttnPostProj => "attn_post_proj",
            Self::PostAttentionLayernorm => "post_attention_layernorm",
            Self::MlpUpProj => "mlp_up_proj",
            Self::MlpAct => "mlp_act",
            Self::MlpDownProj => "mlp_down_proj",
            Self::LmHead => "lm_head",
            Self::Sampling => "sampling",
        }
    }

    /// Whether the operator runs once in every layer.
    pub fn per_layer(self) -> bool {
        !matches!(self, Self::Emb | Self::LmHead | Self::Sampling)
    }
}

/// Told when an operator of a forward pass has ended. What lies between two
/// calls belongs to the operator named by the later one.
pub trait OpTimer {
    /// Whether it tells the time of each operator, for which a device that computes behind the host's back is waited for.
    fn times(&self) -> bool {
        true
    }
    /// A pass begins.
    fn begin(&mut self);
    /// The operator has ended.
    fn lap(&mut self, op: Op);
}

/// Times nothing: the engine while it serves.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoTimer;

impl OpTimer for NoTimer {
    fn times(&self) -> bool {
        false
    }
    fn begin(&mut self) {}
    fn lap(&mut self, _op: Op) {}
}
