//! Locks of older formats, step by step into the present one.

use serde_json::{Map, Value, json};

use super::codec::Spans;
use super::pins::FORMAT;

/// Turns the facts of an older lock into facts of format [`FORMAT`]. What it does not understand it
/// leaves as it is, for the checks that follow.
pub(super) fn migrate(facts: &mut Map<String, Value>, spans: &mut Spans) {
    let format = facts.get("lock").and_then(Value::as_u64).unwrap_or(0);
    if format == 1 {
        name_versions(facts, spans);
    }
    if (1..u64::from(FORMAT)).contains(&format) {
        facts.insert("lock".to_owned(), json!(FORMAT));
    }
}

/// Format 2 names a version for each thing that makes results. Format 1 named that of the metrics; all
/// others were the first.
fn name_versions(facts: &mut Map<String, Value>, spans: &mut Spans) {
    if facts.contains_key("versions") {
        return;
    }
    let Some(metrics) = facts.shift_remove("metrics-version") else { return };
    facts.insert(
        "versions".to_owned(),
        json!({ "metrics": metrics, "workload": 1, "engine": 1, "simulator": 1 }),
    );
    if let Some(span) = spans.get("/metrics-version").copied() {
        spans.insert("/versions".to_owned(), span);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::pins::Versions;
    use super::super::read::{parse, parse_any};
    use super::*;

    /// As xp 0.1.0 wrote it when 1 was the newest format.
    const FORMAT_1: &str = include_str!("format-1.lock.kdl");

    #[test]
    fn an_older_lock_is_read_as_one_of_this_format() {
        let (lock, format) = parse_any(Path::new("x"), FORMAT_1).unwrap();
        assert_eq!((format, lock.lock), (1, FORMAT));
        assert_eq!(lock.versions, Versions { metrics: 1, workload: 1, engine: 1, simulator: 1 });
        let text = lock.to_kdl();
        assert_eq!(parse_any(Path::new("x"), &text).unwrap(), (lock, FORMAT));
        // Nothing but what the formats differ in changed.
        let body = |text: &str| text.lines().filter(|line| line.starts_with("    ")).count();
        assert_eq!(body(&text), body(FORMAT_1) + 4);
    }

    #[test]
    fn a_mistake_in_an_older_lock_is_shown_where_it_stands() {
        let with = |from: &str, to: &str| {
            let text = FORMAT_1.replacen(from, to, 1);
            assert_ne!(text, FORMAT_1);
            parse(Path::new("x"), &text).unwrap_err().to_string()
        };
        insta::assert_snapshot!(with("metrics-version 1", "metrics-version \"one\""), @r#"versions.metrics: "one" is not of type "integer""#);
        insta::assert_snapshot!(with("metrics-version 1\n", ""), @"`versions` is missing");
        insta::assert_snapshot!(with("metrics-version 1", "metrics-version 1\nversions { metrics 1; workload 1; engine 1; simulator 1; }"), @"metrics-version: a lock has no such fact");
    }
}
