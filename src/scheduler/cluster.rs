use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::{SchedulerConfig, is_one, one};

/// Which replica a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouterKind {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any, from a seeded stream.
    Random,
    /// The one with the fewest requests queued (with Vidur's schedulers) or queued and running.
    LeastOutstanding,
    /// The one that has most of the prompt in its prefix cache, if none is much busier than another.
    PrefixAware,
    /// The less busy of two taken at random (Mitzenmacher, "The Power of Two Choices in Randomized
    /// Load Balancing", IEEE TPDS 2001).
    PowerOfTwo,
    /// The one with the least of four times the requests queued and once those running: how vLLM's own
    /// front end shares requests out over data-parallel ranks.
    WeightedQueue,
}

impl RouterKind {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::Random,
        Self::LeastOutstanding,
        Self::PrefixAware,
        Self::PowerOfTwo,
        Self::WeightedQueue,
    ];

    /// Its name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastOutstanding => "least_outstanding",
            Self::PrefixAware => "prefix_aware",
            Self::PowerOfTwo => "power_of_two",
            Self::WeightedQueue => "weighted_queue",
        }
    }
}

/// How replicas are made up and requests shared out over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClusterConfig {
    /// Copies of the model, each with a scheduler and a KV cache of its own.
    pub replicas: u32,
    pub router: RouterKind,
    /// Devices that share each layer.
    pub tensor_parallel: u32,
    /// Devices that share out the experts of each layer, over the replicas of a data-parallel group.
    pub expert_parallel: u32,
    /// Ranks of a replica that hold the same attention, each with a scheduler and a KV cache of its own, and
    /// share the experts: they step together.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub data_parallel: u32,
    /// No batch is replayed as a CUDA graph.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub eager: bool,
}

impl ClusterConfig {
    /// Schedulers that requests are shared out over: the data-parallel ranks of all replicas.
    pub fn num_schedulers(&self) -> u32 {
        self.replicas.max(1).saturating_mul(self.data_parallel.max(1))
    }

    /// Devices of all replicas: tensor × pipeline × data × replicas.
    pub fn num_devices(&self, scheduler: &SchedulerConfig) -> u32 {
        self.num_schedulers()
            .saturating_mul(self.tensor_parallel.max(1))
            .saturating_mul(scheduler.pipeline_stages.max(1))
    }

    /// Whether it is one replica on one device.
    pub fn is_single(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            replicas: 1,
            router: RouterKind::RoundRobin,
            tensor_parallel: 1,
            expert_parallel: 1,
            data_parallel: 1,
            eager: false,
        }
    }
}
