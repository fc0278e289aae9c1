//! What a policy does with a few requests, as text.

use std::collections::VecDeque;
use std::fmt::Write;

use super::{Arrival, Batch, Policy, Scheduler, SchedulerConfig, build, build_counted};

/// Chunks of 8 tokens, batches of 4, 16 blocks of 4 tokens, no watermark.
pub fn config() -> SchedulerConfig {
    SchedulerConfig::new(Policy::Sarathi, (8, 4), (4, 16, 0), 1000)
}

/// Steps until nothing runs, one a line: the batch, blocks in use, who finished. Requests are
/// (step before which they arrive, prompt, output) in order of arrival.
pub fn trace(config: &SchedulerConfig, requests: &[(u32, u32, u32)]) -> String {
    let requests: Vec<_> = requests.iter().map(|&(step, p, d)| (step, p, d, &[][..])).collect();
    trace_with(config, &requests)
}

/// The same for requests with block ids of their prompts. Over counted blocks and over
/// blocks with names the same happens. With a depth of two, a line is what is formed when the
/// batch of the line before starts, and who finished is who did before it was formed.
pub fn trace_with(config: &SchedulerConfig, requests: &[(u32, u32, u32, &[u64])]) -> String {
    let depth = config.depth() as usize;
    let text = trace_of(&mut *build(config), depth, requests);
    assert_eq!(text, trace_of(&mut *build_counted(config), depth, requests), "counted blocks");
    text
}

fn trace_of(scheduler: &mut dyn Scheduler, depth: usize, requests: &[(u32, u32, u32, &[u64])]) -> String {
    let (mut under_way, mut finished, mut text) = (VecDeque::new(), Vec::new(), String::new());
    let mut arrivals = (0..).zip(requests).peekable();
    for step in 0..100 {
        while let Some((request, &(_, prefill_tokens, decode_tokens, prefix))) =
            arrivals.next_if(|(_, request)| request.0 <= step)
        {
            let rank = request.into();
            scheduler.add(&Arrival { request, prefill_tokens, decode_tokens, rank, prefix }).expect("fits");
        }
        let mut batch = Batch::default();
        scheduler.schedule(&mut batch);
        if batch.is_empty() && under_way.is_empty() && arrivals.peek().is_none() {
            break;
        }
        write!(text, "step {step}: {batch} | {} blocks", scheduler.blocks_used()).expect("a string");
        under_way.push_back(batch);
        finished.clear();
        if under_way.len() >= depth
            && let Some(mut batch) = under_way.pop_front()
            && !batch.is_empty()
        {
            scheduler.complete(&mut batch, &mut finished);
        }
        let done: Vec<String> = finished.iter().map(|id| format!(" {id}")).collect();
        let done = if done.is_empty() { String::new() } else { format!(" | done{}", done.concat()) };
        writeln!(text, "{done}").expect("a string");
    }
    assert_eq!((scheduler.num_running(), scheduler.num_waiting(), scheduler.blocks_used()), (0, 0, 0));
    text
}
