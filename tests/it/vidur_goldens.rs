//! Runs of the real Vidur, replayed: fed with the durations that Vidur predicted, xp must form the same
//! batches at the same times. The runs are read from `XP_VIDUR_GOLDENS` or `../shared/vidur-goldens`;
//! every folder with a `batches.csv` is a case.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xp::predictor::regression::TrainedOperators;
use xp::predictor::vidur::VidurPredictor;
use xp::scheduler::{ClusterConfig, Compat, Policy, RouterKind, SchedulerConfig};
use xp::sim::{Asked, Clock, Moment, Nanoseconds, Outcome, Pace, Seconds, Stage, run};

use crate::vidur_predictor;

/// A stage's execution: what `batches.csv` has in a row.
#[derive(Debug, Clone, PartialEq)]
struct Execution {
    batch_id: u64,
    replica: u32,
    stage: u32,
    start: Moment,
    end: Moment,
    requests: Vec<u32>,
    tokens: Vec<u32>,
}

struct Case {
    name: String,
    scheduler: SchedulerConfig,
    cluster: ClusterConfig,
    seed: u64,
    /// (arrival in seconds, prompt, output)
    requests: Vec<(f64, u32, u32)>,
    executions: Vec<Execution>,
    seconds: HashMap<(u64, u32), f64>,
    rows: Vec<HashMap<String, String>>,
}

fn cases() -> Vec<PathBuf> {
    let folder = std::env::var_os("XP_VIDUR_GOLDENS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vidur-goldens"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut cases: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("batches.csv").is_file())
        .collect();
    cases.sort();
    cases
}

fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("a golden's file");
    reader.deserialize().collect::<Result<_, _>>().expect("a golden's rows")
}

/// `3 5-7` is 3 5 6 7.
fn ids(cell: &str) -> Vec<u32> {
    cell.split_whitespace()
        .flat_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            from.parse().expect("an id")..=to.parse().expect("an id")
        })
        .collect()
}

/// `3 5x2` is 3 5 5.
fn counts(cell: &str) -> Vec<u32> {
    cell.split_whitespace()
        .flat_map(|part| {
            let (value, times) = part.split_once('x').unwrap_or((part, "1"));
            std::iter::repeat_n(value.parse().expect("a number"), times.parse().expect("a number"))
        })
        .collect()
}

fn read(folder: &Path) -> Case {
    let json = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.join(name)).expect("a golden's file")).expect("JSON")
    };
    let (config, summary) = (json("config.json"), json("summary.json"));
    let cluster = &config["cluster_config"];
    let (replica, scheduler) = (&cluster["replica_config"], &cluster["replica_scheduler_config"]);
    let number = |value: &Value| value.as_f64().unwrap_or_default() as u32;

    let policy = match scheduler["name"].as_str() {
        Some("sarathi") => Policy::Sarathi,
        Some("vllm") => Policy::Vllm,
        Some("orca") => Policy::Orca,
        Some("lightllm") => Policy::Lightllm,
        Some("faster_transformer") => Policy::FasterTransformer,
        other => panic!("policy {other:?}"),
    };
    let cap = number(&scheduler["batch_size_cap"]);
    let places = if policy.reserves() { number(&summary["max_batch_size"]).min(cap) } else { cap };
    let chunk =
        scheduler.get("chunk_size").or_else(|| scheduler.get("max_tokens_in_batch")).map_or(0, number);
    let kv_blocks = number(&summary["num_blocks"]);
    let watermark =
        scheduler["watermark_blocks_fraction"].as_f64().unwrap_or_default() * f64::from(kv_blocks);
    let max_tokens = number(&config["request_generator_config"]["max_tokens"]);
    let block_size = number(&scheduler["block_size"]);
    let memory = (block_size, kv_blocks, watermark as u32);

    let rows_of_batches = rows(&folder.join("batches.csv"));
    let seconds_of = |row: &HashMap<String, String>, name: &str| row[name].parse::<f64>().expect("seconds");
    let execution = |row: &HashMap<String, String>| Execution {
        batch_id: row["batch_id"].parse().expect("an id"),
        replica: row["replica"].parse().expect("an id"),
        stage: row["stage"].parse().expect("an id"),
        start: Seconds::moment(seconds_of(row, "start")),
        end: Seconds::moment(seconds_of(row, "end")),
        requests: ids(&row["req_ids"]),
        tokens: counts(&row["num_tokens"]),
    };
    let executions: Vec<_> = rows_of_batches.iter().map(execution).collect();
    let seconds = rows_of_batches
        .iter()
        .zip(&executions)
        .map(|(row, run)| ((run.batch_id, run.stage), seconds_of(row, "exec_s")))
        .collect();
    let request = |row: &HashMap<String, String>| {
        let tokens = |name: &str| row[name].parse::<f64>().expect("tokens").max(1.0) as u32;
        let (prompt, output) = (tokens("num_prefill_tokens"), tokens("num_decode_tokens"));
        let clipped = prompt - (prompt + output).saturating_sub(max_tokens);
        (seconds_of(row, "arrived_at"), clipped, output)
    };
    Case {
        name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        scheduler: SchedulerConfig {
            pipeline_stages: number(&replica["num_pipeline_stages"]),
            max_waiting_steps: scheduler.get("max_waiting_iters").map_or(10, number),
            compat: Compat::Vidur,
            ..SchedulerConfig::new(policy, (chunk, places), memory, max_tokens)
        },
        cluster: ClusterConfig {
            replicas: number(&cluster["num_replicas"]),
            router: match cluster["global_scheduler_config"]["name"].as_str() {
                Some("round_robin") => RouterKind::RoundRobin,
                Some("lor") => RouterKind::LeastOutstanding,
                Some("random") => RouterKind::Random,
                other => panic!("router {other:?}"),
            },
            ..ClusterConfig::default()
        },
        seed: config["seed"].as_u64().unwrap_or_default(),
        requests: rows(&folder.join("trace.csv")).iter().map(request).collect(),
        executions,
        seconds,
        rows: rows(&folder.join("requests.csv")),
    }
}

