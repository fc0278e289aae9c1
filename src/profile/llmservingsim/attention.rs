//! `attention.csv`: attention of one layer over (chunk, KV before it, decodes, their KV).

use std::collections::HashMap;

use super::KernelProfileError;
use super::meta::{DeclaredGrid, KernelProfileMeta};
use super::table::Table;

/// Largest count in a cell's key.
const MAX_COUNT: u32 = 1 << 24;
/// Most cells of a declared grid: 8 bytes each.
const MAX_CELLS: u64 = 4 << 20;
/// Tokens of a KV block while profiling.
const BLOCK: u64 = 16;

/// Attention of one layer, ns, over the grid that `meta.yaml` declares: a prefill chunk, decodes of equal
/// KV length, or both in one step. Rows between the declared values are not part of it.
///
/// A profiler leaves out what its card's memory could not hold, and as many decodes as sequences fit beside
/// a chunk. Those cells continue the two before them, along decodes, else along KV or chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionGrid {
    /// Tokens of the chunk, above 0, ascending.
    pub chunks: Vec<u32>,
    /// Tokens in the KV cache before the chunk, from 0, ascending.
    pub kv_prefill: Vec<u32>,
    /// Decoding sequences, above 0, ascending.
    pub n_decode: Vec<u32>,
    /// Tokens in the KV cache of a decode, above 0, ascending.
    pub kv_decode: Vec<u32>,
    /// `[chunk][kv_prefill]`, without decodes.
    pub prefill: Vec<f64>,
    /// `[n_decode][kv_decode]`, without a chunk.
    pub decode: Vec<f64>,
    /// `[chunk][kv_prefill][n_decode][kv_decode]`.
    pub mixed: Vec<f64>,
    /// Cells that were continued.
    pub continued: usize,
}

type Key = [u32; 4];

/// What the cells that were profiled needed at most.
#[derive(Default)]
struct Reached {
    kv_tokens: u64,
    prompt: u64,
    kv_decode: u32,
}

/// KV tokens that a cell needs in whole blocks.
fn kv_tokens([chunk, kv_prefill, n_decode, kv_decode]: Key) -> u64 {
    let blocks = |tokens: u64| tokens.div_ceil(BLOCK) * BLOCK;
    let prompt = if chunk > 0 { blocks(u64::from(chunk) + u64::from(kv_prefill)) } else { 0 };
    prompt + u64::from(n_decode) * blocks(u64::from(kv_decode) + 1)
}

/// Reads the grid's cells.
pub(super) fn read(table: &Table, meta: &KernelProfileMeta) -> Result<AttentionGrid, KernelProfileError> {
    let mut cells: HashMap<Key, (f64, u64)> = HashMap::new();
    let mut reached = Reached::default();
    table.rows(&["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"], |row| {
        let mut key = [0; 4];
        for (index, count) in key.iter_mut().enumerate() {
            *count = row.count(index, 0, MAX_COUNT)?;
        }
        let duration = row.duration_ns(4)?;
        let [chunk, kv_prefill, n_decode, kv_decode] = key;
        if chunk == 0 && kv_prefill > 0 {
            return Err(row.invalid(1, "0 where prefill_chunk is 0"));
        }
        if (n_decode == 0) != (kv_decode == 0) {
            return Err(row.invalid(3, "0 where n_decode is 0, and only there"));
        }
        if chunk == 0 && n_decode == 0 {
            return Err(row.invalid(0, "a chunk, decodes, or both"));
        }
        if let Some((_, line)) = cells.insert(key, (duration, row.line)) {
            return Err(row.misplaced(
                "the point is given twice",
                format!("each point once; the first is on line {line}"),
            ));
        }
        reached.kv_tokens = reached.kv_tokens.max(kv_tokens(key));
        reached.prompt = reached.prompt.max(u64::from(chunk) + u64::from(kv_prefill));
        reached.kv_decode = reached.kv_decode.max(kv_decode);
        Ok(())
    })?;
    let mut cells: HashMap<Key, f64> =
        cells.into_iter().map(|(key, (duration, _))| (key, duration)).collect();
    fill(table, meta, &mut cells, &reached)
}

