//! A matrix over cards: each run is simulated from the profile of its own.

use crate::kernel_profile::{self, CONFIG};
use crate::project::{Project, both, folders};

const SPEC: &str = "experiments/cards.kdl";
const LOCK: &str = "locks/cards.lock.kdl";

/// Two cards, each with its memory, price and profile, and two chunk sizes.
const TEXT: &str = r#"experiment "cards" {
    model "tiny" dtype="bf16" {
        source "config" "model.json"
    }
    hardware "slow-card" memory="300MiB" price-per-hour=1
    workload "few" {
        requests 40
        lengths "uniform" min=20 max=120
        arrivals "poisson" qps=2000
    }
    backend "vllm" kind="engine" {
        scheduler "vllm_v1"
        chunk-size 64
        max-batch-size 8
    }
    backend "sim" {
        profile "profiles/slow"
        predictor "kernels"
    }
    slo ttft-p99="20ms" tpot-p99="5ms"
    capacity min-qps=50 max-qps=20000
    matrix {
        zip {
            hardware.device "slow-card" "fast-card"
            hardware.memory "300MiB" "600MiB"
            hardware.price-per-hour 1 1.5
            backend.sim.profile "profiles/slow" "profiles/fast"
        }
        backend.vllm.chunk-size 16 64
    }
}
"#;

/// The fast card's kernels take a third of the time.
fn project() -> Project {
    let project = Project::empty();
    project.write(SPEC, TEXT);
    project.write("model.json", CONFIG);
    kernel_profile::write(&project, "profiles/slow", "Slow Card", 3.0);
    kernel_profile::write(&project, "profiles/fast", "Fast Card", 1.0);
    project
}

fn text(project: &Project, name: &str) -> String {
    String::from_utf8(project.read(name)).unwrap()
}

/// The search's document.
fn searched(project: &Project) -> (String, serde_json::Value) {
    let said = project.ok(&["capacity", SPEC]);
    let found = std::fs::read(project.only("runs/capacity").join("capacity.json")).unwrap();
    (said, serde_json::from_slice(&found).unwrap())
}

#[test]
fn each_run_pins_and_is_simulated_from_its_own_profile() {
    let project = project();
    let said = project.ok(&["sim", SPEC]);
    let lock = text(&project, LOCK);
    // None of all runs, one of each; a profile of two runs is read once.
    assert!(!lock.contains("\nbundle {"), "{lock}");
    assert_eq!(lock.matches("\n    bundle {").count(), 4, "{lock}");
    for (gpu, path) in [("Slow Card", "profiles/slow"), ("Fast Card", "profiles/fast")] {
        assert_eq!(lock.matches(&format!("fact \"gpu\" value=\"{gpu}\"")).count(), 2, "{lock}");
        assert_eq!(said.matches(path).count(), 1, "{said}");
    }
    // KV blocks are planned from the memory of each card, and steps last as long as each card's kernels.
    let mut blocks: Vec<&str> = lock.lines().filter(|line| line.contains("kv-blocks ")).collect();
    blocks.dedup();
    assert_eq!(blocks.len(), 4, "{blocks:?}");
    let mut spans: Vec<u64> = folders(&project.path("runs/sim_runs"))
        .iter()
        .map(|run| {
            let steps = std::fs::read_to_string(run.join("steps.csv")).unwrap();
            let row: Vec<u64> =
                steps.lines().nth(1).unwrap().split(',').take(3).map(|cell| cell.parse().unwrap()).collect();
            row[2] - row[1]
        })
        .collect();
    spans.sort_unstable();
    assert!(spans.len() == 4 && spans[3] > 2 * spans[0], "{spans:?}");

    // All that looks at a lock knows all bundles.
    project.ok(&["lock", SPEC, "--check"]);
    project.ok(&["sim", LOCK, "--frozen"]);
    let status = project.ok(&["status", LOCK]);
    assert!(status.contains("profiles/slow") && status.contains("profiles/fast"), "{status}");
    let verified = project.ok(&["verify", LOCK]);
    assert!(verified.contains("bundle file") && verified.contains("simulation"), "{verified}");
    assert!(text(&project, LOCK) == lock);
    project.ok(&["gc"]);
    // A lock elsewhere brings both profiles with it.
    project.ok(&["store", "push", "share"]);
    for name in [SPEC, LOCK, "model.json"] {
        project.write(&format!("other/{name}"), project.read(name));
    }
    let there = format!("other/{LOCK}");
    project.ok(&["store", "pull", "share", &there]);
    assert!(project.path("other/profiles/fast/meta.yaml").is_file());
    project.ok(&["sim", &there, "--frozen"]);
    std::fs::remove_dir_all(project.path("profiles")).unwrap();
    let stale = project.fails(1, &["lock", SPEC, "--check"]);
    assert!(
        stale.contains("profiles/slow is missing") && stale.contains("profiles/fast is missing"),
        "{stale}"
    );
    let status = project.ok(&["status", LOCK]);
    assert_eq!(status.matches("profile   stored").count(), 2, "{status}");
    project.ok(&["sim", LOCK, "--locked"]);
    assert!(project.path("profiles/fast/meta.yaml").is_file() && project.path("profiles/slow").is_dir());
    project.ok(&["run", LOCK, "--frozen"]);
}

