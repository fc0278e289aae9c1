//! The strict reader of bundles: every number is finite, in range and in order, every file the one
//! that `bundle.json` describes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ProfileError;
use super::bundle::{
    AttentionPoint, BUNDLE_FORMAT, Bundle, BundleMeta, Feature, OpCurve, OpPoint, StepSample,
};
use super::samples::{BATCHING, SCHEDULE, feature_of};
use super::write::{ATTENTION_KEYS, STEP_COLUMNS, compute_folder, curve_file};
use crate::model::Op;
use crate::store::{self, Digest};

/// Largest file of a bundle, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// Longest duration that is believed: an hour, ms.
const MAX_MS: f64 = 3.6e6;
/// Largest count of tokens, sequences or layers that is believed.
const MAX_COUNT: u32 = 1 << 24;

/// Reads a bundle's folder and checks all of it.
pub fn read_bundle(folder: &Path) -> Result<Bundle, ProfileError> {
    let meta = read_meta(folder)?;
    let compute = compute_folder(&meta.model);
    let mut curves = Vec::new();
    for feature in [Feature::Tokens, Feature::Sequences, Feature::BatchSize] {
        let (file, column) = curve_file(feature, &compute);
        curves.extend(read_curves(&Table::open(folder, &meta, &file)?, feature, column)?);
    }
    let attention = read_attention(&Table::open(folder, &meta, &format!("{compute}/attention.csv"))?)?;
    let steps = read_steps(&Table::open(folder, &meta, "steps.csv")?)?;
    Ok(Bundle { meta, curves, attention, steps })
}

fn read_meta(folder: &Path) -> Result<BundleMeta, ProfileError> {
    let path = folder.join("bundle.json");
    let text = store::read_text_bounded(&path, MAX_BYTES)?;
    let invalid = |line: usize, message: String| ProfileError::invalid(&path, line as u64, message);
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| invalid(error.line(), error.to_string()))?;
    if let Some(found) = value.get("format").and_then(serde_json::Value::as_u64)
        && found > u64::from(BUNDLE_FORMAT)
    {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(ProfileError::Newer { path, found, newest: BUNDLE_FORMAT });
    }
    let meta: BundleMeta =
        serde_json::from_str(&text).map_err(|error| invalid(error.line(), error.to_string()))?;
    for (name, count) in [
        ("num_layers", meta.num_layers),
        ("block_size", meta.block_size),
        ("max_tokens", meta.max_tokens),
        ("max_batch_size", meta.max_batch_size),
        ("max_context", meta.max_context),
    ] {
        if !(1..=MAX_COUNT).contains(&count) {
            return Err(invalid(1, format!("{name} is {count}; it lies between 1 and {MAX_COUNT}")));
        }
    }
    if !(meta.noise_percent.is_finite() && meta.noise_percent >= 0.0) {
        return Err(invalid(1, "noise_percent is no percentage".to_owned()));
    }
    Ok(meta)
}

/// A CSV file whose bytes are the pinned ones.
struct Table {
    path: PathBuf,
    header: Vec<String>,
    /// Line number and cells.
    rows: Vec<(u64, Vec<String>)>,
}

impl Table {
    fn open(folder: &Path, meta: &BundleMeta, file: &str) -> Result<Self, ProfileError> {
        let path = folder.join(file);
        let bytes = store::read_bounded(&path, MAX_BYTES)?;
        let pinned = meta.files.iter().find(|pinned| pinned.file == file);
        if pinned.is_none_or(|pinned| pinned.sha256 != Digest::of(&bytes)) {
            return Err(ProfileError::Digest { path });
        }
        let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(bytes.as_slice());
        let broken = |error: csv::Error| {
            let line = error.position().map_or(0, csv::Position::line);
            ProfileError::invalid(&path, line, error.to_string())
        };
        let header = reader.headers().map_err(broken)?.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(broken)?;
            let line = record.position().map_or(0, csv::Position::line);
            rows.push((line, record.iter().map(str::to_owned).collect()));
        }
        Ok(Self { path, header, rows })
    }

    fn invalid(&self, line: u64, message: impl Into<String>) -> ProfileError {
        ProfileError::invalid(&self.path, line, message)
    }

    fn count(&self, line: u64, cell: &str, name: &str) -> Result<u32, ProfileError> {
        match u32::from_str(cell) {
            Ok(count) if count <= MAX_COUNT => Ok(count),
            _ => Err(self.invalid(line, format!("{name} is {cell:?}, not a count up to {MAX_COUNT}"))),
        }
    }

    /// A duration in ms, as ns.
    fn duration(&self, line: u64, cell: &str, name: &str) -> Result<f64, ProfileError> {
        match f64::from_str(cell) {
            Ok(ms) if (0.0..=MAX_MS).contains(&ms) => Ok(ms * 1e6),
            _ => Err(self.invalid(line, format!("{name} is {cell:?}, not a duration in ms up to {MAX_MS}"))),
        }
    }

    fn require_header(&self, wanted: &[String]) -> Result<(), ProfileError> {
        if self.header != wanted {
            return Err(self.invalid(1, format!("the columns are not {}", wanted.join(","))));
        }
        if self.rows.is_empty() {
            return Err(self.invalid(1, "the file has no rows"));
        }
        Ok(())
    }
}

