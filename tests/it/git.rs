//! Locks under git: shown and merged by their facts, read at a revision.

use std::process::{Command, Output};

use crate::project::{Project, both};

const SPEC: &str = "experiments/tiny.kdl";
const LOCK: &str = "locks/tiny.lock.kdl";

/// An experiment that measures only, one setting a line and none beside another: git can merge it.
const APART: &str = r#"experiment "tiny" {
    seed 7
    //
    //
    model "qwen3-tiny"
    hardware "cpu" threads=1
    workload "few" {
        requests 6
        lengths "uniform" min=12 max=40
    }
    backend "sarathi" {
        kv-memory "4MiB"
        //
        chunk-size 16
        //
        //
        max-batch-size 4
    }
}
"#;

/// A project in a repository of its own, in a folder of it.
struct Repository {
    project: Project,
}

impl Repository {
    /// With the experiment and its lock committed on `main`.
    fn new() -> Self {
        let repository = Self { project: Project::empty() };
        repository.git(&["init", "-q", "-b", "main"]);
        repository.project.write(".gitignore", ".xp/\nruns/\n");
        repository.project.write(SPEC, APART);
        repository.project.ok(&["lock", SPEC]);
        repository.commit("base");
        repository
    }

    /// Runs git, which knows no settings but the repository's.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new("git");
        command.current_dir(self.project.path("."));
        for (name, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "x"),
            ("GIT_AUTHOR_EMAIL", "x@example.org"),
            ("GIT_COMMITTER_NAME", "x"),
            ("GIT_COMMITTER_EMAIL", "x@example.org"),
        ] {
            command.env(name, value);
        }
        command.env_remove("GIT_DIR").args(args).output().expect("git starts")
    }

    fn git(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "git {args:?}:\n{}", both(&output));
        both(&output)
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", message]);
    }

    /// Commits the experiment with a setting changed, and its lock, on a new branch from `main`.
    fn branch(&self, name: &str, changes: &[(&str, &str)]) {
        self.git(&["checkout", "-q", "-b", name, "main"]);
        let mut text = APART.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        self.project.write(SPEC, text);
        self.project.ok(&["lock", SPEC]);
        self.commit(name);
    }

    fn lock(&self) -> String {
        String::from_utf8(self.project.read(LOCK)).unwrap()
    }
}

#[test]
fn git_shows_nothing_of_xps_own_folder() {
    let repository = Repository { project: Project::empty() };
    repository.git(&["init", "-q", "-b", "main"]);
    repository.project.write(SPEC, APART);
    repository.project.ok(&["lock", SPEC]);
    assert!(repository.project.path(".xp").is_dir());
    let shown = repository.git(&["status", "--porcelain", "--untracked-files=all"]);
    assert_eq!(shown, format!("?? {SPEC}\n?? {LOCK}\n"));
    // Nor in the main worktree, when a linked one fills the store there.
    repository.commit("locked");
    std::fs::remove_dir_all(repository.project.path(".xp")).unwrap();
    repository.git(&["worktree", "add", "-q", "linked"]);
    repository.project.ok(&["workload", &format!("linked/{SPEC}")]);
    assert!(repository.project.path(".xp/store").is_dir());
    let shown = repository.git(&["status", "--porcelain", "--untracked-files=all"]);
    assert!(!shown.contains(".xp"), "{shown}");
}

