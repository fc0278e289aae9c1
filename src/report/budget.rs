//! The error budget of a run: a bar for each headline error, in its predictor's, its policy's and its machine's part.

use serde::Serialize;

use super::axis::Axis;
use super::curve::round;
use super::number::{count, percent, size_percent};
use crate::compare::{Budget, BudgetRow, Comparison, MetricRow};

#[derive(Debug, Serialize)]
pub(super) struct BudgetSection {
    note: String,
    alt: String,
    /// Places of ticks, and zero's.
    ticks: Vec<(f64, String)>,
    zero: f64,
    rows: Vec<BudgetBar>,
}

/// One error. Ends of bars are fractions of the width.
#[derive(Debug, Serialize)]
struct BudgetBar {
    name: String,
    /// Of the predictor's, the policy's and the machine's part.
    bars: [[f64; 2]; 3],
    /// The machine's own spread, around zero.
    noise: Option<[f64; 2]>,
    total_at: f64,
    total: String,
    parts: String,
}

impl BudgetSection {
    /// The section of a comparison whose measured runs were replayed.
    pub(super) fn of(c: &Comparison) -> Option<BudgetSection> {
        let budget = c.budget.as_ref()?;
        let shown = |(part, row): &(&BudgetRow, &MetricRow)| {
            let finite = parts_of(part).iter().chain([&row.error_percent]).all(|percent| percent.is_finite());
            (row.stat == "P50" || row.stat == "P99") && finite
        };
        let rows: Vec<(&BudgetRow, &MetricRow)> = budget.rows.iter().zip(&c.headline).filter(shown).collect();
        if rows.is_empty() {
            return None;
        }
        let ends = rows.iter().flat_map(|(part, row)| {
            let [(_, predictor), (_, policy), (_, machine)] = stacked(part);
            let noise = row.noise_percent.filter(|noise| noise.is_finite()).unwrap_or(0.0);
            [predictor, policy, machine, row.error_percent, noise, -noise]
        });
        let (low, high) = ends.fold((0.0, 0.0), |(low, high): (f64, f64), end| (low.min(end), high.max(end)));
        let axis = Axis::linear(low, high.max(0.5));
        let at = |value: f64| round(axis.at(value).clamp(0.0, 1.0));
        let bar = |(part, row): &(&BudgetRow, &MetricRow)| {
            let machine = part.machine_percent.map(|machine| format!(", machine {}", percent(machine)));
            BudgetBar {
                name: format!("{} {}", row.metric, row.stat),
                bars: stacked(part).map(|(from, to)| [at(from), at(to)]),
                noise: row.noise_percent.map(|noise| [at(-noise), at(noise)]),
                total_at: at(row.error_percent),
                total: percent(row.error_percent),
                parts: format!(
                    "predictor {}, policy {}{}",
                    percent(part.predictor_percent),
                    percent(part.policy_percent),
                    machine.unwrap_or_default()
                ),
            }
        };
        let bars: Vec<BudgetBar> = rows.iter().map(bar).collect();
        let told = bars.iter().map(|bar| format!("{} {}: {}", bar.name, bar.total, bar.parts));
        Some(BudgetSection {
            note: note(budget),
            alt: format!("Error budget. {}.", told.collect::<Vec<_>>().join("; ")),
            ticks: axis.ticks.iter().map(|(value, _)| (at(*value), tick(*value))).collect(),
            zero: at(0.0),
            rows: bars,
        })
    }
}

/// The predictor's, the policy's and the machine's part of an error.
fn parts_of(part: &BudgetRow) -> [f64; 3] {
    [part.predictor_percent, part.policy_percent, part.machine_percent.unwrap_or(0.0)]
}

/// Where the bars begin and end: those on the same side of zero one after the other.
fn stacked(part: &BudgetRow) -> [(f64, f64); 3] {
    let (mut below, mut above) = (0.0, 0.0);
    parts_of(part).map(|part| {
        let end = if part < 0.0 { &mut below } else { &mut above };
        let from = std::mem::replace(end, *end + part);
        (from, *end)
    })
}

fn tick(value: f64) -> String {
    if value == 0.0 { "0\u{202f}%".to_owned() } else { percent(value) }
}

fn note(budget: &Budget) -> String {
    let apart = match budget.num_steps_apart {
        0 => "the batches are the measured ones".to_owned(),
        n => format!("{} batches are others", count(n)),
    };
    let disturbed = match budget.num_steps_disturbed {
        0 => String::new(),
        n => format!(
            " {} disturbed steps, {} of the time, left out.",
            count(n),
            size_percent(budget.disturbed_time_percent)
        ),
    };
    let machine = match budget.knows_machine() {
        true => ", what another speed of the machine moves its own",
        false => "",
    };
    format!(
        "Measured runs replayed, {} steps as long as measured: {apart}. What is wrong then is the policy’s{machine}, the \
         rest the predictor’s: {} on all steps, {} on one at P50, {} at P90.{disturbed}",
        count(budget.num_steps),
        percent(budget.steps_percent),
        size_percent(budget.step_p50_percent),
        size_percent(budget.step_p90_percent)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_stacked_on_their_side_of_zero() {
        let part = |predictor_percent, policy_percent, machine_percent| BudgetRow {
            metric: "TTFT".to_owned(),
            stat: "P50".to_owned(),
            policy_percent,
            machine_percent,
            predictor_percent,
        };
        assert_eq!(stacked(&part(2.0, 1.0, None)), [(0.0, 2.0), (2.0, 3.0), (3.0, 3.0)]);
        assert_eq!(stacked(&part(-2.0, -1.0, Some(-4.0))), [(0.0, -2.0), (-2.0, -3.0), (-3.0, -7.0)]);
        assert_eq!(stacked(&part(2.0, -1.0, Some(3.0))), [(0.0, 2.0), (0.0, -1.0), (2.0, 5.0)]);
    }
}
