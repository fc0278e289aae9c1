//! A run that was measured elsewhere, compared with its simulation.

use crate::project::{Project, TINY, folders};

const SPEC: &str = "experiments/recorded.kdl";
const LOCK: &str = "locks/recorded.lock.kdl";
const FILE: &str = "data/real_requests.csv";

/// TINY with a recording in place of the engine.
fn spec() -> String {
    let backend = "backend \"vllm\" kind=\"recorded\" chunk-size=16 max-batch-size=4 kv-memory=\"4MiB\" {\n\
        file \"real_requests.csv\"\n\
        columns unit=\"s\" request-id=\"id\" arrival=\"arrival\" first-token=\"first\" completion=\"last\" \
        decode-tokens=\"out\"\n}";
    let lines = TINY.lines().map(|line| match line.trim_start() {
        line if line.starts_with("experiment") => "experiment \"recorded\" {",
        line if line.starts_with("seed") => "seed 7\ndata \"data\"",
        line if line.starts_with("backend \"sarathi\"") => backend,
        line if line.starts_with("compare") => {
            "compare real=\"vllm\" sim=\"vidur\" pass=\"10%\" warn=\"20%\""
        }
        line => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// What another tool could have written of a run of TINY: seconds since an epoch, rows in the order of completion.
fn recording(project: &Project) -> String {
    let run = folders(&project.path("runs/real_runs")).remove(0);
    let text = std::fs::read_to_string(run.join("request_metrics.csv")).unwrap();
    let mut rows: Vec<Vec<u64>> = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').take(8).map(|cell| cell.parse().unwrap_or(0)).collect())
        .collect();
    rows.sort_by_key(|row| row[4]);
    let seconds = |ns: u64| {
        let ns = ns + 1_700_000_000_000_000_000;
        format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
    };
    let lines = rows.iter().map(|row| {
        format!("{},{},{},{},{}\n", row[0], seconds(row[1]), seconds(row[2]), seconds(row[4]), row[7])
    });
    "id,arrival,first,last,out\n".to_owned() + &lines.collect::<String>()
}

#[test]
fn a_recording_takes_the_place_of_a_measurement() {
    let project = Project::tiny();
    project.ok(&["run", "experiments/tiny.kdl"]);
    project.write(FILE, recording(&project));
    project.write(SPEC, spec());
    let said = project.ok(&["run", SPEC]);
    assert!(said.contains("vllm is a recording from elsewhere"), "{said}");
    let lock = String::from_utf8(project.read(LOCK)).unwrap();
    assert!(
        lock.contains("recorded {\n        path \"real_requests.csv\"") && lock.contains("repeats 1"),
        "{lock}"
    );

    let run = |name: &str| {
        let all = folders(&project.path("runs/real_runs"));
        all.into_iter()
            .find(|folder| folder.file_name().unwrap().to_string_lossy().starts_with(name))
            .unwrap()
    };
    let (recorded, own) = (run("recorded-r1"), run("tiny-r1"));
    assert!(!recorded.join("steps.csv").exists() && !recorded.join("token_metrics.csv").exists());
    let times = |folder: &std::path::Path| {
        let text = std::fs::read_to_string(folder.join("request_metrics.csv")).unwrap();
        text.replace(",vllm,", ",sarathi,")
    };
    assert_eq!(times(&recorded), times(&own), "the recording says what the run was");

    // The comparison is that of the run, but for what a recording does not have.
    let comparison = |name: &str| -> serde_json::Value {
        let all = folders(&project.path("runs/comparisons"));
        let folder = all
            .into_iter()
            .find(|folder| folder.file_name().unwrap().to_string_lossy().starts_with(name))
            .unwrap();
        serde_json::from_slice(&std::fs::read(folder.join("comparison.json")).unwrap()).unwrap()
    };
    let made = comparison("recorded-");
    assert_eq!(made["recorded"], true);
    assert!(made["timeline_measured"].as_array().unwrap().is_empty());
    let percentiles = made["percentiles"].as_array().unwrap();
    assert!(percentiles.iter().all(|row| row["metric"] != "ITL") && percentiles.len() == 36);
    assert_eq!(made["headline"].as_array().unwrap().len(), 12);
    assert!(made["headline"][0]["noise_percent"].is_null());
    let summary = folders(&project.path("runs/comparisons"));
    let summary = summary.iter().map(|folder| std::fs::read_to_string(folder.join("summary.md")).unwrap());
    let summary: String = summary.filter(|text| text.starts_with("# recorded")).collect();
    assert!(
        summary.contains("| not available |") && summary.contains("is a recording from elsewhere"),
        "{summary}"
    );
    assert!(project.path("reports/recorded.pdf").is_file());

    // All of it is reused, verified, and reported again.
    let again = project.ok(&["run", "--locked", LOCK]);
    assert_eq!(again.matches("reused").count(), 6, "{again}");
    let status = project.ok(&["status", SPEC]);
    assert!(!status.contains("stale"), "{status}");
    project.ok(&["verify", LOCK]);
    project.ok(&["verify", "reports/recorded.pdf"]);
    project.ok(&["real", LOCK, "--out", "out"]);
    assert_eq!(times(&project.path("out")), times(&own));
}

#[test]
fn another_recording_makes_a_lock_stale_and_a_broken_one_is_told_with_its_place() {
    let project = Project::tiny();
    project.ok(&["run", "experiments/tiny.kdl"]);
    let good = recording(&project);
    project.write(FILE, &good);
    project.write(SPEC, spec());
    project.ok(&["lock", SPEC]);
    let mut lines: Vec<&str> = good.lines().collect();
    let last = lines.pop().unwrap();
    project.write(FILE, lines.join("\n") + "\n");
    let said = project.fails(1, &["run", "--locked", LOCK]);
    assert!(said.contains("runs.recorded.recorded.sha256: locked"), "{said}");
    let said = project.fails(1, &["run", SPEC]);
    assert!(said.contains("real_requests.csv has 5 rows, and none for request "), "{said}");
    let broken = good.replace(last, &last.replace("1700000", "-1700000"));
    project.write(FILE, broken);
    let said = project.fails(1, &["run", SPEC]);
    assert!(said.contains("real_requests.csv:7, column `arrival`") && said.contains("is negative"), "{said}");
    std::fs::remove_file(project.path(FILE)).unwrap();
    let said = project.fails(2, &["run", "--locked", LOCK]);
    assert!(said.contains("cannot read real_requests.csv"), "{said}");
    // Nothing can be repeated that was recorded.
    project.write(SPEC, spec().replace("warn=\"20%\"", "warn=\"20%\" repeats=2"));
    let said = project.fails(1, &["check", SPEC]);
    assert!(said.contains("is one run, it cannot be repeated"), "{said}");
}
