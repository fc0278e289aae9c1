use super::admission::admit;
use super::align::{Aligned, align};
use super::bootstrap::RESAMPLES;
use super::budget::budget;
use super::comparison::{COMPARISON_FORMAT, Comparison, Pin, RequestRow, Verdict};
use super::error::CompareError;
use super::headline::{Method, headline, percentiles};
use super::round::round;
use super::timeline::{bin_width, median_repeat, timeline};
use super::whole_run::whole_run;
use crate::metrics::{
    METRICS_VERSION, Metric, Replay, RunKind, RunMeta, RunRecord, SloLimits, percentile_of_sorted,
};
use crate::store::{Digest, FileDigest};

/// What is compared.
#[derive(Debug)]
pub struct CompareInput {
    pub run: String,
    pub description: Option<String>,
    pub facts: Vec<(String, Vec<String>)>,
    pub pins: Vec<Pin>,
    pub files: Vec<FileDigest>,
    /// Measured repeats, at least one.
    pub real: Vec<(RunRecord, RunMeta)>,
    pub sim: (RunRecord, RunMeta),
    /// Each repeat replayed, in the same order; none where that was not done.
    pub replays: Vec<Replay>,
    pub pass_percent: f64,
    pub warn_percent: f64,
    pub lock_digest: Digest,
    pub allow_foreign_bundle: bool,
    pub slo: SloLimits,
}

