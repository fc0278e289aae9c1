//! The GitHub Action's script and the pre-commit hooks, run as they run there. Of GitHub only `gh` is
//! not the real one: a script in its place records what it is called with.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::project::{Project, TINY, both};

const SPEC: &str = "experiments/tiny.kdl";
const LOCK: &str = "locks/tiny.lock.kdl";

const GH: &str = r#"#!/usr/bin/env bash
printf '%s\n' "$*" >>"$GH_LOG"
for arg in "$@"; do
  case "$arg" in body=@*) cp "${arg#body=@}" "$GH_BODY" ;; esac
done
case "$*" in *--paginate*) printf '%s' "$GH_COMMENTS" ;; esac
exit "$GH_CODE"
"#;

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// An experiment that measures only, in canonical form: its lock depends on no machine.
fn alone(chunk: u32) -> String {
    let lines = TINY.lines().filter(|line| !line.contains("vidur"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    text.replace("model \"qwen3-tiny\" { source \"synthetic\"; }", "model \"qwen3-tiny\"")
        .replace("chunk-size=16", &format!("chunk-size={chunk}"))
}

/// A project with one experiment and its lock.
fn project() -> Project {
    let project = Project::empty();
    project.write(SPEC, alone(16));
    project.ok(&["lock", SPEC]);
    project
}

/// A command in the project, without what the environment of this test says of git and GitHub.
fn command(project: &Project, program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(project.path("")).env_clear();
    for (name, value) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if !["GIT_", "GITHUB_", "XP_", "GH_", "PR_NUMBER", "XP"].iter().any(|start| text.starts_with(start)) {
            command.env(name, value);
        }
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("NO_COLOR", "1")
        .env("XP", assert_cmd::cargo::cargo_bin("xp"));
    command
}

fn git(project: &Project, args: &[&str]) -> String {
    let who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
    let output = command(project, "git").args(who).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}:\n{}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn commit(project: &Project, message: &str) {
    git(project, &["add", "-A"]);
    git(project, &["commit", "-qm", message]);
}

fn script(project: &Project, step: &str) -> Command {
    let mut command = command(project, "bash");
    command.arg(root("action/xp-ci.sh")).arg(step);
    command
}

/// What the script said, and its exit code.
fn said(output: &Output) -> (String, i32) {
    (both(output), output.status.code().unwrap())
}

#[test]
fn every_check_is_made_and_one_no_is_a_no() {
    let project = project();
    project.write("experiments/new one.kdl", alone(16));
    let (text, code) = said(&script(&project, "check").output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("== xp lock --check experiments/tiny.kdl\nlocks/tiny.lock.kdl is up to date"),
        "{text}"
    );
    assert!(text.contains("experiments/new one.kdl has no lock"), "{text}");

    project.write(SPEC, alone(32));
    project.write("experiments/deep/ugly.kdl", "experiment \"x\" { sede 1; } // ::warning::hi\n");
    let (text, code) = said(&script(&project, "check").env("GITHUB_ACTIONS", "true").output().unwrap());
    assert_eq!(code, 1, "{text}");
    for wanted in [
        "::error title=xp fmt --check::exit code 1",
        "::error title=xp check::exit code 1",
        "::error title=xp lock --check experiments/tiny.kdl::exit code 1",
        "locked 16, wanted 32",
        "unknown setting \"sede\"",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    // What files hold gives the runner no orders.
    for group in text.split("::group::").skip(1) {
        let token = group.split_once("::stop-commands::").unwrap().1.lines().next().unwrap();
        assert!(group.contains(&format!("\n::{token}::\n::endgroup::\n")), "{group}");
    }

    let (text, code) = said(&script(&project, "check").env("XP_EXPERIMENTS", "none/*.kdl").output().unwrap());
    assert_eq!(code, 2, "{text}");
    let patterns = "experiments/new*.kdl\n\nnone/*.kdl";
    let (text, code) = said(&script(&project, "check").env("XP_EXPERIMENTS", patterns).output().unwrap());
    assert!(code == 0 && !text.contains("tiny"), "{text}");
    assert_eq!(said(&script(&project, "").output().unwrap()).1, 2);
}

/// A repository as a runner has it: one commit of a pull request, and an origin.
fn pull_request() -> (Project, Project) {
    let origin = project();
    origin.write("experiments/gone.kdl", alone(16).replace("\"tiny\"", "\"gone\""));
    origin.ok(&["lock", "experiments/gone.kdl"]);
    git(&origin, &["init", "-q"]);
    commit(&origin, "base");
    git(&origin, &["checkout", "-qb", "topic"]);
    origin.write(SPEC, alone(32));
    origin.ok(&["lock", SPEC]);
    origin.write("experiments/new.kdl", alone(64).replace("\"tiny\"", "\"new\""));
    origin.ok(&["lock", "experiments/new.kdl"]);
    std::fs::remove_file(origin.path("experiments/gone.kdl")).unwrap();
    std::fs::remove_file(origin.path("locks/gone.lock.kdl")).unwrap();
    commit(&origin, "larger chunks");
    let clone = Project::empty();
    let url = format!("file://{}", origin.path("").display());
    git(&clone, &["clone", "-q", "--depth=1", "--branch=topic", &url, "."]);
    (origin, clone)
}

#[test]
fn a_pull_request_has_one_comment_on_what_changed_in_locks() {
    let (_origin, project) = pull_request();
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    std::fs::create_dir(path("bin")).unwrap();
    std::fs::write(path("bin/gh"), GH).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path("bin/gh"), executable).unwrap();
    let search = format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap());
    let comment = |comments: &str, code: i32| {
        let _ = std::fs::remove_file(path("log"));
        let output = script(&project, "comment")
            .env("PATH", &search)
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_BASE_REF", "main")
            .env("GITHUB_REPOSITORY", "them/theirs")
            .env("GITHUB_STEP_SUMMARY", path("summary"))
            .env("PR_NUMBER", "7")
            .env("GH_LOG", path("log"))
            .env("GH_BODY", path("body"))
            .env("GH_COMMENTS", comments)
            .env("GH_CODE", code.to_string())
            .output()
            .unwrap();
        let (text, code) = said(&output);
        assert_eq!(code, 0, "{text}");
        (text, std::fs::read_to_string(path("log")).unwrap())
    };
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default();

    let (text, calls) = comment("", 0);
    assert!(text.contains("a comment was written"), "{text}");
    let listed = "api --paginate repos/them/theirs/issues/7/comments --jq .[] | select(.body | \
                  startswith(\"<!-- xp: locks -->\")) | .id\n";
    let posted = "api --method POST repos/them/theirs/issues/7/comments --field body=@";
    assert!(calls.starts_with(&format!("{listed}{posted}")) && calls.lines().count() == 2, "{calls}");
    let body = read("body");
    assert!(body.starts_with("<!-- xp: locks -->\n### "), "{body}");
    for wanted in [":locks/tiny.lock.kdl", "chunk-size", "locks/new.lock.kdl", ":locks/gone.lock.kdl"] {
        assert!(body.contains(wanted), "{wanted} is not in\n{body}");
    }
    assert_eq!(body.matches("\n---\n").count(), 2, "three locks:\n{body}");
    assert_eq!(format!("<!-- xp: locks -->\n{}", read("summary")), body);
    let again = said(&script(&project, "diff").env("GITHUB_BASE_REF", "main").output().unwrap());
    assert_eq!(again, (read("summary"), 0));

    // Next time it is there.
    let (text, calls) = comment("12\n34\n", 0);
    assert!(text.contains("comment 12 was updated"), "{text}");
    let updated = "api --method PATCH repos/them/theirs/issues/comments/12 --field body=@";
    assert!(calls.starts_with(&format!("{listed}{updated}")), "{calls}");

    // A pull request from a fork may not write.
    let (text, _) = comment("", 1);
    assert!(text.contains("::warning title=xp::the comment could not be written"), "{text}");

    // What was said does not hold any more, or was never said.
    git(&project, &["checkout", "-q", "origin/main", "--", "locks"]);
    for lock in ["locks/new.lock.kdl", "experiments/new.kdl"] {
        std::fs::remove_file(project.path(lock)).unwrap();
    }
    let (_, calls) = comment("12", 0);
    assert!(calls.contains(updated), "{calls}");
    assert_eq!(read("body"), "<!-- xp: locks -->\nNo lock differs from the base any more.\n");
    let (text, calls) = comment("", 0);
    assert!(text.contains("no lock differs from the base") && calls == listed, "{text}\n{calls}");

    // Without a pull request there is nothing to comment on, and without a base nothing to say.
    let (text, code) = said(&script(&project, "comment").env("XP_BASE", "origin/main").output().unwrap());
    assert!(code == 0 && text.contains("no pull request"), "{text}");
    let (text, code) = said(&script(&project, "diff").env("XP_BASE", "nowhere").output().unwrap());
    assert!(code == 2 && text.contains("there is no revision nowhere"), "{text}");
    let (text, code) = said(&script(&project, "diff").output().unwrap());
    assert!(code == 2 && text.contains("HEAD^"), "one commit has none before it:\n{text}");
}

#[test]
fn experiments_are_run_with_the_arguments_given() {
    let project = project();
    let (text, code) = said(&script(&project, "run").env("XP_RUN_ARGS", "--locked").output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("== xp run experiments/tiny.kdl\n") && project.path("runs/real_runs").exists(),
        "{text}"
    );
    project.write(SPEC, alone(32));
    let (text, code) = said(&script(&project, "run").env("XP_RUN_ARGS", "--locked").output().unwrap());
    assert!(code == 1 && text.contains("out of date"), "{text}");
}

#[test]
fn the_action_calls_the_script_with_what_it_reads() {
    let (action, script) = (include_str!("../../action.yml"), include_str!("../../action/xp-ci.sh"));
    let inputs = action.split_once("\ninputs:\n").unwrap().1.split_once("\nruns:\n").unwrap().0;
    let declared: BTreeSet<&str> = inputs
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.strip_suffix(':'))
        .collect();
    let used: BTreeSet<&str> = action
        .split("inputs.")
        .skip(1)
        .map(|rest| rest.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).next().unwrap())
        .collect();
    assert_eq!(declared, used);
    for step in action.split("xp-ci.sh\" ").skip(1) {
        let step = step.split(['\'', ' ']).next().unwrap();
        assert!(script.contains(&format!("\n  {step}) ")), "{step}");
    }
    for name in ["XP", "XP_EXPERIMENTS", "XP_BASE", "XP_RUN_ARGS", "PR_NUMBER"] {
        assert!(script.contains(&format!("${{{name}:-")) && action.contains(&format!(" {name}: ")), "{name}");
    }
    // What a workflow's author or a pull request writes is data, never a part of a script.
    for line in action.lines().filter(|line| line.trim_start().starts_with("run:")) {
        assert!(!line.contains("${{"), "{line}");
    }

    let project = Project::empty();
    let text = |xp: &str| said(&self::script(&project, "setup").env("XP", xp).output().unwrap()).0;
    let built = text("");
    let key = built.lines().nth(1).unwrap();
    assert!(built.starts_with(&format!("xp={}\nkey=", root("target/release/xp").display())), "{built}");
    assert_eq!(key.len(), "key=".len() + 32, "{built}");
    assert_eq!(text("xp"), format!("xp=xp\n{key}\n"));
    project.write("bin/xp", "");
    assert_eq!(
        text("./bin/xp"),
        format!("xp={}\n{key}\n", project.path("bin/xp").canonicalize().unwrap().display())
    );
}

