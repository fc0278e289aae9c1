//! The long story of every diagnostic: what it means, why xp refuses, an example
//! that is wrong, one that is right, and what to do.
//!
//! One Markdown file for each room that has diagnostics. A test holds them
//! against the codes in the source, and their experiments against the compiler.

use std::sync::LazyLock;

#[cfg(test)]
mod tests;

/// Diagnostics of one room.
#[derive(Debug)]
pub struct Room {
    /// As in its codes: `spec` in `xp::spec::value`.
    pub name: &'static str,
    /// What they are about, in a sentence.
    pub summary: &'static str,
    pub explanations: Vec<Explanation>,
}

/// What is to say about one code.
#[derive(Debug)]
pub struct Explanation {
    /// Such as `xp::spec::value`.
    pub code: &'static str,
    /// The first sentence.
    pub summary: &'static str,
    /// All of it, the first sentence included: Markdown with headings of level 3.
    pub text: &'static str,
}

/// In the order in which a person meets them.
static TEXTS: [&str; 22] = [
    include_str!("spec.md"),
    include_str!("source.md"),
    include_str!("tokenizer.md"),
    include_str!("chat.md"),
    include_str!("model.md"),
    include_str!("workload.md"),
    include_str!("lock.md"),
    include_str!("run.md"),
    include_str!("profile.md"),
    include_str!("predictor.md"),
    include_str!("engine.md"),
    include_str!("worker.md"),
    include_str!("backend.md"),
    include_str!("metrics.md"),
    include_str!("compare.md"),
    include_str!("capacity.md"),
    include_str!("report.md"),
    include_str!("store.md"),
    include_str!("diff.md"),
    include_str!("git.md"),
    include_str!("gc.md"),
    include_str!("verify.md"),
];

static ROOMS: LazyLock<Vec<Room>> = LazyLock::new(|| TEXTS.iter().map(|text| room(text)).collect());

fn room(text: &'static str) -> Room {
    let (head, rest) = text.split_once("\n## ").unwrap_or((text, ""));
    let (name, summary) = head.split_once('\n').unwrap_or((head, ""));
    let explanations = rest.split("\n## ").filter(|section| !section.is_empty()).map(|section| {
        let (code, text) = section.split_once('\n').unwrap_or((section, ""));
        let text = text.trim();
        Explanation { code, summary: text.lines().next().unwrap_or_default(), text }
    });
    Room {
        name: name.trim_start_matches("# "),
        summary: summary.trim(),
        explanations: explanations.collect(),
    }
}

/// Every explanation, by room.
pub fn rooms() -> &'static [Room] {
    &ROOMS
}

fn all() -> impl Iterator<Item = &'static Explanation> {
    rooms().iter().flat_map(|room| &room.explanations)
}

/// A code without what all codes start with.
fn short(code: &str) -> &str {
    code.strip_prefix("xp::").unwrap_or(code)
}

/// Explanations that a code means: `xp::spec::value`, `spec::value`, or `value` of every room.
pub fn find(code: &str) -> Vec<&'static Explanation> {
    let wanted = code.trim().to_lowercase().replace('-', "_");
    let wanted = short(&wanted);
    let last = |code: &'static str| code.rsplit("::").next();
    all().filter(|known| short(known.code) == wanted || last(known.code) == Some(wanted)).collect()
}

/// The code that a mistyped one most likely means, if any is close.
pub fn closest(code: &str) -> Option<&'static str> {
    let wanted = code.trim().to_lowercase();
    // No code is longer than this; distances of long texts take long.
    if wanted.len() > 100 {
        return None;
    }
    let wanted = short(&wanted);
    let allowed = (wanted.chars().count() / 3).max(1);
    all()
        .map(|known| (strsim::damerau_levenshtein(wanted, short(known.code)), known.code))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, code)| code)
}
