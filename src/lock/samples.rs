//! A lock for tests: of some runs, with a bundle and simulated results.

use std::path::Path;

use super::pins::{BundlePin, HardwareFact, Lock, RunPin, SetPin, SimPin};
use super::read::parse;
use crate::spec;
use crate::store::{Digest, FileDigest};

const ONE_RUN: &str = r#"lock 2
xp "0.1.0"
versions {
    metrics 1
    workload 1
    engine 1
    simulator 1
}
spec {
    path "experiments/tiny.kdl"
    sha256 "cfcd29bfc1a6464f11dc73ea3d3e67b88ed9a306dab3bd166b81f2951035e8bb"
}
experiment {
    name "tiny"
    seed 7
    model {
        name "qwen3-tiny"
        dtype "f32"
        source {
            kind "synthetic"
        }
    }
    hardware {
        device "cpu"
        threads 1
    }
    workload {
        name "few"
        requests 6
        lengths {
            kind "uniform"
            min 12
            max 40
            prefill-to-decode 3.0
        }
        arrivals {
            kind "poisson"
            qps 50.0
        }
    }
    backend "sarathi" {
        kind "candle"
        scheduler "sarathi"
        chunk-size 16
        max-batch-size 4
        block-size 16
        kv-memory "4MiB"
        watermark "1%"
        sampling {
            temperature 0.0
            top-k 0
            top-p 1.0
        }
    }
    backend "vidur" {
        kind "sim"
        profile "auto"
        predictor "interpolate"
    }
    compare {
        real "sarathi"
        sim "vidur"
        pass "10%"
        warn "20%"
        repeats 2
    }
}
seeds {
    root 7
    prompts 6770972650835546462
    lengths 4877327316753712305
    arrivals 9609074494335271030
    sampling 1013644985033045007
    weights 4418736244596577788
}
resolved-model {
    sha256 "9c7b451381ba17cd6ef8402533865614bd6d014ec9a437b4e10eac3e78cc3f17"
    config {
        model_type "qwen3"
        hidden_size 64
        intermediate_size 160
        num_hidden_layers 2
        num_attention_heads 4
        num_key_value_heads 2
        head_dim 16
        vocab_size 1024
        max_position_embeddings 2048
        rope_theta 1000000.0
        rms_norm_eps 1e-6
        tie_word_embeddings #true
    }
    file "tokenizer.json" bytes=55110 sha256="06572ef6eaa6983376322a897a11c5d6c0b65b22c3e77ebc408e6457639f94a4"
}
run "tiny" {
    workload {
        sha256 "b870a7b3bad5caf67eebe4a2a19f43c10863f0b0207677401bf7139e145f97ea"
        requests 6
        prefill-tokens 118
        decode-tokens 38
    }
    scheduler {
        policy "sarathi"
        chunk-size 16
        max-batch-size 4
        block-size 16
        kv-blocks 512
        watermark-blocks 5
        max-context 2048
    }
}
"#;

/// A lock of as many runs: an axis of arrival rates, each with a workload of its own.
pub(crate) fn lock(runs: usize) -> Lock {
    let mut lock = parse(Path::new("sample.lock.kdl"), ONE_RUN).expect("the sample is a lock");
    let digest = |of: &str| Digest::of(of);
    lock.bundle = Some(BundlePin {
        path: "profiles/qwen3-tiny-a".to_owned(),
        sha256: digest("bundle"),
        fingerprint: digest("machine"),
        hardware: vec![HardwareFact { name: "logical cores".to_owned(), value: "2".to_owned() }],
        files: ["attention.csv", "mlp.csv", "steps.csv", "overhead.csv"]
            .map(|file| FileDigest { file: file.to_owned(), bytes: 9, sha256: digest(file) })
            .into(),
    });
    let template = lock.runs[0].clone();
    let rates: Vec<u32> = (1..=u32::try_from(runs).expect("few runs")).collect();
    lock.runs = rates.iter().map(|rate| run(&template, *rate, runs > 1)).collect();
    if runs > 1 {
        let values = rates.iter().map(|rate| (*rate).into()).collect();
        lock.experiment.matrix = vec![spec::Axis { path: AXIS.to_owned(), values, zip: None }];
    }
    lock.spec.sha256 = Digest::of_json(&lock.experiment);
    lock
}

const AXIS: &str = "workload.arrivals.qps";

fn run(template: &RunPin, rate: u32, of_matrix: bool) -> RunPin {
    let mut run = template.clone();
    if of_matrix {
        run.id = format!("tiny-{rate}");
        run.set = vec![SetPin { path: AXIS.to_owned(), value: rate.into() }];
        run.workload.sha256 = Digest::of(format!("workload {rate}"));
    }
    run.sim = Some(SimPin { sha256: Digest::of(format!("sim {rate}")), steps: 9 });
    run
}
