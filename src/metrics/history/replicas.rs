use std::collections::BTreeMap;

use crate::metrics::{RunRecord, StepLog, StepView};

/// The steps of a log in the order in which they start; of those that start together, as logged.
#[derive(Debug)]
pub(in crate::metrics) struct StepOrder<'a> {
    steps: &'a StepLog,
    /// None where the log is in that order.
    order: Option<Vec<usize>>,
}

impl<'a> StepOrder<'a> {
    pub fn of(steps: &'a StepLog) -> Self {
        let starts = || (0..steps.len()).map(|index| steps.step(index).start_ns);
        let order = (!starts().is_sorted()).then(|| {
            let mut order: Vec<usize> = (0..steps.len()).collect();
            order.sort_by_key(|index| steps.step(*index).start_ns);
            order
        });
        Self { steps, order }
    }

    /// Each step with its number.
    pub fn iter(&self) -> impl Iterator<Item = (usize, StepView<'a>)> {
        let steps = self.steps;
        (0..steps.len()).map(move |at| {
            let index = self.order.as_ref().map_or(at, |order| order[at]);
            (index, steps.step(index))
        })
    }

    /// Replicas that ran a step, ascending.
    pub fn replicas(&self) -> Vec<u32> {
        let mut replicas: Vec<u32> = Vec::new();
        for step in self.steps.iter() {
            // Logs have long stretches of few replicas: what was just seen is not searched for.
            let replica = step.replica;
            if let Err(place) = replicas.binary_search(&replica) {
                replicas.insert(place, replica);
            }
        }
        replicas
    }
}

/// What the scheduler of a replica counted when it formed a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::metrics) struct State {
    pub running: u32,
    pub waiting: u32,
    pub kv_blocks: u32,
}

/// Calls `each` with (time ns, replica, state from then on); each replica's times ascend.
///
/// A step's state holds from its start to the start of the replica's next, except while the replica is
/// idle: from the end of its steps, where every request of the next arrived only later, all is zero.
pub(in crate::metrics) fn walk_states<E>(
    record: &RunRecord,
    order: &StepOrder<'_>,
    mut each: impl FnMut(u64, u32, State) -> Result<(), E>,
) -> Result<(), E> {
    // The end of each replica's steps so far.
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    for (_, step) in order.iter() {
        let replica = step.replica;
        let before = ends.get(&replica).copied();
        let arrivals = step.members.iter().filter_map(|member| record.requests.get(member.request as usize));
        let first = arrivals.map(|request| request.arrival_time_ns).min().unwrap_or(step.start_ns);
        if let Some(end) = before.filter(|end| *end < step.start_ns.min(first)) {
            each(end, replica, State::default())?;
        }
        let StepView { running, waiting, kv_blocks, .. } = step;
        each(step.start_ns, replica, State { running, waiting, kv_blocks })?;
        ends.insert(replica, step.end_ns.max(before.unwrap_or(0)));
    }
    ends.into_iter().try_for_each(|(replica, end)| each(end, replica, State::default()))
}

/// Calls `each` with (replica, from ns, to ns) for every stretch in which at least one step of the
/// replica ran; each replica's stretches ascend, and lie apart.
pub(in crate::metrics) fn walk_busy(order: &StepOrder<'_>, mut each: impl FnMut(u32, u64, u64)) {
    let mut stretches: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for (_, step) in order.iter().filter(|(_, step)| step.start_ns < step.end_ns) {
        let replica = step.replica;
        let stretch = stretches.entry(replica).or_insert((step.start_ns, step.end_ns));
        if step.start_ns > stretch.1 {
            each(replica, stretch.0, stretch.1);
            *stretch = (step.start_ns, step.end_ns);
        }
        stretch.1 = stretch.1.max(step.end_ns);
    }
    for (replica, (from, to)) in stretches {
        each(replica, from, to);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::metrics::StepMember;
    use crate::metrics::sample_runs::serve;

    fn states(run: &RunRecord) -> Vec<(u64, u32)> {
        let mut out = Vec::new();
        let order = StepOrder::of(&run.steps);
        walk_states(run, &order, |time, _, state| {
            out.push((time, state.running));
            Ok::<_, Infallible>(())
        })
        .unwrap();
        out
    }

    fn stretches(steps: &StepLog) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        walk_busy(&StepOrder::of(steps), |_, from, to| out.push((from, to)));
        out
    }

    #[test]
    fn a_replica_is_idle_until_the_next_request_arrives() {
        // One request from 100 to 300, nothing until 400, two from there.
        let run = serve(&[(100, 4, 2), (400, 4, 1), (400, 4, 1)], 64, 8, |_, _| 100);
        assert_eq!(states(&run), [(100, 1), (200, 1), (300, 0), (400, 2), (500, 0)]);
        assert_eq!(stretches(&run.steps), [(100, 300), (400, 500)]);
    }

    #[test]
    fn time_between_steps_is_the_engines_own_when_a_request_is_there() {
        let mut run = serve(&[(0, 4, 2)], 64, 8, |_, _| 100);
        let members: Vec<Vec<StepMember>> = run.steps.iter().map(|step| step.members.to_vec()).collect();
        run.steps = StepLog::default();
        for (index, members) in (0..).zip(members) {
            run.steps.push(index * 150, index * 150 + 100, members, (1, 0), (1, 0));
        }
        assert_eq!(states(&run), [(0, 1), (150, 1), (250, 0)]);
        assert_eq!(stretches(&run.steps), [(0, 100), (150, 250)]);
    }

    #[test]
    fn steps_are_walked_by_their_starts() {
        let mut steps = StepLog::default();
        for (start, end) in [(0, 50), (90, 100), (30, 120), (130, 130)] {
            steps.push(start, end, [], (0, 0), (0, 0));
        }
        let order: Vec<usize> = StepOrder::of(&steps).iter().map(|(index, _)| index).collect();
        assert_eq!(order, [0, 2, 1, 3]);
        assert_eq!(stretches(&steps), [(0, 120)]);
        assert_eq!(StepOrder::of(&steps).replicas(), [0]);
    }

    proptest! {
        #[test]
        fn busy_time_is_the_union_of_the_steps(spans in prop::collection::vec((0u64..200, 0u64..30), 0..40)) {
            let mut steps = StepLog::default();
            let mut covered = [false; 240];
            for (start, length) in spans {
                steps.push(start, start + length, [], (0, 0), (0, 0));
                covered[start as usize..(start + length) as usize].fill(true);
            }
            let found = stretches(&steps);
            let sum: u64 = found.iter().map(|(from, to)| to - from).sum();
            prop_assert_eq!(sum, covered.iter().filter(|covered| **covered).count() as u64);
            prop_assert!(found.is_sorted_by(|one, next| one.1 < next.0));
        }
    }
}
