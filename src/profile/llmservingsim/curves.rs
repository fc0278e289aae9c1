//! `dense.csv` and `per_sequence.csv`: kernels whose time depends on one count.

use std::collections::BTreeMap;

use super::KernelProfileError;
use super::table::Table;

/// Largest count of tokens or sequences of a step that is believed.
const MAX_STEP: u32 = 1 << 20;

/// A kernel over one count: counts ascending, durations in ns.
pub type KernelCurve = Vec<(u32, f64)>;

/// A layer that runs once for all tokens of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenseLayer {
    Embedding,
    /// The mean of the two norms of a block.
    LayerNorm,
    QkvProj,
    /// The mean of the norms of queries and keys.
    QkNorm,
    RotaryEmb,
    OProj,
    GateUpProj,
    ActFn,
    DownProj,
    FinalLayerNorm,
}

impl DenseLayer {
    /// All, in the order of a step.
    pub const ALL: [Self; 10] = [
        Self::Embedding,
        Self::LayerNorm,
        Self::QkvProj,
        Self::QkNorm,
        Self::RotaryEmb,
        Self::OProj,
        Self::GateUpProj,
        Self::ActFn,
        Self::DownProj,
        Self::FinalLayerNorm,
    ];

    /// Its name in `dense.csv`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::LayerNorm => "layernorm",
            Self::QkvProj => "qkv_proj",
            Self::QkNorm => "qk_norm",
            Self::RotaryEmb => "rotary_emb",
            Self::OProj => "o_proj",
            Self::GateUpProj => "gate_up_proj",
            Self::ActFn => "act_fn",
            Self::DownProj => "down_proj",
            Self::FinalLayerNorm => "final_layernorm",
        }
    }

    /// Whether a profile may be without it: dense models have the three of the MLP, some models norm their
    /// queries and keys.
    fn optional(self) -> bool {
        matches!(self, Self::QkNorm | Self::GateUpProj | Self::ActFn | Self::DownProj)
    }
}

/// Reads `dense.csv`. With `experts`, the MLP is another file's.
pub(super) fn dense(
    table: &Table,
    experts: bool,
) -> Result<BTreeMap<DenseLayer, KernelCurve>, KernelProfileError> {
    let names: Vec<&str> = DenseLayer::ALL.iter().map(|layer| layer.name()).collect();
    let mut found = curves(table, "tokens", &names)?;
    let mut curves = BTreeMap::new();
    for layer in DenseLayer::ALL {
        let mlp = matches!(layer, DenseLayer::GateUpProj | DenseLayer::ActFn | DenseLayer::DownProj);
        match found.remove(layer.name()) {
            Some(curve) => {
                curves.insert(layer, curve);
            }
            None if layer.optional() && (experts || !mlp) => {}
            None => return Err(missing(table, layer.name())),
        }
    }
    Ok(curves)
}

/// Reads `per_sequence.csv`: `lm_head`, `sampler`.
pub(super) fn per_sequence(table: &Table) -> Result<[KernelCurve; 2], KernelProfileError> {
    let names = ["lm_head", "sampler"];
    let mut found = curves(table, "sequences", &names)?;
    let mut take = |name: &str| found.remove(name).ok_or_else(|| missing(table, name));
    Ok([take(names[0])?, take(names[1])?])
}

fn missing(table: &Table, layer: &str) -> KernelProfileError {
    let right = format!("rows of `{layer}`: without them every step would be too short");
    table.invalid((1, 1), format!("there is no `{layer}`"), right)
}

fn curves(
    table: &Table,
    count: &str,
    names: &[&'static str],
) -> Result<BTreeMap<&'static str, KernelCurve>, KernelProfileError> {
    let mut found: BTreeMap<&'static str, BTreeMap<u32, (f64, u64)>> = BTreeMap::new();
    table.rows(&["layer", count, "time_us"], |row| {
        let Some(name) = names.iter().copied().find(|name| *name == row.cell(0)) else {
            return Err(row.invalid(0, format!("one of {}", names.join(", "))));
        };
        let at = row.count(1, 1, MAX_STEP)?;
        let duration = row.duration_ns(2)?;
        match found.entry(name).or_default().insert(at, (duration, row.line)) {
            None => Ok(()),
            Some((_, line)) => Err(row.misplaced(
                format!("{name} at {at} {count} is given twice"),
                format!("each point once; the first is on line {line}"),
            )),
        }
    })?;
    let mut out = BTreeMap::new();
    for (name, points) in found {
        if points.len() < 2 {
            let line = points.values().next().map_or(1, |(_, line)| *line);
            let right = format!("two or more {count}, for what lies between them");
            return Err(table.invalid((line, 1), format!("{name} has one point"), right));
        }
        out.insert(name, points.into_iter().map(|(at, (duration, _))| (at, duration)).collect());
    }
    Ok(out)
}
