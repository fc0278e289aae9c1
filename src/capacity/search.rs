//! The highest rate at which a cell holds its objectives.
//!
//! First a ladder: the lowest rate and its doubles up to the highest, until two rungs in a row fail. The second
//! failure is there because more load may be served better (larger batches): a rate above a failed one is always
//! tried, and where it holds, the climb goes on. Then the gap between the highest rate that held and the lowest
//! above it that failed is halved on a logarithmic scale until it is within the tolerance. Which rates are probed
//! depends on nothing but the range and the answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canonical::{is_canonical, six_digits};
use super::error::CapacityError;
use super::load::Load;
use super::objectives::{Objective, Objectives};
use super::overload::{Overload, admitted};

/// Largest rate that can be asked for, requests/s.
pub const MAX_QPS: f64 = 1e6;
/// Smallest rate and smallest tolerance; six digits tell rates so far apart from each other.
const MIN_QPS: f64 = 1e-6;
const MIN_TOLERANCE: f64 = 1e-4;

/// Where to look for the highest rate, and how closely.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Lowest and highest rate, requests/s.
    pub min_qps: f64,
    pub max_qps: f64,
    /// The lowest rate that fails is at most so much above the highest that holds, as a share of it.
    pub tolerance: f64,
}

impl Range {
    /// A range; its numbers are kept to six significant digits.
    ///
    /// # Errors
    /// [`CapacityError::Range`]: rates outside of 10⁻⁶ to 10⁶ requests/s or in the wrong order, or a tolerance
    /// outside of 10⁻⁴ to 1.
    pub fn new(min_qps: f64, max_qps: f64, tolerance: f64) -> Result<Self, CapacityError> {
        let range = Self {
            min_qps: six_digits(min_qps),
            max_qps: six_digits(max_qps),
            tolerance: six_digits(tolerance),
        };
        match range.problem() {
            Some(problem) => Err(CapacityError::Range { problem }),
            None => Ok(range),
        }
    }

    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let Self { min_qps, max_qps, tolerance } = *self;
        let rate = |qps: f64| (MIN_QPS..=MAX_QPS).contains(&qps) && is_canonical(qps);
        if !rate(min_qps) || !rate(max_qps) {
            Some("the rates are not within 0.000001 to 1,000,000 requests/s")
        } else if min_qps > max_qps {
            Some("the lowest rate is above the highest")
        } else if !(MIN_TOLERANCE..=1.0).contains(&tolerance) || !is_canonical(tolerance) {
            Some("the tolerance is not within 0.01 % to 100 %")
        } else {
            None
        }
    }
}

/// What a simulation at one rate came to.
#[allow(clippy::large_enum_variant, reason = "some twenty a cell are kept, and most of them are loads")]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It ran to its end.
    Served(Load),
    /// It was stopped, because an objective was out of reach.
    Stopped(Overload),
}

impl Answer {
    /// The load, if it ran to its end.
    pub fn load(&self) -> Option<&Load> {
        match self {
            Self::Served(load) => Some(load),
            Self::Stopped(_) => None,
        }
    }

    /// Objectives that are not met.
    pub fn missed(&self, objectives: &Objectives) -> Vec<Objective> {
        match self {
            Self::Served(load) => objectives.missed_by(load),
            Self::Stopped(overload) => vec![overload.objective],
        }
    }
}

/// One rate that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Requests/s.
    pub qps: f64,
    /// Objectives that were missed; of a stopped probe, the one that was out of reach first.
    pub missed: Vec<Objective>,
    pub answer: Answer,
}

impl Probe {
    /// Whether every objective was met.
    pub fn holds(&self) -> bool {
        self.missed.is_empty()
    }
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// The objectives are missed at the lowest rate, and at each other that was tried.
    Never { lowest_qps: f64 },
    /// They are met at the highest rate of the range.
    Throughout { highest_qps: f64 },
    /// They are met at one rate and missed at the next above it that was tried.
    Between { holds_qps: f64, fails_qps: f64 },
}

impl Outcome {
    /// The highest rate that was seen to hold, requests/s.
    pub fn highest_qps(&self) -> Option<f64> {
        match self {
            Self::Never { .. } => None,
            Self::Throughout { highest_qps } => Some(*highest_qps),
            Self::Between { holds_qps, .. } => Some(*holds_qps),
        }
    }
}

/// More load was served better: a higher rate held after a lower one failed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disorder {
    pub failed_qps: f64,
    /// The lowest rate above it that held.
    pub held_qps: f64,
}

/// A cell's search.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub outcome: Outcome,
    /// In the order in which they were tried.
    pub probes: Vec<Probe>,
}

