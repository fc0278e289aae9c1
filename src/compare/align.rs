//! Which requests and tokens are compared: requests served in every run, and
//! of each as many output tokens as the shortest run of it has. A measured
//! request may stop early, and the simulated series is cut to its length.

use super::error::CompareError;
use crate::metrics::{Metric, RequestRecord, RequestStatus, RunRecord, TokenSpan};

/// Requests of all runs side by side: row k of each span vector is request `ids[k]`.
pub(super) struct Aligned {
    pub ids: Vec<u32>,
    /// Requests left out because they failed in a run.
    pub excluded: u32,
    pub real: Vec<RunSpans>,
    pub sim: RunSpans,
}

/// What one run says of the aligned requests.
pub(super) struct RunSpans {
    pub spans: Vec<TokenSpan>,
    /// All gaps between output tokens, ns, ascending; none of a recording, which has no tokens.
    pub gaps: Vec<f64>,
}

impl RunSpans {
    /// The metric's values over the aligned requests, in their order; ITL's are sorted.
    pub(super) fn values(&self, metric: Metric) -> Vec<f64> {
        match metric {
            Metric::Itl => self.gaps.clone(),
            _ => self.spans.iter().filter_map(|span| metric.of_span(span)).collect(),
        }
    }
}

/// Aligns runs of the same requests.
pub(super) fn align(real: &[&RunRecord], sim: &RunRecord) -> Result<Aligned, CompareError> {
    let count = sim.requests.len();
    let mut tokens = vec![u32::MAX; count];
    for run in real.iter().chain([&sim]) {
        for (tokens, yielded) in tokens.iter_mut().zip(yielded(run)) {
            *tokens = yielded.min(*tokens);
        }
    }
    // Where steps are not known, tokens have no times of their own: a request is compared whole, or not at all.
    for run in real.iter().chain([&sim]).filter(|run| !run.has_steps()) {
        for (tokens, request) in tokens.iter_mut().zip(&run.requests) {
            if *tokens < request.num_decode_tokens_actual {
                *tokens = 0;
            }
        }
    }
    let ids: Vec<u32> = (0u32..).zip(&tokens).filter(|(_, tokens)| **tokens > 0).map(|(id, _)| id).collect();
    if ids.is_empty() {
        return Err(CompareError::Nothing { requests: count });
    }
    Ok(Aligned {
        excluded: (count - ids.len()) as u32,
        real: real.iter().map(|run| spans(run, &ids, &tokens)).collect(),
        sim: spans(sim, &ids, &tokens),
        ids,
    })
}

/// What a replay says of the aligned requests; None if it did not serve just the tokens that are compared.
pub(super) fn replayed_spans(replay: &RunRecord, aligned: &Aligned) -> Option<RunSpans> {
    let span = |(id, wanted): (&u32, &TokenSpan)| {
        let request = replay.requests.get(*id as usize)?;
        request.span().filter(|span| request.status == RequestStatus::Ok && span.tokens == wanted.tokens)
    };
    let spans = aligned.ids.iter().zip(&aligned.sim.spans).map(span).collect::<Option<_>>()?;
    Some(RunSpans { spans, gaps: Vec::new() })
}

/// Output tokens of each request that was served; 0 of one that was not.
fn yielded(run: &RunRecord) -> Vec<u32> {
    if !run.has_steps() {
        let served = |request: &RequestRecord| match request.status {
            RequestStatus::Ok => request.num_decode_tokens_actual,
            RequestStatus::Error => 0,
        };
        return run.requests.iter().map(served).collect();
    }
    let mut tokens = vec![0; run.requests.len()];
    for member in run.steps.iter().flat_map(|step| step.members).filter(|member| member.emits) {
        if let Some(tokens) = tokens.get_mut(member.request as usize) {
            *tokens += 1;
        }
    }
    for (tokens, request) in tokens.iter_mut().zip(&run.requests) {
        *tokens = match request.status {
            RequestStatus::Ok => request.num_decode_tokens_actual.min(*tokens),
            RequestStatus::Error => 0,
        };
    }
    tokens
}

