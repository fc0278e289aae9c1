//! `summary.md`: the comparison for people, on one screen.

use std::fmt::Write;

use super::comparison::{Budget, Comparison, MetricRow, Verdict};
use super::verdict::VERDICT_RULE;
use crate::metrics::{DEFINITIONS, PERCENTILE_METHOD, SloLimits};

/// What the comparison found, in a sentence or two.
pub fn verdict_sentence(comparison: &Comparison) -> String {
    let (sim, real) = (&comparison.sim, &comparison.real);
    let (pass, warn) = (comparison.pass_percent, comparison.warn_percent);
    let all = comparison.headline.len();
    let count = |verdict: Verdict| comparison.headline.iter().filter(|row| row.verdict == verdict).count();
    let worst = comparison.headline.iter().filter(|row| row.verdict == comparison.verdict).max_by(|a, b| {
        a.error_percent.abs().total_cmp(&b.error_percent.abs()).then(std::cmp::Ordering::Greater)
    });
    let worst = worst.map_or(String::new(), |row| {
        format!("{} {}, off by {:+.1} %", row.metric, row.stat, row.error_percent)
    });
    match comparison.verdict {
        Verdict::Pass => format!(
            "Pass: {sim} predicts {real} within ±{pass} %, or within the machine's noise, on all {all} figures. \
             The largest error is {worst}."
        ),
        Verdict::Warn => format!(
            "Warn: no figure of {sim} is off by more than {warn} %, and {} of {all} are not shown to be within \
             ±{pass} % of {real}. The largest of these errors is {worst}.",
            count(Verdict::Warn)
        ),
        Verdict::Fail => format!(
            "Fail: {sim} is off by more than {warn} % from {real} on {} of {all} figures. \
             The largest error is {worst}.",
            count(Verdict::Fail)
        ),
    }
}

/// What a reader has to know of a recording.
pub(crate) fn recorded_note(name: &str) -> String {
    format!(
        "{name} is a recording from elsewhere: when each request came and was served. Its hardware is what the \
         experiment declares; no machine was looked at. Noise floor, inter-token latency and steps are not available."
    )
}

/// What a budget rests on.
pub(crate) fn budget_sentence(budget: &Budget) -> String {
    let apart = match budget.num_steps_apart {
        0 => "and all batches are the measured ones".to_owned(),
        n => format!("and {n} batches are not the measured ones"),
    };
    let disturbed = match budget.num_steps_disturbed {
        0 => String::new(),
        n => format!(
            " {n} steps, {:.1} % of the time, were disturbed by others on the machine and are not in these.",
            budget.disturbed_time_percent
        ),
    };
    let machine = match budget.knows_machine() {
        true => {
            " The runs were simulated once more with the machine as fast as it was then, by reference steps: what that \
             moves is the machine's."
        }
        false => "",
    };
    format!(
        "The measured runs were replayed: each of {} steps takes as long as it was measured to, {apart}. What is \
         wrong then is the policy's.{machine} The rest is the predictor's. On the measured steps the predictor is off by {:+.1} % \
         in all, by {:.1} % on a step at P50 and {:.1} % at P90.{disturbed}",
        budget.num_steps, budget.steps_percent, budget.step_p50_percent, budget.step_p90_percent
    )
}

/// How the figures would stand if the machine had been as fast in the profile as while it was measured; None where nobody
/// knows how fast it was.
fn at_speed_sentence(comparison: &Comparison) -> Option<String> {
    let within = comparison.within_at_speed()?;
    Some(format!(
        "At the speed that the machine had while it was measured, {within} of {} figures are within ±{} %, or within the noise floor.",
        comparison.headline.len(),
        comparison.pass_percent
    ))
}

/// The text of `summary.md`.
pub(crate) fn summary(comparison: &Comparison) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = fill(&mut out, comparison);
    out
}

