//! A folder in Vidur's layout whose times follow formulas, for tests.

use std::fmt::Write as _;
use std::path::Path;

use super::{VidurFiles, VidurOp, VidurSelection, VidurShape};

/// A small model with grouped-query attention.
pub fn shape() -> VidurShape {
    VidurShape {
        name: "org/small".to_owned(),
        num_q_heads: 4,
        num_kv_heads: 2,
        embedding_dim: 64,
        mlp_hidden_dim: 128,
        vocab_size: Some(1000),
        use_gated_mlp: true,
    }
}

/// On one device, without CPU work.
pub const ALONE: VidurSelection = VidurSelection {
    tensor_parallel: 1,
    pipeline_stages: 1,
    devices_per_node: 4,
    block_size: 16,
    cpu_overhead: false,
};

/// On two devices times two stages, with CPU work.
pub const SPREAD: VidurSelection =
    VidurSelection { tensor_parallel: 2, pipeline_stages: 2, cpu_overhead: true, ..ALONE };

/// Tokens that operators are measured at.
const TOKENS: [u32; 14] = [1, 2, 4, 8, 16, 24, 32, 64, 96, 128, 192, 256, 384, 512];

/// `mlp.csv`: operator i takes 10 + i µs, 1 µs a token over the devices, and 1 ns a token squared.
pub fn mlp() -> String {
    let mut text = String::new();
    for op in VidurOp::COMPUTE {
        let _ = write!(text, "time_stats.{0}.mean,time_stats.{0}.median,", op.name());
    }
    text.push_str(
        "n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,num_tensor_parallel_workers\n",
    );
    for devices in [1_u32, 2, 4] {
        for tokens in TOKENS.into_iter().rev() {
            for op in 0..9 {
                let us = f64::from(10 + op) + f64::from(tokens) / f64::from(devices);
                let ms = (us + f64::from(tokens * tokens) * 1e-3) / 1e3;
                let _ = write!(text, "{:.6},{ms:.6},", ms * 1.1);
            }
            let _ = writeln!(text, "4,2,64,128,1000,True,{tokens},{devices}");
        }
    }
    text
}

/// `attention.csv`: decodes take 5 µs and 10 ns for each KV token of each, a chunk 7 µs, 10 ns for each KV
/// token of each of its tokens over 16, and 2 ns a token squared.
pub fn attention() -> String {
    let mut text = String::from(
        "time_stats.attn_kv_cache_save.median,time_stats.attn_decode.median,time_stats.attn_prefill.median,\
         n_embd,n_q_head,n_kv_head,block_size,num_tensor_parallel_workers,batch_size,prefill_chunk_size,\
         kv_cache_size,is_prefill\n",
    );
    for devices in [1_u32, 2, 4] {
        let mut row = |batch: u32, chunk: u32, kv: u32| {
            let [b, c, k] = [batch, chunk, kv].map(f64::from);
            let save = (2.0 + 0.02 * b.max(c)) / 1e3;
            let decode = if chunk == 0 { (5.0 + 0.01 * b * k) / 1e3 } else { 0.0 };
            let prefill = if chunk > 0 { (7.0 + 0.01 * k * c / 16.0 + 0.002 * c * c) / 1e3 } else { 0.0 };
            let _ = writeln!(
                text,
                "{save:.6},{decode:.6},{prefill:.6},64,4,2,16,{devices},{batch},{chunk},{kv},{}",
                if chunk > 0 { "True" } else { "False" },
            );
        };
        for kv in [0, 64, 128, 256, 512] {
            [16, 32, 64, 128, 256].into_iter().for_each(|chunk| row(1, chunk, kv));
            [1, 2, 4, 8, 16].into_iter().for_each(|batch| row(batch, 0, kv.max(16)));
        }
    }
    text
}

/// `all_reduce.csv` or `send_recv.csv`: 4 µs and 20 ns a kB, each size twice under an index of its own.
pub fn network(collective: &str) -> String {
    let mut text = format!(
        ",time_stats.{collective}.median,rank,num_workers,size,collective,devices_per_node,max_devices_per_node\n"
    );
    let mut index = 0;
    for (workers, per_node) in [(2, 1), (2, 2), (4, 4)] {
        for kilobytes in [1_u32, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
            for rank in 0..2 {
                let ms = (4.0 + 0.02 * f64::from(kilobytes * workers / per_node)) / 1e3;
                let size = kilobytes * 1000 + 64;
                let _ = writeln!(text, "{index},{ms:.6},{rank},{workers},{size},{collective},{per_node},4");
                index += 1;
            }
        }
    }
    text
}

/// `cpu_overhead.csv`: operator i takes 100·(i + 1) µs and 3 µs a request.
pub fn cpu_overhead() -> String {
    let mut text = String::from("model_name,tensor_parallel_degree,batch_size");
    for op in VidurOp::CPU {
        let _ = write!(text, ",{}", op.column());
    }
    text.push('\n');
    for (model, devices) in [("org/small", 1), ("org/small", 2), ("org/other", 1)] {
        for batch in [1_u32, 2, 4, 8, 16, 32] {
            let _ = write!(text, "{model},{devices},{batch}");
            for op in 1..=5 {
                let _ = write!(text, ",{:.6}", (f64::from(op) * 100.0 + 3.0 * f64::from(batch)) / 1e3);
            }
            text.push('\n');
        }
    }
    text
}

/// Writes all of it.
pub fn write(root: &Path) -> VidurFiles {
    let files = VidurFiles {
        cpu_overhead: Some(root.join("cpu_overhead.csv")),
        ..VidurFiles::published(root, "dev", "org/small", "net").unwrap()
    };
    let network_of = |name| network(name);
    for (path, text) in [
        (Some(&files.mlp), mlp()),
        (Some(&files.attention), attention()),
        (files.all_reduce.as_ref(), network_of("all_reduce")),
        (files.send_recv.as_ref(), network_of("send_recv")),
        (files.cpu_overhead.as_ref(), cpu_overhead()),
    ] {
        let path = path.unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    files
}
