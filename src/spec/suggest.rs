//! Did you mean …?

/// The candidate that a mistyped name most likely means, if any is close.
pub(super) fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 100 {
        return None;
    }
    let name = name.to_lowercase();
    let allowed = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `` `a`, `b` or `c` ``; empty for nothing.
pub(super) fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut quoted: Vec<String> = Vec::new();
    for name in names {
        let name = format!("`{name}`");
        if !quoted.contains(&name) {
            quoted.push(name);
        }
    }
    match quoted.pop() {
        None => String::new(),
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} or {last}", quoted.join(", ")),
    }
}

/// Help for an unknown name: the likely one first, then all that are allowed.
pub(super) fn did_you_mean(name: &str, candidates: &[&str], what: &str) -> String {
    let all = one_of(candidates.iter().copied());
    match closest(name, candidates.iter().copied()) {
        Some(likely) if candidates.len() > 1 => format!("did you mean `{likely}`? {what}: {all}"),
        Some(likely) => format!("did you mean `{likely}`?"),
        None if all.is_empty() => String::new(),
        None => format!("{what}: {all}"),
    }
}

/// A text of a file as part of a sentence: quoted, and cut when it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{:?}", format!("{}…", &text[..cut])),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_suggested_and_far_ones_are_not() {
        let names = ["chunk-size", "max-batch-size", "block-size"];
        assert_eq!(closest("chunk-sise", names), Some("chunk-size"));
        assert_eq!(closest("Chunk-Size", names), Some("chunk-size"));
        assert_eq!(closest("temperature", names), None);
        assert_eq!(closest(&"x".repeat(1_000_000), names), None);
        assert_eq!(one_of(["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
