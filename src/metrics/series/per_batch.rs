//! Metrics with one value a step or a token.

use super::Source;
use super::catalogue::Derived;
use super::lanes::{Lane, Lanes};
use crate::metrics::{RequestStatus, StepMember};

/// The values of a metric of steps.
pub(super) fn lanes(derived: Derived, source: &Source<'_>) -> Lanes {
    let steps = (0u64..).zip(source.record.steps.iter());
    let tokens = |members: &[StepMember], wanted: fn(&StepMember) -> bool| -> u64 {
        members.iter().filter(|member| wanted(member)).map(|member| u64::from(member.tokens)).sum()
    };
    match derived {
        Derived::BatchSize => Lanes::whole(steps.map(|(index, step)| (index, step.members.len() as u64))),
        Derived::BatchTokens => {
            Lanes::whole(steps.map(|(index, step)| (index, tokens(step.members, |_| true))))
        }
        Derived::BatchPrefillTokens => {
            Lanes::whole(steps.map(|(index, step)| (index, tokens(step.members, |member| member.is_prefill))))
        }
        Derived::BatchDecodeTokens => Lanes::whole(
            steps.map(|(index, step)| (index, tokens(step.members, |member| !member.is_prefill))),
        ),
        Derived::BatchExecutionTime => {
            Lanes::whole(steps.map(|(index, step)| (index, step.end_ns.saturating_sub(step.start_ns))))
        }
        Derived::BatchMfu => Lanes::real(source.context.work().into_iter().flat_map(|(model, peak)| {
            let values = (0u64..).zip(source.record.steps.iter());
            values.filter_map(move |(index, step)| {
                let ns = step.end_ns.saturating_sub(step.start_ns);
                Some((index, peak.utilization(model.flops(step.members), ns)?))
            })
        })),
        _ => Lanes::whole([]),
    }
}

/// Each gap between two output tokens of a served request, at the time of the later.
pub(super) fn inter_token_latencies(source: &Source<'_>) -> Lanes {
    let requests = &source.record.requests;
    let mut before: Vec<Option<u64>> = vec![None; requests.len()];
    let mut lane = Lane::new(0, []);
    for step in source.record.steps.iter() {
        for member in step.members.iter().filter(|member| member.emits) {
            let id = member.request as usize;
            if requests.get(id).is_none_or(|request| request.status != RequestStatus::Ok) {
                continue;
            }
            if let Some(before) = before[id].replace(step.end_ns) {
                lane.points
                    .push(super::lanes::Point { at: step.end_ns, value: step.end_ns.saturating_sub(before) });
            }
        }
    }
    // Steps of several replicas need not be logged in the order of their ends.
    lane.points.sort_by_key(|point| point.at);
    Lanes::Whole(vec![lane])
}

#[cfg(test)]
mod tests {
    use super::super::tests::{source_of, whole};
    use super::super::{Context, ModelWork, PeakFlops};
    use super::*;
    use crate::metrics::Metric;
    use crate::metrics::sample_runs::serve;

    #[test]
    fn every_metric_by_hand() {
        let run = serve(&[(50, 8, 3), (70, 4, 2)], 4, 2, |index, _| 100 + index);
        let context = Context::default();
        source_of(&run, &context, |source| {
            for (derived, wanted) in [
                (Derived::BatchSize, [1, 1, 2, 2, 1]),
                (Derived::BatchTokens, [4, 4, 4, 2, 1]),
                (Derived::BatchPrefillTokens, [4, 4, 3, 1, 0]),
                (Derived::BatchDecodeTokens, [0, 0, 1, 1, 1]),
                (Derived::BatchExecutionTime, [100, 101, 102, 103, 104]),
            ] {
                let found: Vec<u64> =
                    whole(lanes(derived, source))[0].points.iter().map(|point| point.value).collect();
                assert_eq!(found, wanted, "{derived:?}");
            }
        });
    }

    #[test]
    fn utilization_takes_a_model_and_a_peak() {
        let run = serve(&[(0, 2, 2)], 4, 2, |index, _| index * 100);
        let model = ModelWork { parameters: 10, layers: 1, heads: 1, head_dim: 1 };
        let mut context = Context { model: Some(model), ..Context::default() };
        source_of(&run, &context, |source| {
            assert_eq!(lanes(Derived::BatchMfu, source), Lanes::real([]));
        });
        context.peak_flops = PeakFlops::new(1e9);
        source_of(&run, &context, |source| {
            // The first step takes no time. The decode does 20 + 4 × 3 operations of 100 that were possible.
            assert_eq!(lanes(Derived::BatchMfu, source), Lanes::real([(1, 0.32)]));
        });
    }

    #[test]
    fn gaps_are_those_of_the_definition() {
        let mut run = serve(&[(0, 80, 3), (5, 10, 4), (9, 10, 2)], 64, 8, |index, tokens| {
            90 + index * u64::from(tokens)
        });
        run.requests[2].status = RequestStatus::Error;
        let mut wanted: Vec<u64> = Metric::Itl.values(&run).into_iter().map(|value| value as u64).collect();
        wanted.sort_unstable();
        source_of(&run, &Context::default(), |source| {
            let lanes = whole(inter_token_latencies(source));
            let mut found: Vec<u64> = lanes[0].points.iter().map(|point| point.value).collect();
            found.sort_unstable();
            assert_eq!(found, wanted);
            assert!(lanes[0].points.is_sorted_by_key(|point| point.at));
        });
    }
}
