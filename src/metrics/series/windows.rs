//! Rates in windows of the run.

use super::Source;
use super::catalogue::Derived;
use super::lanes::{Lane, Lanes, MAX_ROWS};
use crate::metrics::history::walk_busy;
use crate::metrics::{RequestStatus, StepMember};

/// Most windows of a run.
const WINDOWS: u64 = 200;

/// A run cut into windows of equal width, of which the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    width_ns: u64,
    count: usize,
    end_ns: u64,
}

impl Windows {
    /// At most [`WINDOWS`] of a run that ends at `end_ns`; fewer where `lanes` of them would be too many rows.
    pub fn of(end_ns: u64, lanes: usize) -> Self {
        let most = (MAX_ROWS as u64 / (lanes as u64).max(1)).clamp(1, WINDOWS);
        let width_ns = end_ns.div_ceil(most).max(1);
        Self { width_ns, count: end_ns.div_ceil(width_ns) as usize, end_ns }
    }

    /// Start and width of each window, ns.
    fn each(self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.count as u64).map(move |index| {
            let start = index * self.width_ns;
            (start, self.width_ns.min(self.end_ns - start))
        })
    }

    /// The window of a moment. A moment between two windows belongs to the earlier, as a step's end
    /// belongs to the step.
    fn index_of(self, time_ns: u64) -> usize {
        ((time_ns.saturating_sub(1) / self.width_ns) as usize).min(self.count.saturating_sub(1))
    }

    /// Calls `add` with each window that [from, to) touches, and how many ns of it.
    fn spread(self, from: u64, to: u64, mut add: impl FnMut(usize, u64)) {
        let to = to.min(self.end_ns);
        let mut at = from;
        while at < to {
            let index = at / self.width_ns;
            let end = to.min((index + 1).saturating_mul(self.width_ns));
            add(index as usize, end - at);
            at = end;
        }
    }
}

/// Rates of every replica.
pub(super) fn replica_lanes(derived: Derived, source: &Source<'_>) -> Lanes {
    let windows = Windows::of(source.end_ns, source.replicas.len());
    let lanes = match (derived, source.context.work()) {
        (Derived::Utilization, _) => {
            let mut busy = vec![vec![0u64; windows.count]; source.replicas.len()];
            walk_busy(&source.order, |replica, from, to| {
                if let Some(place) = source.place(replica) {
                    windows.spread(from, to, |window, ns| busy[place][window] += ns);
                }
            });
            let rate = |ns: &u64, width: u64| *ns as f64 / width as f64;
            lanes_of(source, windows, &busy, rate)
        }
        (Derived::Mfu, Some((model, peak))) => {
            let mut flops = vec![vec![0.0; windows.count]; source.replicas.len()];
            for (_, step) in source.order.iter() {
                let Some(place) = source.place(step.replica) else { continue };
                let work = model.flops(step.members);
                let ns = step.end_ns.saturating_sub(step.start_ns);
                windows.spread(step.start_ns, step.end_ns, |window, overlap| {
                    flops[place][window] += work * (overlap as f64 / ns as f64);
                });
                if let (0, Some(flops)) = (ns, flops[place].get_mut(windows.index_of(step.end_ns))) {
                    *flops += work;
                }
            }
            lanes_of(source, windows, &flops, |work, width| peak.utilization(*work, width).unwrap_or(0.0))
        }
        _ => Vec::new(),
    };
    Lanes::Real(lanes)
}

fn lanes_of<S>(
    source: &Source<'_>,
    windows: Windows,
    sums: &[Vec<S>],
    rate: impl Fn(&S, u64) -> f64,
) -> Vec<Lane<f64>> {
    let of = |sums: &[S], replica: u32| {
        let rates = windows.each().zip(sums).map(|((start, width), sum)| (start, rate(sum, width)));
        Lane::new(replica, rates)
    };
    source.replicas.iter().zip(sums).map(|(replica, sums)| of(sums, *replica)).collect()
}

