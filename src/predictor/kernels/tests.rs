use proptest::prelude::*;

use super::*;
use crate::profile::llmservingsim::{DenseLayer, sample};

const LAYERS: u32 = 5;

fn deployment() -> Deployment {
    Deployment {
        shape: ModelShape {
            layers: LAYERS,
            heads: 8,
            kv_heads: 2,
            hidden: 512,
            vocab: 1000,
            value_bytes: 2,
            experts: None,
        },
        parallel: Parallelism::default(),
        network: Network::default(),
        graph_sizes: Vec::new(),
        max_tokens: 64,
        max_sequences: 4,
        overhead_ns: 0,
    }
}

fn step(decodes: &[u32], chunks: &[(u32, u32)]) -> StepFeatures {
    let mut step = StepFeatures::default();
    for kv in decodes {
        step.push_decodes(1, u64::from(*kv), *kv);
    }
    for (tokens, before) in chunks {
        step.push_chunk(*tokens, *before);
    }
    step
}

/// Dense kernels of a step, µs, at a profiled count.
fn dense_us(tokens: u32) -> f64 {
    let of = |layer| sample::dense_us(layer, tokens);
    let twice = of(DenseLayer::LayerNorm) + of(DenseLayer::QkNorm);
    let once: f64 = [
        DenseLayer::QkvProj,
        DenseLayer::RotaryEmb,
        DenseLayer::OProj,
        DenseLayer::GateUpProj,
        DenseLayer::ActFn,
        DenseLayer::DownProj,
    ]
    .into_iter()
    .map(of)
    .sum();
    f64::from(LAYERS) * (2.0 * twice + once) + of(DenseLayer::Embedding) + of(DenseLayer::FinalLayerNorm)
}

fn attention_us(chunk: u32, before: u32, decodes: u32, kv: f64) -> f64 {
    sample::attention_us(chunk.into(), before.into(), decodes.into(), kv)
}

fn close(found: u64, us: f64) -> bool {
    (found as f64 - us * 1e3).abs() <= 1.0
}

#[test]
fn a_step_at_profiled_points_is_the_sum_of_its_kernels() {
    let predictor = KernelPredictor::new(&sample::dense().read(1).unwrap(), &deployment()).unwrap();
    for (decodes, chunks, tokens) in [
        (vec![32, 32], vec![], 2),
        (vec![16; 4], vec![], 4),
        (vec![], vec![(32, 16)], 32),
        (vec![], vec![(64, 0)], 64),
    ] {
        let (n, kv) = (decodes.len() as u32, decodes.first().copied().unwrap_or_default());
        let (chunk, before) = chunks.first().copied().unwrap_or_default();
        let found = predictor.step(&step(&decodes, &chunks));
        let attention = f64::from(LAYERS) * attention_us(chunk, before, n, kv.into());
        let sequences = f64::from(n + chunks.len() as u32);
        assert!(close(found.dense_ns, dense_us(tokens)), "{found:?}");
        assert!(close(found.attention_ns, attention), "{found:?}");
        assert!(close(found.lm_head_ns, 10.0 + sequences), "{found:?}");
        assert!(close(found.sampler_ns, 1.0 + sequences / 2.0), "{found:?}");
        assert_eq!((found.moe_ns, found.communication_ns, found.overhead_ns), (0, 0, 0));
        let sum = found.dense_ns + found.attention_ns + found.lm_head_ns + found.sampler_ns;
        assert_eq!(predictor.step_ns(&step(&decodes, &chunks)), sum);
    }
    assert_eq!(predictor.step(&StepFeatures::default()).total_ns(), 0);
}

#[test]
fn between_points_products_climb_stairs_and_the_rest_runs_straight() {
    let predictor = KernelPredictor::new(&sample::dense().read(1).unwrap(), &deployment()).unwrap();
    // 20 tokens: four products take what 32 take; five calls of a layer and two of a step are on the line.
    let climbed = 12.0 / 4.0 * f64::from(4 * LAYERS);
    let straight = |tokens: f64| dense_us(16) + (tokens - 16.0) / 4.0 * f64::from(10 * LAYERS + 2);
    let wanted = straight(20.0) + climbed;
    let found = predictor.step(&step(&[], &[(20, 40)]));
    assert!(close(found.dense_ns, wanted), "{found:?}, not {wanted}");
    assert!(close(found.attention_ns, 5.0 * attention_us(20, 40, 0, 0.0)), "{found:?}");
    // Three decodes of other lengths beside a chunk.
    let found = predictor.step(&step(&[20, 20, 20], &[(20, 40)]));
    assert!(close(found.attention_ns, 5.0 * attention_us(20, 40, 3, 20.0)), "{found:?}");
}

