//! When a probe is hopeless: so many requests are already certain to miss an
//! objective that its 99th percentile cannot be within the limit any more.
//!
//! The rule never changes an answer. The percentile of n values lies at rank h = 0.99 (n − 1) or above its whole
//! part, so it is beyond the limit as soon as n − ⌊h⌋ values are. Only misses that nothing can undo are counted: a
//! token that came too late, or a token that is still missing when its time is up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::objectives::{Objective, Objectives};
use crate::metrics::rank_of;

/// A probe was stopped: the objective cannot be met any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    pub objective: Objective,
    /// Requests certain to miss it.
    pub missed: u64,
    /// Requests that may miss it at most.
    pub admitted: u64,
    /// When that was certain, ns from the run's start.
    pub at_ns: u64,
}

/// Requests of `n` that can be beyond a limit while the 99th percentile may still be within it.
pub(super) fn admitted(n: u64) -> u64 {
    let (rank, _) = rank_of(usize::try_from(n).unwrap_or(usize::MAX), 0.99);
    n.saturating_sub(1).saturating_sub(rank as u64)
}

#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    arrival_ns: u64,
    output_tokens: u32,
    scheduled: bool,
    first_ns: Option<u64>,
    completed: bool,
    rejected: bool,
    /// Objectives that it is already counted for, by place in [`Objective::ALL`].
    missed: [bool; 4],
}

/// Watches a simulation of requests 0, 1, … and says when it may stop. Events of a moment are told before time
/// passes beyond it; each costs constant time.
#[derive(Debug, Clone)]
pub struct Watch {
    requests: Vec<Watched>,
    /// Requests in the order of arrival.
    order: Vec<u32>,
    limits: [Option<u64>; 4],
    admitted: [u64; 4],
    missed: [u64; 4],
    /// For each objective the place in `order` up to which deadlines have passed.
    passed: [usize; 4],
}

const TTFT: usize = 0;
const TPOT: usize = 1;
const E2E: usize = 2;
const DELAY: usize = 3;

impl Watch {
    /// For requests of (arrival in ns, output tokens asked for).
    pub fn new(objectives: &Objectives, asked: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let requests: Vec<Watched> = asked
            .into_iter()
            .map(|(arrival_ns, output_tokens)| Watched { arrival_ns, output_tokens, ..Watched::default() })
            .collect();
        let mut order: Vec<u32> = (0..requests.len() as u32).collect();
        order.sort_by_key(|index| (requests[*index as usize].arrival_ns, *index));
        let n = requests.len() as u64;
        let gaps = requests.iter().filter(|request| request.output_tokens > 1).count() as u64;
        Self {
            order,
            limits: Objective::ALL.map(|objective| objectives.limit_ns(objective)),
            admitted: [admitted(n), admitted(gaps), admitted(n), admitted(n)],
            missed: [0; 4],
            passed: [0; 4],
            requests,
        }
    }

    /// The request is part of a step that starts now.
    pub fn scheduled(&mut self, request: u32, now_ns: u64) {
        let Some(found) = self.requests.get_mut(request as usize) else { return };
        if !std::mem::replace(&mut found.scheduled, true) {
            let delay_ns = now_ns.saturating_sub(found.arrival_ns);
            self.judge(request, DELAY, delay_ns);
        }
    }

    /// The request's first output token is out.
    pub fn first_token(&mut self, request: u32, now_ns: u64) {
        let Some(found) = self.requests.get_mut(request as usize) else { return };
        if found.first_ns.is_none() {
            found.first_ns = Some(now_ns);
            let ttft_ns = now_ns.saturating_sub(found.arrival_ns);
            self.judge(request, TTFT, ttft_ns);
        }
    }

    /// The request's last output token is out; tell the first before it.
    pub fn completed(&mut self, request: u32, now_ns: u64) {
        let Some(found) = self.requests.get_mut(request as usize) else { return };
        if std::mem::replace(&mut found.completed, true) {
            return;
        }
        let e2e_ns = now_ns.saturating_sub(found.arrival_ns);
        let gaps = u64::from(found.output_tokens.saturating_sub(1));
        let decode_ns = now_ns.saturating_sub(found.first_ns.unwrap_or(now_ns));
        self.judge(request, E2E, e2e_ns);
        if gaps > 0 {
            // The mean gap, rounded up: beyond a whole limit exactly when the mean itself is.
            self.judge(request, TPOT, decode_ns.div_ceil(gaps));
        }
    }

