//! A run as a timeline for Perfetto (<https://ui.perfetto.dev>) and
//! `chrome://tracing`: the JSON object of the "Trace Event Format"
//! (catapult project, Google).

mod events;
mod requests;
mod steps;

use std::io::{self, Write};
use std::path::Path;

use self::events::Events;
use super::history::{StepOrder, request_histories};
use super::{ContractError, RunKind, RunMeta, RunRecord};
use crate::store;

/// Writes a run's trace to `path`, replacing a file that is there once the new one is whole.
///
/// A process is a replica. Its threads hold the steps as complete events (`X`), side by side where they
/// overlap, with what was in them as arguments; its counters (`C`) are requests that run and wait and
/// KV blocks in use. A request that is computed again is joined to the step that it was last in by a flow
/// (`s`, `f`). One more process has an asynchronous span (`b`, `e`) a request, with spans inside
/// it: `queued`, `prefill`, `decode`; where no steps are known `first token`, `decode`. Times are µs with
/// three decimals, which are the record's ns.
///
/// Events are written as they are made; the memory taken is some 50 bytes a request and 8 a step.
///
/// # Errors
/// The system refuses the file.
pub fn write(path: &Path, record: &RunRecord, meta: &RunMeta) -> Result<(), ContractError> {
    store::write_with(path, |file| write_events(file, record, meta))
        .map_err(|source| ContractError::Write { path: path.to_owned(), source })
}

fn write_events(file: &mut dyn Write, record: &RunRecord, meta: &RunMeta) -> io::Result<()> {
    let order = StepOrder::of(&record.steps);
    let histories = request_histories(record.requests.len(), &order);
    let replicas = order.replicas();
    let kind = match meta.kind {
        RunKind::Measured => "measured",
        RunKind::Simulated => "simulated",
        RunKind::Recorded => "recorded",
    };
    let about = [
        ("kind", kind),
        ("backend", meta.backend.as_str()),
        ("model", meta.model.as_str()),
        ("xp_version", meta.xp_version.as_str()),
    ];
    let mut events = Events::begin(file, &about)?;
    steps::write(&mut events, record, &order)?;
    steps::write_counters(&mut events, record, &order)?;
    let process = replicas.last().map_or(1, |replica| steps::process_of(*replica) + 1);
    requests::write(&mut events, process, record, &histories)?;
    events.finish()
}

#[cfg(test)]
mod tests;
