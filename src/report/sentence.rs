//! The verdict in words. A sentence may not claim more than the table shows;
//! what the table does not show goes into the text under it.

use super::curve::error_by_percentile;
use super::number::{TimeUnit, count, limit, percent, size_percent, word};
use super::samples::{METRICS, Samples};
use super::text::shorten;
use crate::compare::{Comparison, MetricRow, Verdict};

/// Head of the first page and the paragraph under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence {
    pub title: String,
    pub lead: String,
}

/// The row with the largest error.
pub(super) fn worst(rows: &[MetricRow]) -> Option<&MetricRow> {
    rows.iter().filter(|row| row.error_percent.is_finite()).max_by(|a, b| {
        // The first of equals, as the eye finds it.
        a.error_percent.abs().total_cmp(&b.error_percent.abs()).then(std::cmp::Ordering::Greater)
    })
}

fn name(row: &MetricRow) -> String {
    format!("{} {}", row.metric, row.stat)
}

/// `TTFT P90 and P99, E2E P99`: statistics grouped by their metric.
fn names(rows: &[&MetricRow]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in rows {
        match groups.last_mut() {
            Some((metric, stats)) if *metric == row.metric => stats.push(&row.stat),
            _ => groups.push((&row.metric, vec![&row.stat])),
        }
    }
    let groups: Vec<String> =
        groups.into_iter().map(|(metric, stats)| format!("{metric} {}", list(&stats))).collect();
    if groups.len() == 2 && rows.len() == 2 { groups.join(" and ") } else { groups.join(", ") }
}

fn list(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn slower(error: f64) -> &'static str {
    if error < 0.0 { "faster" } else { "slower" }
}

/// The measured backend as a word of a sentence.
fn subject(comparison: &Comparison) -> String {
    let real = comparison.real.trim();
    if real.is_empty() || real.contains(' ') { "the measured run".to_owned() } else { shorten(real, 22) }
}

fn title(comparison: &Comparison) -> String {
    let (rows, real) = (&comparison.headline, subject(comparison));
    let (pass, warn) = (limit(comparison.pass_percent), limit(comparison.warn_percent));
    let over = |bound: f64| rows.iter().filter(|row| row.error_percent.abs() > bound).collect::<Vec<_>>();
    let (over_pass, over_warn) = (over(comparison.pass_percent), over(comparison.warn_percent));
    let n = rows.len();
    if n == 0 {
        return format!("There is nothing to compare with {real}");
    }
    let everywhere = format!("The simulator is within {pass} of {real} at every headline statistic");
    match comparison.verdict {
        Verdict::Pass | Verdict::Warn if over_pass.is_empty() => everywhere,
        Verdict::Warn if over_warn.is_empty() => match over_pass.as_slice() {
            [row] if n > 1 => format!(
                "The simulator is within {pass} of {real} except at {}, where it is {} {}",
                name(row),
                size_percent(row.error_percent),
                slower(row.error_percent)
            ),
            misses if misses.len() == n => {
                format!("The simulator is within {warn} of {real}, but nowhere within {pass}")
            }
            misses => format!(
                "The simulator is within {warn} of {real}, but past {pass} at {} of {n} statistics",
                misses.len()
            ),
        },
        Verdict::Fail => match over_warn.as_slice() {
            [row] if n > 1 => format!(
                "The simulator misses {real} at {}, where it is {} {}",
                name(row),
                size_percent(row.error_percent),
                slower(row.error_percent)
            ),
            misses if misses.len() == n => {
                format!("The simulator is off by more than {warn} from {real} at every headline statistic")
            }
            [] => {
                let fails = rows.iter().filter(|row| row.verdict == Verdict::Fail).count();
                format!("The simulator fails against {real} at {fails} of {n} headline statistics")
            }
            misses => format!(
                "The simulator is off by more than {warn} from {real} at {} of {n} headline statistics",
                misses.len()
            ),
        },
        Verdict::Pass => format!("The simulator passes against {real}, with errors up to {}", largest(rows)),
        Verdict::Warn => {
            format!("The simulator passes against {real} only with a warning: errors up to {}", largest(rows))
        }
    }
}

fn largest(rows: &[MetricRow]) -> String {
    worst(rows).map_or_else(String::new, |row| size_percent(row.error_percent))
}

