//! What is kept of a run at one request rate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canonical::six_digits;
use super::objectives::{Objective, Objectives};
use crate::metrics::{Metric, RequestRecord, RequestStatus, RunRecord, goodput, rank_of};

/// Percentiles of a latency over all requests that should have one. A request that was not served counts as
/// one that never ends, so a percentile may have no value. Interpolated as everywhere in xp
/// ([`crate::metrics::PERCENTILE_METHOD`]), then rounded up to whole nanoseconds: the comparison with a limit in
/// whole nanoseconds says the same before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Percentiles {
    /// Requests that count.
    pub n: u64,
    pub p50_ns: Option<u64>,
    pub p90_ns: Option<u64>,
    pub p99_ns: Option<u64>,
}

/// A run at one request rate, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    pub requests: u64,
    /// Requests that got all their tokens.
    pub served: u64,
    pub output_tokens: u64,
    /// From the run's start to its last token.
    pub duration_ns: u64,
    /// From the last arrival to the last token: how long it took to catch up.
    pub drain_ns: u64,
    /// Output tokens over the duration.
    pub output_tokens_per_s: f64,
    /// Requests per second that were served and met every objective that was set.
    pub goodput_per_s: f64,
    pub ttft: Percentiles,
    pub tpot: Percentiles,
    pub e2e: Percentiles,
    pub delay: Percentiles,
}

impl Percentiles {
    /// Of the latencies of served requests, ns, and the number of those that never ended.
    pub fn of(mut served_ns: Vec<f64>, unserved: u64) -> Self {
        served_ns.retain(|value| value.is_finite());
        served_ns.sort_by(f64::total_cmp);
        let n = served_ns.len() as u64 + unserved;
        let at = |quantile: f64| {
            let (rank, fraction) = rank_of(usize::try_from(n).unwrap_or(usize::MAX), quantile);
            let low = *served_ns.get(rank)?;
            // With no way to go to the next rank, it may as well never end.
            let value = match fraction > 0.0 {
                true => low + fraction * (served_ns.get(rank + 1)? - low),
                false => low,
            };
            // `as` saturates: no latency is beyond 584 years.
            Some(value.ceil() as u64)
        };
        Self { n, p50_ns: at(0.5), p90_ns: at(0.9), p99_ns: at(0.99) }
    }
}

impl Load {
    /// What a whole run was. Without a step log, scheduling delays are unknown and count for no request.
    pub fn of(run: &RunRecord, objectives: &Objectives) -> Self {
        let ok = |request: &&RequestRecord| request.status == RequestStatus::Ok && request.span().is_some();
        let served = run.requests.iter().filter(ok).count() as u64;
        let unserved = run.requests.len() as u64 - served;
        let duration_ns = run.duration_ns();
        let output_tokens =
            run.requests.iter().map(|request| u64::from(request.num_decode_tokens_actual)).sum::<u64>();
        let last_arrival = run.requests.iter().map(|request| request.arrival_time_ns).max().unwrap_or(0);
        let unserved_gaps =
            run.requests.iter().filter(|request| !ok(request) && request.num_decode_tokens > 1).count()
                as u64;
        let delays = delays(run);
        let delay_unserved = if run.steps.is_empty() { 0 } else { unserved };
        Self {
            requests: run.requests.len() as u64,
            served,
            output_tokens,
            duration_ns,
            drain_ns: duration_ns.saturating_sub(last_arrival),
            output_tokens_per_s: per_second(output_tokens, duration_ns),
            goodput_per_s: six_digits(goodput(run, &objectives.per_request()).unwrap_or(0.0)),
            ttft: Percentiles::of(Metric::Ttft.values(run), unserved),
            tpot: Percentiles::of(Metric::Tpot.values(run), unserved_gaps),
            e2e: Percentiles::of(Metric::E2e.values(run), unserved),
            delay: Percentiles::of(delays, delay_unserved),
        }
    }

