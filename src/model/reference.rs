//! Against Hugging Face transformers: the models, logits and tokens of `tests/reference/`.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;

use super::{Activations, Decoder, NoTimer, PagedKv, Sampler, Share, WeightReader, Weights};
use crate::catalog::ModelConfig;
use crate::spec::Dtype;

#[derive(Deserialize)]
struct Reference {
    prompts: Vec<Vec<u32>>,
    greedy: Vec<Vec<u32>>,
    /// What logits of transformers in bf16 are off by, root mean square.
    bf16_rms: Option<f64>,
}

/// Another order of additions moves a logit by less.
const TOLERANCE: f32 = 1e-3;

/// Folders of all cases, sorted.
pub(super) static CASES: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/cases");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 14, "{folders:?}");
    folders
});

/// A case's weights and shape.
pub(super) fn open(folder: &Path) -> (WeightReader, ModelConfig) {
    let gguf = folder.join("model.gguf");
    if gguf.exists() {
        let reader = WeightReader::open(&Weights::Gguf(gguf)).unwrap();
        let WeightReader::Gguf(file) = &reader else { unreachable!("opened as GGUF") };
        let config = file.config().clone();
        return (reader, config);
    }
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    files.sort();
    let config = crate::source::parse_config("config.json", &text).unwrap();
    (WeightReader::open(&Weights::Safetensors(files)).unwrap(), config)
}

/// Loads a case's model, its matrices in `dtype` unless they are integers.
pub(super) fn load(folder: &Path, dtype: Dtype) -> Decoder {
    let (weights, config) = open(folder);
    Decoder::load(&config, &weights, dtype, 512).unwrap()
}

/// A cache for one sequence of 512 tokens, and its blocks, out of order.
fn cache(model: &Decoder) -> (PagedKv, Vec<u32>) {
    let config = model.config();
    let [layers, kv_heads, dim] =
        [config.num_hidden_layers, config.num_key_value_heads, config.head_dim].map(|n| n as usize);
    (PagedKv::new(layers, 64, 8, kv_heads, dim).unwrap(), (0..64).map(|block| block * 29 % 64).collect())
}

fn forward(model: &Decoder, kv: &mut PagedKv, blocks: &[u32], tokens: &[u32], context: u32) -> Vec<f32> {
    let share = Share { tokens, context, blocks, emits: true };
    let layers = model.config().num_hidden_layers as usize;
    model.forward(&[share], kv, &mut Activations::default(), layers, &mut NoTimer).unwrap()
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

fn reference(folder: &Path) -> Reference {
    serde_json::from_str(&std::fs::read_to_string(folder.join("reference.json")).unwrap()).unwrap()
}

fn check(folder: &Path) {
    let (name, reference) = (name_of(folder), reference(folder));
    let logits: Vec<f32> = std::fs::read(folder.join("logits.f32"))
        .unwrap()
        .as_chunks()
        .0
        .iter()
        .map(|four| f32::from_le_bytes(*four))
        .collect();
    let model = load(folder, Dtype::F32);
    let vocab = model.config().vocab_size as usize;
    assert_eq!(logits.len(), reference.prompts.len() * vocab, "{name}");
    for ((prompt, wanted), tokens) in
        reference.prompts.iter().zip(logits.chunks_exact(vocab)).zip(&reference.greedy)
    {
        let (mut kv, blocks) = cache(&model);
        let mut found = forward(&model, &mut kv, &blocks, prompt, 0);
        let worst = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < TOLERANCE, "{name}: a logit is off by {worst} after {} tokens", prompt.len());
        for (context, (index, token)) in (prompt.len() as u32..).zip(tokens.iter().enumerate()) {
            let picked = Sampler::greedy().sample(&found, 0, index as u32);
            assert_eq!(picked, *token, "{name}: token {index} after {} tokens", prompt.len());
            found = forward(&model, &mut kv, &blocks, &[picked], context);
        }
    }
}

#[test]
fn logits_and_greedy_tokens_are_those_of_transformers() {
    CASES.iter().for_each(|folder| check(folder));
}

#[test]
fn weights_in_f16_compute_as_in_f32() {
    let folder = CASES.iter().find(|folder| folder.ends_with("qwen3-f16")).unwrap();
    let (widened, stored) = (load(folder, Dtype::F32), load(folder, Dtype::F16));
    let prompt = [5, 9, 200, 17, 3];
    let logits = |model: &Decoder| {
        let (mut kv, blocks) = cache(model);
        forward(model, &mut kv, &blocks, &prompt, 0)
    };
    assert_eq!(logits(&widened), logits(&stored), "to the last bit");
}

/// Products round activations to bf16 there; transformers rounds everything else, too.
#[test]
fn bf16_is_nearer_to_f32_than_that_of_transformers() {
    let mut cases = 0;
    for folder in CASES.iter() {
        let Reference { prompts, greedy, bf16_rms: Some(theirs) } = reference(folder) else { continue };
        let (exact, rounded) = (load(folder, Dtype::F32), load(folder, Dtype::Bf16));
        let (mut squares, mut logits) = (0.0, 0);
        for (prompt, tokens) in prompts.iter().zip(&greedy) {
            let (mut of_exact, blocks) = cache(&exact);
            let (mut of_rounded, _) = cache(&rounded);
            let mut next = prompt.as_slice();
            let mut context = 0;
            for token in tokens {
                let wanted = forward(&exact, &mut of_exact, &blocks, next, context);
                let found = forward(&rounded, &mut of_rounded, &blocks, next, context);
                squares += wanted.iter().zip(&found).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
                logits += wanted.len();
                context += next.len() as u32;
                next = std::slice::from_ref(token);
            }
        }
        let ours = (squares / logits as f64).sqrt();
        assert!(ours > 0.0 && ours < theirs, "{}: {ours}, and transformers {theirs}", name_of(folder));
        cases += 1;
    }
    assert!(cases >= 8, "{cases} cases");
}

/// Passes of many rows are cut into strands, one for each thread.
#[test]
fn threads_leave_the_logits_as_they_are() {
    for folder in CASES.iter() {
        let model = load(folder, Dtype::F32);
        let prompt: Vec<u32> = (0..61).map(|i| (i * 37 + 11) % model.config().vocab_size).collect();
        let logits = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut kv, blocks) = cache(&model);
                let first = forward(&model, &mut kv, &blocks, &prompt, 0);
                [first, forward(&model, &mut kv, &blocks, &prompt[..50], 61)].concat()
            })
        };
        let alone = logits(1);
        assert!(logits(2) == alone && logits(3) == alone, "{}: to the last bit", folder.display());
    }
}
