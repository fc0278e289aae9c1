/// What Vidur predicts a time for: operators of one layer, communication, and CPU work of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VidurOp {
    AttnPreProj,
    AttnPostProj,
    AttnRope,
    AttnKvCacheSave,
    AttnDecode,
    AttnPrefill,
    InputLayernorm,
    MlpUpProj,
    MlpDownProj,
    MlpAct,
    PostAttentionLayernorm,
    Add,
    AllReduce,
    SendRecv,
    Schedule,
    SamplerE2e,
    PrepareInputsE2e,
    ProcessModelOutputs,
    RayCommTime,
}

impl VidurOp {
    /// All operators, those of a layer first.
    pub const ALL: [Self; 19] = [
        Self::AttnPreProj,
        Self::AttnPostProj,
        Self::AttnRope,
        Self::AttnKvCacheSave,
        Self::AttnDecode,
        Self::AttnPrefill,
        Self::InputLayernorm,
        Self::MlpUpProj,
        Self::MlpDownProj,
        Self::MlpAct,
        Self::PostAttentionLayernorm,
        Self::Add,
        Self::AllReduce,
        Self::SendRecv,
        Self::Schedule,
        Self::SamplerE2e,
        Self::PrepareInputsE2e,
        Self::ProcessModelOutputs,
        Self::RayCommTime,
    ];

    /// Operators of `mlp.csv`, by the number of tokens.
    pub const COMPUTE: [Self; 9] = [
        Self::AttnPreProj,
        Self::AttnPostProj,
        Self::MlpUpProj,
        Self::MlpDownProj,
        Self::MlpAct,
        Self::InputLayernorm,
        Self::PostAttentionLayernorm,
        Self::AttnRope,
        Self::Add,
    ];

    /// CPU work of a step, by the number of requests, in the order in which Vidur adds it up.
    pub const CPU: [Self; 5] = [
        Self::Schedule,
        Self::SamplerE2e,
        Self::PrepareInputsE2e,
        Self::ProcessModelOutputs,
        Self::RayCommTime,
    ];

    /// As Vidur's files name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AttnPreProj => "attn_pre_proj",
            Self::AttnPostProj => "attn_post_proj",
            Self::AttnRope => "attn_rope",
            Self::AttnKvCacheSave => "attn_kv_cache_save",
            Self::AttnDecode => "attn_decode",
            Self::AttnPrefill => "attn_prefill",
            Self::InputLayernorm => "input_layernorm",
            Self::MlpUpProj => "mlp_up_proj",
            Self::MlpDownProj => "mlp_down_proj",
            Self::MlpAct => "mlp_act",
            Self::PostAttentionLayernorm => "post_attention_layernorm",
            Self::Add => "add",
            Self::AllReduce => "all_reduce",
            Self::SendRecv => "send_recv",
            Self::Schedule => "schedule",
            Self::SamplerE2e => "sampler_e2e",
            Self::PrepareInputsE2e => "prepare_inputs_e2e",
            Self::ProcessModelOutputs => "process_model_outputs",
            Self::RayCommTime => "ray_comm_time",
        }
    }

    /// The operator of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }

    /// What its time depends on, one feature or two.
    pub fn features(self) -> &'static [&'static str] {
        match self {
            Self::AttnDecode => &["batch_size", "kv_cache_size"],
            Self::AttnPrefill => &["kv_cache_size", "prefill_chunk_size_squared"],
            _ if Self::CPU.contains(&self) => &["batch_size"],
            _ => &["num_tokens"],
        }
    }

    /// The column with its time: medians, but for `ray_comm_time`, of which Vidur takes the mean.
    pub(super) fn column(self) -> String {
        match self {
            Self::RayCommTime => "ray_comm_time_mean".to_owned(),
            _ if Self::CPU.contains(&self) => format!("{}_median", self.name()),
            _ => format!("time_stats.{}.median", self.name()),
        }
    }

    /// Whether Vidur takes a missing time of this operator for none: not every model has it.
    pub(super) fn may_be_missing(self) -> bool {
        matches!(
            self,
            Self::Add | Self::InputLayernorm | Self::PostAttentionLayernorm | Self::AttnKvCacheSave
        )
    }
}
