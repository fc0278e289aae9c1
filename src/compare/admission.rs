//! Which runs may be compared at all. A number from runs of different things
//! looks like any other, so there is none.

use super::error::{CompareError, Difference};
use crate::metrics::{METRICS_VERSION, RunKind, RunMeta, RunRecord};
use crate::store::Digest;

type Run = (RunRecord, RunMeta);

/// Refuses runs that differ in what decides their result; whether the bundle is of another machine (and allowed).
pub(super) fn admit(real: &[Run], sim: &Run, allow_foreign_bundle: bool) -> Result<bool, CompareError> {
    let (first, repeats) = real.split_first().ok_or(CompareError::NoMeasurement)?;
    for (index, run) in real.iter().enumerate() {
        let found = run.1.kind;
        // A recording is a measurement that was taken elsewhere.
        let wanted = if found == RunKind::Recorded { found } else { RunKind::Measured };
        kind(&repeat_name(index, &run.1), found, wanted)?;
    }
    let sim_name = format!("the simulation ({})", sim.1.backend);
    kind(&sim_name, sim.1.kind, RunKind::Simulated)?;

    let first_name = repeat_name(0, &first.1);
    for (index, repeat) in (1..).zip(repeats) {
        let name = repeat_name(index, &repeat.1);
        alike((&first_name, first), (&name, repeat))?;
        for (what, of) in [
            ("the backend", (|meta| meta.backend.clone()) as fn(&RunMeta) -> String),
            ("the machine", |meta| print(meta.fingerprint)),
        ] {
            let help = "repeats are measured by one engine on one machine: take them again there";
            same(what, (&first_name, of(&first.1)), (&name, of(&repeat.1)), help)?;
        }
    }
    alike((&first_name, first), (&sim_name, sim))?;
    if first.1.metrics_version != METRICS_VERSION {
        return Err(CompareError::MetricsVersion { found: first.1.metrics_version, known: METRICS_VERSION });
    }
    for (index, run) in real.iter().enumerate() {
        if let Some(other) = real[..index].iter().position(|other| is_same_run(&other.0, &run.0)) {
            let [first, second] = [other, index].map(|index| repeat_name(index, &real[index].1));
            return Err(CompareError::SameRepeat { first, second });
        }
    }
    // Of a recording the experiment declares the hardware, and nothing else tells.
    if first.1.kind == RunKind::Recorded {
        return Ok(false);
    }
    // A machine that is not known is not known to be the same.
    let (bundle, machine) = (sim.1.fingerprint, first.1.fingerprint);
    let foreign = bundle.is_none() || bundle != machine;
    if foreign && !allow_foreign_bundle {
        return Err(CompareError::ForeignBundle { bundle: print(bundle), machine: print(machine) });
    }
    Ok(foreign)
}

fn repeat_name(index: usize, meta: &RunMeta) -> String {
    format!("repeat {} ({})", index + 1, meta.backend)
}

fn print(fingerprint: Option<Digest>) -> String {
    fingerprint.map_or("unknown".to_owned(), |print| print.short(12))
}

fn kind(run: &str, found: RunKind, wanted: RunKind) -> Result<(), CompareError> {
    let word = |kind| match kind {
        RunKind::Measured => "measured",
        RunKind::Simulated => "simulated",
        RunKind::Recorded => "recorded",
    };
    if found == wanted {
        return Ok(());
    }
    Err(CompareError::Kind { run: run.to_owned(), found: word(found), wanted: word(wanted) })
}

fn same(
    what: &str,
    (first_run, first): (&str, String),
    (second_run, second): (&str, String),
    help: &'static str,
) -> Result<(), CompareError> {
    if first == second {
        return Ok(());
    }
    let (first_run, second_run) = (first_run.to_owned(), second_run.to_owned());
    Err(CompareError::Differ(Box::new(Difference {
        what: what.to_owned(),
        first_run,
        first,
        second_run,
        second,
        help,
    })))
}

/// Times of two wall clocks never agree in every nanosecond; a run that took no time at all is not judged.
fn is_same_run(one: &RunRecord, other: &RunRecord) -> bool {
    one.duration_ns() > 0 && one.requests == other.requests && one.steps == other.steps
}

