//! `comparison.json`: everything a report says, computed once and rounded on
//! write. The report draws it and computes nothing of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::round::round;
use crate::metrics::SloLimits;
use crate::store::Digest;

/// Version of `comparison.json`.
pub const COMPARISON_FORMAT: u32 = 4;

/// What a comparison says of one figure, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
}

/// One line of the headline table: a statistic of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricRow {
    /// `TTFT`, `TPOT` or `E2E`.
    pub metric: String,
    /// `Mean`, `P50`, `P90`, `P99`.
    pub stat: String,
    /// Mean over the repeats of the statistic, ns.
    pub measured_ns: f64,
    /// The statistic of the simulated run, ns.
    pub simulated_ns: f64,
    /// 100 × (simulated / measured − 1).
    pub error_percent: f64,
    /// 95 % bootstrap interval of the error, per cent.
    pub low_percent: f64,
    pub high_percent: f64,
    /// Half the spread of the statistic between measured repeats, per cent of
    /// its mean; none with one repeat.
    pub noise_percent: Option<f64>,
    pub verdict: Verdict,
}

/// An error of the headline in its parts, which add up to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetRow {
    pub metric: String,
    pub stat: String,
    /// What is left when every step takes as long as it was measured to: other batches.
    pub policy_percent: f64,
    /// The machine was faster or slower than while it was profiled, as reference steps tell; none where nobody timed
    /// them.
    pub machine_percent: Option<f64>,
    /// The rest: steps that take longer or shorter than predicted.
    pub predictor_percent: f64,
}

impl Comparison {
    /// The errors of the headline with the machine as fast as it was while it was measured, per cent; None where that
    /// is not known.
    pub fn errors_at_speed(&self) -> Option<Vec<f64>> {
        let rows = &self.budget.as_ref()?.rows;
        let error =
            |row: &BudgetRow| row.machine_percent.map(|_| round(row.policy_percent + row.predictor_percent));
        rows.iter().map(error).collect()
    }

    /// How many figures of the headline are then within the pass limit, or within the noise floor; None where that is not
    /// known.
    pub fn within_at_speed(&self) -> Option<usize> {
        let within = |(error, row): (f64, &MetricRow)| {
            error.abs() <= f64::max(self.pass_percent, row.noise_percent.unwrap_or(0.0))
        };
        let errors = self.errors_at_speed()?;
        Some(errors.into_iter().zip(&self.headline).filter(|pair| within(*pair)).count())
    }
}

/// Where errors come from, by replays of the measured runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Measured steps of all repeats.
    pub num_steps: u64,
    /// Batches of the replays that are not those that were measured.
    pub num_steps_apart: u64,
    /// Measured steps that something else on the machine disturbed: they are not in the next three. All are, where
    /// all were disturbed.
    pub num_steps_disturbed: u64,
    /// Their share of the measured time.
    pub disturbed_time_percent: f64,
    /// 100 × (predicted / measured − 1) of the time in the measured steps.
    pub steps_percent: f64,
    /// Of the errors of single steps, without their signs: P50 and P90.
    pub step_p50_percent: f64,
    pub step_p90_percent: f64,
    /// In the order of the headline.
    pub rows: Vec<BudgetRow>,
}

impl Budget {
    /// Whether the machine's part is told apart.
    pub fn knows_machine(&self) -> bool {
        self.rows.iter().any(|row| row.machine_percent.is_some())
    }
}

/// A statistic of a metric without a verdict: the distribution in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PercentileRow {
    /// `TTFT`, `ITL`, `TPOT`, `E2E` or `Normalized latency`.
    pub metric: String,
    /// `Mean`, `P5`, … `P99`.
    pub stat: String,
    /// Values of one run: requests, or (ITL) gaps between tokens.
    pub n: u64,
    /// Mean over the repeats of the statistic, ns.
    pub measured_ns: f64,
    /// The statistic of the simulated run, ns.
    pub simulated_ns: f64,
    /// 100 × (simulated / measured − 1); none where nothing was measured.
    pub error_percent: Option<f64>,
}

