//! A diff as Markdown, for a comment on a pull request. What locks and people
//! wrote stands in code spans only, so that it makes no link, no mention and no
//! structure; and the whole fits into a comment.

use std::fmt::Write as _;

use super::Compared;
use super::lines::{Line, lines};
use super::results::{self, HEADS, RunResults, Told};
use super::words::{Note, counted, few, how_many, meaning, plain, runs_of, thousands, value, which};
use crate::lock::{Change, Impact, LockDiff, OtherRun, Stages};

/// A comment on GitHub has at most 65,536 characters; some are left for what a workflow adds.
const MAX_CHARACTERS: usize = 60_000;

/// Longest value and longest name, in characters.
const LONGEST: usize = 120;

/// Added or removed runs that are listed.
const SHOWN_RUNS: usize = 20;

/// The Markdown of a diff.
pub fn markdown(compared: &Compared) -> String {
    let Compared { old, new, diff, sentence, results } = compared;
    let mut out = format!("### {sentence}\n\n{} → {}\n", code(old), code(new));
    overview(&mut out, diff);
    made_again(&mut out, diff);
    if let Some(results) = results {
        results_of(&mut out, results);
    }
    for impact in Impact::ALL {
        let (lines, facts) = lines(diff, impact, LONGEST);
        let rows: Vec<String> = lines.iter().map(row).collect();
        let head = format!("{}: {}", impact.name(), counted(facts, "fact"));
        details(&mut out, &head, "| fact | old | new |\n|---|---|---|\n", &rows);
    }
    for (runs, verb) in [(&diff.removed_runs, "removed"), (&diff.added_runs, "added")] {
        let mut rows: Vec<String> = runs.iter().take(SHOWN_RUNS).map(run_row).collect();
        if let more @ 1.. = runs.len().saturating_sub(SHOWN_RUNS) {
            rows.push(format!("| and {} more | |\n", thousands(more)));
        }
        details(
            &mut out,
            &format!("{} {verb}", counted(runs.len(), "run")),
            "| run | settings |\n|---|---|\n",
            &rows,
        );
    }
    out
}

/// One row for each impact.
fn overview(out: &mut String, diff: &LockDiff) {
    if diff.changes.is_empty() {
        return;
    }
    out.push_str("\n| impact | facts | made again | in |\n|---|---:|---|---|\n");
    for impact in Impact::ALL {
        let changes: Vec<&Change> = diff.changes.iter().filter(|change| change.impact == impact).collect();
        if changes.is_empty() {
            continue;
        }
        let stages = changes.iter().fold(Stages::NONE, |all, change| all.with(change.stages));
        let stages = if stages.is_empty() { "nothing".to_owned() } else { stages.to_string() };
        let runs = match diff.common_runs.len() {
            0 => "no run".to_owned(),
            all => how_many(runs_of(diff, impact), all),
        };
        let _ = writeln!(
            out,
            "| **{}**: {} | {} | {stages} | {runs} |",
            impact.name(),
            meaning(diff, impact),
            thousands(changes.len())
        );
    }
}

fn made_again(out: &mut String, diff: &LockDiff) {
    if diff.invalidated.is_empty() && diff.added_runs.is_empty() {
        return;
    }
    out.push_str("\nMade again:\n\n");
    for group in &diff.invalidated {
        let stand = if group.measurements_stand() { "; measurements stand" } else { "" };
        let runs = note(&which(&group.runs, diff.common_runs.len()));
        let _ = writeln!(out, "- {} of {runs}{stand}", group.stages);
    }
    if !diff.added_runs.is_empty() {
        let ids: Vec<String> = diff.added_runs.iter().map(|run| run.id.clone()).collect();
        let _ = writeln!(out, "- every stage of what is added: {}", code(&few(&ids)));
    }
}