#[test]
fn uneven_decodes_lie_between_the_mean_and_the_longest() {
    let files = sample::dense();
    let found = |files: &sample::Files, decodes: &[u32], chunks: &[(u32, u32)]| {
        let predictor = KernelPredictor::new(&files.read(1).unwrap(), &deployment()).unwrap();
        predictor.step(&step(decodes, chunks)).attention_ns
    };
    // Shares of the sample: 0.2 of two, 0.3 of four and so of three, 0.5 beside a chunk.
    for (decodes, chunk, share) in [
        (vec![20, 40], 0, 0.2),
        (vec![20, 30, 64], 0, 0.3),
        (vec![16, 16, 16, 56], 0, 0.3),
        (vec![20, 40], 16, 0.5),
        (vec![40], 16, 0.0),
    ] {
        let chunks: Vec<(u32, u32)> = [(chunk, 16)].into_iter().filter(|(tokens, _)| *tokens > 0).collect();
        let n = decodes.len() as u32;
        let mean = f64::from(decodes.iter().sum::<u32>()) / f64::from(n);
        let longest = f64::from(*decodes.iter().max().unwrap());
        let kv = mean + share * (longest - mean);
        let before = if chunk > 0 { 16 } else { 0 };
        let wanted = 5.0 * attention_us(chunk, before, n, kv);
        assert!(close(found(&files, &decodes, &chunks), wanted), "{decodes:?}");
        let flat = files.with("meta.yaml", "enabled: true", "enabled: false");
        let wanted = 5.0 * attention_us(chunk, before, n, mean);
        assert!(close(found(&flat, &decodes, &chunks), wanted), "{decodes:?} without skew");
    }
}

#[test]
fn several_chunks_share_one_call_and_one_token_is_a_decode() {
    let predictor = KernelPredictor::new(&sample::dense().read(1).unwrap(), &deployment()).unwrap();
    let found = |decodes: &[u32], chunks: &[(u32, u32)]| predictor.step(&step(decodes, chunks)).attention_ns;
    for (decodes, kv) in [(vec![], 0.0), (vec![32, 32], 32.0)] {
        let n = decodes.len() as u32;
        let base = attention_us(16, 0, n, kv);
        let wanted = attention_us(32, 16, n, kv) + attention_us(20, 0, n, kv) - base;
        assert!(close(found(&decodes, &[(32, 16), (20, 0)]), 5.0 * wanted));
    }
    assert_eq!(found(&[20], &[(1, 40)]), found(&[20, 40], &[]));
    assert_eq!(step(&[20], &[(1, 40), (0, 7)]), step(&[20, 40], &[]));
}

#[test]
fn graphs_run_whole_captured_sizes() {
    let profile = sample::dense().read(1).unwrap();
    let captured = Deployment { graph_sizes: vec![2, 16], ..deployment() };
    let predictor = KernelPredictor::new(&profile, &captured).unwrap();
    for (tokens, runs) in [(1, 2), (2, 2), (4, 16), (16, 16), (32, 32)] {
        let found = predictor.step(&step(&[], &[(tokens.max(2), 0)])).dense_ns;
        assert!(close(found, dense_us(if tokens == 1 { 2 } else { runs })), "{tokens}");
    }
    // The head runs for the sequences that there are.
    assert!(close(predictor.step(&step(&[16], &[])).lm_head_ns, 11.0));
    let sizes = vllm_graph_sizes(256);
    assert_eq!((sizes.len(), sizes[..5].to_vec(), sizes[34]), (51, vec![1, 2, 4, 8, 16], 256));
    assert_eq!((sizes[35], sizes[50]), (272, 512));
    assert_eq!(vllm_graph_sizes(16), [1, 2, 4, 8, 16, 24, 32]);
}

const LINK: Link = Link { bytes_per_second: 1_000_000_000, latency_ns: 1000 };

/// A ring of two: a thousandth of a µs for a byte, half of them to pass on.
fn ring_us(bytes: f64) -> f64 {
    1.0 + bytes / 2.0 / 1000.0
}

