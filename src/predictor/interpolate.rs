use std::collections::BTreeMap;

use super::curve::Curve;
use super::grid::Grid;
use super::{Predictor, PredictorError};
use crate::profile::{AttentionPoint, Bundle, Feature};
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
        let growth = later.iter().flat_map(|point| {
            let (chunk, kv) = (point.prefill_chunk, point.kv_prefill);
            [(chunk, 0, 0.0), (chunk, kv, (point.mean_ns - prefill.at(chunk)).max(0.0))]
        });
        let prefill_growth = Grid::new(growth).ok_or_else(|| none("attn_prefill"))?;
        let decode = Grid::new(whole_rows(decodes.map(|p| (p.n_decode, p.kv_decode, p.mean_ns)).collect()))
            .ok_or_else(|| none("attn_decode"))?;
        Ok(Self {
            num_layers,
            by_tokens: sum(Feature::Tokens)?,
            by_sequences: sum(Feature::Sequences)?,
            by_batch_size: sum(Feature::BatchSize)?,
            attention_fixed_ns: prefill.at(1),
            prefill,
            prefill_growth,
            decode,
        })
    }

    /// Attention of one layer, ns.
    fn attention_ns(&self, batch: &Batch) -> f64 {
        let (decodes, kv) = (batch.decodes.len() as u64, batch.decodes.context_sum());
        let mut work = 0.0;
        for chunk in &batch.chunks {
            let growth = self.prefill_growth.at(f64::from(chunk.tokens), f64::from(chunk.context));
            let ns = self.prefill.at(chunk.tokens) + growth;
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

impl Predictor for Interpolate {
    fn step_ns(&self, batch: &Batch) -> u64 {
        let tokens = batch.num_tokens();
        let sequences = batch.num_emitting();
        let ns = self.by_tokens.at(tokens)
            + self.by_sequences.at(sequences)
            + self.by_batch_size.at(batch.len() as u32)
            + self.num_layers * self.attention_ns(batch);
        // Rounded by addition: a conversion to an integer truncates, on every machine alike.
        (ns.max(0.0) + 0.5) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::sample_bundle;
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
    fn a_bundle_without_an_operator_is_refused() {
        let mut bundle = sample_bundle();
        bundle.attention.retain(|point| point.n_decode == 0);
        assert_eq!(Interpolate::new(&bundle), Err(PredictorError::NoOp { op: "attn_decode".to_owned() }));
        let mut bundle = sample_bundle();
        bundle.curves[0].points.clear();
        assert!(Interpolate::new(&bundle).is_err());
    }
}