/// Names of the operators in a file, in order.
pub(super) fn ops_of(feature: Feature) -> Vec<(&'static str, bool)> {
    match feature {
        Feature::BatchSize => vec![(SCHEDULE, false), (BATCHING, false)],
        _ => Op::ALL
            .into_iter()
            .filter(|op| feature_of(*op) == Some(feature))
            .map(|op| (op.name(), op.per_layer()))
            .collect(),
    }
}

fn stats(op: &str) -> [String; 2] {
    [format!("time_stats.{op}.mean"), format!("time_stats.{op}.mad")]
}

fn read_curves(table: &Table, feature: Feature, column: &str) -> Result<Vec<OpCurve>, ProfileError> {
    let ops = ops_of(feature);
    let mut header = vec![column.to_owned()];
    header.extend(ops.iter().flat_map(|(op, _)| stats(op)));
    table.require_header(&header)?;
    let mut curves: Vec<OpCurve> = ops
        .iter()
        .map(|&(op, per_layer)| OpCurve { op: op.to_owned(), feature, per_layer, points: Vec::new() })
        .collect();
    let mut last = 0;
    for (line, cells) in &table.rows {
        let x = table.count(*line, &cells[0], column)?;
        if x <= last {
            return Err(table.invalid(*line, format!("{column} {x} does not ascend")));
        }
        last = x;
        for (index, curve) in curves.iter_mut().enumerate() {
            let (mean, mad) = (&cells[1 + 2 * index], &cells[2 + 2 * index]);
            if mean.is_empty() && mad.is_empty() {
                continue;
            }
            let mean_ns = table.duration(*line, mean, &curve.op)?;
            let mad_ns = table.duration(*line, mad, &curve.op)?;
            curve.points.push(OpPoint { x, mean_ns, mad_ns });
        }
    }
    match curves.iter().find(|curve| curve.points.is_empty()) {
        Some(curve) => Err(table.invalid(1, format!("{} has no durations", curve.op))),
        None => Ok(curves),
    }
}

fn read_attention(table: &Table) -> Result<Vec<AttentionPoint>, ProfileError> {
    let mut header: Vec<String> = ATTENTION_KEYS.map(str::to_owned).into();
    header.extend(["attn_prefill", "attn_decode"].iter().flat_map(|op| stats(op)));
    table.require_header(&header)?;
    let mut points = Vec::with_capacity(table.rows.len());
    for (line, cells) in &table.rows {
        let count = |index: usize| table.count(*line, &cells[index], &header[index]);
        let duration = |index: usize| table.duration(*line, &cells[index], &header[index]);
        let (batch, chunk, kv) = (count(1)?, count(2)?, count(3)?);
        points.push(match cells[0].as_str() {
            "true" if chunk > 0 => AttentionPoint {
                prefill_chunk: chunk,
                kv_prefill: kv,
                n_decode: 0,
                kv_decode: 0,
                mean_ns: duration(4)?,
                mad_ns: duration(5)?,
            },
            "false" if batch > 0 => AttentionPoint {
                prefill_chunk: 0,
                kv_prefill: 0,
                n_decode: batch,
                kv_decode: kv,
                mean_ns: duration(6)?,
                mad_ns: duration(7)?,
            },
            _ => {
                return Err(table.invalid(*line, "the row is neither a prefill chunk nor a batch of decodes"));
            }
        });
    }
    let key =
        |point: &AttentionPoint| (point.prefill_chunk, point.kv_prefill, point.n_decode, point.kv_decode);
    let mut keys: Vec<_> = points.iter().map(key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(table.invalid(1, "a point is given twice"));
    }
    for prefill in [true, false] {
        if !points.iter().any(|point| (point.n_decode == 0) == prefill) {
            return Err(table.invalid(1, "prefill chunks and decodes are both needed"));
        }
    }
    Ok(points)
}

