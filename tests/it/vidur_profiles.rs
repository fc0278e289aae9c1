//! Folders of Vidur's profiles: trained, pinned, simulated with, verified.

use std::fmt::Write as _;

use crate::project::Project;
use xp::profile::vidur::VidurOp;

const SPEC: &str = "experiments/vidur.kdl";
const LOCK: &str = "locks/vidur.lock.kdl";

const CONFIG: &str = r#"{ "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
"max_position_embeddings": 512, "tie_word_embeddings": false }"#;

fn text(engine: &str, sim: &str) -> String {
    format!(
        r#"experiment "vidur" {{
    model "tiny" dtype="bf16" {{
        source "config" "model.json"
    }}
    hardware "card" memory="1GiB"
    workload "few" {{
        requests 30
        lengths "uniform" min=20 max=120
        arrivals "poisson" qps=200
    }}
    backend "sarathi" kind="engine" {{
        chunk-size 64
        max-batch-size 8
        kv-blocks 100
        {engine}
    }}
    backend "sim" {{
        profile "profile"
        {sim}
    }}
}}
"#
    )
}

/// `mlp.csv` and `attention.csv` of one and two devices, `all_reduce.csv` and `send_recv.csv`, with times that
/// follow formulas.
fn project(engine: &str, sim: &str) -> Project {
    let project = Project::empty();
    project.write(SPEC, text(engine, sim));
    project.write("model.json", CONFIG);
    let mut mlp = VidurOp::COMPUTE.map(|op| format!("time_stats.{}.median,", op.name())).concat();
    mlp += "n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,num_tensor_parallel_workers\n";
    let mut attention = "time_stats.attn_kv_cache_save.median,time_stats.attn_decode.median,\
        time_stats.attn_prefill.median,n_embd,n_q_head,n_kv_head,block_size,num_tensor_parallel_workers,batch_size,\
        prefill_chunk_size,kv_cache_size,is_prefill\n"
        .to_owned();
    for devices in [1_u32, 2] {
        for tokens in [1_u32, 2, 4, 8, 16, 32, 48, 64, 96, 128] {
            let ms = 0.01 + f64::from(tokens / devices) / 1e3;
            for _ in VidurOp::COMPUTE {
                let _ = write!(mlp, "{ms},");
            }
            // Vidur pads the vocabulary.
            let _ = writeln!(mlp, "4,2,64,128,1024,True,{tokens},{devices}");
        }
        for kv in [0_u32, 64, 128, 256, 512] {
            for chunk in [16_u32, 32, 64, 128] {
                let ms = 0.007 + f64::from(chunk * (kv + chunk)) / 1e6;
                let _ = writeln!(attention, "0.002,0,{ms},64,4,2,16,{devices},1,{chunk},{kv},True");
            }
            for batch in [1_u32, 2, 4, 8] {
                let ms = 0.005 + f64::from(batch * kv) / 1e5;
                let _ =
                    writeln!(attention, "0.002,{ms},0,64,4,2,16,{devices},{batch},0,{},False", kv.max(16));
            }
        }
    }
    project.write("profile/compute/card/org/tiny/mlp.csv", mlp);
    project.write("profile/compute/card/org/tiny/attention.csv", attention);
    for collective in ["all_reduce", "send_recv"] {
        let mut network =
            format!("time_stats.{collective}.median,rank,num_workers,size,collective,devices_per_node\n");
        for kilobytes in [1_u32, 2, 4, 8, 16, 32, 64, 128, 256, 512] {
            let ms = 0.004 + f64::from(kilobytes) / 1e4;
            let _ = writeln!(network, "{ms},0,2,{},{collective},2", kilobytes * 1000);
        }
        project.write(&format!("profile/network/pair/{collective}.csv"), network);
    }
    project
}

const ALONE: &str = "vidur \"card\" model=\"org/tiny\"";