/// Signs and range of the errors.
fn range(rows: &[MetricRow]) -> Option<String> {
    let errors = || rows.iter().map(|row| row.error_percent).filter(|error| error.is_finite());
    let (low, high) = (errors().fold(f64::INFINITY, f64::min), errors().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return None;
    }
    if low.abs() < 0.05 && high.abs() < 0.05 {
        return Some("Every error rounds to zero.".to_owned());
    }
    if low > 0.0 || high < 0.0 {
        let (least, most) = if low > 0.0 { (low, high) } else { (high, low) };
        let (from, to) = (size_percent(least), size_percent(most));
        let amount = if from == to {
            to
        } else {
            format!("{} to {to}", from.trim_end_matches('%').trim_end_matches(super::number::THIN))
        };
        let same = if rows.len() > 1 { "Every error has the same sign: the" } else { "The" };
        return Some(format!("{same} simulated run is {amount} {}.", slower(low)));
    }
    Some(format!("Errors run from {} to {}.", percent(low), percent(high)))
}

/// Intervals that reach past the limit though their error does not.
fn intervals(comparison: &Comparison) -> Option<String> {
    let bound = comparison.pass_percent;
    let rows = &comparison.headline;
    let reach = |row: &MetricRow| {
        if row.high_percent.abs() >= row.low_percent.abs() { row.high_percent } else { row.low_percent }
    };
    let mut past: Vec<&MetricRow> =
        rows.iter().filter(|row| row.error_percent.abs() <= bound && reach(row).abs() > bound).collect();
    if past.is_empty() {
        let inside = rows.iter().all(|row| reach(row).abs() <= bound);
        return (inside && rows.len() > 1).then(|| "All intervals lie within the limit.".to_owned());
    }
    past.sort_by(|a, b| reach(b).abs().total_cmp(&reach(a).abs()));
    let far = past[0];
    Some(match past.as_slice() {
        [row] => format!("One interval, {}, reaches {}, past the limit.", name(row), percent(reach(row))),
        many => format!(
            "{} intervals reach past the limit, {} the farthest, to {}.",
            word(many.len(), true),
            name(far),
            percent(reach(far))
        ),
    })
}

/// Which statistics miss the limit, when the title only counts them.
fn misses(comparison: &Comparison) -> Option<String> {
    let bound =
        if comparison.verdict == Verdict::Fail { comparison.warn_percent } else { comparison.pass_percent };
    let over: Vec<&MetricRow> =
        comparison.headline.iter().filter(|row| row.error_percent.abs() > bound).collect();
    let told = over.len() < 2 || over.len() == comparison.headline.len() || over.len() > 8;
    (!told).then(|| format!("Past ±{}: {}.", limit(bound), names(&over)))
}

/// Errors that repeats of the measurement would show too.
fn noise(rows: &[MetricRow]) -> Option<String> {
    let known: Vec<(f64, f64)> = rows
        .iter()
        .filter_map(|row| row.noise_percent.map(|noise| (row.error_percent.abs(), noise)))
        .collect();
    let within = known.iter().filter(|(error, noise)| error <= noise).count();
    match (known.len(), within) {
        (0, _) => None,
        (n, 0) if n > 1 => Some("No error is within the noise floor.".to_owned()),
        (n, w) if w == n && n > 1 => {
            Some("Every error is within the noise floor of the measurement.".to_owned())
        }
        (n, w) => {
            Some(format!("{w} of {n} errors {} within the noise floor.", if w == 1 { "is" } else { "are" }))
        }
    }
}

/// The largest error of a percentile that the table leaves out, if it is larger than the table's and its limit.
fn outside_table(comparison: &Comparison) -> Option<String> {
    let shown = worst(&comparison.headline)?.error_percent.abs();
    let mut most: Option<(&str, u32, f64, f64)> = None;
    for metric in METRICS {
        let samples = Samples::of(comparison, metric);
        for (p, error, difference) in error_by_percentile(&samples.measured, &samples.simulated) {
            if most.is_none_or(|(_, _, least, _)| error.abs() > least.abs()) {
                most = Some((metric, p, error, difference));
            }
        }
    }
    let (metric, p, error, difference) = most?;
    (error.abs() > 1.5 * shown && error.abs() > comparison.pass_percent).then(|| {
        format!(
            "Away from the table the error reaches {} at P{p} of {metric}, a difference of {}.",
            percent(error),
            TimeUnit::show(difference.abs())
        )
    })
}

/// Caveats about the sample.
fn sample(comparison: &Comparison) -> Option<String> {
    let failed = match comparison.num_excluded {
        0 => None,
        1 => Some("One request failed in one of the runs and is left out.".to_owned()),
        n => Some(format!("{} requests failed in one of the runs and are left out.", count(u64::from(n)))),
    };
    let few = match comparison.num_requests {
        1 => Some("With one request every percentile is that request, and intervals say nothing.".to_owned()),
        n @ 2..20 => Some(format!("With {n} requests P90 and P99 are hardly more than the slowest request.")),
        _ => None,
    };
    match (failed, few) {
        (Some(failed), Some(few)) => Some(format!("{failed} {few}")),
        (failed, few) => failed.or(few),
    }
}