/// Entries of the hooks by their ids. The file has no other shape than the one read here.
fn hooks() -> Vec<(String, String)> {
    let text = include_str!("../../.pre-commit-hooks.yaml");
    let hook = |hook: &str| {
        let (id, rest) = hook.split_once('\n').unwrap();
        let entry = rest.split_once("  entry: ").unwrap().1.split_once("\n  language: system").unwrap().0;
        (id.to_owned(), entry.strip_prefix(">-\n").unwrap_or(entry).replace("\n   ", ""))
    };
    text.split("- id: ").skip(1).map(hook).collect()
}

#[test]
fn pre_commit_hooks_say_what_their_commands_say() {
    let project = project();
    project.write("experiments/new.kdl", alone(16));
    let hooks = hooks();
    let ids: Vec<&str> = hooks.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["xp-fmt", "xp-check", "xp-lock-check"]);
    let bin = assert_cmd::cargo::cargo_bin("xp");
    let search = format!("{}:{}", bin.parent().unwrap().display(), std::env::var("PATH").unwrap());
    // pre-commit puts the files behind the entry.
    let run = |id: &str| {
        let entry = &hooks.iter().find(|(known, _)| known == id).unwrap().1;
        let mut command = command(&project, "bash");
        command.env("PATH", &search).args(["-c", &format!("{entry} \"$@\""), "hook"]);
        said(&command.args([SPEC, "experiments/new.kdl"]).output().unwrap())
    };
    for id in ids {
        let (text, code) = run(id);
        assert_eq!(code, 0, "{id}:\n{text}");
    }
    let before = project.read(LOCK);
    project.write(SPEC, alone(32).replace("    seed 7", "  seed 7"));
    let (text, code) = run("xp-lock-check");
    assert!(code == 1 && text.contains("locked 16, wanted 32"), "{text}");
    assert_eq!(project.read(LOCK), before);
    // pre-commit fails where a hook changed a file.
    assert_eq!(run("xp-fmt"), ("experiments/tiny.kdl: formatted\n".to_owned(), 0));
    project.write(SPEC, alone(32).replace("seed", "sede"));
    let (text, code) = run("xp-check");
    assert!(code == 1 && text.contains("sede"), "{text}");
}
