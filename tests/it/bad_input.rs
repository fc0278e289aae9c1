//! Every file xp reads may be truncated, hostile or wrong: a diagnostic with
//! file and place, exit code 1 or 2, and nothing changed on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::project::{Project, TINY};

/// Every file of the project with its bytes; `.xp/writer` is the run lock's file.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(dir: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if !path.ends_with(".xp/writer") {
                out.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, &mut out);
    out
}

/// Runs a command that must say no, and change nothing.
fn refused(project: &Project, args: &[&str]) -> String {
    let before = snapshot(&project.path(""));
    let text = project.fails(1, args);
    assert_eq!(before, snapshot(&project.path("")), "xp {args:?} changed files");
    text
}

#[test]
fn nesting_bombs_are_refused_before_they_are_parsed() {
    let project = Project::empty();
    let bombs = [
        "a {".repeat(2_000),
        "/*".repeat(50_000),
        format!("experiment \"x\" {}", "{ a ".repeat(100_000)),
        "/-".repeat(100_000),
        "(a)".repeat(100_000),
        format!("{}\"x\"{}", "#".repeat(100_000), "#".repeat(99_999)),
    ];
    for bomb in bombs {
        project.write("experiments/bomb.kdl", &bomb);
        let text = refused(&project, &["check", "experiments/bomb.kdl"]);
        assert!(text.contains("bomb.kdl"), "{text}");
        project.write("locks/bomb.lock.kdl", &bomb);
        refused(&project, &["run", "locks/bomb.lock.kdl"]);
    }
}

#[test]
fn experiments_that_make_no_sense_are_refused_with_a_place() {
    let project = Project::empty();
    let cases = [
        ("seed 7", "seed -7"),
        ("seed 7", "seed 99999999999999999999999999"),
        ("qps=50", "qps=#nan"),
        ("qps=50", "qps=#inf"),
        ("qps=50", "qps=-1"),
        ("qps=50", "qps=1e400"),
        ("requests 6", "requests 0"),
        ("requests 6", "requests \"six\""),
        ("pass=\"10%\"", "pass=\"10\""),
        ("source \"synthetic\"", "source \"path\" \"../../etc\""),
        ("source \"synthetic\"", "source \"path\" \"/etc\""),
        ("max=40", "max=4"),
        ("\"qwen3-tiny\"", "\"qwen3-tinny\""),
        ("arrivals \"poisson\"", "arrivals \"poison\""),
        ("real=\"sarathi\"", "real=\"sarthi\""),
    ];
    for (good, bad) in cases {
        assert!(TINY.contains(good), "{good}");
        project.write("experiments/bad.kdl", TINY.replacen(good, bad, 1));
        let text = refused(&project, &["check", "experiments/bad.kdl"]);
        assert!(text.contains("experiments/bad.kdl:"), "no place in:\n{text}");
    }
    let missing = project.fails(2, &["check", "experiments/none.kdl"]);
    assert!(missing.contains("none.kdl"), "{missing}");
}

#[test]
fn a_lock_edited_by_hand_is_noticed() {
    let project = Project::tiny();
    project.ok(&["lock", "experiments/tiny.kdl"]);
    let lock = String::from_utf8(project.read("locks/tiny.lock.kdl")).unwrap();
    let chunk = "chunk-size 16";
    assert!(lock.contains(chunk), "{lock}");
    project.write("locks/tiny.lock.kdl", lock.replace(chunk, "chunk-size 32"));
    for mode in ["--locked", "--frozen"] {
        let text = refused(&project, &["run", mode, "locks/tiny.lock.kdl"]);
        assert!(text.contains("chunk-size") || text.contains("spec.sha256"), "{mode}:\n{text}");
    }
    for (from, to) in [
        ("lock 2", "lock 99"),
        ("lock 2", "lock \"one\""),
        ("lock 2", "lock 2\nlock 2"),
        ("root 7", "root -7"),
        ("root 7", "root #nan"),
        ("metrics 1", "metrcis 1"),
        ("path \"experiments/tiny.kdl\"", "path \"../../etc/passwd\""),
    ] {
        assert!(lock.contains(from), "{from}");
        project.write("locks/tiny.lock.kdl", lock.replacen(from, to, 1));
        refused(&project, &["run", "locks/tiny.lock.kdl"]);
    }
    let truncated = &lock[..lock.len() / 2];
    project.write("locks/tiny.lock.kdl", truncated);
    refused(&project, &["run", "locks/tiny.lock.kdl"]);
    project.write("locks/tiny.lock.kdl", b"\xff\xfe\x00");
    refused(&project, &["run", "locks/tiny.lock.kdl"]);
}