/// Compares measured repeats of a run with its simulation. The same input gives
/// the same comparison, bit by bit, on any machine and number of threads.
///
/// # Errors
/// The runs may not be compared (each reason is a variant of [`CompareError`]),
/// or no request was served in all of them.
pub fn compare(input: &CompareInput) -> Result<Comparison, CompareError> {
    let (pass, warn) = (input.pass_percent, input.warn_percent);
    if !(pass.is_finite() && warn.is_finite() && 0.0 <= pass && pass <= warn) {
        return Err(CompareError::Thresholds { pass, warn });
    }
    let foreign_bundle = admit(&input.real, &input.sim, input.allow_foreign_bundle)?;
    let real: Vec<&RunRecord> = input.real.iter().map(|(record, _)| record).collect();
    let (sim, sim_meta) = &input.sim;
    let aligned = align(&real, sim)?;
    let method =
        Method { pass_percent: pass, warn_percent: warn, seed: seed(&input.run), resamples: RESAMPLES };
    let headline = headline(&aligned, &method)?;
    let timeline_repeat = median_repeat(&real);
    let shown = real[timeline_repeat];
    let kv_blocks = sim_meta.scheduler.kv_blocks.saturating_mul(sim_meta.cluster.num_schedulers());
    let bin_ns = bin_width([shown, sim].into_iter().map(|run| run.duration_ns()));
    let disturbed: Vec<_> = input.real.iter().map(|(_, meta)| meta.disturbed.as_ref()).collect();
    Ok(Comparison {
        format: COMPARISON_FORMAT,
        metrics_version: METRICS_VERSION,
        run: input.run.clone(),
        description: input.description.clone(),
        real: input.real[0].1.backend.clone(),
        recorded: input.real.iter().any(|(_, meta)| meta.kind == RunKind::Recorded),
        sim: sim_meta.backend.clone(),
        facts: input.facts.clone(),
        pass_percent: pass,
        warn_percent: warn,
        repeats: real.len() as u32,
        bootstrap_resamples: method.resamples,
        bootstrap_seed: method.seed,
        num_requests: aligned.ids.len() as u32,
        num_excluded: aligned.excluded,
        verdict: headline.iter().map(|row| row.verdict).max().unwrap_or(Verdict::Warn),
        foreign_bundle,
        drift_percent: drift_percent(&input.real, sim_meta),
        budget: budget(&aligned, &headline, &input.replays, &disturbed),
        headline,
        percentiles: percentiles(&aligned),
        slo: input.slo,
        whole_run: whole_run(&real, sim, &input.slo),
        requests: requests(&aligned, sim),
        bin_ns,
        timeline_repeat: timeline_repeat as u32,
        timeline_measured: timeline(shown, bin_ns, kv_blocks),
        timeline_simulated: timeline(sim, bin_ns, kv_blocks),
        pins: input.pins.clone(),
        files: input.files.clone(),
        lock_digest: input.lock_digest,
        xp_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Mean reference step of the measured runs over that of the bundle, less one, per cent.
fn drift_percent(real: &[(RunRecord, RunMeta)], sim: &RunMeta) -> Option<f64> {
    let profiled = sim.reference_ns.filter(|ns| *ns > 0)? as f64;
    let measured = real.iter().map(|(_, meta)| meta.reference_ns.map(|ns| ns as f64)).sum::<Option<f64>>()?;
    Some(round(100.0 * (measured / real.len() as f64 / profiled - 1.0)))
}

/// The bootstrap's seed: 53 bits, which every reader of JSON keeps exactly.
fn seed(run: &str) -> u64 {
    let digest = Digest::of(format!("bootstrap {run}"));
    let bytes = digest.bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes) >> 11
}

/// Each aligned request in both runs; measured is the median over the repeats.
fn requests(aligned: &Aligned, sim: &RunRecord) -> Vec<RequestRow> {
    let mut repeats = Vec::with_capacity(aligned.real.len());
    let mut rows = Vec::with_capacity(aligned.ids.len());
    for (index, id) in aligned.ids.iter().enumerate() {
        let mut measured = |metric: Metric| {
            repeats.clear();
            repeats.extend(aligned.real.iter().filter_map(|run| metric.of_span(&run.spans[index])));
            repeats.sort_by(f64::total_cmp);
            percentile_of_sorted(&repeats, 0.5).map(round)
        };
        let simulated = |metric: Metric| metric.of_span(&aligned.sim.spans[index]).map(round);
        let request = &sim.requests[*id as usize];
        rows.push(RequestRow {
            request_id: *id,
            num_prefill_tokens: request.num_prefill_tokens,
            num_decode_tokens: aligned.sim.spans[index].tokens,
            ttft_measured_ns: measured(Metric::Ttft).unwrap_or(0.0),
            ttft_simulated_ns: simulated(Metric::Ttft).unwrap_or(0.0),
            tpot_measured_ns: measured(Metric::Tpot),
            tpot_simulated_ns: simulated(Metric::Tpot),
            e2e_measured_ns: measured(Metric::E2e).unwrap_or(0.0),
            e2e_simulated_ns: simulated(Metric::E2e).unwrap_or(0.0),
        });
    }
    rows
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::metrics::sample_runs::{meta_of, refuse, serve};

    /// Requests 0 to `n` − 1 of 8 + i mod 40 prompt and 1 + i mod 7 output tokens, one every 5 µs.
    fn trace(n: u64) -> Vec<(u64, u32, u32)> {
        (0..n).map(|i| (i * 5_000, 8 + (i % 40) as u32, 1 + (i % 7) as u32)).collect()
    }

    fn run(n: u64, kind: RunKind, scale_percent: u64) -> (RunRecord, RunMeta) {
        let jitter = |index: u64| (index * 7919 + scale_percent * 31) % 500;
        let record = serve(&trace(n), 64, 8, |index, tokens| {
            (10_000 + 100 * u64::from(tokens) + jitter(index)) * scale_percent / 100
        });
        let meta = meta_of(&record, kind);
        (record, meta)
    }

    /// Three measured repeats and a simulation that is `percent` of them.
    pub(in super::super) fn input(n: u64, percent: u64) -> CompareInput {
        CompareInput {
            run: "tiny-qps-50".to_owned(),
            description: Some("A sample".to_owned()),
            facts: vec![("Model".to_owned(), vec!["qwen3-tiny".to_owned()])],
            pins: vec![Pin { group: "Model".to_owned(), name: "name".to_owned(), value: "a|b".to_owned() }],
            files: vec![FileDigest { file: "sim/steps.csv".to_owned(), bytes: 3, sha256: Digest::of("abc") }],
            real: [99, 100, 101].map(|scale| run(n, RunKind::Measured, scale)).into(),
            sim: run(n, RunKind::Simulated, percent),
            replays: Vec::new(),
            pass_percent: 5.0,
            warn_percent: 9.0,
            lock_digest: Digest::of("lock"),
            allow_foreign_bundle: false,
            slo: SloLimits { ttft_ns: Some(400_000), ..SloLimits::default() },
        }
    }

    #[test]
    fn a_good_simulator_passes_and_a_bad_one_fails() {
        for (percent, wanted) in [(100, Verdict::Pass), (150, Verdict::Fail), (40, Verdict::Fail)] {
            let made = compare(&input(60, percent)).unwrap();
            assert_eq!(made.verdict, wanted, "{percent}: {:#?}", made.headline);
            assert_eq!((made.headline.len(), made.num_requests, made.repeats), (12, 60, 3));
            assert_eq!(made.requests.len(), 60);
            assert_eq!(made.timeline_repeat, 1);
            assert!((100..=121).contains(&made.timeline_measured.len().max(made.timeline_simulated.len())));
        }
    }

    #[test]
    fn the_same_input_gives_the_same_json_on_any_number_of_threads() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| serde_json::to_string(&compare(&input(30, 104)).unwrap()).unwrap())
        };
        assert_eq!(on(1), on(4));
        let other = CompareInput { run: "other".to_owned(), ..input(30, 104) };
        assert_ne!(compare(&other).unwrap().bootstrap_seed, compare(&input(30, 104)).unwrap().bootstrap_seed);
    }

    #[test]
    fn failed_requests_are_counted_and_all_failed_is_an_error() {
        let mut failing = input(10, 100);
        let mut last = serve(&[(0, 4, 0)], 64, 8, |_, _| 1).requests.remove(0);
        last.request_id = 10;
        for run in failing.real.iter_mut().chain([&mut failing.sim]) {
            run.0.requests.push(last.clone());
            refuse(&mut run.0, 10);
        }
        let made = compare(&failing).unwrap();
        assert_eq!((made.num_requests, made.num_excluded), (10, 1));
        for id in 0..10 {
            failing.sim.0.requests[id].status = crate::metrics::RequestStatus::Error;
        }
        assert!(matches!(compare(&failing), Err(CompareError::Nothing { requests: 11 })));
    }

    #[test]
    fn thresholds_that_make_no_sense_are_refused() {
        for (pass_percent, warn_percent) in [(f64::NAN, 9.0), (5.0, f64::INFINITY), (9.0, 5.0), (-1.0, 5.0)] {
            let input = CompareInput { pass_percent, warn_percent, ..input(5, 100) };
            assert!(matches!(compare(&input), Err(CompareError::Thresholds { .. })));
        }
    }

    #[test]
    fn one_request_of_one_token_is_compared_without_a_pass() {
        let one = |kind, ns| {
            let record = serve(&[(0, 4, 1)], 64, 8, move |_, _| ns);
            let meta = meta_of(&record, kind);
            (record, meta)
        };
        let input = CompareInput {
            real: vec![one(RunKind::Measured, 50)],
            sim: one(RunKind::Simulated, 50),
            ..input(5, 100)
        };
        let made = compare(&input).unwrap();
        assert_eq!((made.verdict, made.headline.len()), (Verdict::Warn, 8));
        assert_eq!(made.requests[0].tpot_measured_ns, None);
    }

    #[test]
    fn a_recording_is_compared_by_its_requests_alone() {
        let mut input = input(20, 104);
        input.real.truncate(1);
        let whole = compare(&input).unwrap();
        let (record, meta) = &mut input.real[0];
        (record.steps, record.token_ids) = (Default::default(), None);
        (meta.kind, meta.fingerprint, meta.reference_ns) = (RunKind::Recorded, None, None);
        let made = compare(&input).unwrap();
        assert!(made.recorded && !made.foreign_bundle && made.drift_percent.is_none());
        assert_eq!((&made.headline, made.verdict), (&whole.headline, whole.verdict));
        assert!(made.percentiles.iter().all(|row| row.metric != "ITL"));
        assert_eq!(made.percentiles.len() + 9, whole.percentiles.len());
        let names: Vec<&str> = made.whole_run.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["Duration, s", "Output, tokens/s", "Requests/s", "Goodput, requests/s"]);
        assert!(made.timeline_measured.is_empty() && !made.timeline_simulated.is_empty());
        let dir = tempfile::tempdir().unwrap();
        super::super::write_comparison(dir.path(), &made).unwrap();
        assert_eq!(super::super::read_comparison(&dir.path().join("comparison.json")).unwrap(), made);
    }

    #[test]
    fn measured_values_of_a_request_are_medians() {
        let mut input = input(20, 100);
        input.real.swap(0, 1);
        let made = compare(&input).unwrap();
        let middle = &input.real[0].0.requests[3];
        assert_eq!(made.requests[3].e2e_measured_ns, round(middle.e2e_ns().unwrap() as f64));
    }
}
