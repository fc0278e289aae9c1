//! The error budget: which part of an error is the predictor's, which the policy's, and which the machine's.
//!
//! A measured run is replayed: the simulated policy forms its batches, and each takes as long as it was measured to.
//! What is still wrong then is not the predictor's: the policy forms other batches. It is also simulated with the machine
//! as fast as it was then, which reference steps tell; what that moves is the machine's. The rest of the error is the
//! predictor's, so that they add up.

use super::align::{Aligned, replayed_spans};
use super::comparison::{Budget, BudgetRow, MetricRow};
use super::headline::{METRICS, STATISTICS};
use super::round::{error_percent, round};
use crate::machine::DisturbedSteps;
use crate::metrics::{Replay, percentile_of_sorted};

/// Splits the errors of the headline. None without a replay of every repeat, or where a replay served other requests
/// or tokens than are compared.
pub(super) fn budget(
    aligned: &Aligned,
    headline: &[MetricRow],
    replays: &[Replay],
    disturbed: &[Option<&DisturbedSteps>],
) -> Option<Budget> {
    if replays.is_empty() || replays.len() != aligned.real.len() {
        return None;
    }
    let spans = replays.iter().map(|replay| replayed_spans(&replay.record, aligned));
    let spans = spans.collect::<Option<Vec<_>>>()?;
    let drifted = replays.iter().map(|replay| replayed_spans(replay.drifted.as_ref()?, aligned));
    let drifted = drifted.collect::<Option<Vec<_>>>();
    let mut rows = Vec::with_capacity(headline.len());
    for metric in METRICS {
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let real: Vec<Vec<f64>> = aligned.real.iter().map(|run| sorted(run.values(metric))).collect();
        let replayed: Vec<Vec<f64>> = spans.iter().map(|run| sorted(run.values(metric))).collect();
        let drifted: Option<Vec<Vec<f64>>> =
            drifted.as_ref().map(|runs| runs.iter().map(|run| sorted(run.values(metric))).collect());
        for statistic in STATISTICS {
            let name = statistic.name();
            let of = |row: &&MetricRow| row.metric == metric.name() && row.stat == name;
            let Some(row) = headline.iter().find(of) else { continue };
            let mean = |runs: &[Vec<f64>]| {
                runs.iter().filter_map(|run| statistic.of_sorted(run)).sum::<f64>() / runs.len() as f64
            };
            let policy = round(error_percent(mean(&real), mean(&replayed)));
            let machine = drifted
                .as_ref()
                .map(|drifted| round(row.error_percent - error_percent(mean(&real), mean(drifted))));
            rows.push(BudgetRow {
                metric: row.metric.clone(),
                stat: row.stat.clone(),
                policy_percent: policy,
                machine_percent: machine,
                predictor_percent: round(row.error_percent - policy - machine.unwrap_or(0.0)),
            });
        }
    }
    // Of each step, what it took and should take, and whether it was disturbed.
    let steps: Vec<(&(u64, u64), bool)> = replays
        .iter()
        .zip(disturbed)
        .flat_map(|(replay, disturbed)| {
            let is = move |step| disturbed.is_some_and(|disturbed| disturbed.contains(step));
            (0..).zip(&replay.durations_ns).map(move |(step, durations)| (durations, is(step)))
        })
        .collect();
    let time = |steps: &[(&(u64, u64), bool)], only: bool| {
        let of = steps.iter().filter(|(_, disturbed)| *disturbed || !only);
        of.map(|(durations, _)| durations.0 as f64).sum::<f64>()
    };
    let num_steps_disturbed = steps.iter().filter(|(_, disturbed)| *disturbed).count();
    let all_disturbed = num_steps_disturbed == steps.len();
    let durations = || {
        steps.iter().filter(|(_, disturbed)| all_disturbed || !*disturbed).map(|(durations, _)| *durations)
    };
    let total = |pick: fn(&(u64, u64)) -> u64| durations().map(|pair| pick(pair) as f64).sum::<f64>();
    let (measured_ns, predicted_ns) = (total(|pair| pair.0), total(|pair| pair.1));
    let mut errors: Vec<f64> = durations()
        .filter(|(measured, _)| *measured > 0)
        .map(|(measured, predicted)| error_percent(*measured as f64, *predicted as f64).abs())
        .collect();
    errors.sort_by(f64::total_cmp);
    let percentile = |share: f64| percentile_of_sorted(&errors, share).map_or(0.0, round);
    Some(Budget {
        num_steps: steps.len() as u64,
        num_steps_disturbed: num_steps_disturbed as u64,
        disturbed_time_percent: match time(&steps, false) {
            0.0 => 0.0,
            all => round(100.0 * time(&steps, true) / all),
        },
        num_steps_apart: replays.iter().map(|replay| replay.apart).sum(),
        steps_percent: round(error_percent(measured_ns, predicted_ns)),
        step_p50_percent: percentile(0.5),
        step_p90_percent: percentile(0.9),
        rows,
    })
}

