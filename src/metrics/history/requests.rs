use super::replicas::StepOrder;
use crate::metrics::StepMember;

/// What the steps of a run did with one request. Times are ns from run start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::metrics) struct RequestHistory {
    /// Steps with a share of it.
    pub steps: u32,
    /// Start of the first of them, and end of the last.
    pub first_start_ns: u64,
    pub last_end_ns: u64,
    /// Time in at least one of them.
    pub execution_ns: u64,
    /// Steps before which part of what had been computed was gone from the KV cache.
    pub restarts: u32,
    /// Tokens in the KV cache after the last of them.
    cached: u64,
}

impl RequestHistory {
    /// Time between the first step's start and the last's end in no step, ns.
    pub fn preempted_ns(&self) -> u64 {
        self.span_ns() - self.execution_ns
    }

    /// From the start of the first step to the end of the last, ns.
    pub fn span_ns(&self) -> u64 {
        self.last_end_ns - self.first_start_ns
    }

    /// Adds a share; steps come in the order in which they start. Says whether it is a restart.
    pub fn add(&mut self, start_ns: u64, end_ns: u64, share: &StepMember) -> bool {
        let end_ns = end_ns.max(start_ns);
        if self.steps == 0 {
            (self.first_start_ns, self.last_end_ns) = (start_ns, start_ns);
        }
        let restarts = self.steps > 0 && u64::from(share.context) < self.cached;
        self.restarts = self.restarts.saturating_add(u32::from(restarts));
        self.execution_ns += end_ns.saturating_sub(self.last_end_ns.max(start_ns));
        self.last_end_ns = self.last_end_ns.max(end_ns);
        self.cached = u64::from(share.context) + u64::from(share.tokens);
        self.steps = self.steps.saturating_add(1);
        restarts
    }
}

/// One history a request.
pub(in crate::metrics) fn request_histories(requests: usize, order: &StepOrder<'_>) -> Vec<RequestHistory> {
    let mut histories = vec![RequestHistory::default(); requests];
    for (_, step) in order.iter() {
        for share in step.members {
            if let Some(history) = histories.get_mut(share.request as usize) {
                history.add(step.start_ns, step.end_ns, share);
            }
        }
    }
    histories
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::StepLog;

    fn share(context: u32, tokens: u32) -> StepMember {
        StepMember { request: 0, tokens, context, is_prefill: true, emits: false }
    }

    fn history(steps: &[(u64, u64, Option<StepMember>)]) -> RequestHistory {
        let mut log = StepLog::default();
        for (start, end, share) in steps {
            log.push(*start, *end, *share, (1, 0), (1, 0));
        }
        request_histories(1, &StepOrder::of(&log))[0]
    }

    #[test]
    fn a_preempted_request_by_hand() {
        // Two chunks, a step without it, then all of it again and a decode.
        let found = history(&[
            (10, 20, Some(share(0, 8))),
            (20, 35, Some(share(8, 4))),
            (35, 50, None),
            (51, 60, Some(share(0, 12))),
            (60, 61, Some(share(12, 1))),
        ]);
        assert_eq!((found.first_start_ns, found.last_end_ns, found.steps, found.restarts), (10, 61, 4, 1));
        assert_eq!((found.execution_ns, found.preempted_ns(), found.span_ns()), (35, 16, 51));
    }

    #[test]
    fn a_prefix_in_the_cache_is_no_restart() {
        assert_eq!(history(&[(0, 1, Some(share(16, 8))), (1, 2, Some(share(24, 1)))]).restarts, 0);
        assert_eq!(history(&[]), RequestHistory::default());
    }

    proptest! {
        #[test]
        fn time_is_in_a_step_or_in_none(spans in prop::collection::vec((0u64..200, 0u64..30), 1..30)) {
            let mut covered = [false; 240];
            let steps: Vec<_> = spans.iter().map(|(start, length)| (*start, start + length, Some(share(0, 1)))).collect();
            for (start, end, _) in &steps {
                covered[*start as usize..*end as usize].fill(true);
            }
            let found = history(&steps);
            prop_assert_eq!(found.execution_ns, covered.iter().filter(|covered| **covered).count() as u64);
            prop_assert_eq!(found.execution_ns + found.preempted_ns(), found.span_ns());
        }
    }
}