/// Rates of the whole run, a second.
pub(super) fn run_lanes(derived: Derived, source: &Source<'_>) -> Lanes {
    let record = source.record;
    let windows = Windows::of(source.end_ns, 1);
    let mut sums = vec![0u64; windows.count];
    let mut add = |time: u64, amount: u64| {
        if let Some(sum) = sums.get_mut(windows.index_of(time)) {
            *sum = sum.saturating_add(amount);
        }
    };
    let mut of_steps = |tokens: fn(&StepMember) -> u64| {
        for step in record.steps.iter() {
            add(step.end_ns, step.members.iter().map(tokens).sum());
        }
    };
    match derived {
        Derived::PromptThroughput => {
            of_steps(|member| if member.is_prefill { member.tokens.into() } else { 0 });
        }
        Derived::TokenThroughput => of_steps(|member| member.emits.into()),
        Derived::RequestThroughput => {
            for request in record.requests.iter().filter(|request| request.status == RequestStatus::Ok) {
                if let Some(time) = request.completion_time_ns {
                    add(time, 1);
                }
            }
        }
        _ => {}
    }
    // A recorded run has no steps: how its tokens came is not known.
    if derived != Derived::RequestThroughput && record.steps.is_empty() {
        return Lanes::real([]);
    }
    Lanes::real(windows.each().zip(&sums).map(|((start, width), sum)| {
        let seconds = width as f64 / 1e9;
        (start, *sum as f64 / seconds)
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::source_of;
    use super::super::{Context, ModelWork, PeakFlops};
    use super::*;
    use crate::metrics::sample_runs::serve;

    fn real(lanes: Lanes) -> Vec<Lane<f64>> {
        match lanes {
            Lanes::Real(lanes) => lanes,
            Lanes::Whole(_) => panic!("a rate is real"),
        }
    }

    #[test]
    fn windows_cover_the_run_once() {
        for end_ns in [0, 1, 199, 200, 201, 1_000_003, u64::MAX] {
            let windows = Windows::of(end_ns, 1);
            let widths: u64 = windows.each().map(|(_, width)| width).sum();
            assert!(windows.count <= 200 && widths == end_ns, "{end_ns}: {windows:?}");
            assert!(end_ns == 0 || windows.index_of(end_ns) == windows.count - 1);
        }
        assert_eq!(Windows::of(1_000, 1_000).count, 10);
        assert_eq!(Windows::of(1_000, 1_000_000).count, 1);
        let windows = Windows { width_ns: 10, count: 3, end_ns: 25 };
        assert_eq!([0, 1, 10, 11, 25].map(|time| windows.index_of(time)), [0, 0, 0, 1, 2]);
        let mut parts = Vec::new();
        windows.spread(5, 99, |index, ns| parts.push((index, ns)));
        assert_eq!(parts, [(0, 5), (1, 10), (2, 5)]);
    }

    #[test]
    fn nothing_is_lost_between_windows() {
        let run = serve(&[(0, 80, 30), (5_000, 10, 40), (9_000_000, 100, 20)], 64, 8, |index, tokens| {
            90 + index * u64::from(tokens)
        });
        let context = Context {
            model: Some(ModelWork { parameters: 1_000, layers: 2, heads: 3, head_dim: 5 }),
            peak_flops: PeakFlops::new(1e12),
            ..Context::default()
        };
        source_of(&run, &context, |source| {
            let windows = Windows::of(source.end_ns, 1);
            let sum = |lanes: Lanes, scale: f64| -> f64 {
                let lanes = real(lanes);
                let widths = windows.each().map(|(_, width)| width as f64);
                lanes[0].points.iter().zip(widths).map(|(point, width)| point.value * width * scale).sum()
            };
            for (derived, wanted) in [
                (Derived::RequestThroughput, 3.0),
                (Derived::TokenThroughput, 90.0),
                (Derived::PromptThroughput, 190.0),
            ] {
                let found = sum(run_lanes(derived, source), 1e-9);
                assert!((found - wanted).abs() < 1e-6, "{derived:?}: {found}");
            }
            let busy: u64 = run.steps.iter().map(|step| step.end_ns - step.start_ns).sum();
            assert!((sum(replica_lanes(Derived::Utilization, source), 1.0) - busy as f64).abs() < 1e-3);
            let flops: f64 = run.steps.iter().map(|step| context.model.unwrap().flops(step.members)).sum();
            let found = sum(replica_lanes(Derived::Mfu, source), 1e12 / 1e9);
            assert!((found / flops - 1.0).abs() < 1e-9, "{found} {flops}");
        });
    }
}
