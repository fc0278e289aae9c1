//! Experiments at the edge of what a model and a cache can hold: an answer, never a panic.

use crate::project::{Project, TINY};

fn run_with(changes: &[(&str, &str)]) -> Project {
    let project = Project::empty();
    let mut spec = TINY.replace("repeats=2", "repeats=1");
    for (from, to) in changes {
        assert!(spec.contains(from), "{from}");
        spec = spec.replace(from, to);
    }
    project.write("experiments/edge.kdl", spec);
    project
}

const LENGTHS: &str = "lengths \"uniform\" min=12 max=40 prefill-to-decode=3";

#[test]
fn steps_may_be_larger_than_any_request() {
    let project = run_with(&[(
        "chunk-size=16 max-batch-size=4 kv-memory=\"4MiB\"",
        "chunk-size=2100 max-batch-size=4 kv-memory=\"64MiB\"",
    )]);
    project.ok(&["run", "experiments/edge.kdl"]);
}

#[test]
fn requests_may_fill_the_context() {
    let project = run_with(&[
        (LENGTHS, "lengths \"fixed\" prefill=2040 decode=8"),
        ("requests 6", "requests 1"),
        ("chunk-size=16", "chunk-size=1024"),
    ]);
    project.ok(&["run", "experiments/edge.kdl"]);
}

#[test]
fn a_cache_of_two_tokens_serves_the_smallest_request() {
    let project = run_with(&[
        (LENGTHS, "lengths \"fixed\" prefill=1 decode=1"),
        ("kv-memory=\"4MiB\"", "block-size=1 kv-memory=\"1KiB\""),
    ]);
    project.ok(&["run", "experiments/edge.kdl"]);
}

#[test]
fn a_request_beyond_the_context_is_refused_and_the_others_are_served() {
    let project = run_with(&[
        (LENGTHS, "lengths \"trace\" \"trace.csv\""),
        ("kv-memory=\"4MiB\"", "kv-memory=\"8MiB\""),
    ]);
    project.write("trace.csv", "num_prefill_tokens,num_decode_tokens\n8,3\n2100,10\n9,4\n7,5\n12,3\n10,6\n");
    let output = project.xp(&["real", "experiments/edge.kdl", "--out", "real"]);
    let text = crate::project::both(&output);
    assert!(!text.contains("panicked"), "{text}");
    if output.status.success() {
        let rows = String::from_utf8(project.read("real/request_metrics.csv")).unwrap();
        assert_eq!(rows.matches(",rejected,").count(), 1, "{rows}");
        assert_eq!(rows.matches(",ok,").count(), 5, "{rows}");
    } else {
        assert!(text.contains("2110") || text.contains("2048"), "{text}");
    }
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let project = run_with(&[("source \"synthetic\"", "source \"path\" \"model\"")]);
    let config = r#"{"architectures":["Qwen3ForCausalLM"],"model_type":"qwen3","hidden_size":8,"intermediate_size":8,
        "num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":4,"vocab_size":1024,
        "max_position_embeddings":64,"rope_theta":1000000.0,"rms_norm_eps":1e-6,"tie_word_embeddings":true}"#;
    project.write("model/config.json", config);
    project.write("model/tokenizer.json", xp::model::train_synthetic(1024).unwrap());
    let config: xp::catalog::ModelConfig = serde_json::from_str(config).unwrap();
    let write = |value: f32| {
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = xp::source::tensor_table(&config)
            .into_iter()
            .map(|tensor| {
                let shape: Vec<usize> = tensor.shape.iter().map(|n| *n as usize).collect();
                let count = shape.iter().product();
                (tensor.name, shape, (0..count).flat_map(|_| value.to_le_bytes()).collect())
            })
            .collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (name.clone(), view.unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    };
    project.write("model/model.safetensors", write(f32::NAN));
    let text = project.fails(1, &["real", "experiments/edge.kdl", "--out", "real"]);
    assert!(text.contains("NaN"), "{text}");
    project.write("model/model.safetensors", write(0.01));
    project.ok(&["real", "experiments/edge.kdl", "--out", "real"]);
}