fn read_steps(table: &Table) -> Result<Vec<StepSample>, ProfileError> {
    table.require_header(&STEP_COLUMNS.map(str::to_owned))?;
    let mut steps = Vec::with_capacity(table.rows.len());
    for (line, cells) in &table.rows {
        let mut prefills = Vec::new();
        for part in cells[0].split_whitespace() {
            let (chunk, kv) = part
                .split_once(':')
                .ok_or_else(|| table.invalid(*line, format!("{part:?} is not `chunk:kv`")))?;
            prefills.push((table.count(*line, chunk, "chunk")?, table.count(*line, kv, "kv")?));
        }
        let decodes = cells[1]
            .split_whitespace()
            .map(|kv| table.count(*line, kv, "decode"))
            .collect::<Result<Vec<_>, _>>()?;
        let completing = table.count(*line, &cells[2], "completing")?;
        if completing as usize > prefills.len() || prefills.len() + decodes.len() == 0 {
            return Err(table.invalid(*line, "no such step"));
        }
        steps.push(StepSample {
            prefills,
            decodes,
            completing,
            mean_ns: table.duration(*line, &cells[3], "mean")?,
            mad_ns: table.duration(*line, &cells[4], "mad")?,
        });
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{sample_bundle as bundle, write_bundle};

    #[test]
    fn a_bundle_reads_as_it_was_written_and_the_same_bytes_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        write_bundle(&one, &bundle()).unwrap();
        let read = read_bundle(&one).unwrap();
        let mut wanted = bundle();
        wanted.meta.files = read.meta.files.clone();
        assert_eq!(read, wanted);
        write_bundle(&two, &read).unwrap();
        assert_eq!(store::digest_dir(&one).unwrap(), store::digest_dir(&two).unwrap());
    }

    #[test]
    fn every_edit_of_every_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("bundle");
        write_bundle(&folder, &bundle()).unwrap();
        for file in store::digest_dir(&folder).unwrap() {
            let path = folder.join(&file.file);
            let good = std::fs::read_to_string(&path).unwrap();
            for bad in [
                good.replacen('1', "NaN", 1),
                good[..good.len() / 2].to_owned(),
                String::new(),
                "[".repeat(100_000),
            ] {
                std::fs::write(&path, bad).unwrap();
                let error = read_bundle(&folder).unwrap_err().to_string();
                assert!(error.contains(file.file.rsplit('/').next().unwrap()), "{error}");
            }
            std::fs::write(&path, good).unwrap();
        }
        read_bundle(&folder).unwrap();
    }

    #[test]
    fn numbers_that_no_measurement_gives_are_refused_even_when_the_digest_fits() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("bundle");
        for (file, from, to) in [
            ("mlp.csv", "0.001000", "NaN"),
            ("mlp.csv", "0.001000", "-1"),
            ("mlp.csv", "0.001000", "inf"),
            ("mlp.csv", "\n4,", "\n1,"),
            ("mlp.csv", "num_tokens", "tokens"),
            ("attention.csv", "true,1,1,0", "true,1,0,0"),
            ("attention.csv", "true", "maybe"),
            ("attention.csv", "63", "99999999999"),
            ("steps.csv", "8:0", "8"),
            ("steps.csv", ",1,", ",7,"),
        ] {
            write_bundle(&folder, &bundle()).unwrap();
            let mut meta = read_meta(&folder).unwrap();
            let pinned = meta.files.iter_mut().find(|pinned| pinned.file.ends_with(file)).unwrap();
            let path = folder.join(&pinned.file);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{file} has no {from:?}:\n{text}");
            let text = text.replacen(from, to, 1);
            pinned.sha256 = Digest::of(&text);
            std::fs::write(&path, text).unwrap();
            std::fs::write(folder.join("bundle.json"), serde_json::to_string(&meta).unwrap()).unwrap();
            let error = read_bundle(&folder).unwrap_err().to_string();
            assert!(error.contains(file), "{file} {to}: {error}");
        }
    }
}
