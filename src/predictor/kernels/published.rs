//! The published profiles of real cards, where they are at hand: the predictor against the same rules
//! written down anew, without tables made in advance, straight from the rows of the files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::profile::llmservingsim::read_kernel_profile;

/// The folder with the measured runs; None, and a word, where it is not.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("XP_VLLM_GPU").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vllm-gpu"));
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no {}; XP_VLLM_GPU names it", folder.display());
    None
}

const CARDS: [&str; 2] = ["rtx4090-llama-3.1-8b", "rtxpro6000-llama-3.1-8b"];
const CHUNKS: [u32; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];
const KV: [u32; 12] = [0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
const DECODES: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// The rows of a profile as they stand, µs.
struct Rows {
    attention: HashMap<[u32; 4], f64>,
    counts: HashMap<String, Vec<(u32, f64)>>,
    shares: HashMap<(String, u32), (f64, f64)>,
    skew: bool,
}

impl Rows {
    fn read(profile: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(profile.join(name)).unwrap();
        let cells = |name: &str| -> Vec<Vec<String>> {
            text(name).lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
        };
        let number = |cell: &String| cell.parse::<f64>().unwrap();
        let count = |cell: &String| cell.parse::<u32>().unwrap();
        let mut counts: HashMap<String, Vec<(u32, f64)>> = HashMap::new();
        for row in cells("tp1/dense.csv").iter().chain(&cells("tp1/per_sequence.csv")) {
            counts.entry(row[0].clone()).or_default().push((count(&row[1]), number(&row[2])));
        }
        counts.values_mut().for_each(|points| points.sort_by_key(|(at, _)| *at));
        let mut shares: HashMap<(String, u32), (f64, f64)> = HashMap::new();
        for row in cells("tp1/skew.csv") {
            let sums = shares.entry((row[0].clone(), count(&row[1]))).or_default();
            sums.0 += number(&row[12]) - number(&row[10]);
            sums.1 += number(&row[11]) - number(&row[10]);
        }
        let key = |row: &[String]| [count(&row[0]), count(&row[1]), count(&row[2]), count(&row[3])];
        Self {
            attention: cells("tp1/attention.csv").iter().map(|row| (key(row), number(&row[4]))).collect(),
            counts,
            shares,
            skew: text("meta.yaml").contains("skew_profile:\n  enabled: true"),
        }
    }

    fn count(&self, layer: &str, count: u32, stair: bool) -> f64 {
        let points = &self.counts[layer];
        let above = points.iter().position(|(at, _)| *at >= count).unwrap();
        let (x1, y1) = points[above];
        if x1 == count || stair {
            return y1;
        }
        let (x0, y0) = points[above - 1];
        y0 + (y1 - y0) * f64::from(count - x0) / f64::from(x1 - x0)
    }

    fn cell(&self, [chunk, before, decodes, kv]: [u32; 4]) -> f64 {
        self.attention.get(&[chunk, before, decodes, kv]).copied().unwrap_or_else(|| {
            assert!(chunk > 0 && decodes == 256, "no row {chunk},{before},{decodes},{kv}");
            let at = |decodes| self.attention[&[chunk, before, decodes, kv]];
            (3.0 * at(128) - 2.0 * at(64)).max(at(128))
        })
    }

    /// Linear along each axis whose count is not 0.
    fn linear(&self, chunk: f64, before: f64, decodes: u32, kv: f64) -> f64 {
        let around = |axis: &[u32], x: f64| -> Vec<(u32, f64)> {
            let above = axis.iter().position(|at| f64::from(*at) >= x).unwrap();
            let (low, high) = (axis[above.saturating_sub(1)], axis[above]);
            let share = if low == high { 1.0 } else { (x - f64::from(low)) / f64::from(high - low) };
            vec![(low, 1.0 - share), (high, share)]
        };
        let none = || vec![(0, 1.0)];
        let mut sum = 0.0;
        for (c, of_chunk) in if chunk > 0.0 { around(&CHUNKS, chunk.max(16.0)) } else { none() } {
            for (b, of_before) in if chunk > 0.0 { around(&KV, before) } else { none() } {
                for (n, of_decodes) in if decodes > 0 { around(&DECODES, decodes.into()) } else { none() } {
                    for (k, of_kv) in if decodes > 0 { around(&KV[1..], kv.max(16.0)) } else { none() } {
                        let weight = of_chunk * of_before * of_decodes * of_kv;
                        if weight != 0.0 {
                            sum += weight * self.cell([c, b, n, k]);
                        }
                    }
                }
            }
        }
        sum
    }

    fn attention(&self, chunk: u32, before: u32, decodes: &[u32]) -> f64 {
        let n = decodes.len() as u32;
        let mean = decodes.iter().map(|kv| f64::from(*kv)).sum::<f64>() / f64::from(n.max(1));
        let longest = f64::from(decodes.iter().copied().max().unwrap_or_default());
        let at = |kv| self.linear(chunk.into(), before.into(), n, kv);
        if !self.skew || n < 2 {
            return at(mean);
        }
        let regime = if chunk > 0 { "mixed" } else { "pure" };
        let most = if chunk > 0 { 128 } else { 256 };
        let bucket = DECODES.into_iter().find(|count| *count >= n.min(most)).unwrap();
        let (above, range) = self.shares[&(regime.to_owned(), bucket)];
        at(mean) + above / range * (at(longest) - at(mean))
    }

    fn step(&self, captured: &[u32], decodes: &[u32], chunks: &[(u32, u32)]) -> f64 {
        let tokens = decodes.len() as u32 + chunks.iter().map(|(tokens, _)| tokens).sum::<u32>();
        let runs = captured.iter().copied().find(|size| *size >= tokens).unwrap_or(tokens);
        let sequences = (decodes.len() + chunks.len()) as u32;
        let product = |layer| self.count(layer, runs, true);
        let other = |layer| self.count(layer, runs, false);
        let block = product("qkv_proj")
            + product("o_proj")
            + product("gate_up_proj")
            + product("down_proj")
            + 2.0 * other("layernorm")
            + other("rotary_emb")
            + other("act_fn");
        let attention = match chunks {
            [] => self.attention(0, 0, decodes),
            [(tokens, before)] => self.attention(*tokens, *before, decodes),
            chunks => {
                let base = self.attention(16, 0, decodes);
                let more = |(tokens, before): &(u32, u32)| self.attention(*tokens, *before, decodes) - base;
                base + chunks.iter().map(more).sum::<f64>()
            }
        };
        32.0 * (block + attention)
            + other("embedding")
            + other("final_layernorm")
            + self.count("lm_head", sequences, false)
            + self.count("sampler", sequences, false)
    }
}

fn deployment(max_sequences: u32) -> Deployment {
    Deployment {
        shape: ModelShape {
            layers: 32,
            heads: 32,
            kv_heads: 8,
            hidden: 4096,
            vocab: 128_256,
            value_bytes: 2,
            experts: None,
        },
        parallel: Parallelism::default(),
        network: Network::default(),
        graph_sizes: vllm_graph_sizes(max_sequences),
        max_tokens: 2048,
        max_sequences,
        overhead_ns: 0,
    }
}

#[test]
fn published_profiles_predict_as_their_rows_say() {
    let Some(folder) = folder() else { return };
    for (card, max_sequences) in CARDS.into_iter().zip([256, 128]) {
        let path = folder.join(card).join("profile");
        let profile = read_kernel_profile(&path, 1).unwrap();
        assert_eq!(profile.skew.is_some(), card.starts_with("rtxpro"));
        let deployment = deployment(max_sequences);
        let predictor = KernelPredictor::new(&profile, &deployment).unwrap();
        let rows = Rows::read(&path);
        // At a point of the grid: a row for each kernel.
        let exact = 32.0 * rows.attention[&[0, 0, 8, 256]];
        let mut step = StepFeatures::default();
        step.push_decodes(8, 8 * 256, 256);
        assert!((predictor.step(&step).attention_ns as f64 - exact * 1e3).abs() <= 1.0, "{card}");

        let lengths =
            |n: u32, least: u32, stride: u32| (0..n).map(|i| least + i * stride).collect::<Vec<_>>();
        for (decodes, chunks) in [
            (vec![777], vec![]),
            (lengths(2, 300, 4000), vec![]),
            (lengths(37, 12, 61), vec![]),
            (lengths(100, 500, 13), vec![]),
            (lengths(128, 900, 0), vec![]),
            (vec![], vec![(2048, 0)]),
            (vec![], vec![(2, 16)]),
            (vec![], vec![(700, 1348), (1348, 0)]),
            (lengths(60, 200, 40), vec![(1988, 5000)]),
            (lengths(99, 64, 32), vec![(5, 3000)]),
            (lengths(33, 100, 50), vec![(129, 700), (16, 0), (1700, 48)]),
        ] {
            let mut step = StepFeatures::default();
            for kv in &decodes {
                step.push_decodes(1, u64::from(*kv), *kv);
            }
            for (tokens, before) in &chunks {
                step.push_chunk(*tokens, *before);
            }
            let wanted = rows.step(&deployment.graph_sizes, &decodes, &chunks) * 1e3;
            let found = predictor.step_ns(&step) as f64;
            assert!((found - wanted).abs() <= 4.0, "{card}, {chunks:?}: {found}, not {wanted}");
            assert!(predictor.covers(&step));
        }
    }
}
