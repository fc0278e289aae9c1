//! Step functions of time, and counts that only grow.

use std::convert::Infallible;

use super::Source;
use super::catalogue::Derived;
use super::lanes::{Lane, Lanes};
use super::value::Value;
use crate::metrics::RequestStatus;
use crate::metrics::history::{State, walk_busy, walk_states};

/// The step functions of every replica.
pub(super) fn replica_lanes(derived: Derived, source: &Source<'_>) -> Lanes {
    let context = source.context;
    let blocks = source.meta.scheduler.kv_blocks;
    match derived {
        Derived::RunningRequests => Lanes::Whole(states(source, |state| state.running.into())),
        Derived::WaitingRequests => Lanes::Whole(states(source, |state| state.waiting.into())),
        Derived::KvBlocks => Lanes::Whole(states(source, |state| state.kv_blocks.into())),
        Derived::KvShare if blocks > 0 => {
            Lanes::Real(states(source, |state| f64::from(state.kv_blocks) / f64::from(blocks)))
        }
        Derived::MemoryInUse => Lanes::Whole(context.memory.map_or_else(Vec::new, |memory| {
            states(source, |state| {
                let kv = memory.kv_block_bytes.saturating_mul(state.kv_blocks.into());
                memory.weight_bytes.saturating_add(kv)
            })
        })),
        Derived::Busy => {
            let mut lanes = source.lanes(0);
            walk_busy(&source.order, |replica, from, to| {
                if let Some(lane) = source.lane(&mut lanes, replica) {
                    lane.hold(from, 1);
                    lane.hold(to, 0);
                }
            });
            Lanes::Whole(lanes)
        }
        _ => Lanes::Whole(Vec::new()),
    }
}

/// What `of` makes of each replica's state.
fn states<T: Value>(source: &Source<'_>, of: impl Fn(State) -> T) -> Vec<Lane<T>> {
    let mut lanes = source.lanes(of(State::default()));
    let walked = walk_states(source.record, &source.order, |time, replica, state| {
        if let Some(lane) = source.lane(&mut lanes, replica) {
            lane.hold(time, of(state));
        }
        Ok::<(), Infallible>(())
    });
    match walked {
        Ok(()) => lanes,
        Err(never) => match never {},
    }
}

/// A count that only grows: a point at each moment at which it did.
pub(super) fn counters(derived: Derived, source: &Source<'_>) -> Lanes {
    let record = source.record;
    let requests = || record.requests.iter();
    let of_steps = |tokens: fn(&crate::metrics::StepMember) -> u64| -> Vec<(u64, u64)> {
        let steps = record.steps.iter();
        steps.map(|step| (step.end_ns, step.members.iter().map(tokens).sum())).collect()
    };
    let events: Vec<(u64, u64)> = match derived {
        Derived::RequestsArrived => requests().map(|request| (request.arrival_time_ns, 1)).collect(),
        Derived::RequestsCompleted => {
            let served = requests().filter(|request| request.status == RequestStatus::Ok);
            served.filter_map(|request| Some((request.completion_time_ns?, 1))).collect()
        }
        Derived::PromptTokensComputed => {
            of_steps(|member| if member.is_prefill { member.tokens.into() } else { 0 })
        }
        Derived::TokensGenerated => of_steps(|member| member.emits.into()),
        _ => Vec::new(),
    };
    Lanes::Whole(vec![summed_up(events)])
}

fn summed_up(mut events: Vec<(u64, u64)>) -> Lane<u64> {
    events.retain(|(_, amount)| *amount > 0);
    events.sort_unstable();
    let mut lane = Lane::held(0, 0);
    let mut sum = 0u64;
    for (time, amount) in events {
        sum = sum.saturating_add(amount);
        lane.hold(time, sum);
    }
    if sum == 0 {
        lane.points.clear();
    }
    lane
}

#[cfg(test)]
mod tests {
    use super::super::tests::{source_of, whole};
    use super::super::{Context, Memory};
    use super::*;
    use crate::metrics::sample_runs::{refuse, serve};

    #[test]
    fn states_of_a_replica_by_hand() {
        // Three requests at once, two in a batch; then nothing; then one.
        let run = serve(&[(0, 4, 1), (0, 4, 1), (0, 4, 2), (900, 4, 1)], 64, 2, |_, _| 100);
        let memory = Some(Memory { weight_bytes: 1_000, kv_block_bytes: 10 });
        let context = Context { memory, ..Context::default() };
        source_of(&run, &context, |source| {
            let points = |derived| -> Vec<(u64, u64)> {
                let lanes = whole(replica_lanes(derived, source));
                lanes[0].points.iter().map(|point| (point.at, point.value)).collect()
            };
            assert_eq!(points(Derived::RunningRequests), [(0, 2), (100, 1), (300, 0), (900, 1), (1000, 0)]);
            assert_eq!(points(Derived::WaitingRequests), [(0, 1), (100, 0)]);
            assert_eq!(points(Derived::KvBlocks), [(0, 2), (100, 1), (300, 0), (900, 1), (1000, 0)]);
            assert_eq!(points(Derived::MemoryInUse)[..3], [(0, 1_020), (100, 1_010), (300, 1_000)]);
            assert_eq!(points(Derived::Busy), [(0, 1), (300, 0), (900, 1), (1000, 0)]);
            let Lanes::Real(share) = replica_lanes(Derived::KvShare, source) else {
                panic!("a ratio is real")
            };
            assert_eq!(share[0].points[0].value, 2.0 / 64.0);
        });
        source_of(&run, &Context::default(), |source| {
            assert!(whole(replica_lanes(Derived::MemoryInUse, source)).is_empty(), "nothing is known of it");
        });
    }

    #[test]
    fn counts_grow_when_something_happens() {
        let mut run = serve(&[(0, 8, 2), (0, 4, 0), (150, 4, 1)], 4, 2, |_, _| 100);
        refuse(&mut run, 1);
        source_of(&run, &Context::default(), |source| {
            let points = |derived| -> Vec<(u64, u64)> {
                whole(counters(derived, source))[0]
                    .points
                    .iter()
                    .map(|point| (point.at, point.value))
                    .collect()
            };
            assert_eq!(points(Derived::RequestsArrived), [(0, 2), (150, 3)]);
            assert_eq!(points(Derived::RequestsCompleted), [(0, 0), (300, 1), (400, 2)]);
            assert_eq!(
                points(Derived::PromptTokensComputed),
                [(0, 0), (100, 4), (200, 8), (300, 11), (400, 12)]
            );
            assert_eq!(points(Derived::TokensGenerated), [(0, 0), (200, 1), (300, 2), (400, 3)]);
        });
    }
}
