//! What xp tells about itself: explanations and completions.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::project::Project;

#[test]
fn diagnostics_say_where_their_story_is_and_explain_tells_it() {
    let project = Project::tiny();
    project.write("experiments/bad.kdl", "experiment \"x\" { sede 1; seed -1; }");
    let said = project.fails(1, &["check", "experiments/bad.kdl", "experiments/bad.kdl"]);
    assert_eq!(said.matches("tells more").count(), 1, "{said}");
    let hint = "`xp explain spec::missing spec::grammar` tells more";
    assert!(said.trim_end().ends_with(hint), "{said}");
    let told = project.ok(&["explain", "spec::grammar", "xp::spec::value"]);
    assert!(told.starts_with("xp::spec::grammar\n\n") && told.contains("\n\nxp::spec::value\n\n"), "{told}");
    assert!(told.contains("\n    hardware \"cpu\" threds=2\n") && !told.contains("```"), "{told}");

    // What has no code has no story.
    let said = project.fails(2, &["report", "experiments", "experiments/tiny.kdl"]);
    assert!(!said.contains("tells more"), "{said}");

    let listed = project.ok(&["explain"]);
    assert!(listed.contains("\nstore: ") && listed.contains("  xp::run::stale_lock "), "{listed}");
    let said = project.fails(2, &["explain", "spec::value", "spec::gramar"]);
    assert!(said.contains("did you mean `xp::spec::grammar`?"), "{said}");
    assert!(!said.contains("xp::spec::value"), "nothing is printed before all are found:\n{said}");
    project.fails(2, &["explain", &"x".repeat(100_000)]);
}

#[test]
fn completions_are_there_for_every_shell() {
    let project = Project::empty();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = project.ok(&["completions", shell]);
        for word in ["fmt", "upgrade", "completions"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        // Other shells are rarely there.
        let check = match shell {
            "bash" => ["bash", "-n"],
            "zsh" => ["zsh", "-n"],
            "fish" => ["fish", "--no-execute"],
            _ => continue,
        };
        let Ok(mut checked) = Command::new(check[0]).arg(check[1]).stdin(Stdio::piped()).spawn() else {
            continue;
        };
        checked.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(checked.wait().unwrap().success(), "{shell} does not take its script");
    }
    project.fails(2, &["completions", "tcsh"]);
}
