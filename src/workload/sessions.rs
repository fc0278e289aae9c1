//! Conversations of several turns: each prompt is all that was said before, and something new.

use super::arrivals::{sum, times};
use super::lengths::MAX_TOKENS;
use super::prefixes::mix;
use super::stream::Stream;
use super::{Prefixes, WorkloadError};
use crate::spec::Sessions;

/// Most ids of blocks that are held, over all prompts.
const MAX_IDS: u64 = 1 << 27;

/// The requests of all sessions, in the order of their arrivals.
#[derive(Debug)]
pub(super) struct Turns {
    /// Tokens of each prompt and output.
    pub lengths: Vec<(u32, u32)>,
    /// Arrivals, ns.
    pub arrivals: Vec<u64>,
    pub prefixes: Prefixes,
}

/// One turn of a session.
struct Turn {
    arrival_ns: u64,
    session: u64,
    prefill: u32,
    decode: u32,
}

/// Puts requests together into sessions: `said` are the tokens that each turn adds to what was said before and those of
/// its reply, the turns of a session one after the other; `gaps` pass before the sessions begin, ns.
///
/// A turn arrives an exponential time after the one before did, whose mean is the think time: the load is open, so
/// that the workload does not depend on who serves it. The system prompt begins every prompt of every session.
pub(super) fn turns(
    spec: &Sessions,
    said: &[(u32, u32)],
    gaps: &[u64],
    stream: &mut Stream,
) -> Result<Turns, WorkloadError> {
    let think_ns = spec.think_time.0 as f64;
    let mut turns: Vec<Turn> = Vec::with_capacity(said.len());
    let starts = times(gaps)?;
    for ((session, said), start) in (0..).zip(said.chunks(spec.turns.max(1) as usize)).zip(starts) {
        let mut arrival_ns = start;
        let mut context = u64::from(spec.system_prompt);
        for (turn, (new, decode)) in said.iter().enumerate() {
            if turn > 0 {
                let gap = (stream.exponential() * think_ns).round();
                let late = WorkloadError::Late { request: turns.len() as u64 };
                arrival_ns = sum(arrival_ns, gap as u64).ok_or(late)?;
            }
            context += u64::from(*new);
            let prefill = u32::try_from(context).ok().filter(|tokens| *tokens <= MAX_TOKENS);
            let prefill = prefill.ok_or_else(|| {
                let why = "a session's prompts grow beyond 1048576 tokens";
                WorkloadError::parameter("turns", spec.turns, why)
            })?;
            turns.push(Turn { arrival_ns, session, prefill, decode: *decode });
            context += u64::from(*decode);
        }
    }
    // The turns of a session stay in order: their arrivals do not decrease, and the sort is stable.
    turns.sort_by_key(|turn| turn.arrival_ns);
    let block = spec.block;
    let ids: u64 = turns.iter().map(|turn| u64::from(turn.prefill / block)).sum();
    if ids > MAX_IDS {
        let why = format!("the prompts have {ids} blocks in all, more than {MAX_IDS}");
        return Err(WorkloadError::parameter("block", block, &why));
    }
    let mut prefixes = Prefixes::new(block);
    for turn in &turns {
        let common = u64::from(spec.system_prompt / block);
        let id = |at: u64| mix(if at < common { 0 } else { turn.session + 1 }, at);
        prefixes.push((0..u64::from(turn.prefill / block)).map(id));
    }
    Ok(Turns {
        lengths: turns.iter().map(|turn| (turn.prefill, turn.decode)).collect(),
        arrivals: turns.iter().map(|turn| turn.arrival_ns).collect(),
        prefixes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(turns: u32, think_time: &str) -> Sessions {
        Sessions { turns, think_time: think_time.parse().unwrap(), system_prompt: 40, block: 16 }
    }

    #[test]
    fn a_turn_has_all_that_was_said_before() {
        let said = [(10, 4), (20, 5), (30, 6), (7, 1), (8, 2)];
        let made = turns(&spec(3, "0s"), &said, &[5, 1_000], &mut Stream::new(1, 1)).unwrap();
        assert_eq!(made.arrivals, [5, 5, 5, 1_005, 1_005]);
        // 40 + 10; + 4 + 20; + 5 + 30; of the second session 40 + 7; + 1 + 8.
        assert_eq!(made.lengths, [(50, 4), (74, 5), (109, 6), (47, 1), (56, 2)]);
        let ids = |request| made.prefixes.of(request);
        assert_eq!((ids(0).len(), ids(1).len(), ids(2).len()), (3, 4, 6));
        assert_eq!((&ids(2)[..4], &ids(1)[..3]), (ids(1), ids(0)));
        // Two blocks of the system prompt are everybody's.
        assert_eq!(ids(3)[..2], ids(0)[..2]);
        assert_ne!(ids(4)[2], ids(0)[2]);
    }

    #[test]
    fn turns_of_sessions_interleave_in_order_of_arrival() {
        let said = vec![(10, 4); 40];
        let made = turns(&spec(8, "1s"), &said, &[0; 5], &mut Stream::new(1, 1)).unwrap();
        assert!(made.arrivals.is_sorted());
        assert_eq!(made.arrivals.iter().filter(|arrival| **arrival == 0).count(), 5);
        let mean = made.arrivals.iter().max().unwrap() / 8;
        assert!((200_000_000..5_000_000_000).contains(&mean), "{mean}");
        // Longer prompts of a session come later.
        assert_eq!(made.lengths.iter().filter(|(prefill, _)| *prefill == 50).count(), 5);
        assert_eq!(made.lengths.last().unwrap().0, 50 + 7 * 14);
    }

    #[test]
    fn prompts_that_grow_without_end_are_refused() {
        let said = vec![(1_000_000, 1_000); 2];
        let refused = turns(&spec(2, "1s"), &said, &[0], &mut Stream::new(1, 1));
        assert!(matches!(refused, Err(WorkloadError::Parameter { name: "turns", .. })), "{refused:?}");
        let many = vec![(500_000, 1_000); 300];
        let spec = Sessions { block: 1, ..spec(1, "1s") };
        let refused = turns(&spec, &many, &[0; 300], &mut Stream::new(1, 1));
        assert!(matches!(refused, Err(WorkloadError::Parameter { name: "block", .. })), "{refused:?}");
    }
}
