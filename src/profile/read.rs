//! The strict reader of bundles: every number is finite, in range and in order, every file the one
//! that `bundle.json` describes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ProfileError;
use super::bundle::{
    AfterChunkPoint, AttentionPoint, BUNDLE_FORMAT, BesideChunkPoint, Bundle, BundleMeta, Feature, OpCurve,
    OpPoint, PausePoint, StepSample,
};
use super::samples::{BATCHING, SCHEDULE, feature_of};
use super::write::{
    AFTER_CHUNK_COLUMNS, AFTER_CHUNK_FILE, ATTENTION_KEYS, BESIDE_CHUNK_COLUMNS, BESIDE_CHUNK_FILE,
    PAUSE_COLUMNS, PAUSE_FILE, STEP_COLUMNS, compute_folder, curve_file,
};
use crate::machine::forget_other_rows;
use crate::model::Op;
use crate::store::{self, BoundedRecords, Digest};

/// Largest `bundle.json`, in bytes.
const MAX_META: u64 = 1 << 20;
/// Largest other file of a bundle, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// Longest duration that is believed: an hour, ms.
const MAX_MS: f64 = 3.6e6;
/// Largest count of layers, and of tokens of a context, that is believed.
const MAX_COUNT: u32 = 1 << 24;
/// Largest count of tokens or requests of a step that is believed: predictors hold a table of as many
/// durations. No `chunk-size` is larger.
const MAX_STEP: u32 = 1 << 20;
/// Longest row, in bytes: more than 200,000 decodes.
const MAX_ROW: usize = 2 << 20;

/// Reads a bundle's folder and checks all of it.
pub fn read_bundle(folder: &Path) -> Result<Bundle, ProfileError> {
    let path = folder.join("bundle.json");
    let meta = parse_meta(&path, &store::read_text_bounded(&path, MAX_META)?)?;
    let pinned = |name: &str| meta.files.iter().find(|pinned| pinned.file == name);
    parse_tables(&meta, |name| {
        let path = folder.join(name);
        let bytes = store::read_bounded(&path, MAX_BYTES)?;
        if pinned(name).is_none_or(|pinned| pinned.sha256 != Digest::of(&bytes)) {
            return Err(ProfileError::Digest { path });
        }
        Ok((path, bytes))
    })
}

/// Checks a bundle whose files are in memory: `bundle.json`, whose digests are let be, and the CSV files
/// by the last part of their names.
pub(crate) fn parse_bundle(meta: &str, file: impl Fn(&str) -> Vec<u8>) -> Result<Bundle, ProfileError> {
    let meta = parse_meta(Path::new("bundle.json"), meta)?;
    parse_tables(&meta, |name| Ok((PathBuf::from(name), file(name.rsplit('/').next().unwrap_or_default()))))
}

/// Reads the CSV files, each of which `open` yields with its path.
fn parse_tables(
    meta: &BundleMeta,
    open: impl Fn(&str) -> Result<(PathBuf, Vec<u8>), ProfileError>,
) -> Result<Bundle, ProfileError> {
    let open = |name: &str| open(name).map(|(path, bytes)| Table { path, bytes });
    let compute = compute_folder(&meta.model);
    let mut curves = Vec::new();
    for feature in [Feature::Tokens, Feature::Sequences, Feature::BatchSize] {
        let (file, column) = curve_file(feature, &compute);
        curves.extend(read_curves(&open(&file)?, feature, column)?);
    }
    let attention = read_attention(&open(&format!("{compute}/attention.csv"))?)?;
    let has = |name: &str| meta.files.iter().any(|pinned| pinned.file == name);
    let pauses = if has(PAUSE_FILE) { read_pauses(&open(PAUSE_FILE)?)? } else { Vec::new() };
    let after_chunks = match has(AFTER_CHUNK_FILE) {
        true => read_after_chunks(&open(AFTER_CHUNK_FILE)?)?,
        false => Vec::new(),
    };
    let beside_chunks = match has(BESIDE_CHUNK_FILE) {
        true => read_beside_chunks(&open(BESIDE_CHUNK_FILE)?)?,
        false => Vec::new(),
    };
    let steps = read_steps(&open("steps.csv")?)?;
    Ok(Bundle { meta: meta.clone(), curves, attention, pauses, after_chunks, beside_chunks, steps })
}