/// Replays durations and writes down what ran.
struct Replay<'a> {
    seconds: &'a HashMap<(u64, u32), f64>,
    executions: Vec<Execution>,
}

impl<C: Clock> Pace<C> for Replay<'_>
where
    C::Span: FromSeconds,
{
    fn span(&mut self, stage: &Stage<'_>) -> C::Span {
        // A batch that Vidur did not form ends the comparison, and must not end the run.
        C::Span::from_seconds(self.seconds.get(&(stage.batch_id, stage.stage)).copied().unwrap_or(1.0))
    }

    fn started(&mut self, stage: &Stage<'_>, start: Moment, end: Moment) {
        let (requests, tokens) = members(stage);
        self.executions.push(Execution {
            batch_id: stage.batch_id,
            replica: stage.replica,
            stage: stage.stage,
            start,
            end,
            requests,
            tokens,
        });
    }
}

trait FromSeconds {
    fn from_seconds(seconds: f64) -> Self;
}

impl FromSeconds for f64 {
    fn from_seconds(seconds: f64) -> Self {
        seconds
    }
}

impl FromSeconds for u64 {
    fn from_seconds(seconds: f64) -> Self {
        (seconds * 1e9).round() as u64
    }
}

fn replay<C: Clock>(case: &Case, moment: impl Fn(f64) -> Moment) -> (Vec<Outcome>, Vec<Execution>)
where
    C::Span: FromSeconds,
{
    let mut pace = Replay { seconds: &case.seconds, executions: Vec::new() };
    (serve::<C, _>(case, moment, &mut pace), pace.executions)
}

/// Serves a case's requests.
fn serve<C: Clock, P: Pace<C>>(case: &Case, moment: impl Fn(f64) -> Moment, pace: &mut P) -> Vec<Outcome> {
    let mut requests = case.requests.iter().map(|&(arrival, prefill_tokens, decode_tokens)| Asked {
        arrival: moment(arrival),
        prefill_tokens,
        decode_tokens,
        prefix: &[],
    });
    run::<C, _>(&case.scheduler, &case.cluster, case.seed, &mut requests, pace)
}

/// A stage's requests and their tokens, in batch order.
fn members(stage: &Stage<'_>) -> (Vec<u32>, Vec<u32>) {
    stage.batch.entries().map(|entry| (stage.slots[entry.request as usize], entry.tokens)).unzip()
}