/// Same metrics, model, workload, number format, threads, scheduler settings and requests.
fn alike(
    (first_name, (first_record, first)): (&str, &Run),
    (second_name, (second_record, second)): (&str, &Run),
) -> Result<(), CompareError> {
    let check = |what: &str, first: String, second: String, help| {
        same(what, (first_name, first), (second_name, second), help)
    };
    let version = |meta: &RunMeta| meta.metrics_version.to_string();
    check(
        "the version of the metric definitions",
        version(first),
        version(second),
        "make both runs with one xp",
    )?;
    let model = |meta: &RunMeta| format!("{} {}", meta.model, meta.model_digest.short(12));
    let rerun = "run both with the same lock";
    check("the model", model(first), model(second), rerun)?;
    let workload = |meta: &RunMeta| meta.workload_digest.short(12);
    check("the workload", workload(first), workload(second), "serve both the same workload folder")?;
    let dtype = |meta: &RunMeta| format!("{:?}", meta.dtype).to_lowercase();
    check("the model's dtype", dtype(first), dtype(second), rerun)?;
    let threads = |meta: &RunMeta| meta.threads.to_string();
    check(
        "the number of compute threads",
        threads(first),
        threads(second),
        "set threads= of hardware alike",
    )?;
    let settings = |meta: &RunMeta| serde_json::to_value(&meta.scheduler).unwrap_or_default();
    let (one, other) = (settings(first), settings(second));
    for (name, value) in one.as_object().into_iter().flatten() {
        let of_other = other.get(name).cloned().unwrap_or_default();
        check(&format!("the scheduler's {name}"), value.to_string(), of_other.to_string(), rerun)?;
    }
    let count = |record: &RunRecord| record.requests.len().to_string();
    check(
        "the number of requests",
        count(first_record),
        count(second_record),
        "serve both the same workload folder",
    )?;
    for (one, other) in first_record.requests.iter().zip(&second_record.requests) {
        let lengths = |request: &crate::metrics::RequestRecord| {
            format!("{} tokens in, {} out", request.num_prefill_tokens, request.num_decode_tokens)
        };
        if (one.num_prefill_tokens, one.num_decode_tokens)
            != (other.num_prefill_tokens, other.num_decode_tokens)
        {
            let what = format!("request {}", one.request_id);
            check(&what, lengths(one), lengths(other), "serve both the same workload folder")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sample_runs::{meta_of, serve};
    use crate::scheduler::SchedulerConfig;

    fn run(kind: RunKind, step_ns: u64) -> Run {
        let record = serve(&[(0, 40, 3), (10, 40, 3)], 64, 8, |_, _| step_ns);
        let meta = meta_of(&record, kind);
        (record, meta)
    }

    fn input() -> (Vec<Run>, Run) {
        let real = vec![run(RunKind::Measured, 1000), run(RunKind::Measured, 1010)];
        (real, run(RunKind::Simulated, 1005))
    }

    fn refused(change: impl FnOnce(&mut Vec<Run>, &mut Run)) -> CompareError {
        let (mut real, mut sim) = input();
        assert!(!admit(&real, &sim, false).unwrap());
        change(&mut real, &mut sim);
        admit(&real, &sim, false).unwrap_err()
    }

    #[test]
    fn runs_that_differ_are_refused_with_both_values() {
        type Change = fn(&mut RunMeta);
        let cases: [(Change, &str); 9] = [
            (
                |meta| meta.metrics_version = 2,
                "the version of the metric definitions is 1 in one and 2 in the other",
            ),
            (|meta| meta.model_digest = Digest::of("other"), "the model is qwen3-tiny "),
            (|meta| meta.workload_digest = Digest::of("other"), "the workload is "),
            (|meta| meta.dtype = crate::spec::Dtype::Bf16, "dtype is f32 in one and bf16 in the other"),
            (|meta| meta.threads = 3, "compute threads is 2 in one and 3 in the other"),
            (
                |meta| meta.scheduler.chunk_size = 128,
                "the scheduler's chunk-size is 64 in one and 128 in the other",
            ),
            (
                |meta| meta.scheduler.kv_blocks = 65,
                "the scheduler's kv-blocks is 64 in one and 65 in the other",
            ),
            (
                |meta| meta.scheduler = SchedulerConfig { max_context: 1, ..meta.scheduler.clone() },
                "max-context is 4096",
            ),
            (|meta| meta.fingerprint = Some(Digest::of("other")), "machine"),
        ];
        for (change, wanted) in cases {
            let of_sim = refused(|_, sim| change(&mut sim.1)).to_string();
            let of_repeat = refused(|real, _| change(&mut real[1].1)).to_string();
            assert!(of_sim.contains(wanted), "{of_sim}");
            assert!(of_repeat.contains(wanted) && of_repeat.contains("repeat 2"), "{of_repeat}");
        }
        let backend = refused(|real, _| real[1].1.backend = "orca".to_owned()).to_string();
        assert!(backend.contains("the backend is sarathi in one and orca in the other"), "{backend}");
    }

    #[test]
    fn other_requests_are_refused() {
        let fewer = refused(|_, sim| drop(sim.0.requests.pop())).to_string();
        assert!(fewer.contains("the number of requests is 2 in one and 1 in the other"), "{fewer}");
        let longer = refused(|real, _| real[1].0.requests[1].num_prefill_tokens = 41).to_string();
        assert!(longer.contains("request 1 is 40 tokens in, 3 out in one and 41 tokens in"), "{longer}");
    }

    #[test]
    fn kinds_counts_and_copies_are_checked() {
        assert!(matches!(refused(|real, _| real.clear()), CompareError::NoMeasurement));
        let kind = refused(|_, sim| sim.1.kind = RunKind::Measured).to_string();
        assert_eq!(kind, "the simulation (vidur) is measured, not simulated");
        let kind = refused(|real, _| real[1].1.kind = RunKind::Simulated).to_string();
        assert_eq!(kind, "repeat 2 (sarathi) is simulated, not measured");
        let copies = refused(|real, _| real[1].0 = real[0].0.clone());
        assert!(matches!(copies, CompareError::SameRepeat { .. }));
        let old = refused(|real, sim| {
            for run in real.iter_mut().chain([sim]) {
                run.1.metrics_version = 0;
            }
        });
        assert!(matches!(old, CompareError::MetricsVersion { found: 0, known: METRICS_VERSION }));
    }

    #[test]
    fn a_foreign_bundle_is_admitted_only_when_allowed_and_then_told() {
        for fingerprint in [None, Some(Digest::of("other"))] {
            let error = refused(|_, sim| sim.1.fingerprint = fingerprint);
            assert!(matches!(error, CompareError::ForeignBundle { .. }), "{error}");
            let (real, mut sim) = input();
            sim.1.fingerprint = fingerprint;
            assert!(admit(&real, &sim, true).unwrap());
        }
        let (mut real, mut sim) = input();
        real.iter_mut().chain([&mut sim]).for_each(|run| run.1.fingerprint = None);
        assert!(admit(&real, &sim, false).is_err(), "two unknown machines are not one");
    }
}
