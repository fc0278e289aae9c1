use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::{STEPS_FORMAT, StepPoint, StepProfile};
use crate::machine::MachineFacts;
use crate::profile::measure::shuffle;
use crate::profile::plan::steps_to;
use crate::profile::samples::Durations;
use crate::progress::Progress;
use crate::scheduler::RequestId;
use crate::store::Digest;
use crate::worker::{Worker, WorkerError};

/// Time that the grid may take, and how often it is walked at least and at most.
const BUDGET: Duration = Duration::from_secs(30);
const ROUNDS: std::ops::RangeInclusive<u32> = 2..=10;
/// A reference step is repeated after this many points.
const REFERENCE_EVERY: usize = 12;
/// Shortest prompt, and shortest cache, that is measured by itself.
const SHORTEST: u32 = 8;
/// Most points along one side.
const MOST: usize = 10;
/// Decodes of a filled cache that are timed, one after another.
const DECODES: u32 = 3;

/// What is measured, and for what.
#[derive(Debug, Clone, Copy)]
pub struct StepSubject<'a> {
    /// Catalog name of the model.
    pub model: &'a str,
    /// Digest of its shape and number format.
    pub shape: Digest,
    pub engine: &'a str,
    /// What it is measured on.
    pub machine: &'a MachineFacts,
    /// Requests of the largest batch.
    pub max_batch_size: u32,
    /// Longest prompt plus output.
    pub max_context: u32,
}

/// A point of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    is_prefill: bool,
    requests: u32,
    tokens: u32,
}

/// Measures whole steps of a worker, as xp sees them: with what the pipe takes on both ways.
///
/// # Errors
/// The worker's.
pub fn measure_steps(
    worker: &mut Worker,
    subject: &StepSubject<'_>,
    progress: &dyn Progress,
) -> Result<StepProfile, WorkerError> {
    let grid = grid(subject);
    progress.start("steps, warming up", grid.len() as u64);
    let started = Instant::now();
    for step in &grid {
        time(worker, step)?;
        progress.advance(1);
    }
    progress.finish();
    let walk = started.elapsed().as_secs_f64().max(1e-6);
    let rounds = ((BUDGET.as_secs_f64() / walk) as u32).clamp(*ROUNDS.start(), *ROUNDS.end());
    let mut durations = vec![Durations::default(); grid.len()];
    let mut references = Durations::default();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut order: Vec<usize> = (0..grid.len()).collect();
    progress.start("steps", u64::from(rounds) * grid.len() as u64);
    for _ in 0..rounds {
        shuffle(&mut order, &mut rng);
        for (done, &index) in order.iter().enumerate() {
            if done % REFERENCE_EVERY == 0 {
                references.push(worker.reference_ns()? as f64);
            }
            durations[index].push(time(worker, &grid[index])?);
            progress.advance(1);
        }
    }
    progress.finish();
    worker.drop_batch()?;
    let points = |is_prefill: bool| -> Vec<StepPoint> {
        let of_kind = grid.iter().zip(&durations).filter(|(step, _)| step.is_prefill == is_prefill);
        of_kind
            .map(|(step, durations)| {
                let (mean, mad) = durations.mean_and_mad();
                let Step { requests, tokens, .. } = *step;
                StepPoint { requests, tokens, mean_ns: mean as u64, mad_ns: mad as u64 }
            })
            .collect()
    };
    let (reference_ns, spread_ns) = references.mean_and_mad();
    Ok(StepProfile {
        format: STEPS_FORMAT,
        fingerprint: subject.machine.fingerprint,
        hardware: subject.machine.hardware.clone(),
        model: subject.model.to_owned(),
        model_digest: subject.shape,
        engine: subject.engine.to_owned(),
        max_batch_size: subject.max_batch_size,
        max_context: subject.max_context,
        repetitions: rounds,
        reference_ns: reference_ns as u64,
        noise_percent: 100.0 * spread_ns / reference_ns.max(1.0),
        prefill: points(true),
        decode: points(false),
    })
}