#[test]
fn operators_are_trained_once_pinned_and_verified() {
    let project = project("", &format!("predictor \"linear\"\n{ALONE}"));
    project.ok(&["run", SPEC]);
    let lock = String::from_utf8(project.read(LOCK)).unwrap();
    assert!(lock.contains("compute/card/org/tiny/mlp.csv") && !lock.contains("all_reduce"), "{lock}");
    let mut files: Vec<_> = std::fs::read_dir(project.path(".xp/trained")).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let kept = files.remove(0).unwrap().path();
    let bytes = std::fs::read(&kept).unwrap();
    let simulated = std::fs::read(project.only("runs/sim_runs").join("steps.csv")).unwrap();
    project.ok(&["verify", LOCK]);

    // Damaged operators are trained again, and to the same simulation.
    std::fs::write(&kept, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::remove_dir_all(project.path("runs/sim_runs")).unwrap();
    std::fs::remove_dir_all(project.path(".xp/store")).unwrap();
    project.ok(&["run", "--locked", LOCK]);
    assert_eq!(std::fs::read(&kept).unwrap(), bytes);
    assert_eq!(std::fs::read(project.only("runs/sim_runs").join("steps.csv")).unwrap(), simulated);

    // A table that changed is another profile.
    let mut table = String::from_utf8(project.read("profile/compute/card/org/tiny/mlp.csv")).unwrap();
    table.push_str("1,1,1,1,1,1,1,1,1,4,2,64,128,1024,True,256,1\n");
    project.write("profile/compute/card/org/tiny/mlp.csv", table);
    let said = project.fails(1, &["verify", LOCK]);
    assert!(said.contains("mlp.csv"), "{said}");
}

#[test]
fn a_profile_that_is_named_needs_no_lock() {
    let project = project("", &format!("predictor \"linear\"\n{ALONE}"));
    project.ok(&["sim", SPEC, "--out", "simulated"]);
    assert!(project.path("simulated/steps.csv").exists() && !project.path(LOCK).exists());
}

#[test]
fn several_devices_are_predicted_with_the_tables_of_their_network() {
    let alone = project("", &format!("predictor \"interpolate\"\n{ALONE}"));
    alone.ok(&["run", SPEC]);
    let project = project(
        "parallel tensor=2 pipeline=2",
        &format!("predictor \"interpolate\"\n{ALONE} network=\"pair\" devices-per-node=4"),
    );
    project.ok(&["run", SPEC]);
    let lock = String::from_utf8(project.read(LOCK)).unwrap();
    assert!(
        lock.contains("network/pair/all_reduce.csv") && lock.contains("network/pair/send_recv.csv"),
        "{lock}"
    );
    let steps = |project: &Project| std::fs::read(project.only("runs/sim_runs").join("steps.csv")).unwrap();
    assert_ne!(steps(&alone), steps(&project));
}

#[test]
fn what_does_not_go_together_is_said() {
    let said = |engine: &str, sim: &str, command: &str| project(engine, sim).fails(1, &[command, SPEC]);
    let vidur = format!("predictor \"kernels\"\n{ALONE}");
    assert!(said("", &vidur, "check").contains("no kernels of a GPU"));
    assert!(said("", "predictor \"forest\"", "check").contains("trained with tables of Vidur's"));
    let auto = format!("profile \"auto\"\npredictor \"linear\"\n{ALONE}");
    let text = text("", &auto).replace("        profile \"profile\"\n", "");
    let auto = project("", "");
    auto.write(SPEC, text);
    assert!(auto.fails(1, &["check", SPEC]).contains("xp measures no tables of Vidur's"));
    // Two devices without a network: what is missing, and where.
    let said_of = |sim: &str| said("parallel tensor=2", sim, "run");
    assert!(said_of(&format!("predictor \"linear\"\n{ALONE}")).contains("all_reduce"));
    let other = "predictor \"linear\"\nvidur \"card\" model=\"org/other\"";
    assert!(said("", other, "run").contains("org/other"));
}

#[test]
fn trained_operators_go_when_no_lock_is_predicted_with_them() {
    let project = project("", &format!("predictor \"linear\"\n{ALONE}"));
    project.ok(&["run", SPEC]);
    let kept = || std::fs::read_dir(project.path(".xp/trained")).map_or(0, Iterator::count);
    assert_eq!(kept(), 1);
    project.ok(&["gc"]);
    assert_eq!(kept(), 1);
    std::fs::remove_file(project.path(LOCK)).unwrap();
    std::fs::remove_dir_all(project.path("reports")).unwrap_or_default();
    let said = project.ok(&["gc", "--dry-run"]);
    assert!(said.contains("trained"), "{said}");
    assert_eq!(kept(), 1);
    project.ok(&["gc"]);
    assert_eq!(kept(), 0);
}

/// Without steps the requests are the same, whatever became of them.
#[test]
fn a_simulation_may_keep_its_requests_alone() {
    let run = |sim: &str| {
        let project = project("max-context 100", &format!("predictor \"linear\"\n{ALONE}\n{sim}"));
        project.ok(&["run", SPEC]);
        project.ok(&["verify", LOCK]);
        let folder = project.only("runs/sim_runs");
        let requests = std::fs::read_to_string(folder.join("request_metrics.csv")).unwrap();
        let meta = std::fs::read_to_string(folder.join("run_meta.json")).unwrap();
        let total = |name: &str| meta.lines().find(|line| line.contains(name)).unwrap().to_owned();
        let totals = ["num_steps", "output_tokens", "duration_ns"].map(total);
        (requests, totals, folder.join("steps.csv").exists(), project)
    };
    let (requests, totals, has_steps, _all) = run("");
    let (alone, totals_alone, has_steps_alone, project) = run("log \"requests\"");
    assert_eq!((requests, totals), (alone.clone(), totals_alone));
    assert!(alone.contains("rejected"), "{alone}");
    assert_eq!((has_steps, has_steps_alone), (true, false));
    let folder = project.only("runs/sim_runs");
    project.ok(&["export", folder.to_str().unwrap(), "--series", "series"]);
}

/// One folder has the tables of both: each run pins, trains and is simulated from those of its own device.
#[test]
fn devices_of_one_folder_are_told_apart_by_their_tables() {
    let project = project("", &format!("predictor \"linear\"\n{ALONE}"));
    for table in ["mlp.csv", "attention.csv"] {
        let text =
            String::from_utf8(project.read(&format!("profile/compute/card/org/tiny/{table}"))).unwrap();
        project.write(&format!("profile/compute/other/org/tiny/{table}"), text.replace("\n0.002,", "\n0.2,"));
    }
    let matrix = "matrix { zip { hardware.device \"card\" \"other\"; backend.sim.vidur.device \"card\" \"other\"; }; }";
    let text = String::from_utf8(project.read(SPEC)).unwrap();
    project.write(SPEC, text.replace("    backend \"sim\"", &format!("    {matrix}\n    backend \"sim\"")));
    let said = project.ok(&["run", SPEC]);
    assert!(!said.contains("one profile"), "{said}");
    let lock = String::from_utf8(project.read(LOCK)).unwrap();
    assert_eq!(lock.matches("\n    bundle {").count(), 2, "{lock}");
    assert_eq!(lock.matches("file \"compute/other/org/tiny/mlp.csv\"").count(), 1, "{lock}");
    let steps: Vec<Vec<u8>> = crate::project::folders(&project.path("runs/sim_runs"))
        .iter()
        .map(|run| std::fs::read(run.join("steps.csv")).unwrap())
        .collect();
    assert!(steps.len() == 2 && steps[0] != steps[1]);
    project.ok(&["lock", SPEC, "--check"]);
    project.ok(&["verify", LOCK]);
    let trained = || std::fs::read_dir(project.path(".xp/trained")).map_or(0, Iterator::count);
    assert_eq!(trained(), 2);
    project.ok(&["gc"]);
    assert_eq!(trained(), 2, "the lock is predicted with both");
}