/// Searches one cell. `probe` runs it at a rate, requests/s.
///
/// At most some 65 probes; three decades at two per cent take 8 to 18.
///
/// # Errors
/// The first of `probe`.
pub fn search<E>(
    range: &Range,
    objectives: &Objectives,
    mut probe: impl FnMut(f64) -> Result<Answer, E>,
) -> Result<Found, E> {
    let mut probes: Vec<Probe> = Vec::new();
    let mut holds = |qps: f64, probes: &mut Vec<Probe>| -> Result<bool, E> {
        let answer = probe(qps)?;
        let missed = answer.missed(objectives);
        let holds = missed.is_empty();
        probes.push(Probe { qps, missed, answer });
        Ok(holds)
    };
    let (mut highest, mut failure) = (None, None);
    for rung in ladder(range) {
        if holds(rung, &mut probes)? {
            (highest, failure) = (Some(rung), None);
        } else if failure.is_some() {
            break;
        } else {
            failure = Some(rung);
        }
    }
    let (mut low, mut high) = match (highest, failure) {
        (Some(low), Some(high)) => (low, high),
        (Some(highest_qps), None) => {
            return Ok(Found { outcome: Outcome::Throughout { highest_qps }, probes });
        }
        (None, _) => {
            return Ok(Found { outcome: Outcome::Never { lowest_qps: range.min_qps }, probes });
        }
    };
    while high > low * (1.0 + range.tolerance) {
        let middle = six_digits(low * libm::sqrt(high / low));
        if !(low < middle && middle < high) {
            break;
        }
        if holds(middle, &mut probes)? { low = middle } else { high = middle }
    }
    Ok(Found { outcome: Outcome::Between { holds_qps: low, fails_qps: high }, probes })
}

/// The lowest rate and its doubles below the highest, then that.
fn ladder(range: &Range) -> impl Iterator<Item = f64> {
    let max = range.max_qps;
    let below = std::iter::successors(Some(range.min_qps), |qps| Some(six_digits(qps * 2.0)));
    below.take_while(move |qps| *qps < max).chain(std::iter::once(max))
}

/// Where a higher rate held after a lower one failed, by rate.
pub(super) fn disorder(probes: &[Probe]) -> Vec<Disorder> {
    let mut sorted: Vec<(f64, bool)> = probes.iter().map(|probe| (probe.qps, probe.holds())).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut out = Vec::new();
    for (index, (failed_qps, held)) in sorted.iter().enumerate() {
        let above = sorted[index + 1..].iter().find(|(_, holds)| *holds);
        if let (false, Some((held_qps, _))) = (held, above) {
            out.push(Disorder { failed_qps: *failed_qps, held_qps: *held_qps });
        }
    }
    out
}

/// Whether probes and outcome are those of a search of this range, as far as the answers tell.
pub(super) fn is_search(range: &Range, objectives: &Objectives, found: &Found) -> bool {
    let mut left = found.probes.iter();
    let replayed = search(range, objectives, |qps| match left.next() {
        Some(probe) if probe.qps == qps => Ok(probe.answer),
        _ => Err(()),
    });
    let plausible = |probe: &Probe| match &probe.answer {
        Answer::Served(_) => true,
        Answer::Stopped(overload) => {
            overload.missed > overload.admitted && objectives.limit_ns(overload.objective).is_some()
        }
    };
    replayed.as_ref() == Ok(found) && left.next().is_none() && found.probes.iter().all(plausible)
}

