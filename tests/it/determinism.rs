//! Same lock, same bytes: in any folder, at any time, with any thread count.

use crate::project::Project;

/// A project with a bundle of its own making, so that two can be compared.
fn with_bundle(from: &Project, threads: &str) -> Project {
    let project = Project::tiny();
    let bundle = from.path("bundle");
    copy(&bundle, &project.path("bundle"));
    let output = assert_cmd::Command::cargo_bin("xp")
        .unwrap()
        .current_dir(project.path(""))
        .env("RAYON_NUM_THREADS", threads)
        .args(["sim", "experiments/tiny.kdl", "--set", "backend.vidur.profile=bundle"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", crate::project::both(&output));
    project
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in crate::project::folders(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

#[test]
fn two_locks_two_simulations_two_reports_of_the_same_inputs_are_the_same_bytes() {
    let origin = Project::tiny();
    origin.ok(&["profile", "experiments/tiny.kdl", "--out", "bundle"]);
    let (one, two) = (with_bundle(&origin, "1"), with_bundle(&origin, "4"));
    assert_eq!(one.read("locks/tiny.lock.kdl"), two.read("locks/tiny.lock.kdl"));
    let (sim_one, sim_two) = (one.only("runs/sim_runs"), two.only("runs/sim_runs"));
    assert_eq!(sim_one.file_name(), sim_two.file_name());
    for file in ["request_metrics.csv", "token_metrics.csv", "steps.csv", "run_meta.json"] {
        assert_eq!(
            std::fs::read(sim_one.join(file)).unwrap(),
            std::fs::read(sim_two.join(file)).unwrap(),
            "{file}"
        );
    }

    one.ok(&["real", "experiments/tiny.kdl", "--out", "real"]);
    let sim = sim_one.display().to_string();
    for out in ["a", "b"] {
        one.ok(&["compare", "--real", "real", "--sim", &sim, "--out", out]);
        one.ok(&["report", out]);
    }
    assert_eq!(one.read("a/comparison.json"), one.read("b/comparison.json"));
    assert_eq!(one.read("a/figs/cdf-ttft.svg"), one.read("b/figs/cdf-ttft.svg"));
    assert_eq!(one.read("a/report.pdf"), one.read("b/report.pdf"));
}
