//! Engines that are simulated and not measured: kernels of a GPU, several devices, several replicas.

use std::fmt::Write as _;

use crate::kernel_profile::{self, CONFIG};
use crate::project::{Project, folders};

const SPEC: &str = "experiments/cards.kdl";
const LOCK: &str = "locks/cards.lock.kdl";

fn text(settings: &str) -> String {
    format!(
        r#"experiment "cards" {{
    model "tiny" dtype="bf16" {{
        source "config" "model.json"
    }}
    hardware "card" memory="1GiB" {{
        interconnect bandwidth="25GB/s" latency="10us" source="an example"
    }}
    workload "few" {{
        requests 40
        lengths "uniform" min=20 max=120
        arrivals "poisson" qps=2000
    }}
    backend "vllm" kind="engine" {{
        scheduler "vllm_v1"
        chunk-size 64
        max-batch-size 8
        kv-blocks 40
        {settings}
    }}
    backend "sim" {{
        profile "profile"
        predictor "kernels"
    }}
}}
"#
    )
}

/// A project with the experiment and a profile whose durations follow formulas.
fn project(settings: &str) -> Project {
    let project = Project::empty();
    project.write(SPEC, text(settings));
    project.write("model.json", CONFIG);
    kernel_profile::write(&project, "profile", "A Card", 1.0);
    project
}

/// The same with experts in place of the MLP.
fn with_experts(project: &Project) {
    let experts = CONFIG.replace(
        "\"tie",
        "\"num_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 32, \"tie",
    );
    project.write("model.json", experts);
    let mut table = "tokens,activated_experts,time_us\n".to_owned();
    for tokens in [1_u32, 2, 4, 8, 16, 32, 64] {
        for count in [2, 4, 8].into_iter().filter(|count| *count <= 2 * tokens) {
            let _ = writeln!(table, "{tokens},{count},{}", 3 + tokens + 2 * count);
        }
    }
    project.write("profile/tp1/moe.csv", table);
    for degree in [1, 2] {
        let name = format!("profile/tp{degree}/dense.csv");
        let dense = String::from_utf8(project.read(&name)).unwrap();
        let of_mlp =
            |line: &&str| ["gate_up_proj", "act_fn", "down_proj"].iter().any(|op| line.starts_with(op));
        project.write(
            &name,
            dense.lines().filter(|line| !of_mlp(line)).fold(String::new(), |all, line| all + line + "\n"),
        );
    }
}

/// Rows of the only simulation's `steps.csv`, without its header.
fn steps(project: &Project) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(project.only("runs/sim_runs").join("steps.csv")).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn a_deployment_of_several_devices_is_simulated_pinned_and_verified() {
    let project = project("parallel tensor=2\nreplicas 2 router=\"least_outstanding\"\nprefix-caching #true");
    let said = project.ok(&["run", SPEC]);
    assert!(said.contains("nothing is compared"), "{said}");
    let lock = String::from_utf8(project.read(LOCK)).unwrap();
    for fact in [
        "\n    router ",
        "tensor_parallel 2",
        "replicas 2",
        "\"least_outstanding\"",
        "fact \"gpu\" value=\"A Card\"",
    ] {
        let found = lock.contains(fact) || lock.contains(&fact.replace("_p", "-p"));
        assert!(found, "{fact}\n{lock}");
    }
    let steps = steps(&project);
    assert!(steps.iter().all(|row| row.len() == 8));
    let of = |replica: &str| steps.iter().filter(|row| row[7] == replica).count();
    assert!(of("0") > 10 && of("1") > 10, "{} {}", of("0"), of("1"));
    // Nothing is measured, and nothing waits for it.
    assert!(folders(&project.path("runs/real_runs")).is_empty());
    let status = project.ok(&["status", LOCK]);
    assert!(!status.contains("real") && status.contains("fresh"), "{status}");
    assert!(project.ok(&["verify", LOCK]).contains("simulation"), "it is simulated again");
    project.ok(&["run", LOCK, "--frozen"]);

    // Another link makes another simulation, and a diff says so.
    project.write(SPEC, String::from_utf8(project.read(SPEC)).unwrap().replace("25GB/s", "50GB/s"));
    project.fails(1, &["lock", SPEC, "--check"]);
    let before = project.read(LOCK);
    project.write("old.lock.kdl", before);
    project.ok(&["run", SPEC]);
    let diff = project.xp(&["diff", "old.lock.kdl", LOCK]);
    let diff = crate::project::both(&diff);
    assert!(diff.contains("interconnect") && diff.contains("sim"), "{diff}");
}