#[test]
fn tensor_parallel_ranks_reduce_twice_a_layer() {
    let profile = sample::dense().read(2).unwrap();
    let parallel = Parallelism { tensor: 2, ..Parallelism::default() };
    let alone = Deployment { parallel, ..deployment() };
    assert_eq!(KernelPredictor::new(&profile, &alone), Err(KernelPredictorError::Network));
    let network = Network { link: Some(LINK), ..Network::default() };
    let linked = Deployment { network, ..alone.clone() };
    let predictor = KernelPredictor::new(&profile, &linked).unwrap();
    let found = predictor.step(&step(&[32, 32], &[]));
    // Behind attention, MLP and embedding 2 tokens of 1,024 bytes, there and back; logits of 2 × 1,000 values.
    let wanted = 11.0 * 2.0 * ring_us(2048.0) + ring_us(4000.0);
    assert!(close(found.communication_ns, wanted), "{found:?}, not {wanted}");
    assert!(close(found.dense_ns, dense_us(2)));
    let measured = Network { all_reduce: vec![(1024, 5e3), (4096, 5e3)], ..Network::default() };
    let predictor = KernelPredictor::new(&profile, &Deployment { network: measured, ..alone }).unwrap();
    let found = predictor.step(&step(&[32, 32], &[]));
    assert!(close(found.communication_ns, 11.0 * 5.0 + 2.5), "{found:?}");

    let wrong = sample::dense().read(1).unwrap();
    let error = KernelPredictor::new(&wrong, &linked).unwrap_err();
    assert_eq!(error, KernelPredictorError::Degree { profile: 1, wanted: 2 });
}

#[test]
fn pipeline_stages_share_the_layers() {
    let profile = sample::dense().read(1).unwrap();
    let network = Network { link: Some(LINK), ..Network::default() };
    let of = |pipeline| {
        let parallel = Parallelism { pipeline, ..Parallelism::default() };
        Deployment { parallel, network: network.clone(), overhead_ns: 7, ..deployment() }
    };
    let layers: Vec<Vec<u32>> = [1, 2, 3, 4].map(|stages| of(stages).layers_of_stages()).into();
    // vLLM's own split of 5.
    assert_eq!(layers, [vec![5], vec![3, 2], vec![2, 2, 1], vec![1, 1, 2, 1]]);
    let (one, three) =
        (KernelPredictor::new(&profile, &of(1)).unwrap(), KernelPredictor::new(&profile, &of(3)).unwrap());
    let batch = step(&[16, 48], &[(32, 16)]);
    let (whole, split) = (one.step(&batch), three.step(&batch));
    assert_eq!(three.stages(), 3);
    // Hidden states and residuals of 34 tokens, twice.
    let sent = 1.0 + 2.0 * 34.0 * 1024.0 / 1000.0;
    assert!(close(three.send_ns(&batch), sent));
    assert!(split.communication_ns.abs_diff((2.0 * sent * 1e3) as u64) <= 3, "{split:?}");
    assert!(
        split.dense_ns.abs_diff(whole.dense_ns) <= 3 && split.attention_ns.abs_diff(whole.attention_ns) <= 3
    );
    assert_eq!((split.lm_head_ns, split.overhead_ns), (whole.lm_head_ns, 7));
    let last = three.stage(2, &batch);
    assert!(last.lm_head_ns > 0 && last.overhead_ns == 0 && three.stage(0, &batch).lm_head_ns == 0);
    assert_eq!(three.stage(3, &batch), StepTime::default());
}

fn with_experts(parallel: Parallelism) -> Deployment {
    let shape = ModelShape { experts: Some(ExpertShape { count: 8, per_token: 2 }), ..deployment().shape };
    let network = Network { link: Some(LINK), ..Network::default() };
    Deployment { shape, parallel, network, graph_sizes: vec![4, 8], ..deployment() }
}