/// One request in both runs. Measured values are medians over the repeats; ns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestRow {
    pub request_id: u32,
    pub num_prefill_tokens: u32,
    pub num_decode_tokens: u32,
    pub ttft_measured_ns: f64,
    pub ttft_simulated_ns: f64,
    /// None for a request of one output token.
    pub tpot_measured_ns: Option<f64>,
    pub tpot_simulated_ns: Option<f64>,
    pub e2e_measured_ns: f64,
    pub e2e_simulated_ns: f64,
}

/// State of a run averaged over one time bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimelinePoint {
    /// Start of the bin, ns from run start.
    pub time_ns: u64,
    /// Requests running, time-weighted mean over the bin.
    pub running: f64,
    /// Requests waiting, likewise.
    pub waiting: f64,
    /// KV blocks in use, likewise, per cent of all.
    pub kv_percent: f64,
    /// Output tokens per second.
    pub tokens_per_s: f64,
}

/// A figure with one value per run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WholeRun {
    /// Column head with its unit, such as `Duration, s`.
    pub name: String,
    pub measured: f64,
    pub simulated: f64,
}

/// A pinned fact, for the appendix: group, name, value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    pub group: String,
    pub name: String,
    pub value: String,
}

/// `comparison.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Version of this format.
    pub format: u32,
    /// Version of the metric definitions.
    pub metrics_version: u32,
    /// Run id: the experiment's name, with the matrix cell's suffix.
    pub run: String,
    pub description: Option<String>,
    /// Names of the two backends compared.
    pub real: String,
    pub sim: String,
    /// The measured side is a recording from elsewhere: of requests alone, of one run, and of hardware that was
    /// declared and not looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
    /// Facts for the first page's box: head and at most three lines each; four groups
    /// (Model, Hardware, Engine, Workload).
    pub facts: Vec<(String, Vec<String>)>,
    /// Thresholds, per cent.
    pub pass_percent: f64,
    pub warn_percent: f64,
    /// Measured repeats.
    pub repeats: u32,
    pub bootstrap_resamples: u32,
    pub bootstrap_seed: u64,
    /// Requests aligned in all runs, and those left out because they failed in one.
    pub num_requests: u32,
    pub num_excluded: u32,
    pub verdict: Verdict,
    /// Whether the bundle was measured on other hardware than the run (allowed by a flag).
    pub foreign_bundle: bool,
    /// How much longer the engine's reference step took around the measured runs than while the
    /// bundle was measured, per cent; negative when shorter. The machine's share of every error of the
    /// simulator: no verdict takes it into account. None where a run does not tell.
    pub drift_percent: Option<f64>,
    /// TTFT, TPOT and E2E, four statistics each; no TPOT when every request has one output token.
    pub headline: Vec<MetricRow>,
    /// Where the headline's errors come from; none where the measured runs were not replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// More statistics of more metrics, ITL among them; no verdict.
    pub percentiles: Vec<PercentileRow>,
    /// Objectives that goodput counts; all none when the experiment has none.
    pub slo: SloLimits,
    pub whole_run: Vec<WholeRun>,
    pub requests: Vec<RequestRow>,
    /// Width of a timeline bin, ns.
    pub bin_ns: u64,
    /// The measured repeat (from 0) that the timeline shows: the one of median duration.
    pub timeline_repeat: u32,
    pub timeline_measured: Vec<TimelinePoint>,
    pub timeline_simulated: Vec<TimelinePoint>,
    /// Pinned facts in order, for the appendix.
    pub pins: Vec<Pin>,
    /// Input files of the comparison with their digests.
    pub files: Vec<crate::store::FileDigest>,
    /// Digest of the lock's inputs (all but simulated results).
    pub lock_digest: Digest,
    pub xp_version: String,
}