#[test]
fn every_policy_and_split_of_the_model_can_be_simulated() {
    for settings in [
        "parallel pipeline=2",
        "parallel tensor=2 pipeline=4\nreplicas 3 router=\"random\"",
        "async-scheduling #true\ncuda-graphs #false",
        "max-context 100",
    ] {
        let project = project(settings);
        project.ok(&["sim", SPEC]);
        assert!(!steps(&project).is_empty(), "{settings}");
    }
    for policy in ["sarathi", "vllm", "orca", "faster_transformer", "static", "lightllm\nblock-size 1"] {
        let project = project("compat \"vidur\"");
        let text = String::from_utf8(project.read(SPEC)).unwrap();
        let (name, more) = policy.split_once('\n').unwrap_or((policy, ""));
        let text = text.replace("scheduler \"vllm_v1\"", &format!("scheduler \"{name}\"\n{more}"));
        project.write(SPEC, text.replace("kv-blocks 40", "kv-blocks 640"));
        project.ok(&["sim", SPEC]);
        assert!(!steps(&project).is_empty(), "{policy}");
    }
}

#[test]
fn ranks_that_share_experts_step_together() {
    let project = project("parallel data=2 expert=#true\nreplicas 1 router=\"weighted_queue\"");
    with_experts(&project);
    project.ok(&["sim", SPEC]);
    let steps = steps(&project);
    let number = |cell: &String| cell.parse::<u64>().unwrap();
    let spans = |rank: &str| -> Vec<(u64, u64)> {
        let rows = steps.iter().filter(|row| row[7] == rank);
        rows.map(|row| (number(&row[1]), number(&row[2]))).collect()
    };
    let (first, second) = (spans("0"), spans("1"));
    assert!(first.len() > 5 && second.len() > 5);
    // Two steps of the ranks are one, or do not overlap.
    for a in &first {
        for b in &second {
            assert!(a == b || a.1 <= b.0 || b.1 <= a.0, "{a:?} {b:?}");
        }
    }
    assert!(first.iter().any(|span| second.contains(span)));
    project.write(SPEC, text("parallel data=2"));
    project.write("model.json", CONFIG);
    assert!(project.fails(1, &["check", SPEC]).contains("data-parallel ranks of a dense model"));
}

#[test]
fn what_a_profile_does_not_cover_is_told() {
    let bad = |settings: &str, from: &str, to: &str| {
        let project = project(settings);
        let text = String::from_utf8(project.read(SPEC)).unwrap();
        assert!(text.contains(from), "{from}");
        project.write(SPEC, text.replace(from, to));
        let output = project.xp(&["sim", SPEC]);
        assert!(!output.status.success());
        crate::project::both(&output)
    };
    let link = "{\n        interconnect bandwidth=\"25GB/s\" latency=\"10us\" source=\"an example\"\n    }";
    assert!(bad("parallel tensor=2", link, "").contains("xp::predictor::network"));
    assert!(bad("parallel tensor=4", "", "").contains("xp::profile::degree"));
    assert!(bad("", "predictor \"kernels\"", "").contains("xp::backend::predictor"));
    let found = bad("", "backend \"sim\"", "compare real=\"vllm\" sim=\"sim\"\nbackend \"sim\"");
    assert!(found.contains("the backend \"vllm\" is not measured"), "{found}");
}

