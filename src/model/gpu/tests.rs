use super::*;
use crate::model::reference::{CASES, load, open};
use crate::model::{Activations, Decoder, NoTimer, PagedKv};

const BLOCKS: usize = 24;
const BLOCK_SIZE: usize = 32;

/// Two requests, in chunks, together with the other's decodes; logits of each pass.
fn serve(mut forward: impl FnMut(&[Share<'_>]) -> Vec<f32>) -> Vec<Vec<f32>> {
    let prompt: Vec<u32> = (0..71).map(|i| (i * 37 + 11) % 200).collect();
    let other: Vec<u32> = (0..40).map(|i| (i * 91 + 5) % 200).collect();
    let (blocks, others) = ([9, 3, 20, 1], [0, 2, 4]);
    let share = |tokens, context, blocks, emits| Share { tokens, context, blocks, emits };
    vec![
        forward(&[share(&prompt[..30], 0, &blocks, false), share(&other[..33], 0, &others, true)]),
        forward(&[share(&other[33..34], 33, &others, true), share(&prompt[30..], 30, &blocks, true)]),
        forward(&[share(&[7], 71, &blocks, true), share(&other[34..], 34, &others, true)]),
    ]
}

fn worst(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let all = |passes: &[Vec<f32>]| passes.concat();
    assert_eq!(all(a).len(), all(b).len());
    all(a).iter().zip(all(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn on_cpu(decoder: &Decoder) -> Vec<Vec<f32>> {
    let config = decoder.config();
    let [layers, kv_heads, dim] =
        [config.num_hidden_layers, config.num_key_value_heads, config.head_dim].map(|n| n as usize);
    let mut kv = PagedKv::new(layers, BLOCKS, BLOCK_SIZE, kv_heads, dim).unwrap();
    let mut activations = Activations::default();
    serve(|shares| decoder.forward(shares, &mut kv, &mut activations, layers, &mut NoTimer).unwrap())
}

fn on_device(decoder: &GpuDecoder) -> Vec<Vec<f32>> {
    let layers = decoder.config().num_hidden_layers as usize;
    let mut kv = decoder.new_kv(BLOCKS, BLOCK_SIZE).unwrap();
    serve(|shares| decoder.forward(shares, &mut kv, layers, &mut NoTimer).unwrap())
}

/// Every model of the references: all families, weights stored in every format, scaled rotary positions.
#[test]
fn tensors_compute_what_the_kernels_of_the_cpu_compute() {
    for folder in CASES.iter() {
        let (weights, config) = open(folder);
        let decoder = GpuDecoder::load(&config, &weights, Dtype::F32, 512, &Device::Cpu).unwrap();
        let worst = worst(&on_device(&decoder), &on_cpu(&load(folder, Dtype::F32)));
        assert!(worst < 1e-3, "{}: a logit is off by {worst}", folder.display());
    }
}

#[test]
fn a_token_outside_the_vocabulary_is_an_error() {
    let (weights, config) = open(&CASES[0]);
    let decoder = GpuDecoder::load(&config, &weights, Dtype::F32, 64, &Device::Cpu).unwrap();
    let share = Share { tokens: &[1 << 20], context: 0, blocks: &[0], emits: true };
    let error = decoder.forward(&[share], &mut decoder.new_kv(1, 32).unwrap(), 1, &mut NoTimer).unwrap_err();
    assert!(matches!(error, ModelError::Token { .. }), "{error}");
}

/// On a machine with a GPU: FlashAttention against plain products in f32, by models whose heads it takes.
#[cfg(feature = "cuda")]
#[test]
fn flash_attention_computes_what_the_cpu_computes() {
    let Ok(device) = Device::new_cuda(0) else {
        eprintln!("skipped: no CUDA device");
        return;
    };
    for folder in CASES.iter() {
        let (weights, config) = open(folder);
        if config.head_dim % 8 != 0 {
            continue;
        }
        let exact = on_cpu(&load(folder, Dtype::F32));
        let spread = exact.concat().iter().map(|x| x.abs()).fold(0.0, f32::max);
        for dtype in [Dtype::F16, Dtype::Bf16] {
            let decoder = GpuDecoder::load(&config, &weights, dtype, 512, &device).unwrap();
            let worst = worst(&on_device(&decoder), &exact);
            assert!(worst < 0.05 * spread, "{}, {dtype:?}: a logit is off by {worst}", folder.display());
        }
    }
}