#[test]
fn branches_that_change_neighbouring_facts_merge_clean() {
    let repository = Repository::new();
    repository.project.ok(&["git", "install"]);
    repository.commit("attributes");
    repository.branch("a", &[("chunk-size 16", "chunk-size 8")]);
    repository.branch("b", &[("max-batch-size 4", "max-batch-size 3")]);
    repository.git(&["checkout", "-q", "a"]);
    let said = repository.git(&["merge", "--no-edit", "b"]);
    insta::assert_snapshot!(said.lines().filter(|line| !line.contains('|')).collect::<Vec<_>>().join("\n"), @"
    Auto-merging experiments/tiny.kdl
    Auto-merging locks/tiny.lock.kdl
    Merge made by the 'ort' strategy.
     2 files changed, 4 insertions(+), 4 deletions(-)
    locks/tiny.lock.kdl: merged; both sides changed settings: `xp lock --check experiments/tiny.kdl` tells whether it is up to date
    ");
    assert!(repository.lock().contains("chunk-size 8\n        max-batch-size 3\n"));
    let said = repository.project.ok(&["lock", "--check", SPEC]);
    assert!(said.contains("is up to date"), "{said}");

    // Both sides change what the workload is made of: nothing to choose, and out of date.
    repository.branch("c", &[("requests 6", "requests 7")]);
    repository.branch("d", &[("seed 7", "seed 8")]);
    let said = repository.git(&["merge", "--no-edit", "c"]);
    assert!(said.contains("locks/tiny.lock.kdl: merged, and out of date"), "{said}");
    assert!(said.contains("runs.tiny.workload"), "{said}");
    repository.project.fails(1, &["lock", "--check", SPEC]);
    repository.project.ok(&["lock", SPEC]);
    repository.project.ok(&["lock", "--check", SPEC]);
}

#[test]
fn a_conflict_is_one_fact_and_is_settled_in_the_experiment() {
    let repository = Repository::new();
    repository.project.ok(&["git", "install"]);
    repository.commit("attributes");
    repository.branch("a", &[("chunk-size 16", "chunk-size 8"), ("requests 6", "requests 7")]);
    repository.branch("b", &[("chunk-size 16", "chunk-size 4"), ("max-batch-size 4", "max-batch-size 3")]);
    let merge = repository.run(&["merge", "--no-edit", "a"]);
    assert_eq!(merge.status.code(), Some(1));
    insta::assert_snapshot!(both(&merge), @"
    Auto-merging experiments/tiny.kdl
    CONFLICT (content): Merge conflict in experiments/tiny.kdl
    Auto-merging locks/tiny.lock.kdl
    CONFLICT (content): Merge conflict in locks/tiny.lock.kdl
    Automatic merge failed; fix conflicts and then commit the result.
      × locks/tiny.lock.kdl: 1 conflict
      │   experiment.backends.sarathi.chunk-size: ours 4, theirs 8, before 16
      help: settle experiments/tiny.kdl first; then `xp lock experiments/tiny.kdl`
            writes the lock anew from it
    ");
    let lock = repository.lock();
    let conflict = "<<<<<<< HEAD\n        chunk-size 4\n=======\n        chunk-size 8\n>>>>>>> a\n";
    assert!(lock.contains(conflict), "{lock}");
    assert_eq!(lock.matches("<<<<<<<").count(), 1);
    assert!(lock.contains("requests 7") && lock.contains("max-batch-size 3"), "{lock}");
    insta::assert_snapshot!(repository.project.fails(1, &["run", LOCK]), @r#"
    xp::lock::conflict

      × unresolved conflict in experiment.backends.sarathi.chunk-size
        ╭─[locks/tiny.lock.kdl:44:1]
     42 │             kind "candle"
     43 │             scheduler "sarathi"
     44 │ ╭─▶ <<<<<<< HEAD
     45 │ │           chunk-size 4
     46 │ │   =======
     47 │ │           chunk-size 8
     48 │ ├─▶ >>>>>>> a
        · ╰──── ours 4, theirs 8
     49 │             max-batch-size 3
     50 │             block-size 16
        ╰────
      help: settle the experiment first; then `xp lock experiments/tiny.kdl`
            writes the lock anew from it

      `xp explain lock::conflict` tells more
    "#);
    let unmerged = repository.git(&["diff", "--name-only", "--diff-filter=U"]);
    assert!(unmerged.contains(LOCK), "{unmerged}");

    let spec = String::from_utf8(repository.project.read(SPEC)).unwrap();
    let settled: String = spec
        .lines()
        .filter(|line| !line.starts_with(['<', '=', '>']) && !line.contains("chunk-size 4"))
        .map(|line| format!("{line}\n"))
        .collect();
    repository.project.write(SPEC, settled);
    repository.project.ok(&["lock", SPEC]);
    repository.project.ok(&["lock", "--check", SPEC]);
    assert!(repository.lock().contains("chunk-size 8"));
    repository.commit("merged");
}

#[test]
fn git_shows_facts() {
    let repository = Repository::new();
    repository.project.ok(&["git", "install"]);
    repository.commit("attributes");
    repository.project.ok(&["lock", SPEC, "--set", "backend.sarathi.chunk-size=8"]);
    insta::assert_snapshot!(repository.git(&["diff"]), @r#"
    diff --xp a/locks/tiny.lock.kdl b/locks/tiny.lock.kdl
    The engine is timed again in the run.

    measurement: the engine is timed again
      experiment.backends.sarathi.chunk-size  16 → 8
      runs.tiny.scheduler.chunk-size          16 → 8

    cosmetic: no result changes
      spec.sha256     a4721bb47345… → a7b7dbd36655…
      spec.overrides  "" → "backend.sarathi.chunk-size=8"

    made again
      real  run tiny
    "#);
    let shown = repository.git(&["-c", "color.diff=always", "diff"]);
    assert!(shown.contains('\u{1b}'), "{shown}");
    // What makes patches stays a patch, with the block in the heads of its hunks.
    let patch = repository.git(&["diff", "--no-ext-diff"]);
    assert!(patch.contains("@@ run \"tiny\"") && patch.contains("+        chunk-size 8"), "{patch}");
    repository.commit("smaller");
    let log = repository.git(&["log", "-p", "-1"]);
    assert!(log.contains("+        chunk-size 8"), "{log}");
    let log = repository.git(&["log", "-p", "--ext-diff", "-1"]);
    assert!(log.contains("The engine is timed again"), "{log}");
    // A lock that is none, and one that is gone, are shown all the same.
    repository.project.write(LOCK, "words\n");
    let shown = repository.git(&["diff"]);
    assert!(shown.contains("as text: ") && shown.contains("+words"), "{shown}");
    std::fs::remove_file(repository.project.path(LOCK)).unwrap();
    let shown = repository.git(&["diff"]);
    assert!(shown.contains("The lock is gone"), "{shown}");
}

#[test]
fn what_is_set_up_is_set_up_once_and_taken_back() {
    let repository = Repository::new();
    let before = (repository.git(&["config", "--local", "--list"]), repository.git(&["status", "-s"]));
    insta::assert_snapshot!(repository.project.fails(1, &["git", "install", "--check"]), @"
    not set up:
      diff.xp-lock.command (.git/config)
      diff.xp-lock.xfuncname (.git/config)
      merge.xp-lock.name (.git/config)
      merge.xp-lock.driver (.git/config)
      merge.xp-lock.recursive (.git/config)
      *.lock.kdl diff=xp-lock merge=xp-lock (.gitattributes)
    `xp git install` sets it up
    ");
    let said = repository.project.ok(&["git", "install"]);
    insta::assert_snapshot!(said, @"
    git shows and merges locks by their facts in this repository
    commit .gitattributes; in every other clone `xp git install` sets up the rest
    ");
    let config = repository.git(&["config", "--local", "--list"]);
    repository.project.ok(&["git", "install"]);
    repository.project.ok(&["git", "install", "--check"]);
    assert_eq!(config, repository.git(&["config", "--local", "--list"]));
    let attributes = String::from_utf8(repository.project.read(".gitattributes")).unwrap();
    assert_eq!(attributes, "*.lock.kdl diff=xp-lock merge=xp-lock\n");
    // From a folder below, too.
    repository.project.ok(&["git", "install", "--uninstall"]);
    assert_eq!(before, (repository.git(&["config", "--local", "--list"]), repository.git(&["status", "-s"])));

    repository.git(&["config", "merge.xp-lock.driver", "mine %A"]);
    let said = repository.project.fails(2, &["git", "install"]);
    assert!(said.contains("merge.xp-lock.driver") && said.contains("mine %A"), "{said}");
    repository.git(&["config", "--unset", "merge.xp-lock.driver"]);
    repository.project.write(".gitattributes", "*.lock.kdl merge=union\n");
    let said = repository.project.fails(2, &["git", "install"]);
    assert!(said.contains("*.lock.kdl merge=union"), "{said}");
    assert!(repository.run(&["config", "diff.xp-lock.command"]).stdout.is_empty(), "nothing was changed");
    let outside = Project::empty();
    let said = outside.fails(2, &["git", "install"]);
    assert!(said.contains("not in a git repository"), "{said}");
}

#[test]
fn a_lock_is_read_at_a_revision() {
    let repository = Repository::new();
    let project = &repository.project;
    let before = repository.lock();
    project.ok(&["lock", SPEC, "--set", "workload.requests=7"]);
    let said = project.fails(1, &["diff", LOCK]);
    assert!(said.contains("experiment.workload.requests") && said.contains("6 → 7"), "{said}");
    assert_eq!(said, project.fails(1, &["diff", &format!("HEAD:{LOCK}"), LOCK]));
    assert_eq!(said, project.fails(1, &["diff", &format!("main:./{LOCK}"), LOCK]));
    project.write("old.lock.kdl", &before);
    project.ok(&["diff", "old.lock.kdl", &format!("main:{LOCK}")]);
    // A file of that name wins.
    project.write("main:x.lock.kdl", repository.lock());
    project.ok(&["diff", "main:x.lock.kdl", LOCK]);
    let new = project.fails(1, &["diff", "/dev/null", LOCK]);
    assert!(new.contains("The lock is new: 1 run."), "{new}");
    repository.git(&["add", LOCK]);
    project.ok(&["diff", &format!(":{LOCK}"), LOCK]);

    let told: Vec<String> = [
        &["diff", "nowhere:a", LOCK][..],
        &["diff", "HEAD:lock/tiny.lock.kdl", LOCK],
        &["diff", "locks/tinny.lock.kdl"],
        &["diff", "tiny", LOCK],
        &["diff", "--", "-x:foo", LOCK],
        &["diff", "--", "--upload-pack=touch x", LOCK],
        &["diff", "--", "--upload-pack=touch x:y", LOCK],
        &["diff", "-", "-"],
        &["diff", "/dev/null", "/dev/null"],
        &["diff", SPEC, LOCK],
    ]
    .into_iter()
    .map(|args| format!("$ xp {}\n{}", args.join(" "), project.fails(2, args)))
    .collect();
    insta::assert_snapshot!(told.join("\n"));
    assert!(!project.path("x").exists());
    let outside = Project::empty();
    let said = outside.fails(2, &["diff", "main:a", "b"]);
    assert!(said.contains("not in a git repository"), "{said}");
}

#[test]
fn locks_are_merged_without_git_and_text_as_git_would() {
    let repository = Repository::new();
    let project = &repository.project;
    let base = repository.lock();
    project.write("base", &base);
    project.write("ours", base.replace("chunk-size 16", "chunk-size 8"));
    project.write("theirs", base.replace("description", "").replace("requests 6", "requests 7"));
    project.ok(&["merge", "base", "ours", "theirs", "-o", "out"]);
    let out = String::from_utf8(project.read("out")).unwrap();
    assert!(out.contains("chunk-size 8") && out.contains("requests 7"), "{out}");
    assert_ne!(project.read("ours"), project.read("out"));
    // Nothing is lost where one side is no lock.
    project.write("theirs", "words\n");
    let said = project.fails(1, &["merge", "base", "ours", "theirs"]);
    assert!(said.contains("not all three are locks"), "{said}");
    let ours = String::from_utf8(project.read("ours")).unwrap();
    assert!(
        ours.contains("<<<<<<< ours") && ours.contains("words") && ours.contains("chunk-size 8"),
        "{ours}"
    );
    let before = project.read("base");
    project.fails(2, &["merge", "none", "base", "base"]);
    assert_eq!(before, project.read("base"));
}

#[test]
fn results_of_two_locks_stand_side_by_side() {
    let project = Project::tiny();
    project.ok(&["run", SPEC]);
    std::fs::copy(project.path(LOCK), project.path("locks/old.lock.kdl")).unwrap();
    project.ok(&["run", SPEC, "--set", "compare.pass=300%", "--set", "compare.warn=400%"]);
    let said = project.fails(1, &["diff", "--results", "locks/old.lock.kdl", LOCK]);
    let figures: Vec<&str> = said.lines().filter(|line| line.trim_start().starts_with("E2E")).collect();
    assert_eq!(figures.len(), 2, "{said}");
    assert!(figures.iter().all(|line| line.matches('→').count() == 4 && !line.contains('–')), "{said}");
    let json = project.xp(&["diff", "--results", "--json", "locks/old.lock.kdl", LOCK]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["results"][0]["old"]["figures"].as_array().unwrap().len(), 6, "{json}");
    assert!(json["results"][0]["new"]["verdict"].is_string(), "{json}");

    // A lock that was not run, and one whose comparison is damaged.
    project.ok(&["lock", SPEC, "--set", "compare.pass=2%"]);
    let said = project.fails(1, &["diff", "--results", "locks/old.lock.kdl", LOCK]);
    assert!(said.contains("→ not run"), "{said}");
    for folder in crate::project::folders(&project.path("runs/comparisons")) {
        std::fs::write(folder.join("comparison.json"), "{}").unwrap();
    }
    let said = project.fails(1, &["diff", "--results", "locks/old.lock.kdl", LOCK]);
    assert!(said.contains("not run: tiny"), "{said}");
}