/// Requests × tokens, in ascending order.
fn grid(subject: &StepSubject<'_>) -> Vec<Step> {
    // The last token of a request is never in the cache when a step begins, and a prompt leaves one to yield.
    let longest = subject.max_context.saturating_sub(1).max(1);
    let lengths = thinned(steps_to(longest).into_iter().filter(|x| *x >= SHORTEST.min(longest)).collect());
    let batches = thinned(steps_to(subject.max_batch_size));
    let of_kind = |is_prefill: bool| {
        let (batches, lengths) = (batches.clone(), lengths.clone());
        batches.into_iter().flat_map(move |requests| {
            lengths.clone().into_iter().map(move |tokens| Step { is_prefill, requests, tokens })
        })
    };
    of_kind(true).chain(of_kind(false)).collect()
}

/// At most [`MOST`] of ascending values, first and last among them.
fn thinned(values: Vec<u32>) -> Vec<u32> {
    let every = values.len().div_ceil(MOST).max(1);
    let last = values.len() - 1;
    // Counted from the last.
    values
        .into_iter()
        .enumerate()
        .filter(|(i, _)| *i == 0 || (last - i).is_multiple_of(every))
        .map(|(_, x)| x)
        .collect()
}

/// Runs one step right after another, and times it, ns.
///
/// All but the first request are shorter by a third, since a batch without padding is computed without a mask.
fn time(worker: &mut Worker, step: &Step) -> Result<f64, WorkerError> {
    let length = |request: RequestId| match request {
        0 => step.tokens,
        _ => (step.tokens - step.tokens / 3).max(1),
    };
    let requests: Vec<RequestId> = (0..step.requests).collect();
    if step.is_prefill {
        let prompts: Vec<Vec<u32>> =
            requests.iter().map(|&request| (0..length(request)).map(|i| i % 256).collect()).collect();
        let rows: Vec<(RequestId, &[u32])> =
            requests.iter().copied().zip(prompts.iter().map(Vec::as_slice)).collect();
        worker.fill(&[(0, SHORTEST)])?;
        worker.decode(&[0])?;
        let started = Instant::now();
        worker.prefill(&rows)?;
        return Ok(started.elapsed().as_nanos() as f64);
    }
    // The step before makes the cache as long as is wanted.
    let rows: Vec<(RequestId, u32)> =
        requests.iter().map(|&request| (request, length(request).saturating_sub(2).max(1))).collect();
    worker.fill(&rows)?;
    worker.decode(&requests)?;
    let started = Instant::now();
    for _ in 0..DECODES {
        worker.decode(&requests)?;
    }
    Ok(started.elapsed().as_nanos() as f64 / f64::from(DECODES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::machine;

    #[test]
    fn the_grid_covers_the_corners_and_stays_small() {
        let of = |max_batch_size, max_context| {
            let shape = Digest::of("shape");
            grid(&StepSubject {
                model: "m",
                shape,
                engine: "e",
                machine: &machine("cpu", 1),
                max_batch_size,
                max_context,
            })
        };
        let steps = of(8, 400);
        for is_prefill in [true, false] {
            for (requests, tokens) in [(1, 8), (1, 399), (8, 8), (8, 399)] {
                assert!(steps.contains(&Step { is_prefill, requests, tokens }), "{requests} {tokens}");
            }
        }
        assert!(steps.len() < 200, "{}", steps.len());
        assert!(of(4096, 1 << 20).len() <= 2 * MOST * MOST + 60);
        let smallest = of(1, 2);
        assert_eq!(smallest.len(), 2);
        assert!(steps.windows(2).all(|pair| {
            let key = |step: &Step| (!step.is_prefill, step.requests, step.tokens);
            key(&pair[0]) < key(&pair[1])
        }));
    }
}
