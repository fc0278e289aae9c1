//! Figures of a run as a whole. They count every request of the run, those
//! that failed too, and every token, as an operator would; measured is the mean
//! over the repeats.

use super::comparison::WholeRun;
use super::round::round;
use crate::metrics::{RequestStatus, RunRecord, SloLimits, goodput};

type Figure<'a> = (&'static str, Box<dyn Fn(&RunRecord) -> Option<f64> + 'a>);

/// One row a figure that every run has: a run that took no time has no rates.
pub(super) fn whole_run(real: &[&RunRecord], sim: &RunRecord, slo: &SloLimits) -> Vec<WholeRun> {
    let seconds = |run: &RunRecord| Some(run.duration_ns() as f64 / 1e9).filter(|seconds| *seconds > 0.0);
    let served =
        |run: &RunRecord| run.requests.iter().filter(|request| request.status == RequestStatus::Ok).count();
    let mut figures: Vec<Figure<'_>> = vec![
        ("Duration, s", Box::new(|run| Some(run.duration_ns() as f64 / 1e9))),
        ("Output, tokens/s", Box::new(move |run| Some(output_tokens(run) / seconds(run)?))),
        ("Requests/s", Box::new(move |run| Some(served(run) as f64 / seconds(run)?))),
        ("Mean batch size", Box::new(mean_batch_size)),
        ("Steps", Box::new(|run| run.has_steps().then_some(run.steps.len() as f64))),
    ];
    if !slo.is_empty() {
        figures.push(("Goodput, requests/s", Box::new(|run| goodput(run, slo))));
    }
    figures
        .into_iter()
        .filter_map(|(name, of)| {
            let repeats = real.iter().map(|run| of(run)).collect::<Option<Vec<f64>>>()?;
            Some(WholeRun {
                name: name.to_owned(),
                measured: round(repeats.iter().sum::<f64>() / repeats.len() as f64),
                simulated: round(of(sim)?),
            })
        })
        .collect()
}

fn output_tokens(run: &RunRecord) -> f64 {
    run.requests.iter().map(|request| f64::from(request.num_decode_tokens_actual)).sum()
}

/// Requests in a step, weighted by how long the step took; None when no step took time.
fn mean_batch_size(run: &RunRecord) -> Option<f64> {
    let (weighted, busy) = run.steps.iter().fold((0u128, 0u128), |(weighted, busy), step| {
        let time = u128::from(step.end_ns.saturating_sub(step.start_ns));
        (weighted + time * step.members.len() as u128, busy + time)
    });
    (busy > 0).then(|| weighted as f64 / busy as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sample_runs::serve;

    fn rows(real: &[&RunRecord], sim: &RunRecord, slo: SloLimits) -> Vec<(String, f64, f64)> {
        whole_run(real, sim, &slo).into_iter().map(|row| (row.name, row.measured, row.simulated)).collect()
    }

    #[test]
    fn figures_by_hand() {
        // Steps of 0.1 s: both, both, one.
        let run = |ms: u64| serve(&[(0, 4, 2), (0, 4, 3)], 64, 8, move |_, _| ms * 1_000_000);
        let (first, second, sim) = (run(90), run(110), run(200));
        let slo = SloLimits { e2e_ns: Some(300_000_000), ..SloLimits::default() };
        let found = rows(&[&first, &second], &sim, slo);
        let named = |name: &str| found.iter().find(|row| row.0 == name).map(|row| (row.1, row.2)).unwrap();
        assert_eq!(named("Duration, s"), (0.3, 0.6));
        assert_eq!(named("Output, tokens/s"), (round((5.0 / 0.27 + 5.0 / 0.33) / 2.0), 8.33333));
        assert_eq!(named("Mean batch size"), (1.66667, 1.66667));
        assert_eq!(named("Steps"), (3.0, 3.0));
        assert_eq!(named("Goodput, requests/s"), (round((2.0 / 0.27 + 1.0 / 0.33) / 2.0), 0.0));
    }

    #[test]
    fn a_run_that_took_no_time_has_no_rates() {
        let run = serve(&[(0, 4, 1)], 64, 8, |_, _| 0);
        let found = rows(&[&run], &run, SloLimits { e2e_ns: Some(1), ..SloLimits::default() });
        assert_eq!(found, [("Duration, s".to_owned(), 0.0, 0.0), ("Steps".to_owned(), 1.0, 1.0)]);
    }
}
