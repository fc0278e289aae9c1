use xp::engine::Engine;
use xp::model::{Sampler, Tokenizer, train_synthetic};
use xp::predictor::{Interpolate, Predictor};
use xp::profile::{Limits, Subject, measure};
use xp::progress::Silent;
use xp::scheduler::{Batch, BatchEntry};
use xp::source::{ModelFiles, Weights};
use xp::spec::Dtype;
use xp::store::Digest;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let name = args[1].as_str();
    let (chunk, batch, ctx) = (args[2].parse().unwrap(), args[3].parse().unwrap(), args[4].parse().unwrap());
    let config = xp::catalog::model(name).unwrap().clone();
    let json = train_synthetic(config.vocab_size.min(4096)).unwrap();
    let tokenizer = Tokenizer::from_bytes(&json, "t").unwrap();
    let files = ModelFiles { config, commit: None, files: vec![], tokenizer_json: json, weights: Weights::Synthetic { seed: 1 } };
    let t = std::time::Instant::now();
    let mut engine = Engine::load(&files, Dtype::F32, 2).unwrap();
    eprintln!("load {:?}", t.elapsed());
    let limits = Limits { chunk_size: chunk, max_batch_size: batch, block_size: 16, max_context: ctx };
    let subject = Subject { model: name, shape: Digest::of("x"), tokenizer: &tokenizer, threads: 2, limits };
    let t = std::time::Instant::now();
    let bundle = measure(&mut engine, &subject, &Silent).unwrap();
    eprintln!("measure {:?} rounds {} noise {:.2}%", t.elapsed(), bundle.meta.repetitions, bundle.meta.noise_percent);
    for c in &bundle.curves {
        print!("{:28}", c.op);
        for p in &c.points {
            print!(" {}:{:.0}", p.x, p.median_ns / 1000.0);
        }
        println!();
    }
    for a in &bundle.attention {
        println!("attn c{} k{} | n{} k{}: {:.1}us ±{:.1}", a.prefill_chunk, a.kv_prefill, a.n_decode, a.kv_decode, a.median_ns / 1e3, a.mad_ns / 1e3);
    }
    let predictor = Interpolate::new(&bundle).unwrap();
    for s in &bundle.steps {
        let mut b = Batch::default();
        for &kv in &s.decodes {
            b.entries.push(BatchEntry { request: 0, tokens: 1, context: kv, is_prefill: false, emits: true });
        }
        for (i, &(c, k)) in s.prefills.iter().enumerate() {
            b.entries.push(BatchEntry { request: 0, tokens: c, context: k, is_prefill: true, emits: (i as u32) < s.completing });
        }
        let p = predictor.step_ns(&b) as f64;
        println!("step pre{:?} dec{} : {:.2}ms ±{:.2} predicted {:.2} {:+.1}%", s.prefills, s.decodes.len(), s.median_ns / 1e6, s.mad_ns / 1e6, p / 1e6, 100.0 * (p / s.median_ns - 1.0));
    }
    let _ = Sampler::greedy();
}
