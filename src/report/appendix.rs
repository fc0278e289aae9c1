//! Last pages: pins, input files with digests, metric definitions, method.

use serde::Serialize;

use super::chart::MM;
use super::number::{count, limit, percent, size_percent, word};
use super::samples::{METRICS, unit};
use super::text::{fit, shorten, wrap};
use crate::compare::{Comparison, MIN_REQUESTS_TO_PASS, Pin, recorded_note};

/// Rows that are shown before the rest is only counted.
const MOST_LINES: usize = 96;
/// Characters of a line of a pin's value.
const VALUE_WIDTH: usize = 33;
const MOST_FILES: usize = 48;

#[derive(Debug, Serialize)]
pub(super) struct Appendix {
    pins_note: String,
    /// Two columns of groups.
    pins: [Vec<Group>; 2],
    /// Pins that differ between runs: run, then its pins.
    varied: Vec<Group>,
    files: Vec<FileGroup>,
    files_note: String,
    metrics: Vec<[String; 3]>,
    method: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Group {
    title: String,
    pins: Vec<PinRow>,
}

#[derive(Debug, Serialize)]
struct PinRow {
    name: String,
    /// Lines of the value.
    value: Vec<String>,
}

#[derive(Debug, Serialize)]
struct FileGroup {
    /// Name of the run; empty when there is one.
    title: String,
    lock: String,
    files: Vec<File>,
    more: String,
}

#[derive(Debug, Serialize)]
struct File {
    name: String,
    bytes: String,
    sha256: String,
}

impl Appendix {
    /// Of the runs that have pages, with the names they go by (at least one run).
    pub(super) fn of(runs: &[(&Comparison, String)]) -> Appendix {
        let first = runs[0].0;
        let in_all = |pin: &&Pin| runs.iter().all(|(run, _)| run.pins.contains(pin));
        let shared: Vec<&Pin> = first.pins.iter().filter(in_all).collect();
        let kept = shared_that_fit(&shared);
        let left_out = shared.len() - kept;
        let varied: Vec<Group> = runs
            .iter()
            .map(|(run, name)| Group {
                title: shorten(name, 48),
                pins: run
                    .pins
                    .iter()
                    .filter(|pin| !shared.contains(pin))
                    .take(MOST_LINES / runs.len().max(1) + 4)
                    .map(|pin| PinRow {
                        name: fit(&pin.name, 8.0, false, 60.0 * MM),
                        value: wrap(&pin.value, 44, 1),
                    })
                    .collect(),
            })
            .filter(|group| !group.pins.is_empty())
            .collect();
        let mut note = match (runs.len(), first.pins.is_empty()) {
            (_, true) => "None: these files were compared without a lock.".to_owned(),
            (1, _) => "What the lock file fixes. Two reports with the same digest compare the same bytes."
                .to_owned(),
            _ => "What the lock file fixes for every run. What differs between runs follows.".to_owned(),
        };
        if left_out > 0 {
            note.push_str(&format!(" {} more are in the lock file.", count(left_out as u64)));
        }
        let per_run = (MOST_FILES / runs.len()).max(6);
        Appendix {
            pins_note: note,
            pins: columns(&shared[..kept]),
            varied,
            files: runs.iter().map(|(run, name)| files(run, name, runs.len() > 1, per_run)).collect(),
            files_note: match first.files.is_empty() {
                true => "No input file was recorded.".to_owned(),
                false => "SHA-256, the first 32 of 64 digits.".to_owned(),
            },
            metrics: metrics(first),
            method: method(first, runs.len()),
        }
    }
}

/// How many pins fit the lines that the appendix gives them.
fn shared_that_fit(pins: &[&Pin]) -> usize {
    let mut lines = 0;
    pins.iter()
        .take_while(|pin| {
            lines += wrap(&pin.value, VALUE_WIDTH, 3).len();
            lines <= MOST_LINES
        })
        .count()
}

fn pin_row(pin: &Pin) -> PinRow {
    PinRow { name: fit(&pin.name, 8.0, false, 31.0 * MM), value: wrap(&pin.value, VALUE_WIDTH, 3) }
}

/// Groups in order of appearance, dealt to the shorter of two columns.
fn columns(pins: &[&Pin]) -> [Vec<Group>; 2] {
    let mut groups: Vec<Group> = Vec::new();
    for pin in pins {
        let title = fit(&pin.group, 8.5, true, 80.0 * MM);
        match groups.iter_mut().find(|group| group.title == title) {
            Some(group) => group.pins.push(pin_row(pin)),
            None => groups.push(Group { title, pins: vec![pin_row(pin)] }),
        }
    }
    let mut out = [Vec::new(), Vec::new()];
    let mut heights = [0, 0];
    for group in groups {
        let column = usize::from(heights[1] < heights[0]);
        heights[column] += 3 + group.pins.iter().map(|pin| pin.value.len()).sum::<usize>();
        out[column].push(group);
    }
    out
}

fn files(run: &Comparison, name: &str, several: bool, most: usize) -> FileGroup {
    let more = run.files.len().saturating_sub(most);
    FileGroup {
        title: if several { shorten(name, 60) } else { String::new() },
        lock: run.lock_digest.to_string(),
        files: run
            .files
            .iter()
            .take(most)
            .map(|file| File {
                name: shorten(&file.file, 52),
                bytes: count(file.bytes),
                sha256: file.sha256.short(32),
            })
            .collect(),
        more: if more == 0 {
            String::new()
        } else {
            format!("and {} more, in comparison.json", count(more as u64))
        },
    }
}

fn metrics(c: &Comparison) -> Vec<[String; 3]> {
    let [ttft, tpot, e2e] = METRICS.map(|metric| unit(c, metric).symbol().to_owned());
    let row = |name: &str, unit: String, text: &str| [name.to_owned(), unit, text.to_owned()];
    let per_cent = || "%".to_owned();
    vec![
        row(
            "TTFT",
            ttft,
            "Time to first token: end of the step that yields the first output token, minus arrival. Waiting and \
             prefill included.",
        ),
        row(
            "TPOT",
            tpot,
            "Time per output token: (E2E − TTFT) ÷ (output tokens − 1). Undefined for one output token. Time lost to \
             preemption after the first token included.",
        ),
        row(
            "E2E",
            e2e,
            "End-to-end latency: end of the step that yields the last output token, minus arrival.",
        ),
        row(
            "Error",
            per_cent(),
            "simulated ÷ measured − 1, of the statistic; not the mean of the requests’ errors. Positive: the simulator \
             is slower.",
        ),
        row(
            "P50, P90, P99",
            String::new(),
            "Percentiles, linear between order statistics (type 7 of Hyndman and Fan), over all compared requests; \
             no warm-up is removed.",
        ),
        row(
            "Noise floor",
            per_cent(),
            "Half the spread of the statistic between measured repeats, of its mean. Needs two repeats or more.",
        ),
        row(
            "Gap",
            "points".to_owned(),
            "Largest difference between the two cumulative distributions (the two-sample Kolmogorov–Smirnov distance, \
             with its sign).",
        ),
    ]
}

fn method(c: &Comparison, runs: usize) -> Vec<String> {
    let requests =
        |n: u32| if n == 1 { "one request".to_owned() } else { format!("{} requests", count(u64::from(n))) };
    let mut out = vec![
        format!(
            "Intervals: paired bootstrap over requests, {} resamples, seed {}, percentile method, 95\u{202f}%. A \
             resample keeps each request’s measured and simulated values together.",
            count(u64::from(c.bootstrap_resamples)),
            c.bootstrap_seed
        ),
        "Requests share one queue, so they are not independent. The intervals tell how much depends on which \
         requests were drawn, not what another measured run would give; that is the noise floor."
            .to_owned(),
        format!(
            "Verdict of a row: fail if the error is beyond ±{warn}. Pass if error and interval lie within ±{pass}, or if \
             the error is within the noise floor and its interval reaches into ±{pass} and not beyond ±{warn}; never with \
             a noise floor above {warn} or fewer than {fewest} requests. Else warn. A run’s verdict is that of its worst \
             row.",
            pass = limit(c.pass_percent),
            warn = limit(c.warn_percent),
            fewest = MIN_REQUESTS_TO_PASS,
        ),
        match c.repeats {
            _ if c.recorded => recorded_note(&shorten(&c.real, 24)),
            0 | 1 => "One measured run. How much its statistics would move if it were measured again is unknown; \
                      measure with repeats to know."
                .to_owned(),
            n => format!(
                "{} measured runs. A statistic’s measured value is its mean over them; a request’s is its median, in \
                 the charts and in the table of requests.",
                word(n as usize, true)
            ),
        },
        if runs == 1 {
            format!(
                "{} aligned by id in all runs, {} left out because they failed in one.{}",
                capital(&requests(c.num_requests)),
                if c.num_excluded == 0 { "none".to_owned() } else { count(u64::from(c.num_excluded)) },
                rank_note(c.num_requests)
            )
        } else {
            "Requests are aligned by id in all runs; those that failed in one are left out of it.".to_owned()
        },
        format!(
            "Curves and dots closer than the eye tells apart are drawn once; no number comes from a thinned curve. \
             Metric definitions version {}.",
            c.metrics_version
        ),
    ];
    if let Some(drift) = c.drift_percent {
        out.push(format!(
            "The duration of the engine’s reference step of one row changed by {} from the profile to the measured runs; \
             no verdict takes it into account.",
            percent(drift)
        ));
    }
    if let Some(within) = c.within_at_speed() {
        out.push(format!(
            "At the speed that the machine had while it was measured, {within} of {} figures are within ±{} or the noise floor.",
            c.headline.len(),
            size_percent(c.pass_percent)
        ));
    }
    if c.foreign_bundle {
        out.push(
            "The bundle that step durations come from was measured on other hardware than the run. Errors mix the \
             simulator’s with the difference between the machines."
                .to_owned(),
        );
    }
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Between which requests P99 lies, for few enough that it matters.
fn rank_note(n: u32) -> String {
    const SLOWEST: [&str; 5] = ["the slowest", "the second", "the third", "the fourth", "the fifth"];
    if !(2..=400).contains(&n) {
        return String::new();
    }
    // Rank from the top of 0.99 (n − 1), which is below 4 here.
    let above = (f64::from(n - 1) * 0.01) as usize;
    let exact = (n - 1).is_multiple_of(100);
    if exact {
        return format!(" P99 is {} slowest.", SLOWEST[above]).replace("the slowest slowest", "the slowest");
    }
    match above {
        0 => " P99 lies between the two slowest.".to_owned(),
        k => format!(" P99 lies between {} and {} slowest.", SLOWEST[k + 1], SLOWEST[k]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::comparison;
    use super::*;

    #[test]
    fn pins_of_several_runs_are_split_into_shared_and_varied() {
        let (mut a, mut b) = (comparison(20, 1), comparison(20, 2));
        a.pins.push(Pin { group: "Workload".into(), name: "arrivals.qps".into(), value: "1".into() });
        b.pins.push(Pin { group: "Workload".into(), name: "arrivals.qps".into(), value: "2".into() });
        let appendix = Appendix::of(&[(&a, "qps 1".to_owned()), (&b, "qps 2".to_owned())]);
        let shared: usize = appendix.pins.iter().flatten().map(|group| group.pins.len()).sum();
        assert_eq!(shared, a.pins.len() - 1);
        assert_eq!(appendix.varied.len(), 2);
        assert_eq!(appendix.varied[1].pins[0].value, ["2"]);
    }

    #[test]
    fn the_rank_of_p99_is_named() {
        assert_eq!(rank_note(64), " P99 lies between the two slowest.");
        assert_eq!(rank_note(300), " P99 lies between the fourth and the third slowest.");
        assert_eq!(rank_note(101), " P99 is the second slowest.");
        assert_eq!(rank_note(1), "");
        assert_eq!(rank_note(4_000), "");
    }

    #[test]
    fn hundreds_of_pins_and_files_are_bounded() {
        let mut run = comparison(20, 1);
        for index in 0..500 {
            run.pins.push(Pin { group: "More".into(), name: format!("pin {index}"), value: "x".repeat(300) });
            run.files.push(run.files[0].clone());
        }
        let appendix = Appendix::of(&[(&run, "x".to_owned())]);
        let shown: usize = appendix.pins.iter().flatten().map(|group| group.pins.len()).sum();
        assert!((20..=MOST_LINES).contains(&shown), "{shown}");
        assert!(appendix.pins_note.contains("more are in the lock file"));
        assert_eq!(appendix.files[0].files.len(), MOST_FILES);
        assert!(!appendix.files[0].more.is_empty());
    }
}
