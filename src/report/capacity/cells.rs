//! The table of all cells.

use serde::Serialize;

use super::super::chart::MM;
use super::super::number::{NONE, TimeUnit, count, significant};
use super::super::text::{clean, fit};
use super::value_text;
use super::words::{Words, limited_by, rate};
use crate::capacity::{Cell, Objective, Standing};

/// Rows before the rest is only counted.
const MOST_ROWS: usize = 90;
/// Axes that have columns of their own.
const MOST_AXES: usize = 4;

#[derive(Debug, Serialize)]
pub(super) struct CellTable {
    title: String,
    note: String,
    /// Heads, and whether a column is of numbers.
    columns: Vec<(String, bool)>,
    rows: Vec<Row>,
    /// Rows so many that they are set closer.
    dense: bool,
    more: String,
}

#[derive(Debug, Serialize)]
struct Row {
    cells: Vec<String>,
    /// `front`, `beaten`, `never` or empty.
    standing: &'static str,
}

/// One column: its head, whether it is of numbers, and the text of a cell by place.
type Column<'a> = (String, bool, Box<dyn Fn(usize) -> String + 'a>);

impl CellTable {
    pub(super) fn of(words: &Words<'_>) -> CellTable {
        let capacity = words.capacity;
        let shown = &words.order[..words.order.len().min(MOST_ROWS)];
        let columns = columns(words);
        let row = |index: &usize| Row {
            cells: columns.iter().map(|(.., text)| text(*index)).collect(),
            standing: match capacity.cells[*index].standing {
                Standing::OnFront => "front",
                _ if capacity.cells[*index].outcome.highest_qps().is_none() => "never",
                Standing::DominatedBy(_) => "beaten",
                Standing::Apart => "",
            },
        };
        let left_out = words.order.len() - shown.len();
        let fixed: Vec<String> = (words.fixed.iter())
            .take(6)
            .map(|axis| {
                let path = &capacity.axes[*axis];
                let value = value_text(&capacity.cells[0].settings[*axis].value);
                format!("{} {value}", clean(path.rsplit('.').next().unwrap_or(path), 24))
            })
            .collect();
        let of_all =
            if fixed.is_empty() { String::new() } else { format!(" In every cell: {}.", fixed.join(", ")) };
        let sorted = match capacity.cells.iter().any(|cell| cell.cost_per_million.is_some()) {
            true => "The cheapest first. ",
            false => "The highest rate first. ",
        };
        CellTable {
            title: if capacity.cells.len() == 1 { "The cell".to_owned() } else { "All cells".to_owned() },
            note: format!(
                "{}Goodput, output and percentiles at the highest rate that holds. Limited by: what is missed at the next \
                 rate tried.{of_all}",
                if words.best().is_none() || capacity.cells.len() == 1 { "" } else { sorted }
            ),
            rows: shown.iter().map(row).collect(),
            dense: shown.len() > 30,
            columns: columns.into_iter().map(|(head, number, _)| (head, number)).collect(),
            more: match left_out {
                0 => String::new(),
                n => format!("{} more cells are in capacity.json, which is attached.", count(n as u64)),
            },
        }
    }
}

