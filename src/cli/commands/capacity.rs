use std::process::ExitCode;

use super::super::args::CapacityArgs;
use super::super::error::CliError;
use super::super::output;
use super::super::table::align;
use super::super::terminal::Terminal;
use super::{request, shown};
use crate::capacity::{Capacity, Cell, Objective, Outcome, Standing};
use crate::compare::duration;
use crate::run;

/// Searches the highest request rate of every configuration, and shows what was found.
pub fn run(args: &CapacityArgs) -> Result<ExitCode, CliError> {
    let terminal = Terminal::new();
    let searched = run::search_capacity(request(&args.target)?, &terminal)?;
    let capacity = &searched.capacity;
    let limits: Vec<String> = capacity
        .objectives
        .set()
        .map(|(objective, limit)| format!("P99 {} within {}", objective.metric(), duration(limit as f64)))
        .collect();
    output::line(format_args!(
        "\nHighest request rate with {}; {} requests a probe\n",
        limits.join(", "),
        capacity.requests
    ))?;
    output::print(align(&table(capacity)))?;
    if capacity.cells.iter().any(|cell| cell.standing == Standing::OnFront) {
        output::line("\n* no other cell is both cheaper and faster")?;
    }
    output::line(format_args!("\ndocument  {}", shown(&searched.document)))?;
    output::line(format_args!("report    {}", shown(&searched.report)))?;
    Ok(ExitCode::SUCCESS)
}

fn table(capacity: &Capacity) -> Vec<[String; 8]> {
    let head = ["", "requests/s", "good/s", "tokens/s", "P99 TTFT", "P99 TPOT", "devices", "US$/M tokens"];
    let rows = capacity.cells.iter().map(|cell| row(capacity, cell));
    std::iter::once(head.map(str::to_owned)).chain(rows).collect()
}

fn row(capacity: &Capacity, cell: &Cell) -> [String; 8] {
    // The name of the hardware stands for its settings.
    let hardware = capacity.has_several_hardware().then(|| cell.hardware.clone());
    let settings = capacity.telling_axes();
    let settings = settings.iter().filter_map(|axis| cell.settings.get(*axis));
    let settings: Vec<String> = hardware
        .into_iter()
        .chain(settings.map(|setting| {
            let name = setting.path.rsplit('.').next().unwrap_or(&setting.path);
            format!(
                "{name}={}",
                setting.value.as_str().map_or_else(|| setting.value.to_string(), str::to_owned)
            )
        }))
        .collect();
    let name = if settings.is_empty() { capacity.name.clone() } else { settings.join(" ") };
    let mark = if cell.standing == Standing::OnFront { " *" } else { "" };
    let rate = match &cell.outcome {
        Outcome::Never { lowest_qps } => format!("below {lowest_qps}"),
        Outcome::Throughout { highest_qps } => format!("above {highest_qps}"),
        Outcome::Between { holds_qps, .. } => holds_qps.to_string(),
    };
    let load = cell.highest_load();
    let of = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let p99 = |objective: Objective| {
        of(load.and_then(|load| load.percentiles(objective).p99_ns).map(|ns| duration(ns as f64)))
    };
    [
        format!("{name}{mark}"),
        rate,
        of(load.map(|load| format!("{:.4}", load.goodput_per_s))),
        of(load.map(|load| format!("{:.0}", load.output_tokens_per_s))),
        p99(Objective::TtftP99),
        p99(Objective::TpotP99),
        cell.devices.to_string(),
        of(cell.cost_per_million.map(|cost| format!("{cost:.4}"))),
    ]
}
