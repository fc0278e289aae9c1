//! Metrics with one value a request.

use super::catalogue::Derived;
use super::lanes::Lanes;
use crate::metrics::history::RequestHistory;
use crate::metrics::{RequestRecord, RequestStatus, TokenSpan};

/// A time, or a count of whole things.
fn whole(
    derived: Derived,
    request: &RequestRecord,
    span: &TokenSpan,
    history: Option<&RequestHistory>,
) -> Option<u64> {
    let tokens = u64::from(span.tokens);
    let prefill = || Some(span.first_ns.saturating_sub(history?.first_start_ns));
    let decode = span.last_ns.saturating_sub(span.first_ns);
    match derived {
        Derived::SchedulingDelay => Some(history?.first_start_ns.saturating_sub(span.arrival_ns)),
        Derived::Ttft => Some(span.ttft_ns()),
        Derived::PrefillTime => prefill(),
        Derived::PrefillTimePerToken => per(prefill()?, request.num_prefill_tokens.into()),
        Derived::DecodeTime => Some(decode),
        Derived::DecodeTimePerToken => per(decode, tokens),
        Derived::Tpot => per(decode, tokens.saturating_sub(1)),
        Derived::E2e => Some(span.e2e_ns()),
        Derived::E2ePerToken => per(span.e2e_ns(), tokens),
        Derived::ExecutionTime => Some(history?.execution_ns),
        Derived::ExecutionTimePerToken => per(history?.execution_ns, tokens),
        Derived::PreemptedTime => Some(history?.preempted_ns()),
        Derived::ExecutionPlusPreemptedTime => Some(history?.span_ns()),
        Derived::ExecutionPlusPreemptedTimePerToken => per(history?.span_ns(), tokens),
        Derived::Restarts => Some(history?.restarts.into()),
        Derived::TotalTokens => Some(u64::from(request.num_prefill_tokens) + tokens),
        Derived::PrefillTokens => Some(request.num_prefill_tokens.into()),
        Derived::DecodeTokens => Some(tokens),
        _ => None,
    }
}

/// A time over a number of tokens, to the nearest ns (half up); None of no tokens.
fn per(ns: u64, tokens: u64) -> Option<u64> {
    let sum = u128::from(ns) + u128::from(tokens / 2);
    sum.checked_div(u128::from(tokens)).and_then(|ns| u64::try_from(ns).ok())
}

/// The values of a metric of requests. `histories` has one a request.
pub(super) fn lanes(derived: Derived, requests: &[RequestRecord], histories: &[RequestHistory]) -> Lanes {
    let served = requests.iter().filter(|request| request.status == RequestStatus::Ok);
    let served = served.filter_map(|request| Some((request, request.span()?)));
    match derived {
        Derived::InterArrivalDelay => inter_arrival_delays(requests),
        Derived::PrefillToDecodeRatio => Lanes::real(served.map(|(request, span)| {
            let ratio = f64::from(request.num_prefill_tokens) / f64::from(span.tokens);
            (request.request_id.into(), ratio)
        })),
        _ => Lanes::whole(served.filter_map(|(request, span)| {
            let history = histories.get(request.request_id as usize).filter(|history| history.steps > 0);
            Some((request.request_id.into(), whole(derived, request, &span, history)?))
        })),
    }
}

