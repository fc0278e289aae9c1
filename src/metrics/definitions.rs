//! What every metric means, in one place: the report quotes these words, and
//! [`METRICS_VERSION`](super::METRICS_VERSION) is raised when one changes its
//! meaning. Tools disagree on names, so each definition says what it is not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::{RequestRecord, RequestStatus, RunRecord};

/// How percentiles are computed.
pub const PERCENTILE_METHOD: &str =
    "linear: interpolated between the two closest ranks (Hyndman and Fan 1996, definition 7)";

/// A metric in words and as a formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// Short name, such as `TTFT`.
    pub name: &'static str,
    pub long_name: &'static str,
    pub words: &'static str,
    pub formula: &'static str,
    pub unit: &'static str,
}

/// All definitions, in the order in which a report lists them.
pub const DEFINITIONS: [Definition; 6] = [
    Definition {
        name: "TTFT",
        long_name: "Time to first token",
        words: "From a request's arrival to its first output token. Queueing and the whole prefill count.",
        formula: "t(1) − arrival",
        unit: "ns",
    },
    Definition {
        name: "ITL",
        long_name: "Inter-token latency",
        words: "Each gap between consecutive output tokens of a request, pooled over all requests. \
                The first token has none.",
        formula: "t(i) − t(i−1), i = 2 … n",
        unit: "ns",
    },
    Definition {
        name: "TPOT",
        long_name: "Time per output token",
        words: "The mean gap between a request's output tokens after the first; undefined for one token. \
                AIPerf calls this ITL; GuideLLM's TPOT counts the first token too.",
        formula: "(E2E − TTFT) / (n − 1)",
        unit: "ns",
    },
    Definition {
        name: "E2E",
        long_name: "End-to-end latency",
        words: "From a request's arrival to its last output token.",
        formula: "t(n) − arrival",
        unit: "ns",
    },
    Definition {
        name: "Normalized latency",
        long_name: "End-to-end latency per output token",
        words: "A request's end-to-end latency over its output tokens, the first included.",
        formula: "E2E / n",
        unit: "ns",
    },
    Definition {
        name: "Goodput",
        long_name: "Requests served within the objectives",
        words: "Requests per second of the run's duration that were served and met every objective that was set; \
                a request of one token meets any TPOT.",
        formula: "|{requests within TTFT, TPOT and E2E limits}| / duration",
        unit: "requests/s",
    },
];

/// A metric with one value a request, or (ITL) one value a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    Ttft,
    Itl,
    Tpot,
    E2e,
    NormalizedLatency,
}

impl Metric {
    /// Its words and formula.
    pub fn definition(self) -> &'static Definition {
        match self {
            Self::Ttft => &DEFINITIONS[0],
            Self::Itl => &DEFINITIONS[1],
            Self::Tpot => &DEFINITIONS[2],
            Self::E2e => &DEFINITIONS[3],
            Self::NormalizedLatency => &DEFINITIONS[4],
        }
    }

    /// Short name.
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// Its value for one request, ns; None where it is undefined, and of ITL, which has one a gap.
    pub fn of_span(self, span: &TokenSpan) -> Option<f64> {
        match self {
            Self::Ttft => Some(span.ttft_ns() as f64),
            Self::Itl => None,
            Self::Tpot => span.tpot_ns(),
            Self::E2e => Some(span.e2e_ns() as f64),
            Self::NormalizedLatency => Some(span.e2e_ns() as f64 / f64::from(span.tokens.max(1))),
        }
    }

    /// Its values over a run's served requests in request order, ns; ITL in order of request and token.
    pub fn values(self, run: &RunRecord) -> Vec<f64> {
        let served = || run.requests.iter().filter(|request| request.status == RequestStatus::Ok);
        if self != Self::Itl {
            return served().filter_map(RequestRecord::span).filter_map(|span| self.of_span(&span)).collect();
        }
        let times = run.steps.token_times(run.requests.len());
        let mut gaps = Vec::new();
        for request in served() {
            let times = times.get(request.request_id as usize).map_or(&[][..], Vec::as_slice);
            gaps.extend(times.windows(2).map(|pair| (pair[1] - pair[0]) as f64));
        }
        gaps
    }
}

/// What the metrics of one request depend on. Times are ns from run start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenSpan {
    pub arrival_ns: u64,
    pub first_ns: u64,
    pub last_ns: u64,
    /// Output tokens, at least one.
    pub tokens: u32,
}