/// Whether a budget is one of these errors: a row for each of theirs, parts that add up.
pub(super) fn fits(budget: &Budget, headline: &[MetricRow]) -> bool {
    let sums = |part: &BudgetRow, row: &MetricRow| {
        let parts = [part.policy_percent, part.machine_percent.unwrap_or(0.0), part.predictor_percent];
        let sum: f64 = parts.iter().sum();
        // Each part is rounded to six digits.
        let slack = 1e-5 * parts.iter().map(|part| part.abs()).sum::<f64>() + 1e-9;
        part.metric == row.metric && part.stat == row.stat && (sum - row.error_percent).abs() <= slack
    };
    let spread = [budget.step_p50_percent, budget.step_p90_percent];
    let disturbed = budget.disturbed_time_percent;
    budget.rows.len() == headline.len()
        && budget.rows.iter().zip(headline).all(|(part, row)| sums(part, row))
        && budget.steps_percent.is_finite()
        && budget.num_steps_disturbed <= budget.num_steps
        && (0.0..=100.0).contains(&disturbed)
        && spread.iter().all(|percent| percent.is_finite() && *percent >= 0.0)
        && spread.is_sorted()
}

#[cfg(test)]
mod tests {
    use super::super::assemble::tests::input;
    use super::super::{CompareInput, compare};
    use super::*;
    use crate::metrics::RunRecord;

