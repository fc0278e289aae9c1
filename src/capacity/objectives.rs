//! What a configuration has to hold: limits on 99th percentiles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::Load;
use crate::metrics::{Metric, SloLimits};

/// A 99th percentile that can have a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Time to first token.
    TtftP99,
    /// Time per output token.
    TpotP99,
    /// Arrival to last token.
    E2eP99,
    /// Scheduling delay: arrival to the start of the first step that the request is part of. The criterion
    /// of Vidur's search (Agrawal et al. 2024, section 6: P99 below 5 s).
    DelayP99,
}

impl Objective {
    /// All, in the order in which they are reported.
    pub const ALL: [Objective; 4] = [Self::TtftP99, Self::TpotP99, Self::E2eP99, Self::DelayP99];

    /// Short name of its metric.
    pub fn metric(self) -> &'static str {
        match self {
            Self::TtftP99 => Metric::Ttft.name(),
            Self::TpotP99 => Metric::Tpot.name(),
            Self::E2eP99 => Metric::E2e.name(),
            Self::DelayP99 => "Scheduling delay",
        }
    }
}

/// Limits in nanoseconds. A value equal to its limit is within it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    #[serde(default)]
    pub ttft_p99_ns: Option<u64>,
    #[serde(default)]
    pub tpot_p99_ns: Option<u64>,
    #[serde(default)]
    pub e2e_p99_ns: Option<u64>,
    #[serde(default)]
    pub delay_p99_ns: Option<u64>,
}

impl From<SloLimits> for Objectives {
    fn from(limits: SloLimits) -> Self {
        let SloLimits { ttft_ns, tpot_ns, e2e_ns } = limits;
        Self { ttft_p99_ns: ttft_ns, tpot_p99_ns: tpot_ns, e2e_p99_ns: e2e_ns, delay_p99_ns: None }
    }
}

impl Objectives {
    /// The limit of one, ns; none where it has none.
    pub fn limit_ns(&self, objective: Objective) -> Option<u64> {
        match objective {
            Objective::TtftP99 => self.ttft_p99_ns,
            Objective::TpotP99 => self.tpot_p99_ns,
            Objective::E2eP99 => self.e2e_p99_ns,
            Objective::DelayP99 => self.delay_p99_ns,
        }
    }

    /// Those that have a limit, with it.
    pub fn set(&self) -> impl Iterator<Item = (Objective, u64)> + '_ {
        Objective::ALL.into_iter().filter_map(|objective| Some((objective, self.limit_ns(objective)?)))
    }

    /// Whether none has a limit.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Limits of one request, as goodput counts them; scheduling delay has none there.
    pub fn per_request(&self) -> SloLimits {
        SloLimits { ttft_ns: self.ttft_p99_ns, tpot_ns: self.tpot_p99_ns, e2e_ns: self.e2e_p99_ns }
    }

    /// The latency that cost is held against: the first that has a limit, else TTFT.
    pub fn primary(&self) -> Objective {
        self.set().next().map_or(Objective::TtftP99, |(objective, _)| objective)
    }

    /// Objectives that a load misses. An objective of which no request has a value (TPOT where every request
    /// has one output token) is met; a percentile that unserved requests reach is not.
    pub fn missed_by(&self, load: &Load) -> Vec<Objective> {
        self.set()
            .filter(|(objective, limit_ns)| {
                let found = load.percentiles(*objective);
                found.n > 0 && found.p99_ns.is_none_or(|p99_ns| p99_ns > *limit_ns)
            })
            .map(|(objective, _)| objective)
            .collect()
    }
}