fn spans(run: &RunRecord, ids: &[u32], tokens: &[u32]) -> RunSpans {
    if !run.has_steps() {
        let span = |id: &u32| run.requests.get(*id as usize).and_then(RequestRecord::span);
        let none = TokenSpan { arrival_ns: 0, first_ns: 0, last_ns: 0, tokens: 0 };
        // Every aligned request has tokens.
        return RunSpans { spans: ids.iter().map(|id| span(id).unwrap_or(none)).collect(), gaps: Vec::new() };
    }
    let times = run.steps.token_times(run.requests.len());
    let mut gaps: Vec<u64> = Vec::new();
    let spans = ids
        .iter()
        .map(|id| {
            let id = *id as usize;
            // `tokens` counts no more than each run has.
            let times = &times[id][..tokens[id] as usize];
            gaps.extend(times.windows(2).map(|pair| pair[1] - pair[0]));
            TokenSpan {
                arrival_ns: run.requests[id].arrival_time_ns,
                first_ns: times[0],
                last_ns: times[times.len() - 1],
                tokens: tokens[id],
            }
        })
        .collect();
    gaps.sort_unstable();
    RunSpans { spans, gaps: gaps.into_iter().map(|gap| gap as f64).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sample_runs::serve;

    #[test]
    fn a_simulated_series_is_cut_to_what_was_measured() {
        let mut real = serve(&[(0, 4, 3), (0, 4, 5)], 64, 8, |_, _| 100);
        real.requests[1].num_decode_tokens_actual = 2;
        let sim = serve(&[(0, 4, 3), (0, 4, 5)], 64, 8, |_, _| 150);
        let aligned = align(&[&real], &sim).unwrap();
        let span = |last_ns, tokens| TokenSpan { arrival_ns: 0, first_ns: 150, last_ns, tokens };
        assert_eq!(aligned.sim.spans, [span(450, 3), span(300, 2)]);
        assert_eq!(aligned.sim.gaps, [150.0; 3]);
        assert_eq!(aligned.real[0].values(Metric::E2e), [300.0, 200.0]);
    }

    #[test]
    fn a_recording_has_spans_and_no_gaps() {
        let run = || serve(&[(0, 4, 3), (0, 4, 5)], 64, 8, |_, _| 100);
        let mut recorded = RunRecord { steps: Default::default(), ..run() };
        recorded.requests[1].num_decode_tokens_actual = 4;
        let sim = run();
        let aligned = align(&[&recorded], &sim).unwrap();
        assert_eq!(aligned.ids, [0, 1]);
        assert_eq!((aligned.sim.spans[1].tokens, aligned.real[0].spans[1].tokens), (4, 4));
        assert_eq!(aligned.real[0].spans[0], aligned.sim.spans[0]);
        assert_eq!((aligned.real[0].gaps.len(), aligned.sim.gaps.len()), (0, 5));
        // A simulation that kept its requests alone cannot be cut, either.
        let alone = RunRecord { steps: Default::default(), ..run() };
        let mut stopped = run();
        stopped.requests[1].num_decode_tokens_actual = 2;
        let aligned = align(&[&stopped], &alone).unwrap();
        assert_eq!((aligned.ids.as_slice(), aligned.excluded), (&[0][..], 1));
        // What cannot be cut to a shorter run is left out.
        let mut short = run();
        short.requests[0].num_decode_tokens_actual = 2;
        let aligned = align(&[&recorded], &short).unwrap();
        assert_eq!((aligned.ids.as_slice(), aligned.excluded), (&[1][..], 1));
    }

    #[test]
    fn a_request_that_failed_anywhere_is_left_out_and_counted() {
        let run = || serve(&[(0, 4, 3), (0, 4, 1), (5, 4, 2)], 64, 8, |_, _| 100);
        let (mut first, mut second, sim) = (run(), run(), run());
        first.requests[0].status = RequestStatus::Error;
        second.requests[2].status = RequestStatus::Error;
        let aligned = align(&[&first, &second], &sim).unwrap();
        assert_eq!((aligned.ids.as_slice(), aligned.excluded), (&[1][..], 2));
        assert_eq!(aligned.sim.values(Metric::Tpot), [0.0; 0]);
        first.requests[1].status = RequestStatus::Error;
        assert!(matches!(align(&[&first, &second], &sim), Err(CompareError::Nothing { requests: 3 })));
    }
}
