//! `moe.csv`: a block of experts on one rank over (tokens, experts that any of them went to).

use std::collections::BTreeMap;

use super::KernelProfileError;
use super::curves::KernelCurve;
use super::table::Table;

/// Largest count of tokens or experts that is believed.
const MAX_STEP: u32 = 1 << 20;

/// The experts' block of one layer, ns, without tensor parallelism: for each count of tokens, ascending, a
/// curve over the number of distinct experts. Every token went to as many experts as the model sends it to.
pub type ExpertTable = Vec<(u32, KernelCurve)>;

/// Reads the table.
pub(super) fn read(table: &Table) -> Result<ExpertTable, KernelProfileError> {
    let mut rows: BTreeMap<u32, BTreeMap<u32, (f64, u64)>> = BTreeMap::new();
    table.rows(&["tokens", "activated_experts", "time_us"], |row| {
        let (tokens, experts) = (row.count(0, 1, MAX_STEP)?, row.count(1, 1, MAX_STEP)?);
        let duration = row.duration_ns(2)?;
        match rows.entry(tokens).or_default().insert(experts, (duration, row.line)) {
            None => Ok(()),
            Some((_, line)) => Err(row.misplaced(
                "the point is given twice",
                format!("each point once; the first is on line {line}"),
            )),
        }
    })?;
    if rows.len() < 2 {
        return Err(table.invalid(
            (1, 1),
            "there is one count of tokens",
            "two or more, for what lies between them",
        ));
    }
    let curve = |points: BTreeMap<u32, (f64, u64)>| {
        points.into_iter().map(|(experts, (duration, _))| (experts, duration)).collect()
    };
    Ok(rows.into_iter().map(|(tokens, points)| (tokens, curve(points))).collect())
}