fn fill(out: &mut String, c: &Comparison) -> std::fmt::Result {
    writeln!(out, "# {}\n", line(&c.run))?;
    if let Some(description) = &c.description {
        writeln!(out, "{}\n", line(description))?;
    }
    writeln!(out, "**{}**\n", line(&verdict_sentence(c)))?;
    if c.foreign_bundle {
        writeln!(
            out,
            "> The simulation's bundle was not measured on the machine of the run. \
             This was allowed by a flag; the errors below are those of the wrong machine, too.\n"
        )?;
    }
    if c.recorded {
        writeln!(out, "> {}\n", line(&recorded_note(&c.real)))?;
    }
    if let Some(drift) = c.drift_percent {
        writeln!(
            out,
            "The duration of the engine's reference step of one row changed by {drift:+.1} % from the profile to the \
             measured runs; no verdict takes it into account.\n"
        )?;
    }
    if let Some(sentence) = at_speed_sentence(c) {
        writeln!(out, "{sentence}\n")?;
    }
    table(
        out,
        &["Metric", "Statistic", "Measured", "Simulated", "Error", "95 % interval", "Noise floor", "Verdict"],
        c.headline.iter().map(|row| headline_cells(row, c.recorded)),
    )?;
    writeln!(
        out,
        "Thresholds: pass {} %, warn {} %. {} compared, {} left out because they failed in a run; {}.\n",
        c.pass_percent,
        c.warn_percent,
        counted(c.num_requests, "request"),
        c.num_excluded,
        counted(c.repeats, "measured repeat"),
    )?;
    if let Some(budget) = &c.budget {
        writeln!(out, "## Error budget\n\n{}\n", budget_sentence(budget))?;
        table(
            out,
            &["Metric", "Statistic", "Error", "Predictor", "Policy", "Machine"],
            budget.rows.iter().zip(&c.headline).map(|(part, row)| {
                let percent = |value: f64| format!("{value:+.1} %");
                let machine = part.machine_percent.map_or("unknown".to_owned(), percent);
                let values = [row.error_percent, part.predictor_percent, part.policy_percent].map(percent);
                let names = [part.metric.clone(), part.stat.clone()];
                names.into_iter().chain(values).chain([machine]).collect()
            }),
        )?;
    }
    writeln!(out, "## Whole run\n")?;
    table(
        out,
        &["Figure", "Measured", "Simulated"],
        c.whole_run
            .iter()
            .map(|row| vec![row.name.clone(), row.measured.to_string(), row.simulated.to_string()]),
    )?;
    if !c.slo.is_empty() {
        writeln!(out, "Objectives of goodput: {}.\n", objectives(&c.slo))?;
    }
    writeln!(out, "## Method\n")?;
    method(out, c)?;
    writeln!(
        out,
        "## Metrics\n\nDefinitions version {}. Percentiles are {PERCENTILE_METHOD}.\n",
        c.metrics_version
    )?;
    for definition in &DEFINITIONS {
        writeln!(
            out,
            "- **{}** ({}): {} `{}`",
            definition.name,
            definition.long_name.to_lowercase(),
            definition.words,
            definition.formula
        )?;
    }
    writeln!(out)?;
    writeln!(out, "## Pins\n")?;
    table(
        out,
        &["Group", "Name", "Value"],
        c.pins.iter().map(|pin| vec![pin.group.clone(), pin.name.clone(), pin.value.clone()]),
    )?;
    writeln!(out, "Lock {}; xp {}.\n", c.lock_digest, line(&c.xp_version))?;
    table(
        out,
        &["File", "Bytes", "SHA-256"],
        c.files.iter().map(|file| vec![file.file.clone(), file.bytes.to_string(), file.sha256.to_string()]),
    )?;
    out.truncate(out.trim_end().len());
    out.push('\n');
    Ok(())
}