    /// The request will never be served.
    pub fn rejected(&mut self, request: u32) {
        let Some(found) = self.requests.get_mut(request as usize) else { return };
        found.rejected = true;
        let gaps = found.output_tokens > 1;
        for objective in [TTFT, E2E, DELAY].into_iter().chain(gaps.then_some(TPOT)) {
            if self.limits[objective].is_some() {
                self.miss(request, objective);
            }
        }
    }

    /// It is `now_ns`; all that happened before was told. Says whether an objective is out of reach.
    pub fn passed(&mut self, now_ns: u64) -> Option<Overload> {
        for objective in [TTFT, E2E, DELAY] {
            let Some(limit_ns) = self.limits[objective] else { continue };
            while let Some(&request) = self.order.get(self.passed[objective]) {
                let found = &self.requests[request as usize];
                if found.arrival_ns.saturating_add(limit_ns) >= now_ns {
                    break;
                }
                let done = match objective {
                    TTFT => found.first_ns.is_some(),
                    DELAY => found.scheduled,
                    _ => found.completed,
                };
                if !done {
                    self.miss(request, objective);
                }
                self.passed[objective] += 1;
            }
        }
        let beyond = (0..4).find(|index| self.missed[*index] > self.admitted[*index])?;
        Some(Overload {
            objective: Objective::ALL[beyond],
            missed: self.missed[beyond],
            admitted: self.admitted[beyond],
            at_ns: now_ns,
        })
    }

    fn judge(&mut self, request: u32, objective: usize, value_ns: u64) {
        if self.limits[objective].is_some_and(|limit_ns| value_ns > limit_ns) {
            self.miss(request, objective);
        }
    }

    fn miss(&mut self, request: u32, objective: usize) {
        let missed = &mut self.requests[request as usize].missed[objective];
        if !std::mem::replace(missed, true) {
            self.missed[objective] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::load::{Load, Percentiles};
    use super::super::sample_queue::{serve_all, told};
    use super::*;

    #[test]
    fn as_many_may_miss_as_the_percentile_admits() {
        assert_eq!([1, 2, 100, 101, 200, 1_000].map(admitted), [0, 1, 1, 1, 2, 10]);
        for n in [1_u64, 2, 99, 100, 101, 102, 250] {
            let beyond = |missed: u64| {
                let values = (0..n).map(|index| if index < missed { 9.0 } else { 1.0 }).collect();
                Percentiles::of(values, 0).p99_ns > Some(8)
            };
            assert!(beyond(admitted(n) + 1), "{n}");
        }
    }

    #[test]
    fn requests_that_wait_too_long_are_counted_before_they_are_served() {
        let limits = Objectives { ttft_p99_ns: Some(10), ..Objectives::default() };
        let mut watch = Watch::new(&limits, [(0, 5), (5, 5)]);
        assert_eq!(watch.passed(10), None, "at its limit it is within it");
        assert_eq!(watch.passed(11), None, "one of two may miss");
        watch.first_token(0, 12);
        assert_eq!(watch.passed(15), None, "a miss counts once");
        let overload = watch.passed(16).unwrap();
        assert_eq!((overload.objective, overload.missed, overload.admitted), (Objective::TtftP99, 2, 1));
    }

    proptest! {
        /// Whatever is stopped would have failed, for the objective that is named.
        #[test]
        fn the_rule_never_changes_an_answer(
            requests in proptest::collection::vec((0u64..50, 1u32..6), 1..160),
            step in 1u64..60,
            ttft in proptest::option::of(1u64..2_000),
            tpot in proptest::option::of(1u64..100),
            e2e in proptest::option::of(1u64..3_000),
            delay in proptest::option::of(0u64..2_000),
        ) {
            let objectives =
                Objectives { ttft_p99_ns: ttft, tpot_p99_ns: tpot, e2e_p99_ns: e2e, delay_p99_ns: delay };
            let run = serve_all(&requests, step);
            let load = Load::of(&run, &objectives);
            let missed = objectives.missed_by(&load);
            if let Some(overload) = told(&run, &objectives) {
                prop_assert!(missed.contains(&overload.objective), "{overload:?} {load:?}");
                prop_assert!(overload.missed > overload.admitted);
            }
        }
    }
}