#[test]
fn experts_run_on_the_tokens_of_their_rank() {
    let profile = sample::experts().read(1).unwrap();
    let expected = |local: f64, tokens: u32| local * (1.0 - 0.75_f64.powi(tokens as i32));
    let predictor = KernelPredictor::new(&profile, &with_experts(Parallelism::default())).unwrap();
    let found = predictor.step(&step(&[], &[(32, 0)]));
    assert!(close(found.moe_ns, 5.0 * sample::experts_us(32.0, expected(8.0, 32))), "{found:?}");
    assert_eq!(found.communication_ns, 0);

    // Two data-parallel ranks, each with four experts.
    let parallel = Parallelism { data: 2, expert: true, ..Parallelism::default() };
    let predictor = KernelPredictor::new(&profile, &with_experts(parallel)).unwrap();
    let mut batch = step(&[], &[(32, 0)]);
    batch.set_group(48, 32);
    let found = predictor.step(&batch);
    assert!(close(found.moe_ns, 5.0 * sample::experts_us(24.0, expected(4.0, 48))), "{found:?}");
    // 48 tokens of 1,024 bytes and their two routes of 8 gathered, and their sums scattered.
    let wanted = 5.0 * (ring_us(48.0 * 1040.0) + ring_us(48.0 * 1024.0));
    assert!(close(found.communication_ns, wanted), "{found:?}, not {wanted}");
    // Within a graph all ranks run what the fullest does.
    let mut batch = step(&[16, 16], &[]);
    batch.set_group(9, 7);
    let found = predictor.step(&batch);
    assert!(close(found.moe_ns, 5.0 * sample::experts_us(8.0, expected(4.0, 16))), "{found:?}");
    let mut full = step(&[], &[(8, 16)]);
    full.set_group(16, 8);
    assert_eq!(found.dense_ns, predictor.step(&full).dense_ns);

    // Two tensor-parallel ranks, which reduce what their experts yield.
    let parallel = Parallelism { tensor: 2, expert: true, ..Parallelism::default() };
    let two = KernelPredictor::new(&sample::experts().read(2).unwrap(), &with_experts(parallel)).unwrap();
    let found = two.step(&step(&[], &[(32, 0)]));
    assert!(close(found.moe_ns, 5.0 * sample::experts_us(16.0, expected(4.0, 32))), "{found:?}");
    let wanted = 11.0 * 2.0 * ring_us(32.0 * 1024.0) + ring_us(2000.0);
    assert!(close(found.communication_ns, wanted), "{found:?}, not {wanted}");
}

#[test]
fn what_cannot_be_deployed_is_refused() {
    let (dense, experts) = (sample::dense().read(1).unwrap(), sample::experts().read(1).unwrap());
    let refused = |change: &dyn Fn(&mut Deployment)| {
        let mut deployment = deployment();
        change(&mut deployment);
        KernelPredictor::new(&dense, &deployment).unwrap_err().to_string()
    };
    assert!(refused(&|it| it.shape.layers = 0).contains("layers is 0"));
    assert!(refused(&|it| it.parallel.tensor = 3).contains("8 heads over 3"));
    assert!(refused(&|it| it.parallel.pipeline = 6).contains("5 layers over 6"));
    assert!(refused(&|it| it.parallel.data = 2).contains("experts"));
    assert!(refused(&|it| it.graph_sizes = vec![4, 4]).contains("captured"));
    assert!(refused(&|it| it.max_tokens = u32::MAX).contains("max_tokens"));
    assert!(refused(&|it| it.network.send = vec![(1, f64::NAN), (2, 1.0)]).contains("send"));
    assert!(
        refused(&|it| it.shape.experts = Some(ExpertShape { count: 8, per_token: 2 })).contains("an MLP")
    );
    let error = KernelPredictor::new(&experts, &deployment()).unwrap_err();
    assert!(error.to_string().contains("the profile has"), "{error}");
}

#[test]
fn what_was_not_profiled_is_told() {
    let predictor = KernelPredictor::new(&sample::dense().read(1).unwrap(), &deployment()).unwrap();
    assert!(predictor.covers(&step(&[64, 10], &[(60, 64)])));
    for beyond in [step(&[65], &[]), step(&[], &[(65, 0)]), step(&[], &[(2, 65)]), step(&[1; 5], &[])] {
        assert!(!predictor.covers(&beyond), "{beyond:?}");
        assert!(predictor.step_ns(&beyond) > 0);
    }
}

proptest! {
    /// More work takes no less time, however much it is.
    #[test]
    fn any_step_has_a_duration(
        decodes in any::<u32>(), sum in any::<u64>(), most in any::<u32>(),
        chunks in prop::collection::vec((any::<u32>(), any::<u32>()), 0..4),
        group in any::<(u64, u32)>(), data in 1_u32..3,
    ) {
        let parallel = Parallelism { data, expert: true, ..Parallelism::default() };
        let predictor =
            KernelPredictor::new(&sample::experts().read(1).unwrap(), &with_experts(parallel)).unwrap();
        let mut step = StepFeatures::default();
        step.push_decodes(decodes, sum, most);
        for (tokens, before) in chunks {
            step.push_chunk(tokens, before);
        }
        step.set_group(group.0, group.1);
        let small = predictor.step_ns(&step);
        step.push_decodes(7, 70, 10);
        prop_assert!(step.tokens() == 0 || small > 0);
        let _ = predictor.step_ns(&step);
    }
}
