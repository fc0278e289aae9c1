use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::spec;

/// Codes that the source can emit: in `code(…)` of a diagnostic, or in a text.
fn emitted(folder: &Path, out: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            emitted(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for start in ["code(", "\""] {
                for (at, _) in text.match_indices(start) {
                    let rest = text[at + start.len()..].trim_start();
                    let end = rest
                        .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c)));
                    let (code, after) = rest.split_at(end.unwrap_or(rest.len()));
                    if code.starts_with("xp::")
                        && code.matches("::").count() == 2
                        && !code.ends_with(':')
                        && after.starts_with(['"', ')'])
                    {
                        out.insert(code.to_owned());
                    }
                }
            }
        }
    }
}

#[test]
fn every_code_is_explained_and_every_explanation_has_its_code() {
    let mut codes = BTreeSet::new();
    emitted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut codes);
    assert!(codes.len() > 100, "{codes:?}");
    let explained: BTreeSet<String> = all().map(|known| known.code.to_owned()).collect();
    let missing: Vec<_> = codes.difference(&explained).collect();
    assert!(missing.is_empty(), "codes without an explanation in src/explain/: {missing:#?}");
    let surplus: Vec<_> = explained.difference(&codes).collect();
    assert!(surplus.is_empty(), "explanations of codes that nothing emits: {surplus:#?}");
    assert_eq!(all().count(), explained.len(), "a code is explained twice");
}

/// The fenced blocks below a heading: language and text.
fn blocks(text: &str, heading: &str) -> Vec<(String, String)> {
    let section = text.split("### ").find(|section| section.starts_with(heading)).unwrap_or_default();
    let fences = section.split("```").skip(1).step_by(2);
    fences
        .map(|block| {
            let (language, text) = block.split_once('\n').unwrap_or((block, ""));
            (language.to_owned(), text.to_owned())
        })
        .collect()
}

#[test]
fn explanations_tell_the_whole_story() {
    for room in rooms() {
        assert!(room.summary.ends_with('.') && !room.explanations.is_empty(), "{}", room.name);
        for known in &room.explanations {
            let Explanation { code, summary, text } = known;
            assert!(code.starts_with(&format!("xp::{}::", room.name)), "{code} in {}.md", room.name);
            assert!(summary.ends_with('.') && summary.len() <= 78, "{code}: {summary}");
            let headings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
            assert_eq!(headings, ["Why", "Wrong", "Right", "What to do"], "{code}");
            for heading in ["Wrong", "Right"] {
                assert_eq!(blocks(text, heading).len(), 1, "{code}: {heading}");
            }
            let long = text.lines().find(|line| line.chars().count() > 80 && !line.starts_with('{'));
            assert_eq!(long, None, "{code}");
        }
    }
}

/// An experiment of some nodes, and of the simplest of those that it needs besides.
fn experiment(nodes: &str) -> String {
    let has = |name: &str| nodes.lines().any(|line| line.starts_with(&format!("{name} ")));
    let mut text = format!("experiment \"example\" {{\n{nodes}");
    for (name, node) in [
        ("model", "model \"qwen3-tiny\"\n"),
        (
            "workload",
            "workload \"one\" requests=1 { lengths \"fixed\" prefill=32 decode=8; arrivals \"poisson\" qps=1; }\n",
        ),
        ("backend", "backend \"sarathi\"\n"),
    ] {
        if !has(name) {
            text.push_str(node);
        }
    }
    text + "}\n"
}

#[test]
fn examples_are_as_wrong_and_as_right_as_they_say() {
    let mut seen = 0;
    for known in all() {
        let examples = ["Wrong", "Right"].map(|heading| (heading, blocks(known.text, heading)));
        for (heading, blocks) in examples {
            for (language, text) in blocks.iter().filter(|(language, _)| language == "kdl") {
                seen += 1;
                let found = spec::load_text("example.kdl", &experiment(text), &[]);
                // What other rooms refuse is refused after the experiment was read.
                let wrong = heading == "Wrong" && known.code.starts_with("xp::spec::");
                match (found, wrong) {
                    (Ok(_), false) => {}
                    (Ok(_), true) => panic!("{}: the wrong example checks:\n{text}", known.code),
                    (Err(error), false) => panic!("{}: {heading} ({language}): {error}\n{text}", known.code),
                    (Err(error), true) => {
                        let code = miette::Diagnostic::code(&error).map(|code| code.to_string());
                        assert_eq!(code.as_deref(), Some(known.code), "{error}\n{text}");
                    }
                }
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn codes_are_found_as_people_type_them() {
    let codes = |code: &str| find(code).iter().map(|known| known.code).collect::<Vec<_>>();
    let value = rooms()[0].explanations.iter().find(|known| known.code.ends_with("::value")).unwrap().code;
    for typed in [value, "spec::value", " Spec::Value "] {
        assert_eq!(codes(typed), [value], "{typed}");
    }
    assert_eq!(codes("spec::not-utf8").len(), 1);
    assert!(codes("write").len() > 3, "of every room");
    assert!(codes("nothing like it").is_empty() && codes("").is_empty());
    assert_eq!(closest("spec::vlaue"), Some(value));
    assert_eq!(closest("nothing like it"), None);
    assert_eq!(closest(&"x".repeat(1 << 20)), None);
}