fn parse_meta(path: &Path, text: &str) -> Result<BundleMeta, ProfileError> {
    let invalid = |line: usize, message: String| ProfileError::invalid(path, line as u64, message);
    let json = |error: serde_json::Error| invalid(error.line(), error.to_string());
    let mut value: serde_json::Value = serde_json::from_str(text).map_err(json)?;
    let found = value.get("format").and_then(serde_json::Value::as_u64);
    if let Some(found) = found.filter(|found| *found > u64::from(BUNDLE_FORMAT)) {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(ProfileError::Newer { path: path.to_owned(), found, newest: BUNDLE_FORMAT });
    }
    let forgotten = found.is_some_and(|found| forget_other_rows(found, &mut value));
    let meta: BundleMeta =
        if forgotten { serde_json::from_value(value) } else { serde_json::from_str(text) }.map_err(json)?;
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
    if !(1..=MAX_STEP).contains(&meta.row_group.unwrap_or(1)) {
        return Err(invalid(1, format!("row_group lies between 1 and {MAX_STEP}")));
    }
    if meta.many_rows.is_some_and(|many| !(1..=MAX_STEP).contains(&many.group)) {
        return Err(invalid(1, format!("many_rows.group lies between 1 and {MAX_STEP}")));
    }
    if !(0.0..=100.0).contains(&meta.interference_percent.unwrap_or(0.0)) {
        return Err(invalid(1, "interference_percent lies between 0 and 100".to_owned()));
    }
    Ok(meta)
}

/// A CSV file, read row by row: cells of a hostile one would take many times its bytes.
struct Table {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// One row and where it is.
struct Row<'a> {
    path: &'a Path,
    line: u64,
    cells: &'a csv::StringRecord,
}

impl Table {
    fn invalid(&self, line: u64, message: impl Into<String>) -> ProfileError {
        ProfileError::invalid(&self.path, line, message)
    }

    /// Requires these columns and a row at least; calls `each` for every row in order.
    fn rows(
        &self,
        columns: &[String],
        mut each: impl FnMut(&Row<'_>) -> Result<(), ProfileError>,
    ) -> Result<(), ProfileError> {
        let bounded = BoundedRecords::lenient(self.bytes.as_slice(), u64::MAX, MAX_ROW);
        let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(bounded);
        let broken = |error: csv::Error| {
            let line = error.position().map_or(0, csv::Position::line);
            self.invalid(line, error.to_string())
        };
        if !reader.headers().map_err(broken)?.iter().eq(columns) {
            return Err(self.invalid(1, format!("the columns are not {}", columns.join(","))));
        }
        let mut cells = csv::StringRecord::new();
        let mut empty = true;
        while reader.read_record(&mut cells).map_err(broken)? {
            let line = cells.position().map_or(0, csv::Position::line);
            each(&Row { path: &self.path, line, cells: &cells })?;
            empty = false;
        }
        if empty { Err(self.invalid(1, "the file has no rows")) } else { Ok(()) }
    }
}

impl Row<'_> {
    fn cell(&self, column: usize) -> &str {
        self.cells.get(column).unwrap_or_default()
    }

    fn invalid(&self, message: impl Into<String>) -> ProfileError {
        ProfileError::invalid(self.path, self.line, message)
    }

    /// A whole number of at most `most`.
    fn count(&self, text: &str, name: &str, most: u32) -> Result<u32, ProfileError> {
        match u32::from_str(text) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(self.invalid(format!("{name} is {text:?}, not a count up to {most}"))),
        }
    }

    /// A duration in ms, as ns.
    fn duration(&self, column: usize, name: &str) -> Result<f64, ProfileError> {
        let text = self.cell(column);
        match f64::from_str(text) {
            Ok(ms) if (0.0..=MAX_MS).contains(&ms) => Ok(ms * 1e6),
            _ => Err(self.invalid(format!("{name} is {text:?}, not a duration in ms up to {MAX_MS}"))),
        }
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
    let mut columns = vec![column.to_owned()];
    columns.extend(ops.iter().flat_map(|(op, _)| stats(op)));
    let mut curves: Vec<OpCurve> = ops
        .iter()
        .map(|&(op, per_layer)| OpCurve { op: op.to_owned(), feature, per_layer, points: Vec::new() })
        .collect();
    let mut last = 0;
    table.rows(&columns, |row| {
        let x = row.count(row.cell(0), column, MAX_STEP)?;
        if x <= last {
            return Err(row.invalid(format!("{column} {x} does not ascend")));
        }
        last = x;
        for (index, curve) in curves.iter_mut().enumerate() {
            let (mean, mad) = (1 + 2 * index, 2 + 2 * index);
            if row.cell(mean).is_empty() && row.cell(mad).is_empty() {
                continue;
            }
            let mean_ns = row.duration(mean, &curve.op)?;
            let mad_ns = row.duration(mad, &curve.op)?;
            curve.points.push(OpPoint { x, mean_ns, mad_ns });
        }
        Ok(())
    })?;
    match curves.iter().find(|curve| curve.points.is_empty()) {
        Some(curve) => Err(table.invalid(1, format!("{} has no durations", curve.op))),
        None => Ok(curves),
    }
}

