//! A bundle whose durations follow formulas, for tests.

use super::bundle::{
    AttentionPoint, BUNDLE_FORMAT, Bundle, BundleMeta, Feature, OpCurve, OpPoint, StepSample,
};
use super::read::ops_of;
use crate::store::Digest;

/// Every operator takes 1 µs for each unit of its feature. Attention of one layer takes, in ns,
/// 100 + c·k + c²/2 for a chunk of c tokens after k, and 100 + n·(10 + k) for n decodes over k.
pub fn sample_bundle() -> Bundle {
    let curve = |op: &str, feature, per_layer| OpCurve {
        op: op.to_owned(),
        feature,
        per_layer,
        points: [1, 4, 16, 64].map(|x| OpPoint { x, mean_ns: f64::from(x) * 1000.0, mad_ns: 7.0 }).into(),
    };
    let mut curves = Vec::new();
    for feature in [Feature::Tokens, Feature::Sequences, Feature::BatchSize] {
        curves.extend(ops_of(feature).into_iter().map(|(op, per_layer)| curve(op, feature, per_layer)));
    }
    let point = |prefill_chunk: u32, kv_prefill: u32, n_decode: u32, kv_decode: u32| {
        let [c, k, n, d] = [prefill_chunk, kv_prefill, n_decode, kv_decode].map(f64::from);
        let mean_ns = (100.0 + c * k + c * c / 2.0 + n * (10.0 + d)).round();
        AttentionPoint { prefill_chunk, kv_prefill, n_decode, kv_decode, mean_ns, mad_ns: 3.0 }
    };
    let mut attention: Vec<AttentionPoint> =
        [1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64].map(|chunk| point(chunk, 0, 0, 0)).into();
    for chunk in [1, 16, 64] {
        attention.extend([16, 63, 256].map(|kv| point(chunk, kv, 0, 0)));
    }
    for batch in [1, 4] {
        attention.extend([16, 256].map(|kv| point(0, 0, batch, kv)));
    }
    attention.push(point(0, 0, 2, 64));
    Bundle {
        meta: BundleMeta {
            format: BUNDLE_FORMAT,
            fingerprint: Digest::of("machine"),
            hardware: vec![("cpu".to_owned(), "test".to_owned())],
            model: "m/odel".to_owned(),
            model_digest: Digest::of("model"),
            num_layers: 2,
            block_size: 16,
            max_tokens: 64,
            max_batch_size: 4,
            max_context: 256,
            engine: "test".to_owned(),
            repetitions: 3,
            reference_ns: 1000,
            speed: None,
            noise_percent: 0.5,
            memory_gb_per_s: None,
            disturbed_percent: None,
            interval_percent: None,
            interference_percent: None,
            row_group: None,
            many_rows: None,
            files: Vec::new(),
        },
        curves,
        attention,
        pauses: Vec::new(),
        after_chunks: Vec::new(),
        beside_chunks: Vec::new(),
        steps: vec![StepSample {
            prefills: vec![(8, 0), (4, 12)],
            decodes: vec![3, 5],
            completing: 1,
            mean_ns: 9000.0,
            mad_ns: 1.0,
        }],
    }
}
