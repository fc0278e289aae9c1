//! `xp verify`: everything that a lock or a report pins, held against what is there.

use std::path::{Path, PathBuf};

use crate::project::{Project, TINY, folders};

const SPEC: &str = "experiments/tiny.kdl";
const LOCK: &str = "locks/tiny.lock.kdl";
const PDF: &str = "reports/tiny.pdf";

/// Changes a byte of a file in the middle, and says how to put it back.
fn flip(path: &Path, at: usize) -> impl FnOnce() + use<> {
    let good = std::fs::read(path).unwrap();
    let mut bad = good.clone();
    bad[at] ^= 1;
    let path = path.to_owned();
    // Objects are read-only.
    let write = move |bytes: &[u8]| {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    };
    write(&bad);
    move || write(&good)
}

fn middle(path: &Path) -> usize {
    std::fs::metadata(path).unwrap().len() as usize / 2
}

/// An experiment that measures only: its lock needs no bundle and depends on no machine.
fn alone() -> String {
    TINY.lines().filter(|line| !line.contains("vidur")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let project = Project::tiny();
    project.ok(&["run", SPEC]);
    let said = project.ok(&["verify", LOCK]);
    for kind in
        ["experiment", "model file", "bundle file", "workload", "simulation", "output", "stored content"]
    {
        assert!(said.lines().any(|line| line.starts_with(kind)), "{kind}:\n{said}");
    }
    let said = project.ok(&["verify", PDF]);
    for kind in ["pages", "lock", "comparison", "figures"] {
        assert!(said.lines().any(|line| line.starts_with(kind)), "{kind}:\n{said}");
    }

    // What a lock rests on.
    let largest = |folders: Vec<PathBuf>| {
        folders.into_iter().max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap()
    };
    let bundle = project.only("profiles");
    let objects = folders(&project.path(".xp/store/objects")).iter().flat_map(|part| folders(part)).collect();
    let result = folders(&project.path(".xp/store/results/real")).remove(0);
    let run = folders(&project.path("runs/real_runs")).remove(0).join("steps.csv");
    for (path, named) in [
        (bundle.join("steps.csv"), "bundle file"),
        (bundle.join("bundle.json"), "bundle file"),
        (run, "output"),
        (largest(objects), "stored content"),
        (result, "stored content"),
    ] {
        let put_back = flip(&path, middle(&path));
        let said = project.fails(1, &["verify", LOCK]);
        assert!(said.contains(&format!("differs {named}")), "{}:\n{said}", path.display());
        let said = project.fails(1, &["verify", "--allow-missing", LOCK]);
        assert!(said.contains("do not hold"), "{said}");
        put_back();
    }
    // What a lock says: digests and numbers, each in its place.
    let lock = String::from_utf8(project.read(LOCK)).unwrap();
    for (fact, named) in [("sim", "simulation"), ("workload", "workload"), ("resolved-model", "")] {
        // An experiment has a workload too.
        let start = if fact == "resolved-model" { 0 } else { lock.find("\nrun ").unwrap() };
        let at = start + lock[start..].find(&format!("{fact} {{")).unwrap();
        let digest = at + lock[at..].find("sha256 \"").unwrap() + 8;
        let other = if lock.as_bytes()[digest] == b'0' { "1" } else { "0" };
        let edited = format!("{}{other}{}", &lock[..digest], &lock[digest + 1..]);
        project.write(LOCK, edited);
        let said = project.fails(1, &["verify", LOCK]);
        assert!(said.contains(&format!("differs {named}")), "{fact}:\n{said}");
    }
    project.write(LOCK, &lock);
    project.ok(&["verify", LOCK]);

    // The report: whatever byte is changed, in its pages or in its data.
    let pdf = project.path(PDF);
    let length = std::fs::metadata(&pdf).unwrap().len() as usize;
    for at in [9, length / 5, length / 3, length / 2, length - 40] {
        let put_back = flip(&pdf, at);
        project.fails(1, &["verify", PDF]);
        put_back();
    }
    // Its runs, wherever they are kept.
    std::fs::remove_dir_all(project.path("runs")).unwrap();
    project.ok(&["verify", PDF]);
    std::fs::remove_dir_all(project.path(".xp/store")).unwrap();
    let said = project.fails(1, &["verify", PDF]);
    assert!(said.contains("absent  figures comparison-1.json"), "{said}");
    project.ok(&["verify", "--allow-missing", PDF]);
    // A lock that moved on is another one.
    project.ok(&["lock", SPEC, "--set", "compare.pass=15%"]);
    let said = project.fails(1, &["verify", "--allow-missing", PDF]);
    assert!(said.contains("it pins something else than the report's lock"), "{said}");
}

#[test]
fn results_that_are_whole_in_their_places_need_no_store() {
    let project = Project::tiny();
    project.ok(&["run", SPEC]);
    std::fs::remove_dir_all(project.path(".xp/store/objects")).unwrap();
    for args in [["verify", LOCK], ["verify", PDF]] {
        let said = project.ok(&args);
        assert!(said.lines().all(|line| !line.starts_with("absent")), "{said}");
    }
    // It is the comparison in its place that was looked at.
    let summary = folders(&project.path("runs/comparisons")).remove(0).join("summary.md");
    let put_back = flip(&summary, middle(&summary));
    for args in [["verify", LOCK], ["verify", PDF]] {
        let said = project.fails(1, &args);
        assert!(said.contains("summary.md was changed or damaged"), "{said}");
    }
    put_back();
    std::fs::remove_file(&summary).unwrap();
    for (args, absent) in [(["verify", LOCK], "absent  output"), (["verify", PDF], "absent  comparison")] {
        let said = project.fails(1, &args);
        assert!(said.contains(absent) && !said.contains("differs"), "{said}");
    }
}

#[test]
fn the_answer_does_not_depend_on_the_threads() {
    let project = Project::tiny();
    project.ok(&["run", SPEC]);
    let objects = project.path(".xp/store/objects");
    let object = folders(&folders(&objects)[0]).remove(0);
    let _ = flip(&object, middle(&object));
    for target in [LOCK, PDF] {
        let said = ["1", "2", "7"].map(|threads| {
            let mut command = project.command(&["verify", "--json", target]);
            command.env("RAYON_NUM_THREADS", threads).output().unwrap().stdout
        });
        assert!(said[0] == said[1] && said[1] == said[2] && said[0].len() > 100, "{target}");
    }
}

#[test]
fn data_files_and_models_are_hashed_again() {
    let project = Project::empty();
    let config = r#"{"architectures":["Qwen3ForCausalLM"],"model_type":"qwen3","hidden_size":8,"intermediate_size":8,
        "num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":4,"vocab_size":1024,
        "max_position_embeddings":64,"rope_theta":1000000.0,"rms_norm_eps":1e-6,"tie_word_embeddings":true}"#;
    let parsed: xp::catalog::ModelConfig = serde_json::from_str(config).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = xp::source::tensor_table(&parsed)
        .into_iter()
        .map(|tensor| {
            let shape: Vec<usize> = tensor.shape.iter().map(|n| *n as usize).collect();
            let count: usize = shape.iter().product();
            (tensor.name, shape, (0..count).flat_map(|_| 0.01_f32.to_le_bytes()).collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.unwrap())
    });
    project.write("model/config.json", config);
    project.write("model/tokenizer.json", xp::model::train_synthetic(1024).unwrap());
    project.write("model/model.safetensors", safetensors::serialize(views, None).unwrap());
    project.write("trace.csv", "num_prefill_tokens,num_decode_tokens\n8,3\n9,4\n7,5\n12,3\n10,6\n11,2\n");
    let spec = alone()
        .replace("source \"synthetic\"", "source \"path\" \"model\"")
        .replace("lengths \"uniform\" min=12 max=40 prefill-to-decode=3", "lengths \"trace\" \"trace.csv\"");
    project.write(SPEC, spec);
    project.ok(&["lock", SPEC]);
    let said = project.ok(&["verify", LOCK]);
    assert!(said.contains("data file") && said.contains("model file"), "{said}");
    for name in ["model/model.safetensors", "model/config.json", "model/tokenizer.json", "trace.csv"] {
        let path = project.path(name);
        let put_back = flip(&path, middle(&path));
        let said = project.fails(1, &["verify", "--allow-missing", LOCK]);
        assert!(said.contains("differs"), "{name}:\n{said}");
        put_back();
    }
    // What is not here cannot be checked, and that is said.
    for name in ["model", "trace.csv"] {
        std::fs::rename(project.path(name), project.path("away")).unwrap();
        let said = project.fails(1, &["verify", LOCK]);
        assert!(said.contains("absent  workload tiny") && !said.contains("differs"), "{name}:\n{said}");
        project.ok(&["verify", "--allow-missing", LOCK]);
        std::fs::rename(project.path("away"), project.path(name)).unwrap();
    }
    project.ok(&["verify", LOCK]);

    let output = project.xp(&["verify", "--json", LOCK]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["ok"], &answer["command"]), (&true.into(), &"verify".into()), "{answer}");
    assert!(answer["checks"].as_array().unwrap().iter().all(|check| check["outcome"] == "same"), "{answer}");
}

#[test]
fn other_files_are_refused() {
    let project = Project::tiny();
    let said = project.fails(1, &["verify", SPEC]);
    assert!(said.contains("is neither a lock nor a PDF"), "{said}");
    project.fails(2, &["verify", "reports/none.pdf"]);
    project.fails(2, &["verify", "locks/none.lock.kdl"]);
    for text in ["%PDF-", "%PDF-1.7\nwords"] {
        project.write("x.pdf", text);
        let said = project.fails(1, &["verify", "x.pdf"]);
        assert!(said.contains("has no attached data"), "{said}");
    }
    let nested = format!("%PDF-1.7\n1 0 obj\n<</Type/Filespec/F({})", "(".repeat(100_000));
    project.write("x.pdf", nested);
    project.fails(1, &["verify", "x.pdf"]);
}
