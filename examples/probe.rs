use xp::engine::Engine;
use xp::model::Weights;
use xp::model::{Sampler, Tokenizer, train_synthetic};
use xp::predictor::{Interpolate, Predictor};
use xp::profile::{Limits, Subject, measure};
use xp::progress::Silent;
use xp::scheduler::{Batch, BatchEntry};
use xp::source::ModelFiles;
use xp::spec::Dtype;
use xp::store::Digest;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let name = args[1].as_str();
    let (chunk, batch, ctx) = (args[2].parse().unwrap(), args[3].parse().unwrap(), args[4].parse().unwrap());
    let config = xp::catalog::model(name).unwrap().clone();
    let json = train_synthetic(config.vocab_size.min(4096)).unwrap();
    let tokenizer = Tokenizer::from_bytes(&json, "t").unwrap();
    let files = ModelFiles {
        config,
        commit: None,
        files: vec![],
        tokenizer_json: json,
        weights: Weights::Synthetic { seed: 1 },
    };
    let t = std::time::Instant::now();
    let mut engine = Engine::load(&files, Dtype::F32, 2).unwrap();
    eprintln!("load {:?}", t.elapsed());
    let limits = Limits { chunk_size: chunk, max_batch_size: batch, block_size: 16, max_context: ctx };
    let subject = Subject { model: name, shape: Digest::of("x"), tokenizer: &tokenizer, threads: 2, limits };
    let t = std::time::Instant::now();
    let bundle = measure(&mut engine, &subject, &Silent).unwrap();
    eprintln!(
        "measure {:?} rounds {} noise {:.2}%",
        t.elapsed(),
        bundle.meta.repetitions,
        bundle.meta.noise_percent
    );
    for c in &bundle.curves {
        print!("{:28}", c.op);
        for p in &c.points {
            print!(" {}:{:.0}", p.x, p.median_ns / 1000.0);
        }
        println!();
    }
    for a in &bundle.attention {
        println!(
            "attn c{} k{} | n{} k{}: {:.1}us ±{:.1}",
            a.prefill_chunk,
            a.kv_prefill,
            a.n_decode,
            a.kv_decode,
            a.median_ns / 1e3,
            a.mad_ns / 1e3
        );
    }
    let predictor = Interpolate::new(&bundle).unwrap();
    for s in &bundle.steps {
        let mut b = Batch::default();
        for &kv in &s.decodes {
            b.entries.push(BatchEntry { request: 0, tokens: 1, context: kv, is_prefill: false, emits: true });
        }
        for (i, &(c, k)) in s.prefills.iter().enumerate() {
            b.entries.push(BatchEntry {
                request: 0,
                tokens: c,
                context: k,
                is_prefill: true,
                emits: (i as u32) < s.completing,
            });
        }
        let p = predictor.step_ns(&b) as f64;
        println!(
            "step pre{:?} dec{} : {:.2}ms ±{:.2} predicted {:.2} {:+.1}%",
            s.prefills,
            s.decodes.len(),
            s.median_ns / 1e6,
            s.mad_ns / 1e6,
            p / 1e6,
            100.0 * (p / s.median_ns - 1.0)
        );
    }
    use xp::spec::{Arrivals, Lengths, WorkloadSpec};
    let spec = WorkloadSpec {
        name: "w".into(),
        requests: args[5].parse().unwrap(),
        prompts: None,
        lengths: Some(Lengths::Uniform {
            min: args[6].parse().unwrap(),
            max: ctx,
            prefill_to_decode: args[7].parse().unwrap(),
        }),
        arrivals: Arrivals::Poisson { qps: args[8].parse().unwrap() },
        decode_tokens: None,
    };
    let seeds = xp::workload::Seeds { prompts: 1, lengths: 2, arrivals: 3 };
    let w = xp::workload::generate(&spec, &seeds, Some(&tokenizer), std::path::Path::new(".")).unwrap();
    let cfg = xp::scheduler::SchedulerConfig {
        policy: xp::scheduler::Policy::Sarathi,
        chunk_size: chunk,
        max_batch_size: batch,
        block_size: 16,
        kv_blocks: 600,
        watermark_blocks: 6,
        max_context: 4096,
    };
    let sim = xp::sim::simulate(&cfg, &predictor, &w, &Silent);
    let q = |mut v: Vec<f64>, p: f64| {
        v.sort_by(f64::total_cmp);
        v[((v.len() - 1) as f64 * p) as usize] / 1e6
    };
    let show = |name: &str, r: &xp::metrics::RunRecord| {
        let ttft: Vec<f64> = r.requests.iter().filter_map(|r| r.ttft_ns()).map(|x| x as f64).collect();
        let tpot: Vec<f64> = r.requests.iter().filter_map(|r| r.tpot_ns()).collect();
        let e2e: Vec<f64> = r.requests.iter().filter_map(|r| r.e2e_ns()).map(|x| x as f64).collect();
        println!(
            "{name}: steps {} dur {:.2}s | ttft p50 {:.2} p90 {:.2} p99 {:.2} | tpot {:.3} {:.3} {:.3} | e2e {:.1} {:.1} {:.1}",
            r.steps.len(),
            r.steps.iter().last().unwrap().end_ns as f64 / 1e9,
            q(ttft.clone(), 0.5),
            q(ttft.clone(), 0.9),
            q(ttft, 0.99),
            q(tpot.clone(), 0.5),
            q(tpot.clone(), 0.9),
            q(tpot, 0.99),
            q(e2e.clone(), 0.5),
            q(e2e.clone(), 0.9),
            q(e2e, 0.99)
        );
    };
    show("sim ", &sim);
    for _ in 0..3 {
        let real = engine.serve(&cfg, &w, &tokenizer, &Sampler::greedy(), &Silent).unwrap();
        show("real", &real);
        // predictor error on the measured steps, by kind of step
        let mut acc: std::collections::BTreeMap<(bool, bool), (f64, f64, u32)> = Default::default();
        let mut gap = 0.0;
        let mut last = 0;
        for s in real.steps.iter() {
            let mut b = Batch::default();
            for m in s.members {
                b.entries.push(BatchEntry {
                    request: m.request,
                    tokens: m.tokens,
                    context: m.context,
                    is_prefill: m.is_prefill,
                    emits: m.emits,
                });
            }
            let idle = s.start_ns - last > 500_000;
            if !idle {
                gap += (s.start_ns - last) as f64;
            }
            last = s.end_ns;
            let e = acc.entry((b.entries.iter().any(|e| e.is_prefill), idle)).or_default();
            e.0 += predictor.step_ns(&b) as f64;
            e.1 += (s.end_ns - s.start_ns) as f64;
            e.2 += 1;
        }
        for (k, e) in acc {
            println!(
                "   prefill {} after idle {}: n {} predicted/real {:.3}  mean {:.2}ms",
                k.0,
                k.1,
                e.2,
                e.0 / e.1,
                e.1 / e.2 as f64 / 1e6
            );
        }
        println!("   gaps {:.2}ms", gap / 1e6);
    }
}