/// Whether a stopped probe of `requests` requests could have been.
pub(super) fn fits(overload: &Overload, requests: u64) -> bool {
    overload.admitted <= admitted(requests) && overload.missed <= requests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::load::Percentiles;
    use super::*;

    fn objectives() -> Objectives {
        Objectives { ttft_p99_ns: Some(100), ..Objectives::default() }
    }

    /// A load that holds or not.
    fn answer(holds: bool) -> Answer {
        let p99_ns = Some(if holds { 100 } else { 101 });
        Answer::Served(Load {
            ttft: Percentiles { n: 1, p50_ns: None, p90_ns: None, p99_ns },
            ..Load::default()
        })
    }

    fn run(range: &Range, holds: impl Fn(f64) -> bool) -> Found {
        search(range, &objectives(), |qps| Ok::<_, ()>(answer(holds(qps)))).unwrap()
    }

    #[test]
    fn the_ends_of_a_range_are_answers_of_their_own() {
        let range = Range::new(0.5, 8.0, 0.02).unwrap();
        let never = run(&range, |_| false);
        assert_eq!(never.outcome, Outcome::Never { lowest_qps: 0.5 });
        assert_eq!(never.probes.iter().map(|probe| probe.qps).collect::<Vec<_>>(), [0.5, 1.0]);
        let always = run(&range, |_| true);
        assert_eq!(always.outcome, Outcome::Throughout { highest_qps: 8.0 });
        assert_eq!(always.probes.len(), 5);
        let point = Range::new(3.0, 3.0, 0.02).unwrap();
        assert_eq!(run(&point, |_| false).outcome, Outcome::Never { lowest_qps: 3.0 });
        assert_eq!(run(&point, |_| true).outcome, Outcome::Throughout { highest_qps: 3.0 });
    }

    #[test]
    fn a_dip_is_climbed_over_and_told() {
        let range = Range::new(1.0, 100.0, 0.05).unwrap();
        let found = run(&range, |qps| qps != 4.0 && qps < 20.0);
        let Outcome::Between { holds_qps, fails_qps } = found.outcome else { panic!("{:?}", found.outcome) };
        assert!(holds_qps < 20.0 && fails_qps >= 20.0 && fails_qps <= holds_qps * 1.05);
        assert_eq!(disorder(&found.probes), [Disorder { failed_qps: 4.0, held_qps: 8.0 }]);
        let first = run(&range, |qps| qps > 1.5 && qps < 20.0);
        assert!(matches!(first.outcome, Outcome::Between { .. }), "the lowest rate alone is no answer");
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for (min, max, tolerance) in [
            (0.0, 1.0, 0.02),
            (2.0, 1.0, 0.02),
            (1.0, 2e6, 0.02),
            (f64::NAN, 1.0, 0.02),
            (1.0, f64::INFINITY, 0.02),
            (1.0, 2.0, 0.0),
            (1.0, 2.0, f64::NAN),
            (1.0, 2.0, 1.5),
        ] {
            let refused = Range::new(min, max, tolerance);
            assert!(matches!(refused, Err(CapacityError::Range { .. })), "{min} {max} {tolerance}");
        }
    }

    #[test]
    fn an_error_ends_the_search() {
        let range = Range::new(1.0, 8.0, 0.02).unwrap();
        assert_eq!(
            search(&range, &objectives(), |qps| if qps > 3.0 { Err(qps) } else { Ok(answer(true)) }),
            Err(4.0)
        );
    }

    proptest! {
        /// The edge of a monotone function is found to the tolerance, in few probes, none twice.
        #[test]
        fn edges_are_found(edge in -2.0f64..4.0, min in -1.5f64..0.0, decades in 0.0f64..4.5, tolerance in 1e-4f64..1.0) {
            let edge = libm::pow(10.0, edge);
            let min = libm::pow(10.0, min);
            let range = Range::new(min, min * libm::pow(10.0, decades), tolerance).unwrap();
            let found = run(&range, |qps| qps <= edge);
            match found.outcome {
                Outcome::Never { .. } => prop_assert!(edge < range.min_qps),
                Outcome::Throughout { highest_qps } => prop_assert!(edge >= highest_qps && highest_qps == range.max_qps),
                Outcome::Between { holds_qps, fails_qps } => {
                    prop_assert!(holds_qps <= edge && edge < fails_qps);
                    prop_assert!(fails_qps <= holds_qps * (1.0 + tolerance));
                }
            }
            prop_assert!(found.probes.len() <= 65);
            let mut rates: Vec<f64> = found.probes.iter().map(|probe| probe.qps).collect();
            rates.sort_by(f64::total_cmp);
            prop_assert!(rates.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(disorder(&found.probes).is_empty());
            prop_assert!(is_search(&range, &objectives(), &found));
        }

        /// Any answers at all: an end, a rate that held, and every disorder told.
        #[test]
        fn any_function_ends(answers in proptest::collection::vec(any::<bool>(), 80)) {
            let range = Range::new(0.01, 1e5, 1e-3).unwrap();
            let mut next = answers.iter();
            let found = search(&range, &objectives(), |_| Ok::<_, ()>(answer(*next.next().unwrap()))).unwrap();
            if let Some(qps) = found.outcome.highest_qps() {
                prop_assert!(found.probes.iter().any(|probe| probe.qps == qps && probe.holds()));
                prop_assert!(found.probes.iter().all(|probe| probe.qps <= qps || !probe.holds()));
            }
            let lower_failures = |probe: &Probe| found.probes.iter().any(|other| other.qps < probe.qps && !other.holds());
            let disordered = found.probes.iter().any(|probe| probe.holds() && lower_failures(probe));
            prop_assert_eq!(disordered, !disorder(&found.probes).is_empty());
            prop_assert!(is_search(&range, &objectives(), &found));
        }
    }
}
