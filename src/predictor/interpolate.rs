use super::curve::Curve;
use super::grid::Grid;
use super::{Predictor, PredictorError};
use crate::profile::{Bundle, Feature};
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
    /// Over (chunk tokens, KV tokens before).
    prefill: Grid,
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
        let prefill = Grid::new(prefills.map(|p| (p.prefill_chunk, p.kv_prefill, p.mean_ns)))
            .ok_or_else(|| none("attn_prefill"))?;
        let decode = Grid::new(decodes.map(|p| (p.n_decode, p.kv_decode, p.mean_ns)))
            .ok_or_else(|| none("attn_decode"))?;
        Ok(Self {
            num_layers,
            by_tokens: sum(Feature::Tokens)?,
            by_sequences: sum(Feature::Sequences)?,
            by_batch_size: sum(Feature::BatchSize)?,
            attention_fixed_ns: prefill.at(1.0, 0.0),
            prefill,
            decode,
        })
    }

    /// Attention of one layer, ns.
    fn attention_ns(&self, batch: &Batch) -> f64 {
        let (mut decodes, mut kv) = (0_u64, 0_u64);
        let mut work = 0.0;
        for entry in &batch.entries {
            if entry.is_prefill {
                let ns = self.prefill.at(f64::from(entry.tokens), f64::from(entry.context));
                work += (ns - self.attention_fixed_ns).max(0.0);
            } else {
                decodes += 1;
                kv += u64::from(entry.context);
            }
        }
        match decodes {
            0 => self.attention_fixed_ns + work,
            _ => self.decode.at(decodes as f64, kv as f64 / decodes as f64) + work,
        }
    }
}

impl Predictor for Interpolate {
    fn step_ns(&self, batch: &Batch) -> u64 {
        let tokens = batch.num_tokens();
        let sequences = batch.entries.iter().filter(|entry| entry.emits).count() as u32;
        let ns = self.by_tokens.at(tokens)
            + self.by_sequences.at(sequences)
            + self.by_batch_size.at(batch.entries.len() as u32)
            + self.num_layers * self.attention_ns(batch);
        // Rounded by addition: a conversion to an integer truncates, on every machine alike.
        (ns.max(0.0) + 0.5) as u64
    }
}
