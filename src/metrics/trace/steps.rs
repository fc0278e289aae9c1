//! Replicas with their steps, counters, and flows of preemptions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;

use super::events::{Arg, Events, Field, Track};
use crate::metrics::history::{RequestHistory, State, StepOrder, walk_states};
use crate::metrics::{RunRecord, StepView};

/// The process of a replica. Some viewers take process 0 for the idle task of a kernel.
pub(super) fn process_of(replica: u32) -> u64 {
    u64::from(replica) + 1
}

/// Threads of a replica: a step takes the first that is free, so that no two on a thread overlap.
#[derive(Debug, Default)]
struct Threads {
    free: BinaryHeap<Reverse<u64>>,
    /// End of the step on each thread that is taken.
    taken: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Threads {
    /// The thread of a step, and whether it is a new one. Steps come in the order in which they start.
    fn take(&mut self, start_ns: u64, end_ns: u64) -> (u64, bool) {
        while let Some(Reverse((_, thread))) =
            self.taken.peek().filter(|taken| taken.0.0 <= start_ns).copied()
        {
            self.taken.pop();
            self.free.push(Reverse(thread));
        }
        let free = self.free.pop();
        let thread = free.map_or(self.taken.len() as u64, |Reverse(thread)| thread);
        self.taken.push(Reverse((end_ns, thread)));
        (thread, free.is_none())
    }
}

/// Where a request was last computed.
#[derive(Debug, Clone, Copy)]
struct Last {
    track: Track,
    /// A moment in the step, as late as can be.
    inside_ns: u64,
}

/// Writes every step, and a flow to each that computes again what had been computed of a request.
pub(super) fn write(events: &mut Events<'_>, record: &RunRecord, order: &StepOrder<'_>) -> io::Result<()> {
    let mut replicas: BTreeMap<u32, Threads> = BTreeMap::new();
    let mut histories = vec![RequestHistory::default(); record.requests.len()];
    let mut lasts: Vec<Option<Last>> = vec![None; record.requests.len()];
    let mut flows = 0;
    for (index, step) in order.iter() {
        let replica = step.replica;
        let process = process_of(replica);
        if !replicas.contains_key(&replica) {
            events.name("process_name", Track { process, thread: 0 }, &format!("replica {replica}"))?;
        }
        let end_ns = step.end_ns.max(step.start_ns);
        let (thread, is_new) = replicas.entry(replica).or_default().take(step.start_ns, end_ns);
        let track = Track { process, thread };
        if is_new {
            let name =
                if thread == 0 { "steps".to_owned() } else { format!("steps, {} at once", thread + 1) };
            events.name("thread_name", track, &name)?;
        }
        write_step(events, track, index, &step)?;
        for share in step.members {
            let id = share.request as usize;
            let (Some(history), Some(last)) = (histories.get_mut(id), lasts.get_mut(id)) else { continue };
            let restarts = history.add(step.start_ns, end_ns, share);
            let inside_ns = end_ns.saturating_sub(1).max(step.start_ns);
            let before = last.replace(Last { track, inside_ns });
            if let (true, Some(before)) = (restarts, before) {
                let fields = [Field::Category("preemption"), Field::Id(flows), Field::BindsToEnclosing];
                let args = [("request", Arg::from(share.request))];
                events.event('s', "preemption", before.track, before.inside_ns, &fields[..2], &args)?;
                events.event('f', "preemption", track, step.start_ns, &fields, &args)?;
                flows += 1;
            }
        }
    }
    Ok(())
}

fn write_step(events: &mut Events<'_>, track: Track, index: usize, step: &StepView<'_>) -> io::Result<()> {
    let tokens = |is_prefill: bool| -> u64 {
        let shares = step.members.iter().filter(|share| share.is_prefill == is_prefill);
        shares.map(|share| u64::from(share.tokens)).sum()
    };
    let (prefill, decode) = (tokens(true), tokens(false));
    let name = match (prefill, decode) {
        (0, 0) => "empty",
        (_, 0) => "prefill",
        (0, _) => "decode",
        _ => "mixed",
    };
    let duration = step.end_ns.saturating_sub(step.start_ns);
    events.event(
        'X',
        name,
        track,
        step.start_ns,
        &[Field::Category("step"), Field::Duration(duration)],
        &[
            ("step", (index as u64).into()),
            ("requests", (step.members.len() as u64).into()),
            ("tokens", (prefill + decode).into()),
            ("prefill_tokens", prefill.into()),
            ("decode_tokens", decode.into()),
            ("output_tokens", (step.members.iter().filter(|share| share.emits).count() as u64).into()),
            ("running", step.running.into()),
            ("waiting", step.waiting.into()),
            ("kv_blocks", step.kv_blocks.into()),
        ],
    )
}

/// Writes what each replica's scheduler counted, where it changes.
pub(super) fn write_counters(
    events: &mut Events<'_>,
    record: &RunRecord,
    order: &StepOrder<'_>,
) -> io::Result<()> {
    let mut lasts: BTreeMap<u32, State> = BTreeMap::new();
    walk_states(record, order, |time_ns, replica, state| {
        let last = lasts.insert(replica, state);
        let track = Track { process: process_of(replica), thread: 0 };
        for (name, of) in [
            ("running", (|state| state.running) as fn(State) -> u32),
            ("waiting", |state| state.waiting),
            ("KV blocks", |state| state.kv_blocks),
        ] {
            if last.is_none_or(|last| of(last) != of(state)) {
                let unit = if name == "KV blocks" { "blocks" } else { "requests" };
                events.event('C', name, track, time_ns, &[], &[(unit, of(state).into())])?;
            }
        }
        Ok(())
    })
}
