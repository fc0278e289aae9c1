use rand_mt::Mt;

use super::RouterKind;

/// How busy a replica is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests in its queue.
    pub waiting: u32,
    /// Requests admitted and not finished.
    pub running: u32,
    /// Tokens of this prompt in its prefix cache.
    pub cached_tokens: u32,
}

impl Load {
    fn outstanding(self) -> u32 {
        self.waiting.saturating_add(self.running)
    }
}

/// Chooses a replica for each request, in order of arrival.
///
/// Draws come from the Mersenne Twister with CPython's seeding and its way to a bounded integer, so
/// that `random` chooses what Vidur's router of that name chooses for the same seed.
#[derive(Debug)]
pub struct Router {
    kind: RouterKind,
    replicas: u32,
    next: u32,
    /// Counts the queue alone, as Vidur does.
    waiting_only: bool,
    random: Mt,
}

/// A prompt goes to a cache that has some of it unless that replica is this many requests, and this many times, busier than
/// the least busy one (the thresholds of SGLang's cache-aware router).
const BUSIER_BY: u32 = 32;
const BUSIER_TIMES: f64 = 1.0001;
/// The share of a prompt that must be cached for it to matter.
const CACHED_SHARE: f64 = 0.5;

impl Router {
    /// A router over `replicas` replicas, at least 1. `waiting_only`: what `least_outstanding` counts.
    pub fn new(kind: RouterKind, replicas: u32, seed: u64, waiting_only: bool) -> Self {
        // CPython seeds with the 32-bit words of the number, the least first.
        let words = [seed as u32, (seed >> 32) as u32];
        let key = if words[1] == 0 { &words[..1] } else { &words[..] };
        Self {
            kind,
            replicas: replicas.max(1),
            next: 0,
            waiting_only,
            random: Mt::new_with_key(key.iter().copied()),
        }
    }

    /// Whether the router looks at the replicas at all.
    pub fn wants_loads(&self) -> bool {
        !matches!(self.kind, RouterKind::RoundRobin | RouterKind::Random)
    }

    /// Whether it asks for cached prefixes.
    pub fn wants_prefixes(&self) -> bool {
        self.kind == RouterKind::PrefixAware
    }

    /// The replica for a request with a prompt of `prompt` tokens; `loads[i]` is that of replica i, and is
    /// looked at only if the router [wants](Self::wants_loads) it. Requests routed at the same moment
    /// must be counted by the caller as they are assigned.
    pub fn route(&mut self, prompt: u32, loads: &[Load]) -> u32 {
        let busy = |index: u32| {
            let load = loads.get(index as usize).copied().unwrap_or_default();
            if self.waiting_only { load.waiting } else { load.outstanding() }
        };
        match self.kind {
            RouterKind::RoundRobin => {
                let chosen = self.next;
                self.next = (self.next + 1) % self.replicas;
                chosen
            }
            RouterKind::Random => self.below(self.replicas),
            RouterKind::LeastOutstanding => self.least_busy(&busy),
            RouterKind::WeightedQueue => self.least_busy(&|index| {
                let load = loads_of(loads, index);
                load.waiting.saturating_mul(4).saturating_add(load.running)
            }),
            RouterKind::PowerOfTwo => {
                let (a, b) = self.two();
                // The first of the two when they are equally busy.
                if loads_of(loads, b).outstanding() < loads_of(loads, a).outstanding() { b } else { a }
            }
            RouterKind::PrefixAware => {
                let least = self.least_busy(&busy);
                let best = (0..self.replicas)
                    .max_by_key(|index| {
                        (
                            loads_of(loads, *index).cached_tokens,
                            std::cmp::Reverse(busy(*index)),
                            std::cmp::Reverse(*index),
                        )
                    })
                    .unwrap_or(least);
                let (most, few) = (busy(best), busy(least));
                let overloaded =
                    most > few.saturating_add(BUSIER_BY) && f64::from(most) > f64::from(few) * BUSIER_TIMES;
                let cached =
                    f64::from(loads_of(loads, best).cached_tokens) > f64::from(prompt) * CACHED_SHARE;
                if cached && !overloaded { best } else { least }
            }
        }
    }

    /// The lowest of those that are least busy.
    fn least_busy(&self, busy: &impl Fn(u32) -> u32) -> u32 {
        (0..self.replicas).min_by_key(|index| busy(*index)).unwrap_or(0)
    }

    /// Two different replicas; the same twice where there is but one.
    fn two(&mut self) -> (u32, u32) {
        if self.replicas == 1 {
            return (0, 0);
        }
        let first = self.below(self.replicas);
        let second = self.below(self.replicas - 1);
        (first, second + u32::from(second >= first))
    }

    /// A number below `bound`: as many random bits as it has, again until they are below it (CPython's
    /// `_randbelow_with_getrandbits`).
    fn below(&mut self, bound: u32) -> u32 {
        let bits = u32::BITS - bound.leading_zeros();
        loop {
            let drawn = self.random.next_u32() >> (u32::BITS - bits);
            if drawn < bound {
                return drawn;
            }
        }
    }
}

fn loads_of(loads: &[Load], index: u32) -> Load {
    loads.get(index as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(waiting: u32, running: u32) -> Load {
        Load { waiting, running, cached_tokens: 0 }
    }

    fn routed(router: &mut Router, loads: &[Load], count: usize) -> Vec<u32> {
        (0..count).map(|_| router.route(100, loads)).collect()
    }

    #[test]
    fn round_robin_goes_round() {
        let mut router = Router::new(RouterKind::RoundRobin, 3, 0, false);
        assert_eq!(routed(&mut router, &[], 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn random_is_cpythons() {
        // random.seed(42); [random.randint(1, 4) - 1 for _ in range(10)]
        let mut router = Router::new(RouterKind::Random, 4, 42, false);
        assert_eq!(routed(&mut router, &[], 10), [0, 0, 2, 1, 1, 1, 0, 0, 3, 0]);
    }

    #[test]
    fn least_outstanding_takes_the_lowest_of_the_least_busy() {
        let loads = [load(1, 4), load(2, 1), load(1, 2)];
        assert_eq!(Router::new(RouterKind::LeastOutstanding, 3, 0, false).route(1, &loads), 1);
        assert_eq!(Router::new(RouterKind::LeastOutstanding, 3, 0, true).route(1, &loads), 0);
    }

    #[test]
    fn power_of_two_never_takes_the_busiest() {
        let loads = [load(0, 9), load(0, 2), load(0, 5)];
        let chosen = routed(&mut Router::new(RouterKind::PowerOfTwo, 3, 7, false), &loads, 200);
        assert!(!chosen.contains(&0) && chosen.contains(&1) && chosen.contains(&2));
    }

    #[test]
    fn a_cached_prompt_goes_to_its_cache_unless_that_is_overrun() {
        let cached = |running, cached_tokens| Load { waiting: 0, running, cached_tokens };
        let mut router = Router::new(RouterKind::PrefixAware, 2, 0, false);
        assert_eq!(router.route(100, &[cached(3, 10), cached(9, 80)]), 1);
        assert_eq!(router.route(100, &[cached(3, 10), cached(90, 80)]), 0);
        assert_eq!(router.route(100, &[cached(3, 10), cached(9, 40)]), 0);
    }

    #[test]
    fn one_replica_takes_all() {
        for kind in RouterKind::ALL {
            assert_eq!(routed(&mut Router::new(kind, 1, 1, false), &[load(0, 0)], 3), [0; 3]);
        }
    }
}
