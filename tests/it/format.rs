//! `xp fmt`: files, standard input, and what is left alone.

use std::process::Output;

use assert_cmd::Command;

use crate::project::{Project, both};

const UGLY: &str = "experiment \"x\" {seed 7 // why\n\n\n   model dtype=f32 \"qwen3-tiny\"; }\r\n";
const PLAIN: &str = "experiment \"x\" {\n    seed 7 // why\n\n    model \"qwen3-tiny\" dtype=f32\n}\n";

fn piped(project: &Project, args: &[&str], text: &str) -> Output {
    let mut xp = Command::cargo_bin("xp").unwrap();
    xp.current_dir(project.path("")).args(args).env("NO_COLOR", "1").write_stdin(text).output().unwrap()
}

#[test]
fn experiments_are_formatted_and_canonical_files_are_not_touched() {
    let project = Project::tiny();
    project.write("experiments/deep/ugly.kdl", UGLY);
    project.write("experiments/plain.kdl", PLAIN);
    project.write("experiments/notes.txt", UGLY);
    let modified = |name: &str| std::fs::metadata(project.path(name)).unwrap().modified().unwrap();
    let before = modified("experiments/plain.kdl");

    let said = project.fails(1, &["fmt", "--check"]);
    insta::assert_snapshot!(said, @r#"
    experiments/deep/ugly.kdl: not in canonical form; `xp fmt` would change
      @@ -1,4 +1,5 @@
      -experiment "x" {seed 7 // why
      -
      +experiment "x" {
      +    seed 7 // why

      -   model dtype=f32 "qwen3-tiny"; }\r
      +    model "qwen3-tiny" dtype=f32
      +}
    experiments/tiny.kdl: not in canonical form; `xp fmt` would change
      @@ -1,5 +1,7 @@
       experiment "tiny" {
           seed 7
      -    model "qwen3-tiny" { source "synthetic"; }
      +    model "qwen3-tiny" {
      +        source "synthetic"
      +    }
           hardware "cpu" threads=1
           workload "few" {
      @@ -9,5 +11,7 @@
           }
           backend "sarathi" chunk-size=16 max-batch-size=4 kv-memory="4MiB"
      -    backend "vidur" { profile "auto"; }
      +    backend "vidur" {
      +        profile "auto"
      +    }
           compare real="sarathi" sim="vidur" pass="10%" warn="20%" repeats=2
       }
    "#);
    assert_eq!(project.read("experiments/deep/ugly.kdl"), UGLY.as_bytes());

    let said = project.ok(&["fmt"]);
    assert_eq!(said, "experiments/deep/ugly.kdl: formatted\nexperiments/tiny.kdl: formatted\n");
    assert_eq!(project.read("experiments/deep/ugly.kdl"), PLAIN.as_bytes());
    assert_eq!(project.read("experiments/notes.txt"), UGLY.as_bytes());
    assert_eq!(modified("experiments/plain.kdl"), before);
    assert_eq!(project.ok(&["fmt"]) + &project.ok(&["fmt", "--check"]), "");
    project.ok(&["check", "experiments/tiny.kdl"]);

    // The lock of a formatted experiment is the same, and is in canonical form itself.
    let alone = PLAIN.replace("}\n", "    workload \"w\" requests=2 { lengths \"fixed\" prefill=9 decode=3; }\n    backend \"sarathi\"\n}\n");
    project.write("experiments/alone.kdl", alone);
    project.ok(&["lock", "experiments/alone.kdl"]);
    project.ok(&["fmt", "experiments/alone.kdl"]);
    project.ok(&["lock", "--check", "experiments/alone.kdl"]);
    project.ok(&["fmt", "--check", "locks/alone.lock.kdl"]);
}

#[test]
fn standard_input_is_formatted_to_standard_output() {
    let project = Project::empty();
    let output = piped(&project, &["fmt", "-"], UGLY);
    assert_eq!((both(&output).as_str(), output.status.code()), (PLAIN, Some(0)));
    let output = piped(&project, &["fmt", "-", "--check"], PLAIN);
    assert_eq!((both(&output).as_str(), output.status.code()), ("", Some(0)));
    let output = piped(&project, &["fmt", "--check", "-"], UGLY);
    assert!(both(&output).starts_with("<stdin>: not in canonical form"), "{}", both(&output));
    assert_eq!(output.status.code(), Some(1));
    let output = piped(&project, &["fmt", "-"], "a {");
    assert!(output.stdout.is_empty() && both(&output).contains("<stdin>:1:3"), "{}", both(&output));
    assert_eq!(output.status.code(), Some(1));
    project.fails(2, &["fmt", "-", "x.kdl"]);
}

#[test]
fn what_cannot_be_formatted_is_left_alone_and_stops_no_other_file() {
    let project = Project::empty();
    project.fails(2, &["fmt"]);
    std::fs::create_dir(project.path("experiments")).unwrap();
    assert!(project.fails(2, &["fmt"]).contains("there is no experiment"));
    project.write("experiments/broken.kdl", "experiment \"x\" {\n  seed 7");
    project.write("experiments/latin.kdl", b"// \xe9\n");
    project.write("experiments/ugly.kdl", UGLY);
    let said = project.fails(1, &["fmt"]);
    assert!(said.contains("broken.kdl:1:16") && said.contains("latin.kdl is not UTF-8"), "{said}");
    assert_eq!(project.read("experiments/broken.kdl"), b"experiment \"x\" {\n  seed 7");
    assert_eq!(project.read("experiments/latin.kdl"), b"// \xe9\n");
    assert_eq!(project.read("experiments/ugly.kdl"), PLAIN.as_bytes());
    let said = project.fails(2, &["fmt", "none.kdl", "experiments/broken.kdl"]);
    assert!(said.contains("cannot read none.kdl") && said.contains("broken.kdl"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let project = Project::empty();
    project.write("shared/ugly.kdl", UGLY);
    std::fs::create_dir(project.path("experiments")).unwrap();
    std::os::unix::fs::symlink("../shared/ugly.kdl", project.path("experiments/link.kdl")).unwrap();
    project.ok(&["fmt", "experiments/link.kdl"]);
    assert!(std::fs::symlink_metadata(project.path("experiments/link.kdl")).unwrap().is_symlink());
    assert_eq!(project.read("shared/ugly.kdl"), PLAIN.as_bytes());
    let mut mode = std::fs::metadata(project.path("shared/ugly.kdl")).unwrap().permissions();
    project.write("shared/ugly.kdl", UGLY);
    mode.set_readonly(true);
    std::fs::set_permissions(project.path("shared/ugly.kdl"), mode).unwrap();
    project.fails(2, &["fmt", "experiments/link.kdl"]);
    assert_eq!(project.read("shared/ugly.kdl"), UGLY.as_bytes());
}