fn method(out: &mut String, c: &Comparison) -> std::fmt::Result {
    writeln!(
        out,
        "- Error: 100 × (simulated / measured − 1). Measured is the mean over the repeats of the statistic. A \
         simulated request is cut to the output tokens that were measured."
    )?;
    writeln!(
        out,
        "- Interval: percentile bootstrap over requests (Efron and Tibshirani 1993), {} resamples, seed {}. A drawn \
         request brings all its runs along. It tells how much the error depends on which requests were served; requests share \
         a queue, so it is a little narrow.",
        c.bootstrap_resamples, c.bootstrap_seed
    )?;
    writeln!(
        out,
        "- Noise floor: half the spread of the statistic between measured repeats, per cent of its mean{}.",
        match c.repeats {
            0 | 1 if c.recorded => "; a recording is one run, so it is not available",
            0 | 1 => "; one repeat has none",
            _ => "",
        }
    )?;
    writeln!(out, "- {VERDICT_RULE} The verdict on the run is the worst of its figures.")?;
    if c.recorded {
        writeln!(
            out,
            "- A recording has no steps: there is no timeline of it, and no inter-token latency.\n"
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "- The timeline shows measured repeat {}, the one of median duration.\n",
        u64::from(c.timeline_repeat) + 1
    )?;
    Ok(())
}

fn headline_cells(row: &MetricRow, recorded: bool) -> Vec<String> {
    let unknown = if recorded { "not available" } else { "unknown" };
    vec![
        row.metric.clone(),
        row.stat.clone(),
        duration(row.measured_ns),
        duration(row.simulated_ns),
        format!("{:+.1} %", row.error_percent),
        format!("{:+.1} … {:+.1} %", row.low_percent, row.high_percent),
        row.noise_percent.map_or(unknown.to_owned(), |noise| format!("±{noise:.1} %")),
        match row.verdict {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        }
        .to_owned(),
    ]
}

fn objectives(slo: &SloLimits) -> String {
    let limits = [("TTFT", slo.ttft_ns), ("TPOT", slo.tpot_ns), ("E2E", slo.e2e_ns)];
    let set =
        limits.into_iter().filter_map(|(name, limit)| Some(format!("{name} ≤ {}", duration(limit? as f64))));
    set.collect::<Vec<_>>().join(", ")
}

fn counted(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A Markdown table.
fn table(out: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> std::fmt::Result {
    writeln!(out, "| {} |", head.join(" | "))?;
    writeln!(out, "|{}", "---|".repeat(head.len()))?;
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| line(cell).replace('|', "\\|")).collect();
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    writeln!(out)
}

/// Text that stays on its line.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A duration in ns for people: four significant digits with the unit that suits.
pub fn duration(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns >= 1e9 => (ns / 1e9, "s"),
        ns if ns >= 1e6 => (ns / 1e6, "ms"),
        ns if ns >= 1e3 => (ns / 1e3, "µs"),
        ns => (ns, "ns"),
    };
    let decimals = match value {
        value if value >= 1000.0 => 0,
        value if value >= 100.0 => 1,
        value if value >= 10.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::super::assemble::tests::input;
    use super::super::compare;
    use super::*;

    #[test]
    fn durations_keep_four_digits() {
        let shown: Vec<String> = [17_312_345.0, 1_970.0, 65.4e9, 999.0, 123_456_789.0].map(duration).into();
        assert_eq!(shown, ["17.31 ms", "1.970 µs", "65.40 s", "999.0 ns", "123.5 ms"]);
    }

    #[test]
    fn a_summary_reads_well() {
        let mut made = compare(&input(20, 103)).unwrap();
        made.pins[0].value = "a|b\nc".to_owned();
        let text = summary(&made);
        let first: Vec<&str> = text.lines().take(22).collect();
        insta::assert_snapshot!(first.join("\n"), @r"
        # tiny-qps-50

        A sample

        **Warn: no figure of vidur is off by more than 9 %, and 7 of 12 are not shown to be within ±5 % of sarathi. The largest of these errors is TTFT P99, off by +7.9 %.**

        The duration of the engine's reference step of one row changed by +0.0 % from the profile to the measured runs; no verdict takes it into account.

        | Metric | Statistic | Measured | Simulated | Error | 95 % interval | Noise floor | Verdict |
        |---|---|---|---|---|---|---|---|
        | TTFT | Mean | 27.53 µs | 29.61 µs | +7.6 % | +6.6 … +8.3 % | ±2.5 % | warn |
        | TTFT | P50 | 25.06 µs | 26.81 µs | +7.0 % | +3.9 … +9.6 % | ±2.2 % | warn |
        | TTFT | P90 | 45.37 µs | 48.85 µs | +7.7 % | +7.6 … +9.6 % | ±2.9 % | warn |
        | TTFT | P99 | 50.57 µs | 54.57 µs | +7.9 % | +7.6 … +8.6 % | ±2.9 % | warn |
        | TPOT | Mean | 13.68 µs | 14.08 µs | +2.9 % | +2.3 … +3.4 % | ±1.2 % | pass |
        | TPOT | P50 | 13.80 µs | 14.20 µs | +2.8 % | +1.8 … +3.7 % | ±1.2 % | pass |
        | TPOT | P90 | 15.29 µs | 15.74 µs | +3.0 % | +0.4 … +3.7 % | ±1.2 % | pass |
        | TPOT | P99 | 15.89 µs | 16.01 µs | +0.7 % | +0.4 … +3.1 % | ±1.2 % | pass |
        | E2E | Mean | 66.39 µs | 69.68 µs | +5.0 % | +4.4 … +5.5 % | ±1.8 % | warn |
        | E2E | P50 | 68.38 µs | 71.72 µs | +4.9 % | +3.5 … +6.8 % | ±1.7 % | warn |
        | E2E | P90 | 103.7 µs | 108.5 µs | +4.7 % | +3.5 … +5.9 % | ±1.7 % | warn |
        | E2E | P99 | 111.0 µs | 115.2 µs | +3.8 % | +3.6 … +4.9 % | ±1.4 % | pass |
        ");
        assert!(text.contains("| Model | name | a\\|b c |"), "{text}");
        assert!(text.contains("Objectives of goodput: TTFT ≤ 400.0 µs."), "{text}");
        for definition in DEFINITIONS {
            assert!(text.contains(definition.words), "{}", definition.name);
        }
        assert!(text.contains(VERDICT_RULE) && text.ends_with(" |\n"));
        assert!(!text.contains("> The simulation's bundle"));
        made.foreign_bundle = true;
        assert!(
            summary(&made).contains("> The simulation's bundle was not measured on the machine of the run.")
        );
    }

    #[test]
    fn the_sentence_names_the_worst_figure_of_the_verdict() {
        let sentence = |percent| verdict_sentence(&compare(&input(60, percent)).unwrap());
        insta::assert_snapshot!(sentence(100), @"Pass: vidur predicts sarathi within ±5 %, or within the machine's noise, on all 12 figures. The largest error is TTFT P50, off by -0.2 %.");
        insta::assert_snapshot!(sentence(150), @"Fail: vidur is off by more than 9 % from sarathi on 12 of 12 figures. The largest error is TTFT P50, off by +120.4 %.");
        let mut made = compare(&input(60, 100)).unwrap();
        made.headline[4].verdict = Verdict::Warn;
        made.verdict = Verdict::Warn;
        insta::assert_snapshot!(verdict_sentence(&made), @"Warn: no figure of vidur is off by more than 9 %, and 1 of 12 are not shown to be within ±5 % of sarathi. The largest of these errors is TPOT Mean, off by +0.0 %.");
    }
}