#[test]
fn the_highest_rate_is_searched_and_the_same_each_time() {
    let project = project("replicas 1");
    assert!(crate::project::both(&project.xp(&["capacity", SPEC])).contains("xp::run::no_capacity"));
    let more = "slo ttft-p99=\"20ms\" tpot-p99=\"5ms\"\ncapacity min-qps=50 max-qps=20000\n\
        matrix { backend.vllm.chunk-size 16 64; backend.vllm.replicas.count 1 2; }\nbackend \"sim\"";
    let searching = text("replicas 1")
        .replace("backend \"sim\"", more)
        .replace("memory=\"1GiB\"", "memory=\"1GiB\" price-per-hour=2");
    project.write(SPEC, &searching);
    let said = project.ok(&["capacity", SPEC]);
    assert!(said.contains("chunk-size=64 count=2") && said.contains("US$/M tokens"), "{said}");
    let document =
        |project: &Project| std::fs::read(project.only("runs/capacity").join("capacity.json")).unwrap();
    let first = document(&project);
    let found: serde_json::Value = serde_json::from_slice(&first).unwrap();
    let highest = |cell: usize| -> f64 {
        let outcome = found["cells"][cell]["outcome"].as_object().unwrap().values().next().unwrap().clone();
        ["holds_qps", "highest_qps"].iter().find_map(|name| outcome[*name].as_f64()).unwrap_or(0.0)
    };
    // Twice the replicas serve more, and with larger chunks too.
    assert!(highest(1) > highest(0) && highest(3) > highest(2), "{found:#}");
    assert!(found["cells"][0]["cost_per_million"].as_f64().unwrap() > 0.0);
    assert!(project.ok(&["verify", "reports/cards-capacity.pdf"]).contains("pages"));
    let pdf = project.read("reports/cards-capacity.pdf");
    project.command(&["capacity", LOCK, "--locked"]).env("RAYON_NUM_THREADS", "1").assert().success();
    assert!(document(&project) == first && project.read("reports/cards-capacity.pdf") == pdf);
    // What cannot be searched is told before anything is simulated.
    for (from, to, told) in [
        ("slo ttft-p99=\"20ms\" tpot-p99=\"5ms\"\n", "", "a search needs an objective"),
        ("min-qps=50", "min-qps=50000", "is more than max-qps"),
        ("arrivals \"poisson\" qps=2000", "arrivals \"static\"", "have no rate"),
        ("backend.vllm.chunk-size 16 64", "workload.arrivals.qps 1 2", "varies the rate itself"),
    ] {
        assert!(searching.contains(from), "{from}");
        project.write(SPEC, searching.replace(from, to));
        let said = project.fails(1, &["check", SPEC]);
        assert!(said.contains(told), "{told}: {said}");
    }
}

#[test]
fn a_run_is_exported_as_series_and_as_a_timeline() {
    let project = project("parallel pipeline=2\nreplicas 2");
    project.ok(&["sim", SPEC]);
    let run = project.only("runs/sim_runs");
    let run = run.to_str().unwrap();
    project.ok(&["export", run, "--series", "series", "--chrome-trace", "trace.json", "--lock", LOCK]);
    let summary = String::from_utf8(project.read("series/summary.csv")).unwrap();
    let requests = summary.lines().find(|line| line.starts_with("request_ttft,")).unwrap();
    assert!(requests.contains(",40,"), "{requests}");
    let trace: serde_json::Value = serde_json::from_slice(&project.read("trace.json")).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > steps(&project).len());
    // A folder that is there is nobody's to replace.
    project.fails(1, &["export", run, "--series", "series"]);
    project.fails(2, &["export", run]);
}

/// What was measured of a configuration stands beside the search, and tells whether the simulator's choice is right.
#[test]
fn a_search_knows_what_was_measured() {
    let project = Project::empty();
    project.write(
        "experiments/both.kdl",
        r#"experiment "both" {
    model "qwen3-tiny"
    hardware "cpu" threads=1 price-per-hour=1
    workload "few" {
        requests 6
        lengths "uniform" min=12 max=40
        arrivals "poisson" qps=50
    }
    backend "sarathi" kv-memory="4MiB"
    backend "sim"
    slo ttft-p99="60s"
    compare real="sarathi" sim="sim" pass="500%" warn="900%" repeats=1
    capacity min-qps=1 max-qps=400
    matrix { backend.sarathi.chunk-size 16 64; }
}
"#,
    );
    let searched = |project: &Project| {
        project.ok(&["capacity", "experiments/both.kdl"]);
        let bytes = std::fs::read(project.only("runs/capacity").join("capacity.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    let before = searched(&project);
    assert!(before["fidelity"].is_null(), "{before}");
    project.ok(&["run", "experiments/both.kdl"]);
    let after = searched(&project);
    for cell in after["cells"].as_array().unwrap() {
        let at = &cell["measured"][0];
        assert_eq!((&at["qps"], &at["measured"]["served"]), (&50.0.into(), &6.into()), "{cell}");
        assert_eq!(at["measured"]["output_tokens"], at["simulated"]["output_tokens"]);
    }
    assert_eq!(after["fidelity"]["candidates"], 2, "{after}");
    project.ok(&["verify", "reports/both-capacity.pdf"]);
}