fn fill(
    table: &Table,
    meta: &KernelProfileMeta,
    cells: &mut HashMap<Key, f64>,
    reached: &Reached,
) -> Result<AttentionGrid, KernelProfileError> {
    let DeclaredGrid { chunks, n_decode, kv } = &meta.grid;
    let kv_prefill: Vec<u32> = std::iter::once(0).chain(kv.iter().copied()).collect();
    let size = |axis: &[u32]| axis.len() as u64;
    if size(chunks) * size(&kv_prefill) * size(n_decode) * size(kv) > MAX_CELLS {
        return Err(table.invalid(
            (1, 1),
            "the declared grid has more cells than any profile",
            format!("at most {MAX_CELLS}"),
        ));
    }
    let axes: [&[u32]; 4] = [chunks, &kv_prefill, n_decode, kv];
    let mut continued = 0;
    let mut cell = |key: Key, at: [Option<usize>; 4]| -> Result<f64, KernelProfileError> {
        if let Some(found) = cells.get(&key) {
            return Ok(*found);
        }
        let [chunk, before, decodes, kv] = key;
        let beside = decodes + u32::from(chunk > 0) > meta.max_num_seqs;
        let beyond = kv_tokens(key) > reached.kv_tokens
            || (chunk > 0 && u64::from(chunk) + u64::from(before) > reached.prompt)
            || kv > reached.kv_decode;
        let next = if beside || beyond { follow(cells, axes, key, at) } else { None };
        let Some(next) = next else {
            let found = format!(
                "there is no row {chunk},{before},{decodes},{kv} of the grid that meta.yaml declares"
            );
            return Err(table.invalid((1, 1), found, "profile that point, or restore the row"));
        };
        continued += 1;
        cells.insert(key, next);
        Ok(next)
    };
    let (mut prefill, mut decode, mut mixed) = (Vec::new(), Vec::new(), Vec::new());
    for (n, &decodes) in n_decode.iter().enumerate() {
        for (d, &tokens) in kv.iter().enumerate() {
            decode.push(cell([0, 0, decodes, tokens], [None, None, Some(n), Some(d)])?);
        }
    }
    for (c, &chunk) in chunks.iter().enumerate() {
        for (k, &before) in kv_prefill.iter().enumerate() {
            prefill.push(cell([chunk, before, 0, 0], [Some(c), Some(k), None, None])?);
            for (n, &decodes) in n_decode.iter().enumerate() {
                for (d, &tokens) in kv.iter().enumerate() {
                    mixed.push(cell([chunk, before, decodes, tokens], [Some(c), Some(k), Some(n), Some(d)])?);
                }
            }
        }
    }
    Ok(AttentionGrid {
        chunks: chunks.clone(),
        kv_prefill,
        n_decode: n_decode.clone(),
        kv_decode: kv.clone(),
        prefill,
        decode,
        mixed,
        continued,
    })
}

/// The duration that continues the two cells before this one: along decodes, else KV of decodes, else
/// KV before the chunk, else the chunk. More work never takes less time.
fn follow(cells: &HashMap<Key, f64>, axes: [&[u32]; 4], key: Key, at: [Option<usize>; 4]) -> Option<f64> {
    [2, 3, 1, 0].into_iter().find_map(|axis| {
        let index = at[axis]?;
        let (last, first) = (index.checked_sub(1)?, index.checked_sub(2)?);
        let (x0, x1) = (axes[axis][first], axes[axis][last]);
        let with = |value: u32| {
            let mut key = key;
            key[axis] = value;
            cells.get(&key).copied()
        };
        let (y0, y1) = (with(x0)?, with(x1)?);
        let step = f64::from(key[axis] - x1) / f64::from(x1 - x0);
        Some((y1 + (y1 - y0) * step).max(y1))
    })
}
