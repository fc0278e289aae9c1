//! `capacity.json` on disk.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::assemble::{cost_of, fidelity_of, standings_of};
use super::canonical::is_canonical;
use super::cost::Price;
use super::document::{CAPACITY_FORMAT, Capacity, Cell, MAX_CELLS};
use super::error::CapacityError;
use super::load::{Load, Percentiles};
use super::search::{Answer, Found, disorder, fits, is_search};
use crate::metrics::METRICS_VERSION;
use crate::store;

/// Ten thousand cells of some twenty probes fit.
const MAX_BYTES: u64 = 256 << 20;

/// The bytes of `capacity.json`.
pub fn capacity_json(capacity: &Capacity) -> serde_json::Result<Vec<u8>> {
    let mut json = serde_json::to_vec(capacity)?;
    json.push(b'\n');
    Ok(json)
}

/// Writes `capacity.json` into `folder`, which exists and has none.
pub fn write_capacity(folder: &Path, capacity: &Capacity) -> Result<(), CapacityError> {
    let path = folder.join("capacity.json");
    let written =
        capacity_json(capacity).map_err(Into::into).and_then(|json| store::write_part(&path, &json));
    written.map_err(|source| CapacityError::Write { path, source })
}

/// The versions alone: read first, because a newer format may have other fields.
#[derive(Deserialize)]
struct Versions {
    format: u64,
    metrics_version: u64,
}

/// Reads and checks a `capacity.json`: its form, its ranges, and that searches, costs, front and fidelity follow
/// from its probes.
///
/// # Errors
/// The file is missing, larger than 256 MiB, newer than this xp, no result of a search, or holds what none can.
pub fn read_capacity(path: &Path) -> Result<Capacity, CapacityError> {
    parse_capacity(&path.display().to_string(), &store::read_bounded(path, MAX_BYTES)?)
}

/// Checks the bytes of a `capacity.json`; `file` is for messages.
///
/// # Errors
/// Those of [`read_capacity`], but for the file's.
pub fn parse_capacity(file: &str, bytes: &[u8]) -> Result<Capacity, CapacityError> {
    let file = file.to_owned();
    let json = |error: serde_json::Error| {
        let text = error.to_string();
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
        CapacityError::Json { file: file.clone(), line: error.line(), column: error.column(), message }
    };
    let versions: Versions = serde_json::from_slice(bytes).map_err(json)?;
    for (what, found, known) in [
        ("format", versions.format, CAPACITY_FORMAT),
        ("metrics_version", versions.metrics_version, METRICS_VERSION),
    ] {
        if found > u64::from(known) {
            return Err(CapacityError::Version { file, what, found, known });
        }
    }
    let capacity: Capacity = serde_json::from_slice(bytes).map_err(json)?;
    match impossible(&capacity) {
        Some(what) => Err(CapacityError::Content { file, what }),
        None => Ok(capacity),
    }
}

/// What no result of a search can hold, in words.
fn impossible(c: &Capacity) -> Option<String> {
    let checks = [
        (c.format > 0 && c.metrics_version > 0, "format and metrics_version count from 1"),
        (c.requests > 0, "a probe has no requests"),
        (!c.objectives.is_empty(), "no objective has a limit"),
        (c.latency == c.objectives.primary(), "latency is not the first objective"),
        (c.range.problem().is_none(), "range is none"),
        ((1..=MAX_CELLS).contains(&c.cells.len()), "there are no cells, or too many"),
    ];
    if let Some((_, what)) = checks.into_iter().find(|(holds, _)| !holds) {
        return Some(what.to_owned());
    }
    for (number, cell) in (1..).zip(&c.cells) {
        if let Some(what) = impossible_cell(c, cell) {
            return Some(format!("cell {number}: {what}"));
        }
    }
    if standings_of(&c.cells, c.latency).iter().ne(c.cells.iter().map(|cell| &cell.standing)) {
        return Some("the standings do not follow from costs and latencies".to_owned());
    }
    (fidelity_of(&c.cells, &c.objectives) != c.fidelity)
        .then(|| "fidelity does not follow from what was measured".to_owned())
}

fn impossible_cell(c: &Capacity, cell: &Cell) -> Option<&'static str> {
    let scalar = |value: &Value| !matches!(value, Value::Array(_) | Value::Object(_) | Value::Null);
    let settings = cell.settings.iter();
    let price = Price { per_device_hour: cell.price_per_device_hour.unwrap_or(0.0), devices: cell.devices };
    let found = Found { outcome: cell.outcome, probes: cell.probes.clone() };
    let answers = cell.probes.iter().map(|probe| match &probe.answer {
        Answer::Served(load) => load.requests == c.requests && sound(load),
        Answer::Stopped(overload) => fits(overload, c.requests),
    });
    let measured = cell.measured.iter();
    let checks = [
        (settings.clone().map(|setting| &setting.path).eq(&c.axes), "the settings are not those of the axes"),
        (
            settings.clone().all(|setting| scalar(&setting.value)),
            "a setting is no text, number or truth value",
        ),
        (
            price.is_sound() && is_canonical(price.per_device_hour),
            "there are no devices, or the price is none",
        ),
        (answers.into_iter().all(|sound| sound), "a probe is no run of the document's requests"),
        (is_search(&c.range, &c.objectives, &found), "the probes are not those of a search of the range"),
        (disorder(&cell.probes) == cell.disorder, "disorder does not follow from the probes"),
        (cost_of(cell) == cell.cost_per_million, "the cost does not follow from price and probes"),
        (
            measured.clone().all(|at| {
                at.qps > 0.0 && is_canonical(at.qps) && sound(&at.measured) && sound(&at.simulated)
            }),
            "a measured rate is none",
        ),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
}

