//! The files of a run's derived metrics.

use std::path::Path;

use super::catalogue::{Derived, Entry, Of, Unit, value_column};
use super::distribution::{Distribution, PERCENTILES, push_weight};
use super::lanes::{Lane, Lanes, MAX_ROWS};
use super::value::{Value, push_real};
use super::{Context, Source};
use crate::metrics::row_writer::{RowWriter, Target};
use crate::metrics::{ContractError, RunMeta, RunRecord};

const SUMMARY: [&str; 13] =
    ["metric", "of", "unit", "replica", "count", "mean", "std", "min", "p50", "p90", "p95", "p99", "max"];

/// Writes every [`Derived`] metric of a run into `folder`, which exists, is empty, and is the caller's
/// alone until all is there (a staged folder): `summary.csv`, and of each metric that has values
/// `NAME_series.csv`, `NAME_cdf.csv` and `NAME_hist.csv`; `docs/metrics.md` describes them. The same record
/// gives the same bytes. One metric's values are in memory at a time, some 50 bytes each; no file has
/// more than 10,000 rows, or four a replica.
///
/// # Errors
/// The system refuses a file.
pub fn write(
    folder: &Path,
    record: &RunRecord,
    meta: &RunMeta,
    context: &Context,
) -> Result<(), ContractError> {
    let source = Source::of(record, meta, context);
    let mut summary = RowWriter::create(Target::Folder(folder), "summary.csv", &SUMMARY)?;
    for derived in Derived::ALL {
        match source.lanes_of(*derived) {
            Lanes::Whole(lanes) => write_metric(folder, *derived, lanes, source.end_ns, &mut summary)?,
            Lanes::Real(lanes) => write_metric(folder, *derived, lanes, source.end_ns, &mut summary)?,
        }
    }
    summary.finish().map(drop)
}

fn write_metric<T: Value>(
    folder: &Path,
    derived: Derived,
    lanes: Vec<Lane<T>>,
    end_ns: u64,
    summary: &mut RowWriter,
) -> Result<(), ContractError> {
    let Entry { name, of, .. } = derived.entry();
    let points: usize = lanes.iter().map(|lane| lane.points.len()).sum();
    if points > 0 {
        write_series(folder, derived, &lanes)?;
    }
    let all = distribution(of, &lanes, end_ns);
    write_summary(summary, derived, None, &lanes, &all)?;
    if of.has_replicas() && lanes.len() > 1 {
        for lane in &lanes {
            let lane = std::slice::from_ref(lane);
            write_summary(summary, derived, Some(lane[0].replica), lane, &distribution(of, lane, end_ns))?;
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let value = value_column(derived);
    let mut rows = RowWriter::create(Target::Folder(folder), &format!("{name}_cdf.csv"), &["share", &value])?;
    for (share, value) in all.cdf() {
        rows.plain(|cell| push_real(cell, share));
        rows.plain(|cell| value.push(cell));
        rows.end_row()?;
    }
    rows.finish()?;
    let weight = if of == Of::Replica { "held_ns" } else { "count" };
    let mut rows =
        RowWriter::create(Target::Folder(folder), &format!("{name}_hist.csv"), &["from", "to", weight])?;
    for (from, to, weight) in all.histogram() {
        rows.plain(|cell| from.push(cell));
        rows.plain(|cell| to.push(cell));
        rows.plain(|cell| push_weight(cell, weight));
        rows.end_row()?;
    }
    rows.finish().map(drop)
}

fn distribution<T: Value>(of: Of, lanes: &[Lane<T>], end_ns: u64) -> Distribution<T> {
    if !of.has_distribution() {
        return Distribution::of(Vec::new());
    }
    if of == Of::Replica {
        return Distribution::of_held(lanes.iter().flat_map(|lane| lane.held_for(end_ns)).collect());
    }
    Distribution::of(lanes.iter().flat_map(|lane| lane.points.iter().map(|point| point.value)).collect())
}

fn write_series<T: Value>(folder: &Path, derived: Derived, lanes: &[Lane<T>]) -> Result<(), ContractError> {
    let Entry { name, of, .. } = derived.entry();
    let value = value_column(derived);
    let columns: Vec<&str> = of.keys().iter().copied().chain([value.as_str()]).collect();
    let mut rows = RowWriter::create(Target::Folder(folder), &format!("{name}_series.csv"), &columns)?;
    for lane in lanes {
        for point in lane.thinned(MAX_ROWS / lanes.len().max(1)) {
            if of.has_replicas() {
                rows.number(lane.replica);
            }
            rows.number(point.at);
            rows.plain(|cell| point.value.push(cell));
            rows.end_row()?;
        }
    }
    rows.finish().map(drop)
}

/// One row. Without a distribution there is the last value alone, as the largest.
fn write_summary<T: Value>(
    rows: &mut RowWriter,
    derived: Derived,
    replica: Option<u32>,
    lanes: &[Lane<T>],
    distribution: &Distribution<T>,
) -> Result<(), ContractError> {
    let Entry { name, of, unit, .. } = derived.entry();
    let real = |rows: &mut RowWriter, value: f64| {
        rows.plain(|cell| match unit {
            // Whole ns: a float of that size turns into the nearest, and saturates.
            Unit::Ns => (value.round() as u64).push(cell),
            _ => push_real(cell, value),
        });
    };
    rows.text(name);
    rows.text(of.name());
    rows.text(unit.name());
    rows.optional(replica.map(u64::from));
    rows.number(lanes.iter().map(|lane| lane.points.len() as u64).sum::<u64>());
    match distribution.summary() {
        Some(summary) => {
            real(rows, summary.mean);
            real(rows, summary.std);
            rows.plain(|cell| summary.min.push(cell));
            for value in summary.percentiles {
                real(rows, value);
            }
            rows.plain(|cell| summary.max.push(cell));
        }
        None => {
            for _ in 0..PERCENTILES.len() + 3 {
                rows.plain(|_| ());
            }
            let last = lanes.iter().filter(|_| of == Of::Run).find_map(|lane| lane.points.last());
            rows.plain(|cell| {
                if let Some(last) = last {
                    last.value.push(cell);
                }
            });
        }
    }
    rows.end_row()
}