fn read_pauses(table: &Table) -> Result<Vec<PausePoint>, ProfileError> {
    let mut points: Vec<PausePoint> = Vec::new();
    table.rows(&PAUSE_COLUMNS.map(str::to_owned), |row| {
        let idle_ms = row.count(row.cell(0), PAUSE_COLUMNS[0], MAX_COUNT)?;
        if points.last().map_or(0, |last| last.idle_ms) >= idle_ms {
            return Err(row.invalid(format!("{} {idle_ms} does not ascend", PAUSE_COLUMNS[0])));
        }
        let (mean_ns, mad_ns) = (row.duration(1, PAUSE_COLUMNS[1])?, row.duration(2, PAUSE_COLUMNS[2])?);
        points.push(PausePoint { idle_ms, mean_ns, mad_ns });
        Ok(())
    })?;
    Ok(points)
}

fn read_after_chunks(table: &Table) -> Result<Vec<AfterChunkPoint>, ProfileError> {
    let [size, steps_of, mean, mad] = AFTER_CHUNK_COLUMNS;
    let mut points: Vec<AfterChunkPoint> = Vec::new();
    table.rows(&AFTER_CHUNK_COLUMNS.map(str::to_owned), |row| {
        let batch_size = row.count(row.cell(0), size, MAX_STEP)?;
        let steps = row.count(row.cell(1), steps_of, MAX_STEP)?;
        let last = points.last().map_or((0, 0), |last| (last.batch_size, last.steps));
        // A size's steps are 1, 2, 3, …, so that none is missing.
        let next = if last.0 == batch_size { last.1 + 1 } else { 1 };
        if batch_size < last.0 || batch_size == 0 || steps != next {
            return Err(row.invalid(format!("{size} {batch_size} and {steps_of} {steps} do not follow")));
        }
        points.push(AfterChunkPoint {
            batch_size,
            steps,
            mean_ns: row.duration(2, mean)?,
            mad_ns: row.duration(3, mad)?,
        });
        Ok(())
    })?;
    Ok(points)
}

fn read_beside_chunks(table: &Table) -> Result<Vec<BesideChunkPoint>, ProfileError> {
    let [size, kv, chunk, mean, mad] = BESIDE_CHUNK_COLUMNS;
    let mut points: Vec<BesideChunkPoint> = Vec::new();
    table.rows(&BESIDE_CHUNK_COLUMNS.map(str::to_owned), |row| {
        let point = BesideChunkPoint {
            batch_size: row.count(row.cell(0), size, MAX_STEP)?,
            kv_decode: row.count(row.cell(1), kv, MAX_COUNT)?,
            prefill_chunk: row.count(row.cell(2), chunk, MAX_STEP)?,
            mean_ns: row.duration(3, mean)?,
            mad_ns: row.duration(4, mad)?,
        };
        let key = |point: &BesideChunkPoint| (point.batch_size, point.kv_decode);
        if points.last().is_some_and(|last| key(last) >= key(&point)) {
            return Err(row.invalid(format!("{size} and {kv} do not ascend")));
        }
        if point.batch_size == 0 || point.prefill_chunk == 0 {
            return Err(row.invalid(format!("{size} and {chunk} are at least 1")));
        }
        points.push(point);
        Ok(())
    })?;
    Ok(points)
}