/// Whether a run can have these numbers.
fn sound(load: &Load) -> bool {
    let ordered = |p: &Percentiles| {
        // A percentile without a value is beyond every other.
        let known = [p.p50_ns, p.p90_ns, p.p99_ns].map(|value| value.map_or(u128::MAX, u128::from));
        p.n <= load.requests && known.is_sorted()
    };
    let rates = [load.output_tokens_per_s, load.goodput_per_s];
    load.served <= load.requests
        && load.drain_ns <= load.duration_ns
        && rates.iter().all(|rate| *rate >= 0.0 && is_canonical(*rate))
        && load.output_tokens_per_s == super::load::per_second(load.output_tokens, load.duration_ns)
        && [&load.ttft, &load.tpot, &load.e2e, &load.delay].into_iter().all(ordered)
}

#[cfg(test)]
mod tests {
    use super::super::sample_queue::document;
    use super::*;

    fn said(bytes: &[u8]) -> String {
        parse_capacity("capacity.json", bytes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_back_to_the_byte() {
        let folder = tempfile::tempdir().unwrap();
        let written = document(5, true);
        assert!(written.fidelity.is_some());
        write_capacity(folder.path(), &written).unwrap();
        let read = read_capacity(&folder.path().join("capacity.json")).unwrap();
        assert_eq!(read, written);
        assert_eq!(
            capacity_json(&read).unwrap(),
            std::fs::read(folder.path().join("capacity.json")).unwrap()
        );
        assert!(matches!(write_capacity(folder.path(), &written), Err(CapacityError::Write { .. })));
        assert!(matches!(read_capacity(&folder.path().join("none")), Err(CapacityError::Read(_))));
    }

    #[test]
    fn a_file_that_does_not_follow_from_its_probes_is_refused() {
        let with = |edit: &dyn Fn(&mut Capacity)| {
            let mut edited = document(4, true);
            edit(&mut edited);
            said(&capacity_json(&edited).unwrap())
        };
        let said = [
            said(b"{}"),
            said(b"[1"),
            said(br#"{"format":9,"metrics_version":1}"#),
            with(&|c| c.requests = 0),
            with(&|c| c.objectives = Default::default()),
            with(&|c| c.latency = super::super::Objective::E2eP99),
            with(&|c| c.range.tolerance = 0.0),
            with(&|c| c.cells.clear()),
            with(&|c| c.axes.clear()),
            with(&|c| c.cells[1].settings[0].value = serde_json::json!([1])),
            with(&|c| c.cells[0].devices = 0),
            with(&|c| drop(c.cells[2].probes.pop())),
            with(&|c| c.cells[2].probes[0].qps = 7.0),
            with(&|c| c.cells[0].cost_per_million = None),
            with(&|c| c.cells.iter_mut().for_each(|cell| cell.standing = super::super::Standing::OnFront)),
            with(&|c| c.fidelity = None),
            with(&|c| c.cells[0].measured[0].qps = 0.1 + 0.2),
            with(&|c| {
                c.cells[0].probes.iter_mut().for_each(|probe| {
                    if let Answer::Served(load) = &mut probe.answer {
                        load.output_tokens += 1
                    }
                })
            }),
        ];
        insta::assert_snapshot!(said.join("\n"), @r"
        capacity.json, line 1, column 2: missing field `format`
        capacity.json, line 1, column 2: EOF while parsing a list
        capacity.json has format 9, this xp knows 1
        capacity.json: a probe has no requests
        capacity.json: no objective has a limit
        capacity.json: latency is not the first objective
        capacity.json: range is none
        capacity.json: there are no cells, or too many
        capacity.json: cell 1: the settings are not those of the axes
        capacity.json: cell 2: a setting is no text, number or truth value
        capacity.json: cell 1: there are no devices, or the price is none
        capacity.json: cell 3: the probes are not those of a search of the range
        capacity.json: cell 3: the probes are not those of a search of the range
        capacity.json: cell 1: the cost does not follow from price and probes
        capacity.json: the standings do not follow from costs and latencies
        capacity.json: fidelity does not follow from what was measured
        capacity.json: cell 1: a measured rate is none
        capacity.json: cell 1: a probe is no run of the document's requests
        ");
    }

    #[test]
    fn a_damaged_file_is_an_error_or_another_document_and_never_a_panic() {
        let bytes = capacity_json(&document(2, true)).unwrap();
        for length in (0..bytes.len()).step_by(97) {
            assert!(parse_capacity("capacity.json", &bytes[..length]).is_err(), "{length}");
        }
        for at in (0..bytes.len()).step_by(41) {
            let mut edited = bytes.clone();
            edited[at] = b'9';
            if let Ok(read) = parse_capacity("capacity.json", &edited) {
                let again = capacity_json(&read).unwrap();
                assert_eq!(parse_capacity("capacity.json", &again).unwrap(), read);
            }
        }
    }
}