/// Results of the runs that both have, the first ones figure by figure.
fn results_of(out: &mut String, results: &[RunResults]) {
    let Told { in_full, short, more, not_run } = results::told(results);
    for run in in_full {
        let _ = writeln!(
            out,
            "\nResults of {}: {}\n\n| {} |\n|---|---|---|---|---|---|",
            code(&run.run),
            run.verdicts(),
            HEADS.join(" | ")
        );
        for [metric, stat, rest @ ..] in run.rows() {
            let _ = writeln!(out, "| {} | {} | {} |", code(&metric), code(&stat), rest.join(" | "));
        }
    }
    if !short.is_empty() || !not_run.is_empty() {
        out.push('\n');
    }
    for run in short {
        let _ = writeln!(out, "- {}: {}", code(&run.run), run.verdicts());
    }
    if more > 0 {
        let _ = writeln!(out, "- and {} more", counted(more, "run"));
    }
    if !not_run.is_empty() {
        let _ = writeln!(out, "- not run: {}", code(&few(&not_run)));
    }
}

fn row(line: &Line) -> String {
    let cell = |value: &Option<String>| value.as_deref().map(code).unwrap_or_default();
    let (old, new, path) = (cell(&line.old), cell(&line.new), code(&line.path));
    match (line.note.is_empty(), old.is_empty() && new.is_empty()) {
        (true, _) => format!("| {path} | {old} | {new} |\n"),
        (false, true) => format!("| {path} | {} | |\n", note(&line.note)),
        (false, false) => format!("| {path} {} | {old} | {new} |\n", note(&line.note)),
    }
}

/// Our words as they are, names as code.
fn note(note: &Note) -> String {
    match note.names.is_empty() {
        true => note.words.clone(),
        false => format!("{} {}", note.words, code(&note.names)),
    }
}

fn run_row(run: &OtherRun) -> String {
    let set: Vec<String> = run
        .set
        .iter()
        .take(8)
        .map(|set| code(&format!("{}={}", plain(&set.path, 60), value(&set.value.to_string(), 40))))
        .collect();
    format!("| {} | {} |\n", code(&run.id), set.join(" "))
}

/// A folded table; rows that do not fit any more are counted.
fn details(out: &mut String, head: &str, columns: &str, rows: &[String]) {
    if rows.is_empty() {
        return;
    }
    let end = "\n</details>\n";
    let start = format!("\n<details><summary>{head}</summary>\n\n{columns}");
    // The last line says how much is left out.
    const REST: usize = 200;
    let mut left = MAX_CHARACTERS.saturating_sub(out.chars().count() + start.len() + end.len() + REST);
    let mut shown = 0;
    let mut table = String::new();
    for row in rows {
        let length = row.chars().count();
        if length > left {
            break;
        }
        left -= length;
        shown += 1;
        table.push_str(row);
    }
    if shown == 0 {
        if out.chars().count() + REST < MAX_CHARACTERS {
            let _ = writeln!(out, "\n{head}: left out, `xp diff` tells all");
        }
        return;
    }
    out.push_str(&start);
    out.push_str(&table);
    if shown < rows.len() {
        let _ = writeln!(out, "\n… and {} more lines: `xp diff` tells all", thousands(rows.len() - shown));
    }
    out.push_str(end);
}

/// Text as code. In a code span nothing has a meaning but what ends it or a table's cell; a text
/// with such a character is written as entities, which have none either.
fn code(text: &str) -> String {
    let text = plain(text, LONGEST);
    let text = if text.trim().is_empty() { "\"\"" } else { text.trim() };
    if !text.contains(['`', '|', '\\']) {
        return format!("`{text}`");
    }
    let mut out = "<code>".to_owned();
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() || c == ' ' => out.push(c),
            c => {
                let _ = write!(out, "&#{};", c as u32);
            }
        }
    }
    out + "</code>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_has_no_meaning() {
        assert_eq!(code("a_b* <b> @me #1 http://x [l](u)"), "`a_b* <b> @me #1 http://x [l](u)`");
        assert_eq!(code("a`b|c\\d"), "<code>a&#96;b&#124;c&#92;d</code>");
        assert_eq!(
            code("`</code><img src=x>"),
            "<code>&#96;&#60;&#47;code&#62;&#60;img src&#61;x&#62;</code>"
        );
        assert_eq!(code("line\nbreak"), "<code>line&#92;nbreak</code>");
        assert_eq!(code(" "), "`\"\"`");
        assert!(code(&"|".repeat(5000)).len() < 1000);
    }
}
