//! Files that include others, presets, zips and the model's shape, on disk.

use crate::project::{Project, TINY};

const SPEC: &str = "experiments/x.kdl";
const LOCK: &str = "locks/x.lock.kdl";

/// Without a simulation nothing has to be measured before the lock is written.
const BASE: &str = r#"
seed 7
model "qwen3-tiny"
hardware "cpu" threads=1
workload "few" {
    requests 6
    lengths "uniform" min=12 max=40 prefill-to-decode=3
    arrivals "poisson" qps=50
}
backend "sarathi" chunk-size=16 max-batch-size=4 kv-memory="4MiB"
preset "short" { workload { requests 2; }; }
preset "late" { workload { requests 3; arrivals "static"; }; }
"#;

fn project() -> Project {
    let project = Project::empty();
    project.write("shared/base.kdl", BASE);
    project.write(SPEC, "experiment \"x\" {\n    include \"../shared/base.kdl\"\n    seed 8\n}\n");
    project
}

fn text(project: &Project, name: &str) -> String {
    String::from_utf8(project.read(name)).unwrap()
}

#[test]
fn an_included_file_is_part_of_the_experiment() {
    let project = project();
    assert!(project.ok(&["check", SPEC]).contains("experiments/x.kdl: ok, 1 run"));
    project.ok(&["lock", SPEC]);
    let lock = text(&project, LOCK);
    assert!(lock.contains("seed 8") && lock.contains("requests 6"), "{lock}");
    // Nothing is written of what the experiment does not use.
    assert!(!lock.contains("presets") && !lock.contains("zip ") && !lock.contains("max-runs"), "{lock}");
    project.write("shared/base.kdl", BASE.replace("seed 7", "// A comment changes nothing.\nseed 9"));
    project.ok(&["lock", "--check", SPEC]);
    project.write("shared/base.kdl", BASE.replace("requests 6", "requests 5"));
    let said = project.fails(1, &["lock", "--check", SPEC]);
    assert!(said.contains("experiment.workload.requests: locked 6, wanted 5"), "{said}");
    // A mistake is shown in its file, named as it is reached from here.
    project.write("shared/base.kdl", BASE.replace("requests 6", "requests 0"));
    let said = project.fails(1, &["check", SPEC]);
    assert!(said.contains("[shared/base.kdl:6:14]"), "{said}");
    let around = project.path("experiments/../experiments/x.kdl");
    let said = project.fails(1, &["check", around.to_str().unwrap()]);
    assert!(
        said.contains("experiments/../shared/base.kdl:6:14") || said.contains("/shared/base.kdl:6:14"),
        "{said}"
    );
    project.write("shared/base.kdl", "include \"../experiments/x.kdl\"");
    let said = project.fails(1, &["check", SPEC]);
    assert!(said.contains("experiments/x.kdl includes itself"), "{said}");
    std::fs::remove_file(project.path("shared/base.kdl")).unwrap();
    assert!(project.fails(1, &["check", SPEC]).contains("there is no such file"));
}

#[test]
fn a_lock_records_presets_and_uses_them_again() {
    let project = project();
    project.ok(&["lock", SPEC, "--preset", "short", "--set", "seed=3"]);
    let lock = text(&project, LOCK);
    assert!(lock.contains("presets \"short\"\n    overrides \"seed=3\""), "{lock}");
    assert!(lock.contains("requests 2"), "{lock}");
    project.ok(&["lock", LOCK]);
    assert_eq!(text(&project, LOCK), lock);
    project.ok(&["workload", "--frozen", LOCK]);
    // The experiment alone says something else.
    let said = project.fails(1, &["lock", "--check", SPEC]);
    assert!(said.contains("spec.presets: locked \"short\", wanted nothing"), "{said}");
    project.ok(&["lock", LOCK, "--preset", "late"]);
    let lock = text(&project, LOCK);
    assert!(lock.contains("presets \"short\" \"late\"") && lock.contains("requests 3"), "{lock}");
    project.ok(&["lock", LOCK, "--preset", "short"]);
    let lock = text(&project, LOCK);
    assert!(lock.contains("presets \"late\" \"short\"") && lock.contains("requests 2"), "{lock}");

    let said = project.fails(1, &["check", SPEC, "--preset", "shrt"]);
    assert!(said.contains("did you mean `short`?"), "{said}");
    for command in ["check", "lock", "status", "workload", "real"] {
        let said = project.fails(1, &[command, SPEC, "--preset", "none"]);
        assert!(said.contains("no preset \"none\""), "{command}: {said}");
    }
    project.fails(2, &["workload", "--frozen", LOCK, "--preset", "late"]);
}

#[test]
fn a_zip_is_locked_and_read_back() {
    let project = project();
    let zip = "matrix { workload.arrivals.qps 40 50; zip { backend.sarathi.chunk-size 8 16; backend.sarathi.max-batch-size 2 4; }; }";
    let spec = text(&project, SPEC).replace("seed 8", &format!("seed 8\n    {zip}"));
    project.write(SPEC, &spec);
    assert!(project.ok(&["check", SPEC]).contains("ok, 4 runs"));
    project.ok(&["lock", SPEC]);
    let lock = text(&project, LOCK);
    assert_eq!(lock.matches("zip 1").count(), 2, "{lock}");
    assert_eq!(lock.matches("\nrun \"").count(), 4, "{lock}");
    project.ok(&["lock", "--check", SPEC]);
    project.ok(&["workload", "--frozen", LOCK]);
    project.write(LOCK, lock.replacen("zip 1", "zip 2", 1));
    project.fails(1, &["workload", "--frozen", LOCK]);
    project.write(LOCK, lock.replacen("values 8 16", "values 8", 1));
    assert!(project.fails(1, &["workload", "--frozen", LOCK]).contains("differ in length"));
}

#[test]
fn the_shape_of_a_model_is_looked_at_where_it_is_at_hand() {
    let project = Project::empty();
    let spec =
        TINY.replace("source \"synthetic\"", "source \"path\" \"model\"").replace("max=40", "max=3000");
    project.write("experiments/x.kdl", &spec);
    // Nothing is known of the model yet.
    project.ok(&["check", SPEC]);
    project.write(
        "model/config.json",
        r#"{"model_type":"qwen3","hidden_size":64,"intermediate_size":160,"num_hidden_layers":2,
        "num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"vocab_size":1024,
        "max_position_embeddings":2048,"rope_theta":1000000.0,"rms_norm_eps":1e-6,"tie_word_embeddings":true}"#,
    );
    let said = project.fails(1, &["check", SPEC]);
    assert!(said.contains("3000 tokens, the model's context 2048"), "{said}");
    // A warning is told, and the answer is yes.
    project.write(SPEC, TINY.replace("chunk-size=16", "chunk-size=4096"));
    let said = project.ok(&["check", SPEC]);
    assert!(
        said.contains("ok, 1 run, 1 warning") && said.contains("larger than the model's context"),
        "{said}"
    );
    assert!(project.ok(&["workload", SPEC]).contains("experiments/x.kdl:10:34: a chunk of 4096 tokens"));
}

#[test]
fn a_request_of_a_trace_fits_the_context() {
    let project = project();
    project.write("t.csv", "num_prefill_tokens,num_decode_tokens\n3,4\n2000,49\n5,6\n");
    let spec = text(&project, SPEC).replace("seed 8", "workload { lengths \"trace\" \"t.csv\"; }");
    project.write(SPEC, spec);
    project.ok(&["check", SPEC]);
    let said = project.fails(1, &["lock", SPEC]);
    assert!(said.contains("request 2 of t.csv has 2049 tokens"), "{said}");
}
