//! A diff on a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::lines::{Line, lines};
use super::words::{few, meaning, plain, thousands, which};
use super::{Compared, results};
use crate::lock::{Impact, LockDiff, OtherRun};

/// Longest value that is shown, in characters.
const LONGEST: usize = 60;

/// Widest column of paths, in characters.
const WIDEST: usize = 56;

/// Added or removed runs that are listed.
const SHOWN_RUNS: usize = 8;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();

fn style(impact: Impact) -> Style {
    match impact {
        Impact::ComparisonBreaking => AnsiColor::Red.on_default().bold(),
        Impact::Measurement => AnsiColor::Yellow.on_default().bold(),
        Impact::Simulation => AnsiColor::Cyan.on_default().bold(),
        Impact::Verdict => AnsiColor::Blue.on_default().bold(),
        Impact::Cosmetic => Style::new().bold(),
    }
}

/// The text of a diff.
pub fn text(compared: &Compared) -> String {
    let Compared { diff, sentence, results, .. } = compared;
    let mut out = format!("{BOLD}{sentence}{BOLD:#}\n");
    for impact in Impact::ALL {
        let (lines, _) = lines(diff, impact, LONGEST);
        if lines.is_empty() {
            continue;
        }
        let style = style(impact);
        let _ = writeln!(out, "\n{style}{}{style:#}: {}", impact.name(), meaning(diff, impact));
        facts(&mut out, &lines);
    }
    runs(&mut out, diff);
    made_again(&mut out, diff);
    out.push_str(&results.as_deref().map(results::text).unwrap_or_default());
    out
}

fn facts(out: &mut String, lines: &[Line]) {
    let width = |line: &Line| line.path.chars().count();
    let widest = lines.iter().map(width).filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for line in lines {
        let pad = " ".repeat(widest.saturating_sub(width(line)));
        let value = match (&line.old, &line.new) {
            (Some(old), Some(new)) => format!("{RED}{old}{RED:#} → {GREEN}{new}{GREEN:#}"),
            (None, Some(new)) => format!("added: {GREEN}{new}{GREEN:#}"),
            (Some(old), None) => format!("removed: {RED}{old}{RED:#}"),
            (None, None) => String::new(),
        };
        let space = if value.is_empty() || line.note.is_empty() { "" } else { "  " };
        let _ = writeln!(out, "  {}{pad}  {value}{space}{DIM}{}{DIM:#}", line.path, line.note);
    }
}

/// Runs that one of the locks does not have.
fn runs(out: &mut String, diff: &LockDiff) {
    if diff.added_runs.is_empty() && diff.removed_runs.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{BOLD}runs{BOLD:#}");
    for (runs, sign, style) in [(&diff.removed_runs, '-', RED), (&diff.added_runs, '+', GREEN)] {
        for run in runs.iter().take(SHOWN_RUNS) {
            let _ = writeln!(
                out,
                "  {style}{sign} {}{style:#}{DIM}{}{DIM:#}",
                plain(&run.id, 100),
                settings(run)
            );
        }
        if let more @ 1.. = runs.len().saturating_sub(SHOWN_RUNS) {
            let _ = writeln!(out, "  {style}{sign} and {} more{style:#}", thousands(more));
        }
    }
}

/// The settings of a run's cell, two spaces before each.
fn settings(run: &OtherRun) -> String {
    let set = run.set.iter().map(|set| {
        let name = set.path.rsplit('.').next().unwrap_or_default();
        format!("  {}={}", plain(name, 40), plain(&set.value.to_string(), 40))
    });
    set.collect()
}

/// What is made again, and for which runs.
fn made_again(out: &mut String, diff: &LockDiff) {
    if diff.invalidated.is_empty() && diff.added_runs.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{BOLD}made again{BOLD:#}");
    let all = diff.common_runs.len();
    let mut rows: Vec<(String, String)> = diff
        .invalidated
        .iter()
        .map(|group| {
            let stand = if group.measurements_stand() { ", measurements stand" } else { "" };
            (group.stages.to_string(), format!("{}{stand}", which(&group.runs, all)))
        })
        .collect();
    if !diff.added_runs.is_empty() {
        let ids: Vec<String> = diff.added_runs.iter().map(|run| run.id.clone()).collect();
        let noun = if ids.len() == 1 { "the added run" } else { "the added runs" };
        rows.push(("every stage".to_owned(), format!("{noun}: {}", few(&ids))));
    }
    let widest = rows.iter().map(|(stages, _)| stages.len()).max().unwrap_or(0);
    for (stages, runs) in rows {
        let _ = writeln!(out, "  {stages:<widest$}  {runs}");
    }
}
