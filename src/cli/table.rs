//! Aligned columns for terminals.

use crate::compare::{Comparison, Verdict};

/// The headline of a comparison: TTFT, TPOT and E2E, measured and simulated.
pub fn headline(comparison: &Comparison) -> String {
    let mut rows = vec![[
        "metric".to_owned(),
        "statistic".to_owned(),
        "real".to_owned(),
        "simulated".to_owned(),
        "error".to_owned(),
        "noise floor".to_owned(),
        "verdict".to_owned(),
    ]];
    let mut last = "";
    for row in &comparison.headline {
        let metric = if row.metric == last { String::new() } else { row.metric.clone() };
        last = &row.metric;
        rows.push([
            metric,
            row.stat.clone(),
            duration(row.measured_ns),
            duration(row.simulated_ns),
            format!("{:+.1} %", row.error_percent),
            row.noise_percent.map_or("unknown".to_owned(), |noise| format!("±{noise:.1} %")),
            verdict(row.verdict).to_owned(),
        ]);
    }
    align(&rows)
}

/// The word for a verdict.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    }
}

/// The terminal colour of a verdict.
pub fn verdict_style(verdict: Verdict) -> anstyle::Style {
    let colour = match verdict {
        Verdict::Pass => anstyle::AnsiColor::Green,
        Verdict::Warn => anstyle::AnsiColor::Yellow,
        Verdict::Fail => anstyle::AnsiColor::Red,
    };
    colour.on_default().bold()
}

/// Four significant digits with the unit that suits.
pub fn duration(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns >= 1e9 => (ns / 1e9, "s"),
        ns if ns >= 1e6 => (ns / 1e6, "ms"),
        ns if ns >= 1e3 => (ns / 1e3, "µs"),
        ns => (ns, "ns"),
    };
    let decimals = match value {
        value if value >= 1000.0 => 0,
        value if value >= 100.0 => 1,
        value if value >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$} {unit}")
}

/// Pads columns: the first two to the left, numbers to the right, the last as it is.
fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| match column {
                0 | 1 => format!("{cell:<width$}", width = widths[column]),
                _ if column == N - 1 => cell.clone(),
                _ => format!("{cell:>width$}", width = widths[column]),
            })
            .collect();
        out.push_str("  ");
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_four_digits() {
        let shown: Vec<String> = [17_312_345.0, 1_970.0, 65.4e9, 999.0, 123_456_789.0].map(duration).into();
        assert_eq!(shown, ["17.31 ms", "1.970 µs", "65.40 s", "999.0 ns", "123.5 ms"]);
    }
}
