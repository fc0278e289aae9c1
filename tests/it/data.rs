//! Input files that lie outside of the project.

use crate::project::{Project, TINY};

const SPEC: &str = "experiments/traced.kdl";
const LOCK: &str = "locks/traced.lock.kdl";
const LENGTHS: &str = "num_prefill_tokens,num_decode_tokens\n9,3\n12,4\n7,2\n";

/// Measures only, lengths from a file of the data folder.
fn spec(data: &str) -> String {
    let lines = TINY.lines().filter(|line| !line.contains("vidur"));
    let lines = lines.map(|line| match line.trim_start() {
        line if line.starts_with("lengths") => "lengths \"trace\" \"traces/lengths.csv\"",
        line if line.starts_with("seed") => data,
        line => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

fn project(data: &str) -> (Project, Project) {
    let (project, elsewhere) = (Project::empty(), Project::empty());
    project.write(SPEC, spec(data));
    elsewhere.write("traces/lengths.csv", LENGTHS);
    (project, elsewhere)
}

#[test]
fn a_lock_finds_its_files_wherever_the_data_folder_is() {
    let (project, elsewhere) = project("data \"data\"");
    let at = |place: &Project| format!("data={}", place.path("").display());
    let said = project.fails(2, &["lock", SPEC]);
    assert!(said.contains("no data folder data") && said.contains("--set data=FOLDER"), "{said}");
    project.ok(&["lock", SPEC, "--set", &at(&elsewhere)]);
    let lock = String::from_utf8(project.read(LOCK)).unwrap();
    assert!(lock.contains("data \"data\"") && lock.contains("file \"traces/lengths.csv\""), "{lock}");
    let place = elsewhere.path("");
    assert!(!lock.contains(place.to_str().unwrap()) && !lock.contains("overrides"), "{lock}");

    // Another place of the same files is no change.
    let moved = Project::empty();
    moved.write("traces/lengths.csv", LENGTHS);
    project.ok(&["lock", "--check", SPEC, "--set", &at(&moved)]);
    for target in [LOCK, SPEC] {
        for mode in ["--locked", "--frozen"] {
            project.ok(&["workload", mode, target, "--set", &at(&moved)]);
            let said = project.fails(2, &["workload", mode, target]);
            assert!(said.contains("--set data=FOLDER"), "{said}");
        }
    }
    project.ok(&["verify", LOCK, "--set", &at(&moved)]);
    for command in [&["verify", LOCK][..], &["workload", "--frozen", LOCK]] {
        let said = project.fails(2, &[command, &["--set", "seed=1"]].concat());
        assert!(said.contains("only `--set data=FOLDER`"), "{said}");
    }

    // Other bytes are one, and a missing file is told with the folder.
    moved.write("traces/lengths.csv", LENGTHS.replace("9,3", "9,4"));
    let said = project.fails(1, &["workload", "--locked", LOCK, "--set", &at(&moved)]);
    assert!(said.contains("runs.tiny.workload.sha256: locked"), "{said}");
    std::fs::remove_file(moved.path("traces/lengths.csv")).unwrap();
    let said = project.fails(2, &["workload", "--locked", LOCK, "--set", &at(&moved)]);
    assert!(said.contains("cannot read traces/lengths.csv"), "{said}");

    // The folder that the experiment names is in the project.
    project.write("data/traces/lengths.csv", LENGTHS);
    project.ok(&["lock", "--check", SPEC]);
    project.ok(&["run", LOCK, "--locked"]);
}

#[test]
fn the_place_is_given_where_an_experiment_names_none_and_never_stands_in_one() {
    let (project, elsewhere) = project("seed 7");
    let at = format!("data={}", elsewhere.path("").display());
    let said = project.fails(2, &["lock", SPEC]);
    assert!(said.contains("cannot read traces/lengths.csv") && said.contains("--set data=FOLDER"), "{said}");
    project.ok(&["check", SPEC, "--set", &at]);
    project.ok(&["run", SPEC, "--set", &at]);
    assert_eq!(std::fs::read_dir(elsewhere.path("")).unwrap().count(), 1, "nothing is written there");
    for data in ["data \"/mnt/traces\"", "data \"../traces\""] {
        project.write(SPEC, spec(data));
        let said = project.fails(1, &["check", SPEC]);
        assert!(said.contains("is no folder of the project"), "{said}");
    }
}

#[test]
fn a_published_trace_is_run_as_it_is() {
    let (project, elsewhere) = (Project::empty(), Project::empty());
    let trace = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.02,14,3\n0.0,20,4\n0.01,9,2\n0.03,30,6\n";
    elsewhere.write("t.csv", trace);
    let text =
        TINY.replace("experiment \"tiny\"", "experiment \"traced\"").replace("requests 6", "requests 3");
    let lines = text.lines().filter(|line| !line.contains("arrivals")).map(|line| match line.trim_start() {
        line if line.starts_with("lengths") => "trace \"t.csv\" format=\"vidur\" max-tokens=20",
        line => line,
    });
    project.write(SPEC, lines.map(|line| format!("{line}\n")).collect::<String>());
    let at = format!("data={}", elsewhere.path("").display());
    let said = project.ok(&["run", SPEC, "--set", &at]);
    assert!(said.contains("t.csv: 1 request arrives before the one above"), "{said}");
    let lock = String::from_utf8(project.read(LOCK)).unwrap();
    for fact in [
        "requests 3\n",
        "prefill-tokens 39",
        "decode-tokens 9",
        "kind \"recorded\"",
        "time-scale 1.0",
        "file \"t.csv\"",
    ] {
        assert!(lock.contains(fact), "{fact}: {lock}");
    }
    let again = project.ok(&["run", "--locked", LOCK, "--set", &at]);
    assert_eq!(again.matches("reused").count(), 7, "{again}");
    elsewhere.write("t.csv", trace.replace("0.01,9", "-0.01,9"));
    let said = project.fails(1, &["lock", SPEC, "--set", &at]);
    assert!(said.contains("t.csv:4, column `arrived_at`") && said.contains("is negative"), "{said}");
}