/// The sentence of a comparison whose strings are clean.
pub(super) fn sentence(comparison: &Comparison) -> Sentence {
    let rows = &comparison.headline;
    let parts = [
        misses(comparison),
        range(rows),
        intervals(comparison),
        noise(rows),
        outside_table(comparison),
        sample(comparison),
    ];
    Sentence { title: title(comparison), lead: parts.into_iter().flatten().collect::<Vec<_>>().join(" ") }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Errors, comparison, with_errors};
    use super::*;

    fn of(errors: Errors) -> Sentence {
        let mut sentence = sentence(&with_errors(errors));
        sentence.title = sentence.title.replace('\u{202f}', " ");
        sentence.lead = sentence.lead.replace('\u{202f}', " ");
        sentence
    }

    /// Twelve rows of one error each, with intervals of ±0.2 about it.
    fn rows(base: f64, changed: &[(usize, f64)]) -> Errors {
        let mut errors = vec![(base, base - 0.2, base + 0.2); 12];
        for (index, error) in changed {
            errors[*index] = (*error, error - 0.2, error + 0.2);
        }
        errors
    }

    #[test]
    fn pass_and_a_warning_by_an_interval_alone_make_the_same_claim() {
        let pass = of(rows(2.0, &[]));
        assert_eq!(pass.title, "The simulator is within 3 % of sarathi at every headline statistic");
        assert!(
            pass.lead.starts_with("Every error has the same sign: the simulated run is 2.0 % slower."),
            "{pass:?}"
        );
        assert!(pass.lead.contains("All intervals lie within the limit."), "{pass:?}");
        let mut errors = rows(-1.0, &[(3, -1.4)]);
        errors[7].1 = -3.4;
        let warn = of(errors);
        assert_eq!(warn.title, pass.title);
        assert!(warn.lead.contains("is 1.0 to 1.4 % faster."), "{warn:?}");
        assert!(warn.lead.contains("One interval, TPOT P99, reaches −3.4 %, past the limit."), "{warn:?}");
    }

    #[test]
    fn warnings_name_one_exception_and_count_more() {
        assert_eq!(
            of(rows(1.0, &[(11, 4.2)])).title,
            "The simulator is within 3 % of sarathi except at E2E P99, where it is 4.2 % slower"
        );
        let more = of(rows(1.0, &[(2, -4.2), (3, -4.4), (11, 4.2)]));
        assert_eq!(more.title, "The simulator is within 5 % of sarathi, but past 3 % at 3 of 12 statistics");
        assert!(more.lead.starts_with("Past ±3 %: TTFT P90 and P99, E2E P99."), "{more:?}");
        assert!(more.lead.contains("Errors run from −4.4 % to +4.2 %."), "{more:?}");
        assert_eq!(
            of(rows(4.0, &[])).title,
            "The simulator is within 5 % of sarathi, but nowhere within 3 %"
        );
    }

    #[test]
    fn failures_name_one_exception_count_more_and_say_all() {
        assert_eq!(
            of(rows(1.0, &[(3, -12.0)])).title,
            "The simulator misses sarathi at TTFT P99, where it is 12.0 % faster"
        );
        assert_eq!(
            of(rows(1.0, &[(3, -12.0), (11, 900.0)])).title,
            "The simulator is off by more than 5 % from sarathi at 2 of 12 headline statistics"
        );
        assert_eq!(
            of(rows(40.0, &[])).title,
            "The simulator is off by more than 5 % from sarathi at every headline statistic"
        );
    }

    #[test]
    fn caveats_about_the_sample_are_told() {
        let one = sentence(&comparison(1, 1));
        assert!(one.lead.contains("With one request every percentile is that request"), "{one:?}");
        let mut few = comparison(8, 1);
        few.num_excluded = 2;
        let few = sentence(&few);
        assert!(few.lead.contains("2 requests failed in one of the runs and are left out."), "{few:?}");
        assert!(few.lead.contains("With 8 requests P90 and P99"), "{few:?}");
        let mut none = comparison(8, 1);
        none.headline.clear();
        none.real = "a name with spaces".to_owned();
        assert_eq!(sentence(&none).title, "There is nothing to compare with the measured run");
    }

    #[test]
    fn an_error_away_from_the_table_is_told() {
        let mut run = with_errors(rows(2.0, &[]));
        run.requests.sort_by(|a, b| a.ttft_measured_ns.total_cmp(&b.ttft_measured_ns));
        for row in run.requests.iter_mut().take(12) {
            row.ttft_simulated_ns = row.ttft_measured_ns * 0.5;
        }
        let lead = sentence(&run).lead;
        assert!(lead.contains("Away from the table the error reaches −"), "{lead}");
    }
}
