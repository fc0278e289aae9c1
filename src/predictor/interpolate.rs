use std::collections::BTreeMap;

use super::after_chunk::AfterChunk;
use super::beside_chunk::BesideChunk;
use super::curve::Curve;
use super::grid::Grid;
use super::pause::Pause;
use super::{Place, Predictor, PredictorError};
use crate::profile::{AttentionPoint, BesideChunkPoint, Bundle, Feature, ManyRows};
use crate::scheduler::Batch;

/// Sums interpolated operator durations:
///
/// ```text
/// step = layers × (Σ token operators(tokens) + attention(batch))
///      + embedding(tokens) + Σ sequence operators(rows of logits) + Σ overheads(batch size)
/// ```
///
/// Attention is measured for one prefill chunk, and for decodes of equal KV length. A batch runs all of
/// them in one parallel loop, so their work adds up while the loop's fixed cost is paid once; the
/// work of decodes is linear in their KV length, so only its mean matters.
///
/// All of it is stretched by the share of time that others on the machine take, and a step that follows a pause takes
/// what the pause costs besides.
#[derive(Debug, Clone, PartialEq)]
pub struct Interpolate {
    num_layers: f64,
    by_tokens: Curve,
    by_sequences: Curve,
    by_batch_size: Curve,
    /// Over chunk tokens, without KV tokens before.
    prefill: Curve,
    /// What is added by KV tokens before, over (chunk tokens, KV tokens before).
    prefill_growth: Grid,
    /// Over (decodes, mean KV tokens).
    decode: Grid,
    /// What attention costs before it does any work, ns.
    attention_fixed_ns: f64,
    pause: Pause,
    after_chunk: AfterChunk,
    beside_chunk: BesideChunk,
    /// Rows that matrix products take together.
    row_group: u32,
    many_rows: Option<ManyRows>,
    /// Time that passes for each second of undisturbed work, s.
    stretch: f64,
}

impl Interpolate {
    /// Prepares the tables of a bundle.
    pub fn new(bundle: &Bundle) -> Result<Self, PredictorError> {
        let num_layers = f64::from(bundle.meta.num_layers);
        let sum = |feature: Feature| -> Result<Curve, PredictorError> {
            let mut sum = Curve::zero();
            for curve in bundle.curves.iter().filter(|curve| curve.feature == feature) {
                let points: Vec<(u32, f64)> =
                    curve.points.iter().map(|point| (point.x, point.mean_ns)).collect();
                let curve_of_op =
                    Curve::new(&points).ok_or_else(|| PredictorError::NoOp { op: curve.op.clone() })?;
                sum.add(&curve_of_op, if curve.per_layer { num_layers } else { 1.0 });
            }
            Ok(sum)
        };
        let none = |op: &str| PredictorError::NoOp { op: op.to_owned() };
        let prefills = bundle.attention.iter().filter(|point| point.n_decode == 0);
        let decodes = bundle.attention.iter().filter(|point| point.n_decode > 0);
        // Chunks without KV are measured at more sizes than chunks after KV: the first carry the square of
        // the chunk, the growth over them is bilinear and needs few points.
        let (first, later): (Vec<&AttentionPoint>, Vec<&AttentionPoint>) =
            prefills.partition(|point| point.kv_prefill == 0);
        let mut points: Vec<(u32, f64)> =
            first.iter().map(|point| (point.prefill_chunk, point.mean_ns)).collect();
        points.sort_by_key(|(chunk, _)| *chunk);
        let prefill = Curve::new(&points).ok_or_else(|| none("attn_prefill"))?;
        let attention_fixed_ns = prefill.at(1);
        let growth = later.iter().flat_map(|point| {
            let (chunk, kv) = (point.prefill_chunk, point.kv_prefill);
            [(chunk, 0, 0.0), (chunk, kv, (point.mean_ns - prefill.at(chunk)).max(0.0))]
        });
        let prefill_growth = Grid::new(growth).ok_or_else(|| none("attn_prefill"))?;
        let decode = Grid::new(whole_rows(decodes.map(|p| (p.n_decode, p.kv_decode, p.mean_ns)).collect()))
            .ok_or_else(|| none("attn_decode"))?;
        let mut predictor = Self {
            num_layers,
            by_tokens: sum(Feature::Tokens)?,
            by_sequences: sum(Feature::Sequences)?,
            by_batch_size: sum(Feature::BatchSize)?,
            attention_fixed_ns,
            prefill,
            prefill_growth,
            decode,
            pause: Pause::new(&bundle.pauses),
            after_chunk: AfterChunk::new(&bundle.after_chunks),
            beside_chunk: BesideChunk::default(),
            row_group: bundle.meta.row_group.unwrap_or(1),
            many_rows: bundle.meta.many_rows,
            stretch: 1.0 + bundle.meta.interference_percent.unwrap_or(0.0) / 100.0,
        };
        let beside = bundle.beside_chunks.iter();
        let beside =
            beside.map(|point| (point.batch_size, point.kv_decode, predictor.not_told_by_others(point)));
        predictor.beside_chunk = BesideChunk::new(beside);
        Ok(predictor)
    }

