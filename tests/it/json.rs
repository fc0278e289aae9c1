//! `--json`: the documents that `docs/json.md` shows, their schemas, and errors of every kind.

use serde_json::Value;

use crate::project::{Project, TINY};

const SPEC: &str = "experiments/tiny.kdl";

/// An experiment that measures only: its lock depends on no machine.
fn alone() -> String {
    TINY.lines().filter(|line| !line.contains("vidur")).map(|line| format!("{line}\n")).collect()
}

fn project() -> Project {
    let project = Project::empty();
    project.write(SPEC, alone());
    project
}

/// What a command answers on standard output, and its exit code.
fn answer(project: &Project, args: &[&str]) -> (Value, i32) {
    let output = project.xp(args);
    let text = String::from_utf8(output.stdout).unwrap();
    let value: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("xp {args:?}: {error}\n{text}"));
    assert_eq!(value["version"], 1, "{text}");
    let code = output.status.code().unwrap();
    assert_eq!(value["ok"], code == 0, "xp {args:?}: {code}\n{text}");
    assert_eq!(value["diagnostics"].as_array().unwrap().is_empty(), code == 0, "{text}");
    (value, code)
}

/// An answer that has to follow its schema.
fn by_schema(project: &Project, schema: &str, args: &[&str]) -> (Value, i32) {
    let (value, code) = answer(project, args);
    let text = project.ok(&["schema", schema]);
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "xp {args:?}: {wrong:?}\n{value:#}");
    (value, code)
}

/// `docs/json.md` shows what commands answer: each of its examples is run.
#[test]
fn documents_are_those_of_the_documentation() {
    let docs = include_str!("../../docs/json.md");
    let project = project();
    project.ok(&["lock", SPEC]);
    project.write("experiments/bad.kdl", alone().replace("threads=1", "threds=1"));
    let mut seen = 0;
    for example in docs.split("```sh\n").skip(1) {
        let (command, rest) = example.split_once("\n```").unwrap();
        let Some(shown) = rest.trim_start().strip_prefix("```json\n") else { continue };
        let (shown, _) = shown.split_once("```").unwrap();
        let args: Vec<&str> = command.split_whitespace().skip(1).collect();
        assert!(args.contains(&"--json"), "{command}");
        let output = project.xp(&args);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text == shown, "docs/json.md shows something else for {command}:\n{text}");
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn answers_follow_their_schemas() {
    let project = project();
    project.write("experiments/bad.kdl", "experiment \"é\" { // ünï\n  seed -1; sede 2\n  seed 3\n}\n");
    project.write("experiments/many.kdl", format!("experiment \"x\" {{\n{}}}\n", "  oops\n".repeat(70)));
    let (value, code) = by_schema(&project, "json_check", &["check", "--json", SPEC]);
    assert_eq!((&value["files"][0]["runs"], code), (&Value::from(1), 0));

    let files = ["experiments/bad.kdl", "experiments/none.kdl", SPEC, "experiments/many.kdl"];
    let (value, code) = by_schema(&project, "json_check", &[&["check", "--json"][..], &files].concat());
    assert_eq!(code, 2);
    assert_eq!(value["files"].as_array().unwrap().len(), 4);
    let found = value["diagnostics"].as_array().unwrap();
    let twice = found.iter().find(|found| found["message"] == "`seed` is given twice").unwrap();
    assert_eq!((&twice["line"], &twice["column"]), (&Value::from(3), &Value::from(3)), "{twice:#}");
    assert_eq!(twice["places"][0]["line"], 2, "{twice:#}");
    let sede =
        found.iter().find(|found| found["message"] == "unknown setting \"sede\" of `experiment`").unwrap();
    assert_eq!((&sede["line"], &sede["column"], &sede["length"]), (&2.into(), &12.into(), &4.into()));
    assert_eq!(sede["file"], "experiments/bad.kdl");
    let read = found.iter().find(|found| found["code"] == "xp::spec::read").unwrap();
    assert_eq!(read["file"], "experiments/none.kdl");
    assert!(read["causes"][0].as_str().unwrap().contains("No such file"), "{read:#}");
    let last = found.last().unwrap();
    assert!(last["message"].as_str().unwrap().ends_with("more mistakes are not listed"), "{last:#}");
    assert_eq!(last["file"], "experiments/many.kdl");

    let lock = |args: &[&str]| by_schema(&project, "json_lock", &[&["lock", "--json"][..], args].concat());
    let (value, code) = lock(&["--check", SPEC]);
    assert_eq!((&value["reasons"][0]["reason"], code), (&Value::from("no-lock"), 1));
    assert!(!project.path("locks").exists());
    let (value, _) = lock(&[SPEC]);
    assert_eq!((&value["written"], &value["up_to_date"]), (&true.into(), &true.into()));
    let (value, _) = lock(&[SPEC]);
    assert_eq!((&value["written"], value["reasons"].as_array().unwrap().len()), (&false.into(), 0));
    let (value, code) = lock(&["--check", SPEC]);
    assert_eq!((&value["up_to_date"], code), (&true.into(), 0));
    let (value, code) = lock(&["--check", SPEC, "--set", "workload.requests=9"]);
    assert_eq!(code, 1);
    let reasons = value["reasons"].as_array().unwrap();
    let requests = reasons.iter().find(|reason| reason["path"] == "experiment.workload.requests").unwrap();
    assert_eq!((&requests["locked"], &requests["wanted"]), (&"6".into(), &"9".into()));

    let (value, _) = by_schema(&project, "json_status", &["status", "--json", SPEC]);
    assert_ne!(value["stages"][0]["standing"], "fresh");
    project.ok(&["workload", SPEC]);
    let (value, _) = by_schema(&project, "json_status", &["status", "--json", "locks/tiny.lock.kdl"]);
    assert_eq!(
        (&value["stages"][0]["stage"], &value["stages"][0]["standing"]),
        (&"workload".into(), &"fresh".into())
    );
}

#[test]
fn errors_of_any_kind_are_json_too() {
    let project = project();
    project.write("locks/broken.lock.kdl", "lock 1\nlock 1\n");
    for (code, command, args) in [
        (2, "check", &["check", "--json"][..]),
        (1, "check", &["check", "--json", SPEC, "--set", "seed"]),
        (2, "lock", &["lock", "--json"]),
        (2, "lock", &["lock", "experiments/none.kdl", "--json"]),
        (1, "lock", &["lock", "--json", SPEC, "--set", "seed=x"]),
        (1, "lock", &["lock", "--json", "locks/broken.lock.kdl"]),
        (2, "status", &["status", "--json", "--frozen", SPEC]),
        (2, "status", &["status", "--json", SPEC, "--what"]),
        (2, "run", &["run", "--json", SPEC]),
        (2, "", &["stattus", "--json"]),
        (2, "", &["--json"]),
    ] {
        let (value, found) = answer(&project, args);
        assert_eq!((found, &value["command"]), (code, &Value::from(command)), "xp {args:?}: {value:#}");
        let first = &value["diagnostics"][0];
        assert!(!first["message"].as_str().unwrap().is_empty(), "{value:#}");
    }
    // A long run tells its progress on the other stream.
    let output = project.xp(&["lock", "--json", SPEC]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("written"));
    // Help is no error.
    assert!(project.ok(&["lock", "--json", "--help"]).contains("Usage: xp lock"));
}
