//! Decision fidelity: would the simulator have chosen the configuration that
//! measurements choose, and what does its choice cost?
//!
//! For each latency target, either side chooses the cheapest candidate whose latency is within it. The
//! simulator's choice is then judged by what was measured of it.

use std::cmp::Ordering;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canonical::six_digits;
use super::pareto::Point;

/// A configuration at a load, as measured and as simulated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    pub measured: Point,
    pub simulated: Point,
}

/// What the simulator's choice costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Regret {
    /// Neither side finds a candidate within the target.
    Neither,
    /// How much more its choice costs than the best, both as measured, per cent; none where the best is for free.
    CostPercent(Option<f64>),
    /// As measured, its choice takes so long, and misses the target.
    MissesNs(u64),
    /// It finds no candidate, and there is one.
    Abstains,
}

/// Both choices for one target.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    pub target_ns: u64,
    /// Candidates by number, from 0.
    pub measured: Option<u32>,
    pub simulated: Option<u32>,
    pub regret: Regret,
}

/// How well the simulator decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fidelity {
    /// Candidates that were both measured and simulated.
    pub candidates: u32,
    /// By target.
    pub choices: Vec<Choice>,
    /// Targets for which both sides choose alike, or both find nothing.
    pub equal_choices: u32,
    /// Kendall's τ-b of measured and simulated values over all candidates; none where one side has no order.
    pub tau_latency: Option<f64>,
    pub tau_cost: Option<f64>,
}

/// Decision fidelity over candidates, for targets in ns (sorted, each once). None without a candidate.
/// Costs that are no numbers are never chosen.
pub fn fidelity(candidates: &[Candidate], targets_ns: &[u64]) -> Option<Fidelity> {
    if candidates.is_empty() {
        return None;
    }
    let mut targets = targets_ns.to_vec();
    targets.sort_unstable();
    targets.dedup();
    let choices: Vec<Choice> = targets.iter().map(|target_ns| choose(candidates, *target_ns)).collect();
    let tau = |of: &dyn Fn(&Point) -> f64| {
        let pairs: Vec<(f64, f64)> =
            candidates.iter().map(|candidate| (of(&candidate.measured), of(&candidate.simulated))).collect();
        kendall_tau_b(&pairs).map(six_digits)
    };
    Some(Fidelity {
        candidates: candidates.len() as u32,
        equal_choices: choices.iter().filter(|choice| choice.measured == choice.simulated).count() as u32,
        choices,
        tau_latency: tau(&|point| point.latency_ns as f64),
        tau_cost: tau(&|point| point.cost),
    })
}

fn choose(candidates: &[Candidate], target_ns: u64) -> Choice {
    let cheapest = |of: &dyn Fn(&Candidate) -> Point| {
        let within = candidates.iter().map(of).enumerate();
        let within = within.filter(|(_, point)| point.latency_ns <= target_ns && point.cost.is_finite());
        within.min_by(|(i, a), (j, b)| {
            a.cost.total_cmp(&b.cost).then(a.latency_ns.cmp(&b.latency_ns)).then(i.cmp(j))
        })
    };
    let measured = cheapest(&|candidate| candidate.measured);
    let simulated = cheapest(&|candidate| candidate.simulated).map(|(index, _)| index);
    let regret = match (measured, simulated) {
        (None, None) => Regret::Neither,
        (Some(_), None) => Regret::Abstains,
        (best, Some(index)) => {
            let chosen = candidates[index].measured;
            match best {
                Some((_, best)) if chosen.latency_ns <= target_ns => {
                    let percent = 100.0 * (chosen.cost / best.cost - 1.0);
                    // Nothing more of nothing is no regret.
                    let percent = if chosen.cost == best.cost { 0.0 } else { percent };
                    Regret::CostPercent(percent.is_finite().then(|| six_digits(percent)))
                }
                _ => Regret::MissesNs(chosen.latency_ns),
            }
        }
    };
    let number = |index: usize| index as u32;
    Choice {
        target_ns,
        measured: measured.map(|(index, _)| number(index)),
        simulated: simulated.map(number),
        regret,
    }
}

/// Kendall's τ-b (Kendall, "The treatment of ties in ranking problems", Biometrika 33, 1945):
/// (concordant − discordant) / √((n₀ − n₁)(n₀ − n₂)) with n₀ = n (n − 1) / 2 pairs, of which n₁ are tied in the
/// first value and n₂ in the second. 1 is the same order, −1 the reverse. None where one side is all ties, or a
/// value is no number. n log n by Knight's method ("A computer method for calculating Kendall's tau with ungrouped
/// data", JASA 61, 1966): discordant pairs are the exchanges of a merge sort.
pub fn kendall_tau_b(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.iter().any(|(a, b)| a.is_nan() || b.is_nan()) {
        return None;
    }
    let mut sorted = pairs.to_vec();
    // −0 and 0 are equal.
    let order = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    sorted.sort_by(|a, b| order(a.0, b.0).then(order(a.1, b.1)));
    let n0 = pairs_of(pairs.len());
    let n1 = tied(&sorted, |a, b| a.0 == b.0);
    let both = tied(&sorted, |a, b| a == b);
    let mut seconds: Vec<f64> = sorted.iter().map(|pair| pair.1).collect();
    let discordant = exchanges(&mut seconds);
    let n2 = tied(&seconds, |a, b| a == b);
    let difference = n0 - n1 - n2 + both - 2.0 * discordant;
    let scale = libm::sqrt(n0 - n1) * libm::sqrt(n0 - n2);
    (scale > 0.0).then(|| (difference / scale).clamp(-1.0, 1.0))
}

