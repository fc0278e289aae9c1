//! Aligned columns for terminals.

use crate::compare::{Comparison, Verdict, duration};

/// The headline of a comparison: TTFT, TPOT and E2E, measured and simulated, and where it is known the error of a simulation
/// with the machine as fast as it was while it was measured.
pub fn headline(comparison: &Comparison) -> String {
    let at_speed = comparison.errors_at_speed();
    let mut rows = vec![[
        "metric".to_owned(),
        "statistic".to_owned(),
        "real".to_owned(),
        "simulated".to_owned(),
        "error".to_owned(),
        "at its speed".to_owned(),
        "noise floor".to_owned(),
        "verdict".to_owned(),
    ]];
    let unknown = if comparison.recorded { "not available" } else { "unknown" };
    let mut last = "";
    for (index, row) in comparison.headline.iter().enumerate() {
        let metric = if row.metric == last { String::new() } else { row.metric.clone() };
        last = &row.metric;
        rows.push([
            metric,
            row.stat.clone(),
            duration(row.measured_ns),
            duration(row.simulated_ns),
            format!("{:+.1} %", row.error_percent),
            at_speed.as_ref().map_or(String::new(), |errors| format!("{:+.1} %", errors[index])),
            row.noise_percent.map_or(unknown.to_owned(), |noise| format!("±{noise:.1} %")),
            verdict(row.verdict).to_owned(),
        ]);
    }
    match at_speed {
        Some(_) => align(&rows),
        None => align(
            &rows
                .into_iter()
                .map(|[metric, statistic, real, simulated, error, _, noise, verdict]| {
                    [metric, statistic, real, simulated, error, noise, verdict]
                })
                .collect::<Vec<_>>(),
        ),
    }
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

/// A size for people, in binary units.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes as f64;
    let mut unit = "B";
    for larger in units {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = larger;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ if scaled < 10.0 => format!("{scaled:.1} {unit}"),
        _ => format!("{scaled:.0} {unit}"),
    }
}

/// Pads columns: the first two to the left, numbers to the right, the last as it is.
pub fn align<const N: usize>(rows: &[[String; N]]) -> String {
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
    fn sizes_have_two_digits_or_more() {
        let of = [0, 1023, 1024, 10_239, 10_240, 1 << 20, 5 << 40, u64::MAX].map(size);
        assert_eq!(
            of,
            ["0 B", "1023 B", "1.0 KiB", "10.0 KiB", "10 KiB", "1.0 MiB", "5.0 TiB", "16777216 TiB"]
        );
    }
}
