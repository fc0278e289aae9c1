//! Results of two locks side by side.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::operand::Side;
use super::words::{counted, few, plain};
use crate::cli::table;
use crate::compare::{Comparison, Verdict, duration};
use crate::run::{self, Project};

/// Runs that are told figure by figure.
const IN_FULL: usize = 3;

/// Runs that are told by their verdicts, for people.
const SHOWN: usize = 20;

/// Statistics that are told of each metric.
const STATS: [&str; 2] = ["P50", "P99"];

/// The results of a run that both locks have; None: not run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunResults {
    pub run: String,
    pub old: Option<Results>,
    pub new: Option<Results>,
}

/// What a comparison says of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    pub verdict: Verdict,
    pub figures: Vec<Figure>,
}

/// A statistic of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    pub metric: String,
    pub stat: String,
    pub measured_ns: f64,
    pub simulated_ns: f64,
    pub error_percent: f64,
    pub verdict: Verdict,
}

/// The results of the runs that both sides have, as far as the project has them.
pub fn of(old: &Side, new: &Side) -> Vec<RunResults> {
    let (Some(old_lock), Some(new_lock)) = (&old.lock, &new.lock) else { return Vec::new() };
    let project = new.file.as_ref().or(old.file.as_ref()).and_then(|file| Project::of(file).ok());
    let found = |lock| project.as_ref().map(|project| run::comparisons(project, lock)).unwrap_or_default();
    let (old, new): (HashMap<String, Comparison>, HashMap<String, Comparison>) =
        (found(old_lock), found(new_lock));
    let known: HashSet<&str> = old_lock.runs.iter().map(|run| run.id.as_str()).collect();
    let common = new_lock.runs.iter().filter(|run| known.contains(run.id.as_str()));
    let results = common.map(|run| RunResults {
        run: run.id.clone(),
        old: old.get(&run.id).map(Results::of),
        new: new.get(&run.id).map(Results::of),
    });
    results.collect()
}

impl Results {
    fn of(comparison: &Comparison) -> Self {
        let rows = comparison.headline.iter().filter(|row| STATS.contains(&row.stat.as_str()));
        let figures = rows.map(|row| Figure {
            metric: row.metric.clone(),
            stat: row.stat.clone(),
            measured_ns: row.measured_ns,
            simulated_ns: row.simulated_ns,
            error_percent: row.error_percent,
            verdict: row.verdict,
        });
        Self { verdict: comparison.verdict, figures: figures.collect() }
    }
}

impl RunResults {
    /// `pass → not run`.
    pub fn verdicts(&self) -> String {
        let word =
            |results: &Option<Results>| results.as_ref().map_or("not run", |it| table::verdict(it.verdict));
        format!("{} → {}", word(&self.old), word(&self.new))
    }

    /// Metric, statistic, measured, simulated, error and verdict of both, a row each.
    pub fn rows(&self) -> Vec<[String; 6]> {
        let figures =
            |results: &'_ Option<Results>| results.as_ref().map(|it| it.figures.clone()).unwrap_or_default();
        let (old, new) = (figures(&self.old), figures(&self.new));
        let mut rows = Vec::new();
        for figure in if new.is_empty() { &old } else { &new } {
            let same = |other: &&Figure| (&other.metric, &other.stat) == (&figure.metric, &figure.stat);
            let (was, is) = (old.iter().find(same), new.iter().find(same));
            let both = |of: fn(&Figure) -> String| {
                let one = |figure: Option<&Figure>| figure.map_or_else(|| "–".to_owned(), of);
                format!("{} → {}", one(was), one(is))
            };
            rows.push([
                figure.metric.clone(),
                figure.stat.clone(),
                both(|figure| duration(figure.measured_ns)),
                both(|figure| duration(figure.simulated_ns)),
                both(|figure| format!("{:+.1} %", figure.error_percent)),
                both(|figure| table::verdict(figure.verdict).to_owned()),
            ]);
        }
        rows
    }
}

/// Heads of the columns of [`RunResults::rows`].
pub const HEADS: [&str; 6] = ["metric", "statistic", "measured", "simulated", "error", "verdict"];

/// Runs as people are told of them.
pub struct Told<'a> {
    /// Figure by figure.
    pub in_full: Vec<&'a RunResults>,
    /// By their verdicts.
    pub short: Vec<&'a RunResults>,
    /// How many more have results.
    pub more: usize,
    /// Those that were not run with either lock.
    pub not_run: Vec<String>,
}

/// Sorts results for people, in the order of the runs.
pub fn told(results: &[RunResults]) -> Told<'_> {
    let (run, not_run): (Vec<&RunResults>, Vec<&RunResults>) =
        results.iter().partition(|results| results.old.is_some() || results.new.is_some());
    let (in_full, rest) = run.split_at(run.len().min(IN_FULL));
    let (short, more) = rest.split_at(rest.len().min(SHOWN));
    Told {
        in_full: in_full.to_vec(),
        short: short.to_vec(),
        more: more.len(),
        not_run: not_run.into_iter().map(|results| results.run.clone()).collect(),
    }
}

/// The text for a terminal.
pub fn text(results: &[RunResults]) -> String {
    let bold = anstyle::Style::new().bold();
    let mut out = format!("\n{bold}results{bold:#}\n");
    if results.is_empty() {
        out.push_str("  the locks have no run in common\n");
    }
    let Told { in_full, short, more, not_run } = told(results);
    for run in in_full {
        out.push_str(&format!("  {bold}{}{bold:#}: {}\n", plain(&run.run, 100), run.verdicts()));
        let heads = HEADS.map(str::to_owned);
        let rows: Vec<[String; 6]> = std::iter::once(heads).chain(run.rows()).collect();
        out.push_str(&columns(&rows));
    }
    for run in short {
        out.push_str(&format!("  {}: {}\n", plain(&run.run, 100), run.verdicts()));
    }
    if more > 0 {
        out.push_str(&format!("  and {} more\n", counted(more, "run")));
    }
    if !not_run.is_empty() {
        out.push_str(&format!("  not run: {}\n", few(&not_run)));
    }
    out
}

fn columns(rows: &[[String; 6]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str("    ");
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}
