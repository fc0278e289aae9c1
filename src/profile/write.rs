//! A bundle on disk: `bundle.json` and CSV files with durations in ms, in
//! Vidur's layout where Vidur has one.

use std::path::Path;

use super::ProfileError;
use super::bundle::{Bundle, BundleMeta, Feature, OpCurve};
use crate::store::{Digest, FileDigest, StagedDir, write_part};

/// Columns of `attention.csv` before its durations.
pub(super) const ATTENTION_KEYS: [&str; 4] =
    ["is_prefill", "batch_size", "prefill_chunk_size", "kv_cache_size"];
/// Columns of `steps.csv`.
pub(super) const STEP_COLUMNS: [&str; 5] =
    ["prefills", "decodes", "completing", "time_stats.step.mean", "time_stats.step.mad"];

/// File of what pauses cost, and its columns.
pub(super) const PAUSE_FILE: &str = "pauses.csv";
pub(super) const PAUSE_COLUMNS: [&str; 3] =
    ["idle_ms", "time_stats.after_pause.mean", "time_stats.after_pause.mad"];

/// File of what decodes take longer after a chunk, and its columns.
pub(super) const AFTER_CHUNK_FILE: &str = "after_chunks.csv";
pub(super) const AFTER_CHUNK_COLUMNS: [&str; 4] =
    ["batch_size", "steps", "time_stats.after_chunk.mean", "time_stats.after_chunk.mad"];

/// File of what decodes add to a step with a chunk, and its columns.
pub(super) const BESIDE_CHUNK_FILE: &str = "beside_chunks.csv";
pub(super) const BESIDE_CHUNK_COLUMNS: [&str; 5] = [
    "batch_size",
    "kv_cache_size",
    "prefill_chunk_size",
    "time_stats.beside_chunk.mean",
    "time_stats.beside_chunk.mad",
];

/// The file that holds the curves of a feature, and the name of its first column.
pub(super) fn curve_file(feature: Feature, folder: &str) -> (String, &'static str) {
    match feature {
        Feature::Tokens => (format!("{folder}/mlp.csv"), "num_tokens"),
        Feature::Sequences => (format!("{folder}/per_sequence.csv"), "num_sequences"),
        Feature::BatchSize => ("cpu_overhead.csv".to_owned(), "batch_size"),
    }
}

/// Folder of the compute files, such as `compute/cpu/qwen3-17m`.
pub(super) fn compute_folder(model: &str) -> String {
    let safe: String =
        model.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    format!("compute/cpu/{}", safe.trim_start_matches('.'))
}

/// Milliseconds with the resolution of a nanosecond.
fn ms(ns: f64) -> String {
    format!("{:.6}", ns / 1e6)
}

/// The files of a bundle but `bundle.json`, by name, and the meta data that describes them.
pub(crate) fn render(bundle: &Bundle) -> (Vec<(String, String)>, BundleMeta) {
    let compute = compute_folder(&bundle.meta.model);
    let mut files = Vec::new();
    for feature in [Feature::Tokens, Feature::Sequences, Feature::BatchSize] {
        let (file, column) = curve_file(feature, &compute);
        let curves: Vec<&OpCurve> = bundle.curves.iter().filter(|curve| curve.feature == feature).collect();
        files.push((file, curves_csv(column, &curves)));
    }
    files.push((format!("{compute}/attention.csv"), attention_csv(bundle)));
    if !bundle.pauses.is_empty() {
        files.push((PAUSE_FILE.to_owned(), pauses_csv(bundle)));
    }
    if !bundle.after_chunks.is_empty() {
        files.push((AFTER_CHUNK_FILE.to_owned(), after_chunks_csv(bundle)));
    }
    if !bundle.beside_chunks.is_empty() {
        files.push((BESIDE_CHUNK_FILE.to_owned(), beside_chunks_csv(bundle)));
    }
    files.push(("steps.csv".to_owned(), steps_csv(bundle)));
    files.sort();
    let mut meta = bundle.meta.clone();
    meta.files = files
        .iter()
        .map(|(file, text)| FileDigest {
            file: file.clone(),
            bytes: text.len() as u64,
            sha256: Digest::of(text),
        })
        .collect();
    (files, meta)
}