    /// Attention of one layer, ns.
    fn attention_ns(&self, batch: &Batch) -> f64 {
        let decodes = (batch.decodes.len() as u64, batch.decodes.context_sum());
        self.attention_of(decodes, batch.chunks.iter().map(|chunk| (chunk.tokens, chunk.context)))
    }

    /// Attention of so many decodes with so many KV tokens together, and of chunks with their tokens and those before, ns.
    fn attention_of(&self, (decodes, kv): (u64, u64), chunks: impl Iterator<Item = (u32, u32)>) -> f64 {
        let mut work = 0.0;
        for (tokens, context) in chunks {
            let growth = self.prefill_growth.at(f64::from(tokens), f64::from(context));
            let ns = self.prefill.at(tokens) + growth;
            work += (ns - self.attention_fixed_ns).max(0.0);
        }
        match decodes {
            0 => self.attention_fixed_ns + work,
            _ => self.decode.at(decodes as f64, kv as f64 / decodes as f64) + work,
        }
    }
}

/// Points of the rows with the most columns: some numbers of decodes are measured over one KV length
/// only, which tells nothing of how their attention grows.
fn whole_rows(points: Vec<(u32, u32, f64)>) -> Vec<(u32, u32, f64)> {
    let mut columns: BTreeMap<u32, u32> = BTreeMap::new();
    for (batch, ..) in &points {
        *columns.entry(*batch).or_default() += 1;
    }
    let most = columns.values().max().copied().unwrap_or_default();
    points.into_iter().filter(|(batch, ..)| columns[batch] == most).collect()
}

impl Interpolate {
    /// As many rows as take the time that `rows` do.
    fn rounded(&self, rows: u32) -> u32 {
        match rows > self.row_group {
            true => rows.checked_next_multiple_of(self.row_group).unwrap_or(rows),
            false => rows,
        }
    }

    /// As many tokens of a step as take the time that `tokens` do.
    fn rounded_tokens(&self, tokens: u32) -> u32 {
        match self.many_rows {
            Some(many) if tokens >= many.from => {
                tokens.checked_next_multiple_of(many.group).unwrap_or(tokens)
            }
            _ => self.rounded(tokens),
        }
    }

    /// What decodes beside a chunk took that other tables do not tell, ns.
    fn not_told_by_others(&self, point: &BesideChunkPoint) -> f64 {
        let told = |decodes: u32, chunk: u32| {
            let kv = u64::from(decodes) * u64::from(point.kv_decode);
            let sequences = decodes.saturating_add(1);
            self.num_layers * self.attention_of((u64::from(decodes), kv), [(chunk, 0)].into_iter())
                + self.by_sequences.at(self.rounded(sequences))
        };
        let tokens = point.prefill_chunk.saturating_add(point.batch_size);
        point.mean_ns - (told(point.batch_size, point.prefill_chunk) - told(0, tokens))
    }

    /// What the decodes of a step with chunks take longer than by themselves, ns; nothing in one of so few tokens that it
    /// is computed as decodes are.
    fn beside_chunk_ns(&self, batch: &Batch) -> f64 {
        let decodes = batch.decodes.len() as u64;
        if decodes == 0 || self.many_rows.is_some_and(|many| batch.num_tokens() < many.from) {
            return 0.0;
        }
        self.beside_chunk.at(decodes, batch.decodes.context_sum() as f64 / decodes as f64)
    }

    /// A step after a pause and some steps after a chunk, ns.
    fn after_ns(&self, batch: &Batch, idle_ns: u64, steps_since_chunk: u32) -> u64 {
        let tokens = batch.num_tokens();
        let sequences = batch.num_emitting();
        let ns = self.by_tokens.at(self.rounded_tokens(tokens))
            + self.by_sequences.at(self.rounded(sequences))
            + self.by_batch_size.at(batch.len() as u32)
            + self.num_layers * self.attention_ns(batch)
            + self.pause.at(idle_ns)
            + match batch.chunks.is_empty() {
                true => self.after_chunk.at(batch.decodes.len() as u32, steps_since_chunk),
                false => self.beside_chunk_ns(batch),
            };
        // Rounded by addition: a conversion to an integer truncates, on every machine alike.
        (ns.max(0.0) * self.stretch + 0.5) as u64
    }
}