    fn replay(record: &RunRecord, scale_percent: u64) -> Replay {
        let step = |step: crate::metrics::StepView<'_>| {
            let took = step.end_ns - step.start_ns;
            (took, took * scale_percent / 100)
        };
        Replay {
            durations_ns: record.steps.iter().map(step).collect(),
            record: RunRecord { steps: Default::default(), ..record.clone() },
            apart: 0,
            drifted: None,
        }
    }

    #[test]
    fn where_the_policy_is_right_all_error_is_the_predictors() {
        let mut input = input(40, 110);
        input.replays = input.real.iter().map(|(record, _)| replay(record, 110)).collect();
        let made = compare(&input).unwrap();
        let budget = made.budget.clone().unwrap();
        assert!((9.0..=10.0).contains(&budget.steps_percent), "{budget:?}");
        assert_eq!((budget.num_steps_apart, budget.rows.len()), (0, 12));
        for (part, row) in budget.rows.iter().zip(&made.headline) {
            assert_eq!((part.policy_percent, part.predictor_percent), (0.0, row.error_percent));
        }
        assert!(fits(&budget, &made.headline));
        let mut other = budget;
        other.rows[3].predictor_percent += 1.0;
        assert!(!fits(&other, &made.headline));
    }

    #[test]
    fn parts_add_up_where_the_policy_is_wrong() {
        let mut input = input(40, 110);
        input.replays = input.real.iter().map(|_| replay(&input.sim.0, 100)).collect();
        let made = compare(&input).unwrap();
        let budget = made.budget.unwrap();
        assert!(budget.rows.iter().any(|row| row.policy_percent > 1.0), "{budget:?}");
        assert!(fits(&budget, &made.headline));
        assert_eq!(budget.steps_percent, 0.0);
    }

    #[test]
    fn what_the_machine_moved_is_no_error_of_the_predictor() {
        // Right at the speed of the profile, and a tenth too slow at that of the run.
        let mut input = input(40, 110);
        let (real, sim) = (input.real.clone(), input.sim.0.clone());
        let drifted = |record: &RunRecord| RunRecord { steps: Default::default(), ..record.clone() };
        input.replays = real
            .iter()
            .map(|(record, _)| Replay { drifted: Some(drifted(record)), ..replay(record, 100) })
            .collect();
        let made = compare(&input).unwrap();
        let budget = made.budget.clone().unwrap();
        for (part, row) in budget.rows.iter().zip(&made.headline) {
            assert_eq!((part.machine_percent, part.predictor_percent), (Some(row.error_percent), 0.0));
        }
        assert!(fits(&budget, &made.headline));
        assert_eq!(made.errors_at_speed().unwrap(), [0.0; 12]);
        assert_eq!(made.within_at_speed(), Some(12));
        let mut off = made.clone();
        let rows = &mut off.budget.as_mut().unwrap().rows;
        // Beyond the limit and the noise, within the noise, and within the limit.
        let noise = off.headline[1].noise_percent.unwrap();
        rows[0].predictor_percent = f64::max(off.pass_percent, noise) + 0.1;
        off.headline[1].noise_percent = Some(off.pass_percent + 2.0);
        rows[1].predictor_percent = -(off.pass_percent + 1.0);
        rows[2].predictor_percent = off.pass_percent;
        assert_eq!(off.within_at_speed(), Some(11));
        // One whose speed nobody knows hides that of all.
        input.replays[1].drifted = None;
        let unknown = compare(&input).unwrap();
        assert_eq!(unknown.within_at_speed(), None);
        assert!(unknown.budget.unwrap().rows.iter().all(|row| row.machine_percent.is_none()));
        // The same speed.
        input.replays.iter_mut().for_each(|replay| replay.drifted = Some(drifted(&sim)));
        let same = compare(&input).unwrap().budget.unwrap();
        let none = |row: &BudgetRow| row.machine_percent.is_some_and(|machine| machine.abs() < 1e-3);
        assert!(same.rows.iter().all(none), "{same:?}");
    }

    #[test]
    fn disturbed_steps_are_set_apart() {
        let mut input = input(40, 110);
        input.replays = input.real.iter().map(|(record, _)| replay(record, 110)).collect();
        // A step that the predictor cannot know of.
        for (replay, (_, meta)) in input.replays.iter_mut().zip(&mut input.real) {
            replay.durations_ns[1].0 *= 50;
            let mut disturbed = DisturbedSteps::default();
            let switched = crate::machine::Disturbance { involuntary_switches: 3, ..Default::default() };
            disturbed.add(1, switched);
            meta.disturbed = Some(disturbed);
        }
        let budget = compare(&input).unwrap().budget.unwrap();
        assert_eq!(budget.num_steps_disturbed, input.real.len() as u64);
        assert!(budget.disturbed_time_percent > 10.0, "{budget:?}");
        assert!((9.0..=10.0).contains(&budget.steps_percent), "{budget:?}");
    }

    #[test]
    fn there_is_none_without_a_replay_of_every_repeat() {
        let none = input(20, 100);
        assert!(compare(&none).unwrap().budget.is_none());
        let one = CompareInput { replays: vec![replay(&none.real[0].0, 100)], ..none };
        assert!(compare(&one).unwrap().budget.is_none());
    }
}