/// Digest of all that a bundle says: the pinned one, once it is written.
pub fn content_digest(bundle: &Bundle) -> Digest {
    Digest::of_json(&render(bundle).1)
}

/// Writes a bundle as a whole folder, replacing what was there.
pub fn write_bundle(folder: &Path, bundle: &Bundle) -> Result<(), ProfileError> {
    let refused = |source| ProfileError::Write { path: folder.to_owned(), source };
    let staged = StagedDir::new(folder).map_err(refused)?;
    let (mut files, meta) = render(bundle);
    let json = serde_json::to_string_pretty(&meta).map_err(|error| refused(error.into()))? + "\n";
    files.push(("bundle.json".to_owned(), json));
    for (file, text) in &files {
        write_part(&staged.path().join(file), text.as_bytes()).map_err(refused)?;
    }
    staged.commit().map_err(refused)
}

fn curves_csv(column: &str, curves: &[&OpCurve]) -> String {
    let mut out = column.to_owned();
    for curve in curves {
        out.push_str(&format!(",time_stats.{0}.mean,time_stats.{0}.mad", curve.op));
    }
    out.push('\n');
    let mut xs: Vec<u32> = curves.iter().flat_map(|curve| &curve.points).map(|point| point.x).collect();
    xs.sort_unstable();
    xs.dedup();
    for x in xs {
        out.push_str(&x.to_string());
        for curve in curves {
            match curve.points.iter().find(|point| point.x == x) {
                Some(point) => out.push_str(&format!(",{},{}", ms(point.mean_ns), ms(point.mad_ns))),
                None => out.push_str(",,"),
            }
        }
        out.push('\n');
    }
    out
}

fn attention_csv(bundle: &Bundle) -> String {
    let mut out = ATTENTION_KEYS.join(",");
    for op in ["attn_prefill", "attn_decode"] {
        out.push_str(&format!(",time_stats.{op}.mean,time_stats.{op}.mad"));
    }
    out.push('\n');
    for point in &bundle.attention {
        let (mean, mad) = (ms(point.mean_ns), ms(point.mad_ns));
        let row = match point.n_decode {
            0 => format!("true,1,{},{},{mean},{mad},,\n", point.prefill_chunk, point.kv_prefill),
            batch => format!("false,{batch},0,{},,,{mean},{mad}\n", point.kv_decode),
        };
        out.push_str(&row);
    }
    out
}

fn pauses_csv(bundle: &Bundle) -> String {
    let mut out = PAUSE_COLUMNS.join(",") + "\n";
    for point in &bundle.pauses {
        out.push_str(&format!("{},{},{}\n", point.idle_ms, ms(point.mean_ns), ms(point.mad_ns)));
    }
    out
}

fn after_chunks_csv(bundle: &Bundle) -> String {
    let mut out = AFTER_CHUNK_COLUMNS.join(",") + "\n";
    for point in &bundle.after_chunks {
        let (mean, mad) = (ms(point.mean_ns), ms(point.mad_ns));
        out.push_str(&format!("{},{},{mean},{mad}\n", point.batch_size, point.steps));
    }
    out
}

fn beside_chunks_csv(bundle: &Bundle) -> String {
    let mut out = BESIDE_CHUNK_COLUMNS.join(",") + "\n";
    for point in &bundle.beside_chunks {
        let (mean, mad) = (ms(point.mean_ns), ms(point.mad_ns));
        out.push_str(&format!(
            "{},{},{},{mean},{mad}\n",
            point.batch_size, point.kv_decode, point.prefill_chunk
        ));
    }
    out
}

fn steps_csv(bundle: &Bundle) -> String {
    let mut out = STEP_COLUMNS.join(",") + "\n";
    for step in &bundle.steps {
        let prefills: Vec<String> = step.prefills.iter().map(|(chunk, kv)| format!("{chunk}:{kv}")).collect();
        let decodes: Vec<String> = step.decodes.iter().map(u32::to_string).collect();
        out.push_str(&format!(
            "{},{},{},{},{}\n",
            prefills.join(" "),
            decodes.join(" "),
            step.completing,
            ms(step.mean_ns),
            ms(step.mad_ns)
        ));
    }
    out
}
