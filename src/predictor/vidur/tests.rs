use std::collections::HashMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::predictor::regression::{RegressorGrid, TrainedOperators};
use crate::profile::vidur::sample::{self, ALONE, SPREAD};
use crate::profile::vidur::{VidurOp, VidurSelection, read_training};

/// Regressors that are quickly trained.
fn grids() -> [(&'static str, RegressorGrid); 3] {
    [
        (
            "linear",
            RegressorGrid::Linear {
                degree: vec![1, 2],
                include_bias: vec![true],
                interaction_only: vec![false],
                fit_intercept: vec![true, false],
            },
        ),
        (
            "forest",
            RegressorGrid::Forest {
                n_estimators: vec![20],
                max_depth: vec![4, 8],
                min_samples_split: vec![2],
            },
        ),
        ("interpolate", RegressorGrid::Interpolate),
    ]
}

fn trained(selection: &VidurSelection, grid: &RegressorGrid) -> TrainedOperators {
    let dir = tempfile::tempdir().unwrap();
    let files = sample::write(dir.path());
    TrainedOperators::train(&read_training(&files, &sample::shape(), selection).unwrap(), grid, 42).unwrap()
}

fn shape(selection: &VidurSelection) -> StageShape {
    StageShape {
        layers_per_stage: 4,
        num_q_heads: 4,
        num_kv_heads: 2,
        post_attn_norm: true,
        tensor_parallel: selection.tensor_parallel,
        pipeline_stages: selection.pipeline_stages,
    }
}

/// Decodes by KV, prefills by (KV, chunk).
fn batch(decodes: &[u64], prefills: &[(u64, u64)]) -> BatchFeatures {
    let mut features = BatchFeatures::new(64);
    decodes.iter().for_each(|kv| features.push_decode(*kv));
    prefills.iter().for_each(|(kv, chunk)| features.push_prefill(*kv, *chunk));
    features
}

/// Batches small and large, within the measured sizes and beyond.
fn batches() -> Vec<(&'static str, BatchFeatures)> {
    vec![
        ("1 decode", batch(&[100], &[])),
        ("3 decodes", batch(&[100, 200, 303], &[])),
        ("1 prefill", batch(&[], &[(0, 200)])),
        ("2 prefills", batch(&[], &[(0, 100), (130, 60)])),
        ("mixed", batch(&[64, 65, 128, 500], &[(192, 64)])),
        ("beyond", batch(&[9000; 200], &[(9000, 6000)])),
    ]
}

#[test]
fn the_sample_is_predicted_as_it_was() {
    let mut text = String::new();
    for (selection, name) in [(ALONE, "one device"), (SPREAD, "2 x 2 devices, CPU")] {
        let options = VidurOptions { cpu_overhead: selection.cpu_overhead, ..VidurOptions::default() };
        for (regressor, grid) in grids() {
            let predictor =
                VidurPredictor::new(&trained(&selection, &grid), shape(&selection), options).unwrap();
            for (batch, features) in batches() {
                let (middle, last) =
                    (predictor.stage_s(&features, false), predictor.stage_s(&features, true));
                let _ = writeln!(text, "{name}, {regressor}, {batch}: {middle:.12} {last:.12}");
            }
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_stage_is_the_sum_of_its_components_before_and_after_they_are_kept() {
    let options = VidurOptions { cpu_overhead: true, nccl_skew_ms: 0.003, ..VidurOptions::default() };
    for (_, grid) in grids() {
        let predictor = VidurPredictor::new(&trained(&SPREAD, &grid), shape(&SPREAD), options).unwrap();
        for (name, features) in batches() {
            for is_last in [false, true, false] {
                let total = predictor.components(&features, is_last).total_s();
                for _ in 0..2 {
                    assert_eq!(predictor.stage_s(&features, is_last).to_bits(), total.to_bits(), "{name}");
                }
                // Far beyond their rows polynomials may be negative.
                assert!(total > 0.0 || name == "beyond", "{name}");
            }
        }
    }
}

#[test]
fn what_is_kept_changes_no_result() {
    let trained = trained(&ALONE, &grids()[0].1);
    let predictor = |options| VidurPredictor::new(&trained, shape(&ALONE), options).unwrap();
    let wide = predictor(VidurOptions::default());
    let narrow = predictor(VidurOptions {
        max_tokens: 1,
        max_batch_size: 1,
        max_prefill_chunk: 1,
        ..VidurOptions::default()
    });
    for (name, features) in batches() {
        assert_eq!(wide.stage_s(&features, true), narrow.stage_s(&features, true), "{name}");
    }
    // Features of another granularity have cells of their own: none is mixed up.
    let mut fine = BatchFeatures::new(1);
    fine.push_decode(65);
    let coarse = batch(&[128], &[]);
    let first = wide.stage_s(&coarse, true);
    assert_ne!(wide.stage_s(&fine, true), first);
    assert_eq!(wide.stage_s(&coarse, true), first);
}

/// One layer of what Vidur's recorded tables say, added up by hand.
#[test]
fn recorded_times_are_added_up() {
    let mut recorded: HashMap<(VidurOp, u64, u64), f64> =
        VidurOp::COMPUTE.into_iter().map(|op| ((op, 8, 0), 1.0)).collect();
    recorded.insert((VidurOp::AttnKvCacheSave, 5, 0), 10.0);
    recorded.insert((VidurOp::AttnDecode, 2, 128), 100.0);
    recorded.insert((VidurOp::AttnPrefill, 64, 9), 1000.0);
    recorded.insert((VidurOp::AllReduce, 8, 0), 5.0);
    recorded.insert((VidurOp::SendRecv, 8, 0), 7.0);
    let features = batch(&[100, 110], &[(3, 3)]);
    let predictor =
        |shape| VidurPredictor::from_recorded(recorded.clone(), shape, VidurOptions::default()).unwrap();
    let close = |found: f64, wanted_ms: f64| assert!((found * 1e3 - wanted_ms).abs() < 1e-9, "{found}");
    // Nine token operators, the factor of two decodes, four layers; one prefill has no factor.
    let alone = predictor(shape(&ALONE));
    close(alone.stage_s(&features, true), 4.0 * (9.0 + 10.0 + 110.0 + 1000.0));
    // Two all-reduces a layer with their launch, and sending once.
    let spread = predictor(shape(&SPREAD));
    let sum = 4.0 * (9.0 + 10.0 + 110.0 + 1000.0 + 2.0 * 5.02);
    close(spread.stage_s(&features, true), sum);
    close(spread.stage_s(&features, false), sum + 7.0);
    // Without grouped queries no factor; without a norm no norm.
    let plain = predictor(StageShape { num_kv_heads: 4, post_attn_norm: false, ..shape(&ALONE) });
    close(plain.stage_s(&features, true), 4.0 * (8.0 + 10.0 + 100.0 + 1000.0));
    assert_eq!(alone.missing(&features, true), None);
    let other = batch(&[100, 110, 120], &[(3, 2)]);
    assert_eq!(alone.missing(&other, true), Some((VidurOp::AttnDecode, 3, 128)));
    assert!(alone.stage_s(&other, true).is_nan());
}

#[test]
fn a_stage_that_fits_make_negative_takes_no_time() {
    let mut recorded: HashMap<(VidurOp, u64, u64), f64> =
        VidurOp::COMPUTE.into_iter().map(|op| ((op, 8, 0), -1.0)).collect();
    recorded.insert((VidurOp::AttnKvCacheSave, 1, 0), 0.0);
    recorded.insert((VidurOp::AttnDecode, 1, 64), 0.5);
    let predictor = VidurPredictor::from_recorded(recorded, shape(&ALONE), VidurOptions::default()).unwrap();
    assert_eq!(predictor.stage_s(&batch(&[64], &[]), true), 0.0);
    assert_eq!(predictor.components(&batch(&[64], &[]), true).add, -1.0);
}

#[test]
fn operators_that_were_not_trained_are_named() {
    let alone = trained(&ALONE, &RegressorGrid::Interpolate);
    let found = VidurPredictor::new(&alone, shape(&SPREAD), VidurOptions::default()).unwrap_err();
    assert_eq!(found, VidurError::Untrained { op: "all_reduce", table: "all_reduce.csv" });
    let options = VidurOptions { cpu_overhead: true, ..VidurOptions::default() };
    let found = VidurPredictor::new(&alone, shape(&ALONE), options).unwrap_err();
    assert_eq!(found, VidurError::Untrained { op: "schedule", table: "cpu_overhead.csv" });
}

#[test]
fn numbers_that_no_deployment_has_are_refused() {
    let new = |shape, options| VidurPredictor::from_recorded(HashMap::new(), shape, options).map(drop);
    let (shape, options) = (shape(&ALONE), VidurOptions::default());
    new(shape, options).unwrap();
    for bad in [
        StageShape { layers_per_stage: 0, ..shape },
        StageShape { tensor_parallel: 0, ..shape },
        StageShape { pipeline_stages: u32::MAX, ..shape },
        StageShape { num_kv_heads: 0, ..shape },
    ] {
        assert!(matches!(new(bad, options), Err(VidurError::Option { .. })), "{bad:?}");
    }
    for bad in [
        VidurOptions { kv_granularity: 0, ..options },
        VidurOptions { max_tokens: u64::MAX, ..options },
        VidurOptions { max_prefill_chunk: 0, ..options },
        VidurOptions { nccl_launch_ms: f64::NAN, ..options },
        VidurOptions { decode_batching_overhead: -0.1, ..options },
        VidurOptions { nccl_skew_ms: f64::INFINITY, ..options },
    ] {
        assert!(matches!(new(shape, bad), Err(VidurError::Option { .. })), "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Batches of any numbers take a time that is none or more, and no panic.
    #[test]
    fn any_batch_takes_a_time(
        decodes in prop::collection::vec(any::<(u64, u64)>(), 0..4),
        prefills in prop::collection::vec(any::<(u64, u64)>(), 0..4),
        small in any::<bool>(),
    ) {
        let trained = trained(&ALONE, &grids()[0].1);
        let predictor = VidurPredictor::new(&trained, shape(&ALONE), VidurOptions::default()).unwrap();
        let mut features = predictor.features();
        let bound = |number: u64| if small { number % 5000 } else { number };
        decodes.iter().for_each(|(count, kv)| features.push_decodes(bound(*count), bound(*kv)));
        prefills.iter().for_each(|(kv, chunk)| features.push_prefill(bound(*kv), bound(*chunk)));
        let seconds = predictor.stage_s(&features, true);
        prop_assert!(seconds.is_finite() && seconds >= 0.0, "{}", seconds);
    }
}