fn pairs_of(n: usize) -> f64 {
    n as f64 * n.saturating_sub(1) as f64 / 2.0
}

/// Pairs within runs of neighbours that are equal.
fn tied<T>(sorted: &[T], equal: impl Fn(&T, &T) -> bool) -> f64 {
    sorted.chunk_by(equal).map(|run| pairs_of(run.len())).sum()
}

/// Sorts values and counts the pairs that stood in the wrong order.
fn exchanges(values: &mut [f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let middle = values.len() / 2;
    let mut count = exchanges(&mut values[..middle]) + exchanges(&mut values[middle..]);
    let (left, right) = values.split_at(middle);
    let mut merged = Vec::with_capacity(values.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        if right[j] < left[i] {
            count += (left.len() - i) as f64;
            merged.push(right[j]);
            j += 1;
        } else {
            merged.push(left[i]);
            i += 1;
        }
    }
    merged.extend_from_slice(&left[i..]);
    merged.extend_from_slice(&right[j..]);
    values.copy_from_slice(&merged);
    count
}

/// Targets where nobody named any: the limit, if there is one, and up to four round numbers between the least and the
/// greatest measured latency, evenly spaced on a logarithmic scale: 1, 2 or 5 times a power of ten, or where none is
/// between them, numbers of two or three digits, or else the greatest latency.
pub fn auto_targets(candidates: &[Candidate], limit_ns: Option<u64>) -> Vec<u64> {
    let latencies = || candidates.iter().map(|candidate| candidate.measured.latency_ns.max(1));
    let mut out: Vec<u64> = limit_ns.into_iter().collect();
    if let (Some(least), Some(most)) = (latencies().min(), latencies().max()) {
        let (low, span) = (libm::log(least as f64), libm::log(most as f64) - libm::log(least as f64));
        let places = [0.5, 1.5, 2.5, 3.5].map(|step| libm::exp(low + span * step / 4.0));
        let roundings: [fn(f64) -> u64; 3] = [round_up, |ns| digits_up(ns, 10), |ns| digits_up(ns, 100)];
        let inside = |round: fn(f64) -> u64| -> Vec<u64> {
            places.iter().map(|ns| round(*ns)).filter(|target| (least..=most).contains(target)).collect()
        };
        let found = roundings.into_iter().map(inside).find(|targets| !targets.is_empty());
        out.extend(found.unwrap_or_else(|| vec![most]));
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// The smallest number not below `value` that is a whole number below 10 × `least` times a power of ten; `least`, a
/// power of ten, says how many digits there are.
fn digits_up(value: f64, least: u64) -> u64 {
    let mut unit = 1_u64;
    while value > (unit as f64) * 10.0 * least as f64 && unit < u64::MAX / 100 {
        unit *= 10;
    }
    // `as` saturates.
    ((value / unit as f64).ceil() as u64).saturating_mul(unit)
}

/// The smallest 1, 2 or 5 times a power of ten that is not below `value`.
fn round_up(value: f64) -> u64 {
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            match power.checked_mul(factor) {
                Some(round) if round as f64 >= value => return round,
                Some(_) => {}
                None => return u64::MAX,
            }
        }
        match power.checked_mul(10) {
            Some(next) => power = next,
            None => return u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(measured: (f64, u64), simulated: (f64, u64)) -> Candidate {
        let point = |(cost, latency_ns)| Point { cost, latency_ns };
        Candidate { measured: point(measured), simulated: point(simulated) }
    }

    #[test]
    fn choices_and_their_regret_by_hand() {
        let candidates = [
            candidate((4.0, 10), (4.0, 10)),
            candidate((2.0, 20), (2.0, 25)),
            candidate((1.0, 60), (1.0, 40)),
            candidate((2.5, 21), (1.5, 21)),
        ];
        let found = fidelity(&candidates, &[50, 5, 22, 10, 100, 50]).unwrap();
        let of = |target: u64| *found.choices.iter().find(|choice| choice.target_ns == target).unwrap();
        assert_eq!(found.choices.len(), 5, "sorted, and each once");
        assert_eq!((of(5).measured, of(5).simulated, of(5).regret), (None, None, Regret::Neither));
        assert_eq!(of(10).regret, Regret::CostPercent(Some(0.0)));
        // Of 22 the simulator sees the fourth alone as cheap enough: it costs a quarter more.
        assert_eq!((of(22).measured, of(22).simulated), (Some(1), Some(3)));
        assert_eq!(of(22).regret, Regret::CostPercent(Some(25.0)));
        assert_eq!(of(50).regret, Regret::MissesNs(60));
        assert_eq!(of(100).simulated, Some(2));
        assert_eq!(found.equal_choices, 3);
        let late = fidelity(&[candidate((1.0, 10), (1.0, 30))], &[20]).unwrap();
        assert_eq!(late.choices[0].regret, Regret::Abstains);
        assert_eq!((late.tau_cost, late.tau_latency), (None, None));
        let early = fidelity(&[candidate((1.0, 30), (1.0, 10))], &[20]).unwrap();
        assert_eq!(early.choices[0].regret, Regret::MissesNs(30));
        assert_eq!(fidelity(&[], &[1]), None);
    }

    #[test]
    fn tau_of_known_orders() {
        let of = |pairs: &[(f64, f64)]| kendall_tau_b(pairs);
        assert_eq!(of(&[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]), Some(1.0));
        assert_eq!(of(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
        // Two concordant pairs, one tie in the second: 2 / √(3 × 2).
        let tied = of(&[(1.0, 1.0), (2.0, 1.0), (3.0, 2.0)]).unwrap();
        assert!((tied - 2.0 / 6.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(of(&[(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(f64::NAN, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn targets_are_round_and_inside() {
        let candidates: Vec<Candidate> =
            [180_000_000, 2_000_000_000, 33_000_000_000].map(|ns| candidate((1.0, ns), (1.0, ns))).to_vec();
        assert_eq!(
            auto_targets(&candidates, Some(700_000_000)),
            [500_000_000, 700_000_000, 2_000_000_000, 5_000_000_000, 20_000_000_000]
        );
        assert!(auto_targets(&[], None).is_empty());
        assert_eq!(auto_targets(&[candidate((1.0, u64::MAX), (1.0, 1))], None), [u64::MAX]);
        let close = [candidate((1.0, 11_400), (1.0, 1)), candidate((1.0, 12_300), (1.0, 1))];
        assert_eq!(auto_targets(&close, None), [12_000], "three of four round to it, and 13,000 is outside");
        let closer = [candidate((1.0, 11_413), (1.0, 1)), candidate((1.0, 11_414), (1.0, 1))];
        assert_eq!(auto_targets(&closer, None), [11_414]);
        assert_eq!(round_up(0.0), 1);
    }

    proptest! {
        #[test]
        fn tau_is_that_of_the_definition(values in proptest::collection::vec((0i32..6, 0i32..6), 0..40)) {
            let pairs: Vec<(f64, f64)> = values.iter().map(|(a, b)| (f64::from(*a), f64::from(*b))).collect();
            let (mut difference, mut first, mut second) = (0, 0, 0);
            for (index, (a, b)) in values.iter().enumerate() {
                for (c, d) in &values[index + 1..] {
                    difference += (a - c).signum() * (b - d).signum();
                    first += i32::from(a != c);
                    second += i32::from(b != d);
                }
            }
            match kendall_tau_b(&pairs) {
                None => prop_assert!(first == 0 || second == 0),
                Some(tau) => {
                    let wanted = f64::from(difference) / (f64::from(first).sqrt() * f64::from(second).sqrt());
                    prop_assert!((tau - wanted).abs() < 1e-9, "{tau} {wanted}");
                }
            }
        }

        /// No regret is negative, and a simulator that is right has none.
        #[test]
        fn a_right_simulator_has_no_regret(
            values in proptest::collection::vec((1u32..9, 1u64..9, 1u32..9, 1u64..9), 1..20),
            target in 1u64..9,
        ) {
            let candidates: Vec<Candidate> = values
                .iter()
                .map(|(a, b, c, d)| candidate((f64::from(*a), *b), (f64::from(*c), *d)))
                .collect();
            let found = fidelity(&candidates, &[target]).unwrap();
            match found.choices[0].regret {
                Regret::CostPercent(percent) => prop_assert!(percent.unwrap() >= 0.0),
                Regret::MissesNs(latency_ns) => prop_assert!(latency_ns > target),
                Regret::Neither | Regret::Abstains => {}
            }
            let right: Vec<Candidate> =
                candidates.iter().map(|c| Candidate { simulated: c.measured, ..*c }).collect();
            let found = fidelity(&right, &[target]).unwrap();
            prop_assert_eq!(found.equal_choices, 1);
            prop_assert!(matches!(found.choices[0].regret, Regret::Neither | Regret::CostPercent(Some(0.0))));
            prop_assert!(found.tau_cost.is_none_or(|tau| tau == 1.0));
        }
    }
}
