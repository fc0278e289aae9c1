//! Words of a diff: counts, names, values.

use std::fmt;

use crate::lock::{Impact, LockDiff, OtherRun, Runs, Stage};
use crate::store::abbreviate;

/// `10,000`.
pub fn thousands(value: usize) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// `1 run`, `2 runs`.
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(count))
}

/// `a, b, c and 7 more`.
pub fn few(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).map(|name| plain(name, 100)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {} more", thousands(more)),
    }
}

/// Our words, and the names that follow them: what others wrote is set apart from what xp says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    pub words: String,
    pub names: String,
}

impl Note {
    pub fn words(words: impl Into<String>) -> Self {
        Self { words: words.into(), names: String::new() }
    }

    /// With words before.
    pub fn after(self, words: &str) -> Self {
        Self { words: format!("{words} {}", self.words), names: self.names }
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.names.is_empty()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.words.is_empty() || self.names.is_empty() { "" } else { " " };
        write!(f, "{}{space}{}", self.words, self.names)
    }
}

/// `all 12 runs`, `run a`, `4 runs: a, b, c and 1 more`.
pub fn which(runs: &[String], of: usize) -> Note {
    match runs {
        [only] => Note { words: "run".to_owned(), names: plain(only, 100) },
        runs if runs.len() == of => Note::words(all(of)),
        runs => Note { words: format!("{}:", counted(runs.len(), "run")), names: few(runs) },
    }
}

/// `all 12 runs`, `the run`, `4 of 12 runs`.
pub fn how_many(runs: usize, of: usize) -> String {
    match runs == of {
        true => all(of),
        false => format!("{} of {}", thousands(runs), counted(of, "run")),
    }
}

fn all(runs: usize) -> String {
    match runs {
        1 => "the run".to_owned(),
        2 => "both runs".to_owned(),
        runs => format!("all {}", counted(runs, "run")),
    }
}

/// A value for people: digests by their start, nothing that a terminal obeys, not endless.
pub fn value(text: &str, longest: usize) -> String {
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    plain(&abbreviate(text), longest)
}

/// Text without what a terminal obeys or a reader does not see, cut after `longest` characters.
pub fn plain(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == longest {
            out.push('…');
            break;
        }
        match c {
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// What the diff means, in a sentence or two.
pub fn sentence(diff: &LockDiff) -> String {
    let all = diff.common_runs.len();
    let mut out = match diff.impact() {
        None if diff.is_empty() => return "The locks say the same.".to_owned(),
        _ if all == 0 => "The locks have no run in common.".to_owned(),
        None => "Results of the runs that both locks have stand.".to_owned(),
        Some(Impact::Cosmetic) => "No result changes.".to_owned(),
        Some(Impact::Verdict) => "Results stand and are judged again.".to_owned(),
        Some(Impact::Simulation) => {
            format!(
                "Simulated results of {} are redone, measurements stand.",
                how_many(diff.made_again(Stage::Sim), all)
            )
        }
        Some(Impact::Measurement) => {
            let timed = diff.made_again(Stage::Real);
            let others = if timed == all { "" } else { ", measurements of the others stand" };
            format!("The engine is timed again in {}{others}.", how_many(timed, all))
        }
        Some(Impact::ComparisonBreaking) => {
            let runs = runs_of(diff, Impact::ComparisonBreaking);
            format!("Old and new results of {} may not be compared.", how_many(runs, all))
        }
    };
    let others = |runs: &[OtherRun], verb: &str| match runs.len() {
        0 => String::new(),
        1 => format!(" 1 run is {verb}."),
        more => format!(" {} are {verb}.", counted(more, "run")),
    };
    out += &others(&diff.added_runs, "added");
    out += &others(&diff.removed_runs, "removed");
    out
}

/// What the changes of an impact do. Where nothing is timed again, that is said of a simulation.
pub fn meaning(diff: &LockDiff, impact: Impact) -> String {
    let meaning = impact.meaning();
    match impact {
        Impact::Simulation if diff.made_again(Stage::Real) == 0 => format!("{meaning}, measurements stand"),
        _ => meaning.to_owned(),
    }
}

/// How many of the common runs the changes of an impact concern.
pub fn runs_of(diff: &LockDiff, impact: Impact) -> usize {
    let mut ids: Vec<&String> = Vec::new();
    for change in diff.changes.iter().filter(|change| change.impact == impact) {
        match &change.runs {
            Runs::All => return diff.common_runs.len(),
            Runs::These(runs) => ids.extend(runs),
        }
    }
    ids.sort();
    ids.dedup();
    ids.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        let names: Vec<String> = (0..10_000).map(|n| format!("r{n}")).collect();
        assert_eq!(which(&names, 10_000).to_string(), "all 10,000 runs");
        assert_eq!(which(&names[..4], 9).to_string(), "4 runs: r0, r1, r2 and 1 more");
        assert_eq!(which(&names[..1], 1).to_string(), "run r0");
        assert_eq!(plain("a\u{1b}[31m\u{202e}b\n", 99), "a\\u{1b}[31m\\u{202e}b\\n");
        assert_eq!(plain("äöü", 2), "äö…");
    }
}
