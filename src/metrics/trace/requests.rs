//! A span a request, from its arrival to its last token.

use std::io;

use super::events::{Arg, Events, Field, Track};
use crate::metrics::history::RequestHistory;
use crate::metrics::{RequestRecord, RequestStatus, RunRecord};

/// Writes the spans as events of `process`.
pub(super) fn write(
    events: &mut Events<'_>,
    process: u64,
    record: &RunRecord,
    histories: &[RequestHistory],
) -> io::Result<()> {
    let track = Track { process, thread: 0 };
    events.name("process_name", track, "requests")?;
    for (request, history) in record.requests.iter().zip(histories) {
        let history = Some(history).filter(|history| history.steps > 0);
        write_request(events, track, request, history)?;
    }
    Ok(())
}

/// The parts of a request's time: what each is called, and its end. Each begins where the one before ends.
fn parts(request: &RequestRecord, history: Option<&RequestHistory>) -> Vec<(&'static str, u64)> {
    let first_token = request.first_token_time_ns;
    let end = request.completion_time_ns.or(history.map(|history| history.last_end_ns));
    let mut parts = match history {
        Some(history) => {
            let prefill = first_token.or(end).map(|end| ("prefill", end));
            [Some(("queued", history.first_start_ns)), prefill].into_iter().flatten().collect()
        }
        None => first_token.map(|time| ("first token", time)).into_iter().collect::<Vec<_>>(),
    };
    parts.extend(first_token.and(end).map(|end| ("decode", end)));
    parts
}

fn write_request(
    events: &mut Events<'_>,
    track: Track,
    request: &RequestRecord,
    history: Option<&RequestHistory>,
) -> io::Result<()> {
    let fields = [Field::Category("request"), Field::Id(request.request_id.into())];
    let mut args = vec![
        ("request", Arg::from(request.request_id)),
        ("prefill_tokens", request.num_prefill_tokens.into()),
        ("output_tokens", request.num_decode_tokens_actual.into()),
    ];
    if let Some(history) = history {
        args.extend([("steps", history.steps.into()), ("restarts", history.restarts.into())]);
    }
    if request.status == RequestStatus::Error {
        args.push(("error", Arg::Text(&request.error_type)));
    }
    let mut time_ns = request.arrival_time_ns;
    events.event('b', "request", track, time_ns, &fields, &args)?;
    for (name, end_ns) in parts(request, history) {
        let end_ns = end_ns.max(time_ns);
        events.event('b', name, track, time_ns, &fields, &[])?;
        events.event('e', name, track, end_ns, &fields, &[])?;
        time_ns = end_ns;
    }
    events.event('e', "request", track, time_ns, &fields, &[])
}