#[test]
fn damaged_bundles_runs_and_comparisons_are_refused() {
    let project = Project::tiny();
    let tiny = "experiments/tiny.kdl";
    project.ok(&["profile", tiny, "--out", "bundle"]);
    project.ok(&["sim", tiny, "--bundle", "bundle", "--out", "sim"]);

    let good = project.read("sim/request_metrics.csv");
    let text = String::from_utf8(good.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let damaged = [
        text.replacen("0,", "NaN,", 1),
        text.replacen("ok", "fine", 1),
        text[..text.len() - 9].to_owned(),
        format!("{text}{}\n", lines[1]),
        format!("{}\n{}", lines[0], lines[1].replace(',', ",-")),
        "x".repeat(3 << 20),
        String::new(),
    ];
    for bytes in damaged {
        project.write("sim/request_metrics.csv", bytes);
        let text = refused(&project, &["compare", "--real", "sim", "--sim", "sim", "--out", "out"]);
        assert!(text.contains("request_metrics.csv"), "{text}");
    }
    project.write("sim/request_metrics.csv", good);

    project.write("sim/run_meta.json", "{\"format\": 1e999");
    refused(&project, &["compare", "--real", "sim", "--sim", "sim", "--out", "out"]);
    project.write("comparison/comparison.json", "[".repeat(200_000));
    refused(&project, &["report", "comparison"]);

    for bad in ["{}", "", &"[".repeat(200_000)] {
        project.write("bundle/bundle.json", bad);
        let text = refused(&project, &["sim", tiny, "--bundle", "bundle", "--out", "out"]);
        assert!(text.contains("bundle.json"), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn what_stands_in_a_files_place_is_refused_at_once() {
    let project = Project::empty();
    project.write("comparison/tables/x", "");
    let meta = r#"{"format":1,"xp_version":"0.1.0","metrics_version":1,"run":"r","kind":"measured","backend":"b","repeat":0,
        "model":"m","dtype":"f32","model_digest":"0000000000000000000000000000000000000000000000000000000000000000",
        "workload_digest":"0000000000000000000000000000000000000000000000000000000000000000","scheduler":{"policy":"sarathi",
        "chunk-size":1,"max-batch-size":1,"block-size":1,"kv-blocks":1,"watermark-blocks":0,"max-context":2},"threads":1,
        "hardware":[],"fingerprint":null,"reference_ns":null,"num_requests":1,"num_steps":1,"output_tokens":1,"duration_ns":1}"#;
    project.write("run/run_meta.json", meta);
    let started = std::time::Instant::now();
    let compare = ["compare", "--real", "run", "--sim", "run", "--out", "out"];
    for (file, args) in [
        ("run/request_metrics.csv", &compare[..]),
        ("run/run_meta.json", &compare[..]),
        ("experiments/x.kdl", &["check", "experiments/x.kdl"]),
        ("locks/x.lock.kdl", &["run", "--frozen", "locks/x.lock.kdl"]),
        ("comparison/comparison.json", &["report", "comparison"]),
    ] {
        let path = project.path(file);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        project.write(file, "");
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(8 << 30).unwrap();
        let text = project.fails(1, args);
        assert!(
            text.contains(&name) && (text.contains("larger than") || text.contains("longer than")),
            "{text}"
        );
        let stand_in = |make: &dyn Fn(), wanted: &str| {
            make();
            let text = project.fails(2, args);
            assert!(text.contains(&name) && text.contains(wanted), "{text}");
        };
        std::fs::remove_file(&path).unwrap();
        stand_in(&|| std::os::unix::fs::symlink("/dev/zero", &path).unwrap(), "a device");
        std::fs::remove_file(&path).unwrap();
        if std::process::Command::new("mkfifo").arg(&path).status().is_ok_and(|made| made.success()) {
            stand_in(&|| (), "a pipe");
            std::fs::remove_file(&path).unwrap();
        }
        stand_in(&|| std::fs::create_dir(&path).unwrap(), "it is a folder");
        std::fs::remove_dir(&path).unwrap();
        for bytes in [&b"a\0b\n"[..], b"\xff\xfe\n", "{ ".repeat(10_000).as_bytes(), b"\xef\xbb\xbf\r\n"] {
            project.write(file, bytes);
            assert!(project.fails(1, args).contains(&name), "{file}");
        }
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}: 8 GiB of nothing were read", started.elapsed());
}

#[test]
fn hostile_models_and_tokenizers_are_refused() {
    let project = Project::empty();
    let spec = TINY.replace("source \"synthetic\"", "source \"path\" \"model\"");
    project.write("experiments/tiny.kdl", spec);
    let config = r#"{"architectures":["Qwen3ForCausalLM"],"model_type":"qwen3","hidden_size":64,"intermediate_size":160,
        "num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"vocab_size":1024,
        "max_position_embeddings":2048,"rope_theta":1000000.0,"rms_norm_eps":1e-6,"tie_word_embeddings":true}"#;
    // One file is bad at a time, all others are good: each is looked at for itself.
    let tokenizer = xp::model::train_synthetic(1024).unwrap();
    let header = r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let weights = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
    let good = [
        ("config.json", config.as_bytes().to_vec()),
        ("tokenizer.json", tokenizer),
        ("model.safetensors", weights.clone()),
    ];
    let with = |name: &str, bytes: &[u8]| {
        for (file, good) in &good {
            project.write(&format!("model/{file}"), if *file == name { bytes } else { good });
        }
        refused(&project, &["real", "experiments/tiny.kdl", "--out", "out"])
    };

    let text = with("model.safetensors", &weights);
    assert!(text.contains("tensor"), "good files that lack tensors are read to the end:\n{text}");
    for length in [2u64 << 30, u64::MAX, 9] {
        let text = with("model.safetensors", &length.to_le_bytes());
        assert!(text.contains("model.safetensors, byte 0"), "{length}:\n{text}");
        assert!(text.contains(&format!("its header has {length}")), "{length}:\n{text}");
    }
    let text = with("model.safetensors", &weights[..weights.len() - 1]);
    assert!(text.contains("model.safetensors, header"), "{text}");
    assert!(with("model.safetensors", b"").contains("model.safetensors"), "an empty file");

    for bad in ["{\"padding\": {\"strategy\": {\"Fixed\": 100000000}}}", "", "{}", &"[".repeat(200_000)] {
        let text = with("tokenizer.json", bad.as_bytes());
        assert!(text.contains("tokenizer.json"), "{text}");
    }

    let huge = config.replace("\"hidden_size\":64", "\"hidden_size\":4000000000");
    for bad in [huge.as_str(), &config[..40], ""] {
        let text = with("config.json", bad.as_bytes());
        assert!(text.contains("config.json"), "{text}");
    }
}