impl TokenSpan {
    /// Time to first token, ns.
    pub fn ttft_ns(&self) -> u64 {
        self.first_ns.saturating_sub(self.arrival_ns)
    }

    /// End-to-end latency, ns.
    pub fn e2e_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.arrival_ns)
    }

    /// Time per output token, ns; undefined for one token.
    pub fn tpot_ns(&self) -> Option<f64> {
        let gaps = self.tokens.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some(self.last_ns.saturating_sub(self.first_ns) as f64 / f64::from(gaps))
    }
}

/// Service-level objectives in nanoseconds. A limit is met by a value equal to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SloLimits {
    pub ttft_ns: Option<u64>,
    pub tpot_ns: Option<u64>,
    pub e2e_ns: Option<u64>,
}

impl SloLimits {
    /// Whether no objective is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a request met every objective.
    pub fn met_by(&self, span: &TokenSpan) -> bool {
        self.ttft_ns.is_none_or(|limit| span.ttft_ns() <= limit)
            && self.e2e_ns.is_none_or(|limit| span.e2e_ns() <= limit)
            && self.tpot_ns.is_none_or(|limit| span.tpot_ns().is_none_or(|tpot| tpot <= limit as f64))
    }
}

/// Goodput of a run, requests/s; None when no time passed.
pub fn goodput(run: &RunRecord, limits: &SloLimits) -> Option<f64> {
    let duration_ns = run.duration_ns();
    let good = run
        .requests
        .iter()
        .filter(|request| request.status == RequestStatus::Ok)
        .filter_map(RequestRecord::span)
        .filter(|span| limits.met_by(span))
        .count();
    (duration_ns > 0).then(|| good as f64 / (duration_ns as f64 / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sample_runs::serve;

    #[test]
    fn metrics_follow_their_formulas() {
        let span = TokenSpan { arrival_ns: 100, first_ns: 400, last_ns: 1000, tokens: 4 };
        let of = |metric: Metric| metric.of_span(&span);
        assert_eq!(of(Metric::Ttft), Some(300.0));
        assert_eq!(of(Metric::Tpot), Some(200.0));
        assert_eq!(of(Metric::E2e), Some(900.0));
        assert_eq!(of(Metric::NormalizedLatency), Some(225.0));
        assert_eq!(Metric::Tpot.of_span(&TokenSpan { tokens: 1, last_ns: 400, ..span }), None);
        for metric in [Metric::Ttft, Metric::Itl, Metric::Tpot, Metric::E2e, Metric::NormalizedLatency] {
            assert!(DEFINITIONS.contains(metric.definition()));
        }
    }

    #[test]
    fn a_runs_values_leave_out_failed_requests_and_one_token_tpots() {
        let mut run = serve(&[(0, 4, 3), (0, 4, 1), (0, 4, 2)], 64, 8, |_, _| 100);
        assert_eq!(Metric::Ttft.values(&run), [100.0; 3]);
        assert_eq!(Metric::Tpot.values(&run), [100.0, 100.0]);
        assert_eq!(Metric::Itl.values(&run), [100.0, 100.0, 100.0]);
        run.requests[0].status = RequestStatus::Error;
        assert_eq!(Metric::E2e.values(&run), [100.0, 200.0]);
        assert_eq!(Metric::Itl.values(&run), [100.0]);
    }

    #[test]
    fn goodput_counts_requests_that_meet_every_objective() {
        let run = serve(&[(0, 4, 3), (0, 4, 1), (0, 4, 2)], 64, 8, |_, _| 100_000_000);
        let good = |limits: SloLimits| goodput(&run, &limits).unwrap();
        assert_eq!(good(SloLimits::default()), 10.0, "3 requests in 0.3 s");
        let limits = SloLimits { tpot_ns: Some(1), ..SloLimits::default() };
        assert!((good(limits) - 1.0 / 0.3).abs() < 1e-9, "one token has no TPOT to miss");
        let limits = SloLimits { e2e_ns: Some(200_000_000), ttft_ns: Some(100_000_000), tpot_ns: None };
        assert!((good(limits) - 2.0 / 0.3).abs() < 1e-9);
        assert_eq!(goodput(&RunRecord::default(), &limits), None);
    }
}