fn inter_arrival_delays(requests: &[RequestRecord]) -> Lanes {
    let mut arrivals: Vec<(u64, u64)> =
        requests.iter().map(|request| (request.arrival_time_ns, request.request_id.into())).collect();
    arrivals.sort_unstable();
    let mut delays: Vec<(u64, u64)> =
        arrivals.windows(2).map(|pair| (pair[1].1, pair[1].0 - pair[0].0)).collect();
    delays.sort_unstable();
    Lanes::whole(delays)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::history::{StepOrder, request_histories};
    use crate::metrics::sample_runs::{refuse, serve};
    use crate::metrics::{Metric, RunRecord};

    fn values(run: &RunRecord, derived: Derived) -> Vec<(u64, u64)> {
        let histories = request_histories(run.requests.len(), &StepOrder::of(&run.steps));
        match lanes(derived, &run.requests, &histories) {
            Lanes::Whole(lanes) => lanes[0].points.iter().map(|point| (point.at, point.value)).collect(),
            Lanes::Real(_) => panic!("{derived:?} is whole"),
        }
    }

    #[test]
    fn every_metric_by_hand() {
        // Steps of 100 ns, 4 tokens each: request 0's prompt in two, then its first decode beside half of
        // request 1's prompt, and so on.
        let run = serve(&[(50, 8, 3), (70, 4, 2)], 4, 2, |_, _| 100);
        let steps: Vec<(u64, String)> = run
            .steps
            .iter()
            .map(|step| {
                let shares = step.members.iter().map(|m| format!("{}:{}:{}", m.request, m.tokens, m.context));
                (step.start_ns, shares.collect::<Vec<_>>().join(" "))
            })
            .collect();
        let wanted =
            [(50, "0:4:0"), (150, "0:4:4"), (250, "0:1:8 1:3:0"), (350, "0:1:9 1:1:3"), (450, "1:1:4")];
        assert_eq!(steps, wanted.map(|(start, shares)| (start, shares.to_owned())));
        for (derived, wanted) in [
            (Derived::InterArrivalDelay, &[(1, 20)][..]),
            (Derived::SchedulingDelay, &[(0, 0), (1, 180)]),
            (Derived::Ttft, &[(0, 200), (1, 380)]),
            (Derived::PrefillTime, &[(0, 200), (1, 200)]),
            (Derived::PrefillTimePerToken, &[(0, 25), (1, 50)]),
            (Derived::DecodeTime, &[(0, 200), (1, 100)]),
            (Derived::DecodeTimePerToken, &[(0, 67), (1, 50)]),
            (Derived::Tpot, &[(0, 100), (1, 100)]),
            (Derived::E2e, &[(0, 400), (1, 480)]),
            (Derived::E2ePerToken, &[(0, 133), (1, 240)]),
            (Derived::ExecutionTime, &[(0, 400), (1, 300)]),
            (Derived::ExecutionTimePerToken, &[(0, 133), (1, 150)]),
            (Derived::PreemptedTime, &[(0, 0), (1, 0)]),
            (Derived::ExecutionPlusPreemptedTime, &[(0, 400), (1, 300)]),
            (Derived::ExecutionPlusPreemptedTimePerToken, &[(0, 133), (1, 150)]),
            (Derived::Restarts, &[(0, 0), (1, 0)]),
            (Derived::TotalTokens, &[(0, 11), (1, 6)]),
            (Derived::PrefillTokens, &[(0, 8), (1, 4)]),
            (Derived::DecodeTokens, &[(0, 3), (1, 2)]),
        ] {
            assert_eq!(values(&run, derived), wanted, "{derived:?}");
        }
    }

    #[test]
    fn latencies_are_those_of_the_reports() {
        let run = serve(&[(0, 80, 3), (5, 10, 1), (1_000, 30, 7)], 64, 8, |index, tokens| {
            90 + index * u64::from(tokens)
        });
        for (derived, metric) in [
            (Derived::Ttft, Metric::Ttft),
            (Derived::Tpot, Metric::Tpot),
            (Derived::E2e, Metric::E2e),
            (Derived::E2ePerToken, Metric::NormalizedLatency),
        ] {
            let found: Vec<f64> = values(&run, derived).iter().map(|(_, value)| *value as f64).collect();
            let wanted: Vec<f64> = metric.values(&run).into_iter().map(f64::round).collect();
            assert_eq!(found, wanted, "{derived:?}");
        }
    }

    #[test]
    fn requests_that_failed_have_an_arrival_alone() {
        let mut run = serve(&[(30, 4, 1), (10, 4, 0), (10, 4, 2)], 64, 8, |_, _| 100);
        refuse(&mut run, 1);
        assert_eq!(values(&run, Derived::InterArrivalDelay), [(0, 20), (2, 0)]);
        assert_eq!(values(&run, Derived::Ttft).len(), 2);
        assert_eq!(values(&run, Derived::Tpot), [(2, 100)]);
        let histories = Vec::new();
        let Lanes::Real(ratios) = lanes(Derived::PrefillToDecodeRatio, &run.requests, &histories) else {
            panic!("a ratio is real");
        };
        assert_eq!(ratios[0].points.iter().map(|point| point.value).collect::<Vec<_>>(), [4.0, 2.0]);
        let Lanes::Whole(none) = lanes(Derived::ExecutionTime, &run.requests, &histories) else { panic!() };
        assert!(none[0].points.is_empty(), "without steps nothing is known of it");
    }

    #[test]
    fn division_rounds_half_up() {
        assert_eq!(
            (per(7, 2), per(5, 3), per(4, 3), per(u64::MAX, 1)),
            (Some(4), Some(2), Some(1), Some(u64::MAX))
        );
        assert_eq!(per(7, 0), None);
    }
}