    /// Percentiles of an objective's metric.
    pub fn percentiles(&self, objective: Objective) -> &Percentiles {
        match objective {
            Objective::TtftP99 => &self.ttft,
            Objective::TpotP99 => &self.tpot,
            Objective::E2eP99 => &self.e2e,
            Objective::DelayP99 => &self.delay,
        }
    }
}

/// `count` over `duration_ns`, per second; 0 where no time passed.
pub(super) fn per_second(count: u64, duration_ns: u64) -> f64 {
    if duration_ns == 0 { 0.0 } else { six_digits(count as f64 / (duration_ns as f64 / 1e9)) }
}

/// Scheduling delays of served requests in order of their first steps, ns.
fn delays(run: &RunRecord) -> Vec<f64> {
    let mut seen = vec![false; run.requests.len()];
    let mut out = Vec::new();
    for step in run.steps.iter() {
        for member in step.members {
            let index = member.request as usize;
            let (Some(seen), Some(request)) = (seen.get_mut(index), run.requests.get(index)) else {
                continue;
            };
            if !std::mem::replace(seen, true) && request.status == RequestStatus::Ok {
                out.push(step.start_ns.saturating_sub(request.arrival_time_ns) as f64);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sample_runs::serve;

    #[test]
    fn a_run_in_numbers_by_hand() {
        // One at a time, 0.1 s a step: tokens of the first at 0.1, 0.2, 0.3; of the second at 0.4.
        let run = serve(&[(0, 4, 3), (50_000_000, 4, 1)], 64, 1, |_, _| 100_000_000);
        let objectives = Objectives { ttft_p99_ns: Some(100_000_000), ..Objectives::default() };
        let load = Load::of(&run, &objectives);
        assert_eq!((load.requests, load.served, load.output_tokens), (2, 2, 4));
        assert_eq!((load.duration_ns, load.drain_ns), (400_000_000, 350_000_000));
        assert_eq!((load.output_tokens_per_s, load.goodput_per_s), (10.0, 2.5));
        // TTFT 100 and 350 ms: P50 is the middle, P99 at 0.99 of the way.
        assert_eq!((load.ttft.p50_ns, load.ttft.p99_ns), (Some(225_000_000), Some(347_500_000)));
        assert_eq!((load.tpot.n, load.tpot.p99_ns), (1, Some(100_000_000)));
        assert_eq!((load.delay.n, load.delay.p99_ns), (2, Some(247_500_000)));
        assert_eq!(objectives.missed_by(&load), [Objective::TtftP99]);
    }

    #[test]
    fn unserved_requests_never_end() {
        let mut run = serve(&[(0, 4, 3); 200], 4_096, 200, |_, _| 1_000);
        for index in 0..2 {
            run.requests[index].status = RequestStatus::Error;
        }
        let load = Load::of(&run, &Objectives::default());
        // h = 199 × 0.99 = 197.01 needs the 198th of 198 served and the one after it.
        assert_eq!((load.ttft.n, load.ttft.p90_ns, load.ttft.p99_ns), (200, Some(1_000), None));
        let objectives = Objectives { ttft_p99_ns: Some(u64::MAX), ..Objectives::default() };
        assert_eq!(objectives.missed_by(&load), [Objective::TtftP99]);
        assert_eq!(Percentiles::of(vec![1.0; 3], 0).p99_ns, Some(1));
        assert_eq!(Percentiles::of(Vec::new(), 0), Percentiles::default());
    }

    #[test]
    fn rounding_up_keeps_the_side_of_a_limit() {
        let found = Percentiles::of(vec![10.0, 10.5], 0);
        assert_eq!((found.p50_ns, found.p99_ns), (Some(11), Some(11)), "10.25 and 10.495 are beyond 10");
        assert_eq!(Percentiles::of(vec![f64::MAX], 0).p99_ns, Some(u64::MAX));
    }
}