#[test]
fn another_profile_of_one_card_makes_its_simulations_again_and_no_others() {
    let project = project();
    project.ok(&["sim", SPEC]);
    let before = project.read(LOCK);
    project.write("old.lock.kdl", &before);
    kernel_profile::write(&project, "profiles/fast", "Fast Card", 0.5);
    let stale = project.fails(1, &["lock", SPEC, "--check"]);
    assert!(stale.contains("profiles/fast is not the pinned one"), "{stale}");
    assert!(!stale.contains("profiles/slow"), "{stale}");
    let differs = both(&project.xp(&["verify", LOCK]));
    assert!(
        differs.contains("profiles/fast/tp1/dense.csv") && !differs.contains("profiles/slow/"),
        "{differs}"
    );
    project.ok(&["sim", SPEC]);
    assert_eq!(folders(&project.path("runs/sim_runs")).len(), 6);
    let diff = project.fails(1, &["diff", "old.lock.kdl", LOCK]);
    assert!(diff.contains("runs.*.bundle.sha256"), "{diff}");
    assert!(diff.contains("simulation: simulated results are redone"), "{diff}");
    let again = diff.split("made again").nth(1).unwrap();
    assert!(again.contains("profile, sim") && again.contains("2 runs"), "{diff}");
}

#[test]
fn a_search_over_cards_has_one_front_and_the_right_winner() {
    let project = project();
    let (said, found) = searched(&project);
    // Names of folders end in digests, and what was done comes after the table.
    let lines = said.lines().skip_while(|line| !line.starts_with("Highest"));
    let table: String = lines
        .take_while(|line| !line.starts_with("document"))
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    insta::assert_snapshot!("cards_table", table);
    let cells = found["cells"].as_array().unwrap();
    let told: Vec<String> = cells
        .iter()
        .map(|cell| {
            let of = |name: &str| cell[name].to_string();
            format!(
                "{} at {} an hour, {}: {}",
                of("hardware"),
                of("price_per_device_hour"),
                of("standing"),
                of("cost_per_million")
            )
        })
        .collect();
    insta::assert_snapshot!("cards_cells", told.join("\n"));
    assert!(found["simulator"] == "sim, from 2 profiles", "{}", found["simulator"]);
    // Three times as fast for half as much again: the fast card is the cheaper one.
    let cost = |index: usize| cells[index]["cost_per_million"].as_f64().unwrap();
    assert!(cost(2) < cost(0) && cost(3) < cost(1), "{told:?}");
    project.ok(&["verify", "reports/cards-capacity.pdf"]);
    // For six times as much it is not.
    project.write(SPEC, TEXT.replace("price-per-hour 1 1.5", "price-per-hour 1 6"));
    std::fs::remove_dir_all(project.path("runs/capacity")).unwrap();
    let (_, found) = searched(&project);
    let cells = found["cells"].as_array().unwrap();
    let cost = |index: usize| cells[index]["cost_per_million"].as_f64().unwrap();
    assert!(cost(2) > cost(0) && cost(3) > cost(1), "{cells:?}");
}

#[test]
fn a_matrix_over_cards_is_checked() {
    let project = project();
    let checked = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        project.write(SPEC, TEXT.replace(from, to));
        both(&project.xp(&["check", SPEC]))
    };
    assert!(!checked("1 1.5", "1 1.5").contains("one profile"));
    let said = checked("            backend.sim.profile \"profiles/slow\" \"profiles/fast\"\n", "");
    assert!(said.contains("\"slow-card\" and \"fast-card\" are simulated from one profile"), "{said}");
    let said = checked("\"profiles/slow\" \"profiles/fast\"", "\"profiles/slow\" \"auto\"");
    assert!(said.contains("cannot be one of several"), "{said}");
    let said = checked("hardware.memory \"300MiB\" \"600MiB\"", "hardware.threads 1 2");
    assert!(said.contains("the matrix cannot vary \"hardware.threads\""), "{said}");
    // Rules hold for every cell: a card of no known memory, and one that holds no block.
    let said = checked("            hardware.memory \"300MiB\" \"600MiB\"\n", "");
    assert!(!said.contains("error"), "the memory of the experiment is that of all: {said}");
    let said = checked("\"300MiB\" \"600MiB\"", "\"300MiB\" \"6MiB\"");
    assert!(said.contains("6MiB") && said.contains("KV"), "{said}");
}

#[test]
fn a_card_whose_profile_is_not_whole_is_told_by_its_file() {
    let project = project();
    std::fs::remove_dir_all(project.path("profiles/fast/tp1")).unwrap();
    let said = both(&project.xp(&["sim", SPEC]));
    assert!(said.contains("profiles/fast/tp1/dense.csv"), "{said}");
    assert!(!project.path(LOCK).exists(), "nothing is pinned by halves");
}