fn read_attention(table: &Table) -> Result<Vec<AttentionPoint>, ProfileError> {
    let mut columns: Vec<String> = ATTENTION_KEYS.map(str::to_owned).into();
    columns.extend(["attn_prefill", "attn_decode"].iter().flat_map(|op| stats(op)));
    let mut points = Vec::new();
    table.rows(&columns, |row| {
        let count = |index: usize, most: u32| row.count(row.cell(index), &columns[index], most);
        let duration = |index: usize| row.duration(index, &columns[index]);
        let (batch, chunk, kv) = (count(1, MAX_STEP)?, count(2, MAX_STEP)?, count(3, MAX_COUNT)?);
        points.push(match row.cell(0) {
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
            _ => return Err(row.invalid("the row is neither a prefill chunk nor a batch of decodes")),
        });
        Ok(())
    })?;
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
    let mut steps = Vec::new();
    table.rows(&STEP_COLUMNS.map(str::to_owned), |row| {
        let mut prefills = Vec::new();
        for part in row.cell(0).split_whitespace() {
            let (chunk, kv) =
                part.split_once(':').ok_or_else(|| row.invalid(format!("{part:?} is not `chunk:kv`")))?;
            prefills.push((row.count(chunk, "chunk", MAX_STEP)?, row.count(kv, "kv", MAX_COUNT)?));
        }
        let decodes = row
            .cell(1)
            .split_whitespace()
            .map(|kv| row.count(kv, "decode", MAX_COUNT))
            .collect::<Result<Vec<_>, _>>()?;
        let completing = row.count(row.cell(2), "completing", MAX_STEP)?;
        if completing as usize > prefills.len() || prefills.len() + decodes.len() == 0 {
            return Err(row.invalid("no such step"));
        }
        steps.push(StepSample {
            prefills,
            decodes,
            completing,
            mean_ns: row.duration(3, "mean")?,
            mad_ns: row.duration(4, "mad")?,
        });
        Ok(())
    })?;
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::SpeedPoint;
    use crate::profile::{ManyRows, sample_bundle, write_bundle};

    /// One with every file.
    fn bundle() -> Bundle {
        let mut bundle = sample_bundle();
        bundle.pauses = [4, 16].map(|idle_ms| PausePoint { idle_ms, mean_ns: 1000.0, mad_ns: 10.0 }).into();
        bundle.after_chunks = [(1, 1), (1, 2), (4, 1)]
            .map(|(batch_size, steps)| AfterChunkPoint { batch_size, steps, mean_ns: 1000.0, mad_ns: 10.0 })
            .into();
        bundle.beside_chunks = [(1, 16), (1, 64), (4, 16)]
            .map(|(batch_size, kv_decode)| BesideChunkPoint {
                batch_size,
                kv_decode,
                prefill_chunk: 60,
                mean_ns: 1000.0,
                mad_ns: 10.0,
            })
            .into();
        bundle.meta.speed = Some(SpeedPoint { at_ns: 0, step_ns: [7, 8, 9, 10, 11, 12] });
        bundle.meta.interference_percent = Some(1.5);
        bundle.meta.row_group = Some(4);
        bundle.meta.many_rows = Some(ManyRows { from: 32, group: 8 });
        bundle
    }

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
    fn an_older_bundle_forgets_its_other_reference_steps() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("bundle");
        write_bundle(&folder, &bundle()).unwrap();
        let path = folder.join("bundle.json");
        let mut json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        json["speed"]["step_ns"] = serde_json::json!([7, 8, 9, 10]);
        // Of this format it is a mistake.
        std::fs::write(&path, json.to_string()).unwrap();
        let error = read_bundle(&folder).unwrap_err().to_string();
        assert!(error.contains("an array of length 6"), "{error}");
        json["format"] = 2.into();
        std::fs::write(&path, json.to_string()).unwrap();
        let read = read_bundle(&folder).unwrap();
        assert_eq!((read.meta.speed, read.after_chunks), (None, bundle().after_chunks));
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
            ("pauses.csv", "0.001000", "inf"),
            ("pauses.csv", "\n16,", "\n4,"),
            ("pauses.csv", "\n4,", "\n0,"),
            ("pauses.csv", "idle_ms", "idle_s"),
            ("after_chunks.csv", "0.001000", "-1"),
            ("after_chunks.csv", "\n1,2,", "\n1,3,"),
            ("after_chunks.csv", "\n1,1,", "\n0,1,"),
            ("after_chunks.csv", "\n4,1,", "\n4,2,"),
            ("after_chunks.csv", "\n4,1,", "\n4,,"),
            ("beside_chunks.csv", "0.001000", "-1"),
            ("beside_chunks.csv", "\n1,64,", "\n1,16,"),
            ("beside_chunks.csv", "\n4,16,", "\n0,16,"),
            ("beside_chunks.csv", "\n4,16,60,", "\n4,16,0,"),
            ("steps.csv", "8:0", "8"),
            ("steps.csv", ",1,", ",7,"),
        ] {
            write_bundle(&folder, &bundle()).unwrap();
            let mut meta = read_bundle(&folder).unwrap().meta;
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

    #[test]
    fn what_no_engine_is_like_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("bundle");
        write_bundle(&folder, &bundle()).unwrap();
        let good = read_bundle(&folder).unwrap().meta;
        let (mut grouped, mut many, mut disturbed) = (good.clone(), good.clone(), good);
        grouped.row_group = Some(0);
        many.many_rows = Some(ManyRows { from: 1, group: 0 });
        disturbed.interference_percent = Some(-1.0);
        for (meta, what) in
            [(grouped, "row_group"), (many, "many_rows.group"), (disturbed, "interference_percent")]
        {
            std::fs::write(folder.join("bundle.json"), serde_json::to_string(&meta).unwrap()).unwrap();
            let error = read_bundle(&folder).unwrap_err();
            assert!(format!("{error:?}").contains(what), "{error:?}");
        }
    }
}