impl Predictor for Interpolate {
    fn step_ns(&self, batch: &Batch) -> u64 {
        self.after_ns(batch, 0, 0)
    }

    fn stage_ns(&self, batch: &Batch, place: &Place) -> u64 {
        self.after_ns(batch, place.idle_ns, place.steps_since_chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictor::SinceChunk;
    use crate::profile::{AfterChunkPoint, PausePoint, sample_bundle};
    use crate::scheduler::BatchEntry;

    fn prefill(tokens: u32, context: u32) -> BatchEntry {
        BatchEntry { request: 0, tokens, context, is_prefill: true, emits: false }
    }

    fn decode(context: u32) -> BatchEntry {
        BatchEntry { request: 1, tokens: 1, context, is_prefill: false, emits: true }
    }

    /// Attention of one layer in the sample bundle, ns: 100 + c·k + c²/2, decodes 100 + Σ(10 + k).
    fn wanted(entries: &[BatchEntry]) -> f64 {
        let work = |entry: &BatchEntry| {
            let (tokens, context) = (f64::from(entry.tokens), f64::from(entry.context));
            if entry.is_prefill { tokens * context + tokens * tokens / 2.0 } else { 10.0 + context }
        };
        100.0 + entries.iter().map(work).sum::<f64>()
    }

    #[test]
    fn attention_adds_up_over_chunks_after_kv_and_uneven_decodes() {
        let predictor = Interpolate::new(&sample_bundle()).unwrap();
        for entries in [
            vec![prefill(64, 0)],
            vec![prefill(64, 200)],
            // Between grid rows, where chunks were measured without KV only.
            vec![prefill(48, 128)],
            vec![prefill(48, 0), prefill(16, 100)],
            vec![decode(10), decode(90), decode(200)],
            vec![decode(10), decode(90), prefill(62, 30)],
        ] {
            let batch = Batch::of(entries.iter().copied());
            let (found, wanted) = (predictor.attention_ns(&batch), wanted(&entries));
            assert!((found / wanted - 1.0).abs() < 0.01, "{batch}: {found}, not {wanted}");
        }
    }

    #[test]
    fn the_order_of_points_does_not_matter() {
        let mut bundle = sample_bundle();
        bundle.attention.reverse();
        assert_eq!(Interpolate::new(&bundle), Interpolate::new(&sample_bundle()));
    }

    #[test]
    fn a_step_is_the_sum_of_its_operators() {
        let bundle = sample_bundle();
        let predictor = Interpolate::new(&bundle).unwrap();
        let entries = [decode(16), decode(16), prefill(2, 0)];
        let batch = Batch::of(entries);
        let mut sum = f64::from(bundle.meta.num_layers) * wanted(&entries);
        for curve in &bundle.curves {
            let x = match curve.feature {
                Feature::Tokens => 4.0,
                Feature::Sequences => 2.0,
                Feature::BatchSize => 3.0,
            };
            let layers = if curve.per_layer { f64::from(bundle.meta.num_layers) } else { 1.0 };
            sum += layers * 1000.0 * x;
        }
        assert!((predictor.step_ns(&batch) as f64 / sum - 1.0).abs() < 0.01);
    }

    #[test]
    fn rows_that_are_computed_together_take_the_same_time() {
        let mut bundle = sample_bundle();
        bundle.meta.row_group = Some(4);
        let grouped = Interpolate::new(&bundle).unwrap();
        let plain = Interpolate::new(&sample_bundle()).unwrap();
        let ns = |predictor: &Interpolate, rows: u32| {
            predictor.by_tokens.at(predictor.rounded(rows))
                + predictor.by_sequences.at(predictor.rounded(rows))
        };
        for (rows, as_many) in [(1, 1), (3, 3), (4, 4), (5, 8), (8, 8), (61, 64), (u32::MAX, u32::MAX)] {
            assert_eq!(ns(&grouped, rows), ns(&plain, as_many), "{rows}");
        }
    }

    #[test]
    fn many_tokens_are_rounded_up_to_what_all_threads_take() {
        let mut bundle = sample_bundle();
        bundle.meta.row_group = Some(4);
        bundle.meta.many_rows = Some(ManyRows { from: 32, group: 8 });
        let predictor = Interpolate::new(&bundle).unwrap();
        let found = [3, 13, 31, 32, 33, 61, u32::MAX].map(|tokens| predictor.rounded_tokens(tokens));
        assert_eq!(found, [3, 16, 32, 32, 40, 64, u32::MAX]);
        let batch = |tokens| predictor.step_ns(&Batch::of([prefill(tokens, 0)]));
        assert!(batch(33) < batch(41));
    }

    #[test]
    fn pauses_and_interference_take_their_time() {
        let bundle = sample_bundle();
        let mut disturbed = bundle.clone();
        disturbed.meta.interference_percent = Some(50.0);
        disturbed.pauses = vec![PausePoint { idle_ms: 4, mean_ns: 8000.0, mad_ns: 1.0 }];
        let batch = Batch::of([decode(16), prefill(2, 0)]);
        let plain = Interpolate::new(&bundle).unwrap().stage_ns(&batch, &Place::whole(&batch, 4_000_000, 0));
        let disturbed = Interpolate::new(&disturbed).unwrap();
        let found = |idle_ns| disturbed.stage_ns(&batch, &Place::whole(&batch, idle_ns, 0));
        assert!(disturbed.step_ns(&batch).abs_diff(plain + plain / 2) <= 1);
        assert_eq!(
            [found(0), found(2_000_000) - found(0), found(u64::MAX) - found(0)],
            [disturbed.step_ns(&batch), 6000, 12_000]
        );
    }

    #[test]
    fn decodes_soon_after_a_chunk_take_longer() {
        let mut bundle = sample_bundle();
        bundle.after_chunks = vec![AfterChunkPoint { batch_size: 1, steps: 1, mean_ns: 7000.0, mad_ns: 1.0 }];
        let predictor = Interpolate::new(&bundle).unwrap();
        let (decodes, mixed) = (Batch::of([decode(16)]), Batch::of([decode(16), prefill(2, 0)]));
        let mut since = SinceChunk::default();
        let mut extra = |batch: &Batch| {
            let place = Place { steps_since_chunk: since.next(), ..Place::whole(batch, 0, 0) };
            since.add(batch);
            predictor.stage_ns(batch, &place) - predictor.step_ns(batch)
        };
        assert_eq!([&decodes, &mixed, &mixed, &decodes, &decodes].map(&mut extra), [0, 0, 0, 7000, 0]);
    }

    #[test]
    fn decodes_beside_a_chunk_add_what_was_measured() {
        let mut bundle = sample_bundle();
        let plain = Interpolate::new(&bundle).unwrap();
        let mixed = Batch::of([decode(16), decode(16), prefill(30, 0)]);
        let ns = |decodes: u32, mean_ns| BesideChunkPoint {
            batch_size: decodes,
            kv_decode: 16,
            prefill_chunk: 32 - decodes,
            mean_ns,
            mad_ns: 1.0,
        };
        // Decodes as they are by themselves, less a chunk's attention, and their rows of logits.
        let layers = f64::from(bundle.meta.num_layers);
        let apart = layers * (52.0 - (512.0 - 450.0)) + plain.by_sequences.at(3) - plain.by_sequences.at(1);
        bundle.beside_chunks = vec![ns(2, apart + 9000.0)];
        let beside = Interpolate::new(&bundle).unwrap();
        let extra = |batch: &Batch| beside.step_ns(batch) as f64 - plain.step_ns(batch) as f64;
        assert!((extra(&mixed) - 9000.0).abs() < 100.0, "{}", extra(&mixed));
        let alone = [Batch::of([decode(16), decode(16)]), Batch::of([prefill(32, 0)])];
        assert_eq!(alone.each_ref().map(extra), [0.0, 0.0]);
        // Few rows are computed as decodes are.
        bundle.meta.many_rows = Some(ManyRows { from: 40, group: 8 });
        let few = Interpolate::new(&bundle).unwrap();
        let rounded = Interpolate::new(&Bundle { beside_chunks: Vec::new(), ..bundle }).unwrap();
        assert_eq!(few.step_ns(&mixed), rounded.step_ns(&mixed));
    }

    #[test]
    fn a_bundle_without_an_operator_is_refused() {
        let mut bundle = sample_bundle();
        bundle.attention.retain(|point| point.n_decode == 0);
        assert_eq!(Interpolate::new(&bundle), Err(PredictorError::NoOp { op: "attn_decode".to_owned() }));
        let mut bundle = sample_bundle();
        bundle.curves[0].points.clear();
        assert!(Interpolate::new(&bundle).is_err());
    }
}