#[test]
fn fed_with_vidurs_durations_xp_forms_vidurs_batches() {
    let cases = cases();
    if cases.is_empty() {
        println!("skipped: there are no runs of Vidur (XP_VIDUR_GOLDENS)");
        return;
    }
    let mut failures = Vec::new();
    for folder in &cases {
        let case = read(folder);
        let (outcomes, executions) = replay::<Seconds>(&case, Seconds::moment);
        if let Some(at) = (0..case.executions.len().max(executions.len()))
            .find(|at| case.executions.get(*at) != executions.get(*at))
        {
            failures.push(format!(
                "{}: execution {at} of {}:\n  Vidur {:?}\n  xp    {:?}",
                case.name,
                case.executions.len(),
                case.executions.get(at),
                executions.get(at)
            ));
            continue;
        }
        for (row, outcome) in case.rows.iter().zip(&outcomes) {
            let time = |name: &str| row[name].parse().ok().map(Seconds::moment);
            let vidur = (
                row["replica"].parse(),
                row["num_restarts"].parse(),
                time("scheduled_at"),
                time("prefill_completed_at"),
                time("completed_at"),
            );
            let xp = (
                Ok(outcome.replica),
                Ok(outcome.preemptions),
                outcome.scheduled,
                outcome.first_token,
                outcome.completion,
            );
            if vidur != xp {
                failures.push(format!("{}: request {}: {vidur:?}, not {xp:?}", case.name, row["id"]));
                break;
            }
        }
        // The same decisions on xp's own clock.
        let (_, executions) = replay::<Nanoseconds>(&case, |seconds| Moment((seconds * 1e9).round() as u64));
        let decision = |run: &Execution| {
            (run.batch_id, run.replica, run.stage, run.requests.clone(), run.tokens.clone())
        };
        let flips =
            case.executions.iter().zip(&executions).filter(|(a, b)| decision(a) != decision(b)).count();
        println!("{}: {} executions equal, {flips} others in nanoseconds", case.name, executions.len());
        if flips > 0 {
            failures.push(format!("{}: nanoseconds flip {flips} decisions", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Asks a predictor, and writes down what was decided.
struct Predicted<'a> {
    predictor: &'a VidurPredictor,
    decisions: Vec<Decision>,
}

/// Replica, stage, requests and their tokens.
type Decision = (u32, u32, Vec<u32>, Vec<u32>);

impl Pace<Seconds> for Predicted<'_> {
    fn span(&mut self, stage: &Stage<'_>) -> f64 {
        self.predictor.batch_s(stage.batch, stage.is_last)
    }

    fn started(&mut self, stage: &Stage<'_>, _start: Moment, _end: Moment) {
        let (requests, tokens) = members(stage);
        self.decisions.push((stage.replica, stage.stage, requests, tokens));
    }
}

#[test]
fn with_a_fit_of_its_own_xp_serves_requests_when_vidur_does() {
    let cases = cases();
    if cases.is_empty() {
        println!("skipped: there are no runs of Vidur (XP_VIDUR_GOLDENS)");
        return;
    }
    let (mut compared, mut flipped, mut failures) = (0, 0, Vec::new());
    for folder in &cases {
        let settings = vidur_predictor::Case::read(folder);
        let Some(set) = folder.parent().and_then(|goldens| settings.training(goldens)) else {
            println!("{}: no training rows are kept of its model", folder.display());
            continue;
        };
        let trained = TrainedOperators::train(&set, &vidur_predictor::grid(), 0).expect("a fit");
        let predictor = VidurPredictor::new(&trained, settings.shape, settings.options).expect("a predictor");
        let case = read(folder);
        let mut pace = Predicted { predictor: &predictor, decisions: Vec::new() };
        let outcomes = serve::<Seconds, _>(&case, Seconds::moment, &mut pace);
        let vidur = case
            .executions
            .iter()
            .map(|run| (run.replica, run.stage, run.requests.clone(), run.tokens.clone()));
        if !vidur.eq(pace.decisions.iter().cloned()) {
            println!("{}: the fit flips a decision", case.name);
            flipped += 1;
            continue;
        }
        let mut worst = 0.0_f64;
        for (row, outcome) in case.rows.iter().zip(&outcomes) {
            let arrival: f64 = row["arrived_at"].parse().expect("seconds");
            for (name, found) in
                [("prefill_completed_at", outcome.first_token), ("completed_at", outcome.completion)]
            {
                let (Ok(wanted), Some(found)) = (row[name].parse::<f64>(), found) else { continue };
                let (wanted, found) = (wanted - arrival, Seconds::seconds(found) - arrival);
                worst = worst.max((found / wanted - 1.0).abs());
            }
        }
        println!("{}: request times within {worst:.1e}", case.name);
        if worst >= 1e-4 {
            failures.push(format!("{}: request times differ by {worst:.1e}", case.name));
        }
        compared += 1;
    }
    println!("{compared} cases compared, {flipped} with a flipped decision");
    assert!(failures.is_empty() && compared > 0, "{}", failures.join("\n"));
}