fn columns<'a>(words: &'a Words<'_>) -> Vec<Column<'a>> {
    let cells = &words.capacity.cells;
    let several = cells.len() > 1;
    let mut out: Vec<Column<'a>> = Vec::new();
    if several {
        out.push(("Cell".to_owned(), true, Box::new(|index| count(index as u64 + 1))));
    }
    if words.hardware {
        let text = |index: usize| fit(&words.hardware_of(index).unwrap_or_default(), 8.0, false, 22.0 * MM);
        out.push(("Hardware".to_owned(), false, Box::new(text)));
    }
    if words.axes.len() > MOST_AXES {
        out.push((words.known_as_head(), false, Box::new(|index| words.short(index, 8.0, 50.0 * MM))));
    } else {
        for (axis, name) in &words.axes {
            let number = cells.iter().all(|cell| cell.settings[*axis].value.is_number());
            let text = move |index: usize| {
                fit(&value_text(&cells[index].settings[*axis].value), 8.0, false, 22.0 * MM)
            };
            out.push((fit(name, 7.5, true, 22.0 * MM), number, Box::new(text)));
        }
    }
    let load = |index: usize| cells[index].highest_load();
    let or_none =
        |value: Option<f64>, digits: usize| value.map_or(NONE.to_owned(), |v| significant(v, digits));
    out.push(("Devices".to_owned(), true, Box::new(|index| count(u64::from(cells[index].devices)))));
    out.push(("Highest rate, 1/s".to_owned(), true, Box::new(|index| rate(&cells[index].outcome))));
    out.push((
        "Goodput, 1/s".to_owned(),
        true,
        Box::new(move |index| or_none(load(index).map(|load| load.goodput_per_s), 3)),
    ));
    out.push((
        "Output, tokens/s".to_owned(),
        true,
        Box::new(move |index| or_none(load(index).map(|load| load.output_tokens_per_s), 4)),
    ));
    for objective in shown_percentiles(words) {
        let value = move |cell: &Cell| Some(cell.highest_load()?.percentiles(objective).p99_ns? as f64);
        let unit = TimeUnit::of(cells.iter().filter_map(value));
        let name = if objective == Objective::DelayP99 { "delay" } else { objective.metric() };
        out.push((
            format!("P99 {name}, {}", unit.symbol()),
            true,
            Box::new(move |index| or_none(value(&cells[index]).map(|ns| ns / unit.ns()), 3)),
        ));
    }
    if cells.iter().any(|cell| cell.price_per_device_hour.is_some()) {
        let head = format!("Cost, {}", words.currency);
        out.push((head, true, Box::new(move |index| or_none(cells[index].cost_per_million, 3))));
    }
    out.push(("Limited by".to_owned(), false, Box::new(|index| limited_by(&cells[index]))));
    if several && cells.iter().any(|cell| cell.standing != Standing::Apart) {
        let text = |index: usize| match cells[index].standing {
            Standing::OnFront => "on it".to_owned(),
            Standing::DominatedBy(by) => format!("beaten by {}", count(u64::from(by) + 1)),
            Standing::Apart => NONE.to_owned(),
        };
        out.push(("Front".to_owned(), false, Box::new(text)));
    }
    out
}

/// TTFT and TPOT, and what else has an objective.
fn shown_percentiles(words: &Words<'_>) -> Vec<Objective> {
    let has = |objective: &Objective| words.capacity.objectives.limit_ns(*objective).is_some();
    let always = |objective: &Objective| matches!(objective, Objective::TtftP99 | Objective::TpotP99);
    Objective::ALL.into_iter().filter(|objective| always(objective) || has(objective)).collect()
}

impl Words<'_> {
    fn known_as_head(&self) -> String {
        fit(&self.known_as, 7.5, true, 50.0 * MM)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capacity::{Capacity, Setting, sample_queue};

    /// Two cards of two prices, each with a profile, beside the settings of the sample.
    fn cards(change: impl Fn(usize) -> &'static str) -> Capacity {
        let mut plan = sample_queue::plan(4);
        for path in ["hardware.device", "hardware.price-per-hour", "backend.sim.profile"] {
            plan.axes.push(path.to_owned());
        }
        for (index, cell) in plan.cells.iter_mut().enumerate() {
            let (device, price) = [("l4", 0.7), ("h100", 3.0)][index % 2];
            device.clone_into(&mut cell.hardware);
            for (path, value) in [
                ("hardware.device", json!(device)),
                ("hardware.price-per-hour", json!(price)),
                ("backend.sim.profile", json!(change(index))),
            ] {
                cell.settings.push(Setting { path: path.to_owned(), value });
            }
        }
        sample_queue::searched(plan, false)
    }

    #[test]
    fn cards_have_a_column_and_their_settings_none_of_their_own() {
        let heads = |capacity: &Capacity| -> Vec<String> {
            let table = CellTable::of(&Words::of(capacity));
            table.columns.into_iter().map(|(head, _)| head).collect()
        };
        let capacity = cards(|index| ["profiles/l4", "profiles/h100"][index % 2]);
        let shown = heads(&capacity);
        assert_eq!(shown[..3], ["Cell", "Hardware", "chunk-size"], "{shown:?}");
        assert_eq!(shown.iter().filter(|head| *head == "Hardware").count(), 1);
        assert!(!shown.iter().any(|head| ["device", "price-per-hour", "profile"].contains(&head.as_str())));
        let words = Words::of(&capacity);
        assert!(words.known_as.starts_with("hardware × chunk-size") && words.label(1).starts_with("h100 × "));
        // Where one card is simulated from two profiles, its name does not tell which.
        let two = cards(|index| ["a", "b", "c", "d"][index]);
        assert!(heads(&two).contains(&"profile".to_owned()));
    }
}
