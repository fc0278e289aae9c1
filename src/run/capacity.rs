//! The highest request rate of every configuration of an experiment, by simulation.

use std::borrow::Cow;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use super::facts;
use super::record::StageState;
use super::session::Session;
use super::{Observer, Request, RunError};
use crate::capacity::{
    self, Answer, Capacity, Load, MeasuredInput, Objectives, Overload, Percentiles, Plan, PlannedCell, Range,
    Setting, Simulate, Watch,
};
use crate::lock::RunPin;
use crate::metrics::{self, RequestRecord, RequestStatus, RunRecord, StepLog};
use crate::predictor::{Place, Predictor};
use crate::progress::Silent;
use crate::report::{self, Contents};
use crate::scheduler::{ClusterConfig, RequestId, SchedulerConfig};
use crate::sim::{Deployed, Moment, Nanoseconds, Outcome, Pace, Stage, prefixes_for, simulate_requests};
use crate::spec::{Arrivals, CapacitySpec, Cell};
use crate::store::{self, Digest, StagedDir};
use crate::workload::{Prefixes, Workload, WorkloadRequest};

/// What a search left behind.
#[derive(Debug)]
pub struct Searched {
    pub capacity: Capacity,
    /// `capacity.json`.
    pub document: PathBuf,
    pub report: PathBuf,
}

/// Searches every configuration of an experiment that has a `capacity`, and writes what was found.
///
/// # Errors
/// Those of a run up to its simulations; no capacity is asked for; a file cannot be written.
pub fn search_capacity(request: Request, observer: &dyn Observer) -> Result<Searched, RunError> {
    let mut session = Session::open(request, observer)?;
    let _guard = session.project.guard()?;
    session.capacity()
}

impl Session<'_> {
    fn capacity(&mut self) -> Result<Searched, RunError> {
        let Some(spec) = self.resolved.lock.experiment.capacity.clone() else {
            return Err(RunError::NoCapacity);
        };
        let profiles = self.pin()?;
        if profiles.is_empty() {
            return Err(RunError::NoCapacity);
        }
        let mut plan = self.capacity_plan(&spec)?;
        plan.check()?;
        let mut cells = Vec::with_capacity(plan.cells.len());
        for (index, profile) in profiles.iter().enumerate() {
            let predictor = self.predictor(index, profile)?;
            cells.push(self.probed(index, predictor)?);
        }
        for (index, (planned, probed)) in plan.cells.iter_mut().zip(&cells).enumerate() {
            planned.measured = self.measured(index, probed, &plan.objectives)?;
        }
        let seed = self.resolved.lock.seeds.router.unwrap_or_default();
        let probes = Probes { cells, router_seed: seed };
        let searched = capacity::explore(
            probes.cells.len(),
            &plan.range,
            &plan.objectives,
            &probes,
            self.observer.progress(),
        );
        let Ok(found) = searched;
        let capacity = capacity::assemble(plan, found)?;
        let (document, report) = self.write_capacity(&capacity)?;
        Ok(Searched { capacity, document, report })
    }

    /// What is asked for, in the words of the document.
    fn capacity_plan(&self, spec: &CapacitySpec) -> Result<Plan, RunError> {
        let lock = &self.resolved.lock;
        let experiment = &lock.experiment;
        let mut objectives = Objectives::from(facts::slo(&experiment.slo));
        objectives.delay_p99_ns = spec.delay_p99.map(|limit| limit.0);
        let cell = |(run, cell): (&RunPin, &Cell)| PlannedCell {
            settings: run
                .set
                .iter()
                .map(|set| Setting { path: set.path.clone(), value: set.value.clone() })
                .collect(),
            hardware: cell.experiment.hardware.device.clone(),
            devices: run.cluster.num_devices(&run.scheduler),
            price_per_device_hour: cell.experiment.hardware.price_per_hour,
            measured: Vec::new(),
        };
        let simulator = self.sim_backend().map(|sim| sim.name.clone()).unwrap_or_default();
        Ok(Plan {
            name: experiment.name.clone(),
            description: experiment.description.clone(),
            simulator: match (lock.bundles().next(), lock.bundles().count()) {
                (Some((_, pin)), 1) => format!("{simulator}, from {}", pin.path),
                (Some(_), several) => format!("{simulator}, from {several} profiles"),
                (None, _) => simulator,
            },
            model: experiment.model.name.clone(),
            workload: experiment.workload.name.clone(),
            requests: lock.runs.iter().map(|run| run.workload.requests).max().unwrap_or(0),
            objectives,
            range: Range::new(spec.min_qps, spec.max_qps, spec.tolerance.0 / 100.0)?,
            currency: "US$".to_owned(),
            axes: experiment.matrix.iter().map(|axis| axis.path.clone()).collect(),
            cells: lock.runs.iter().zip(&self.resolved.cells).map(cell).collect(),
            lock_digest: lock.input_digest(),
            xp_version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    fn probed(&self, index: usize, predictor: Arc<dyn Predictor>) -> Result<Probed, RunError> {
        let run = &self.resolved.lock.runs[index];
        let workload = self.resolved.simulated_workload(index)?;
        let asked = &self.resolved.cells[index].experiment.workload;
        let said = match asked.arrivals {
            // Of sessions it is the rate at which they begin.
            Arrivals::Poisson { qps } | Arrivals::Gamma { qps, .. } => {
                Some(qps).filter(|_| asked.sessions.is_none())
            }
            Arrivals::Static | Arrivals::Trace { .. } | Arrivals::Recorded => None,
        };
        let rate =
            said.or_else(|| rate_of(&workload)).ok_or_else(|| RunError::NoRate { run: run.id.clone() })?;
        Ok(Probed {
            scheduler: run.scheduler.clone(),
            cluster: run.cluster.clone(),
            prefixes: prefixes_for(&workload, &run.scheduler).map(Cow::into_owned),
            workload,
            rate,
            predictor,
        })
    }

    /// What `xp run` measured of a configuration, if it did: the first repeat that is there, at the experiment's own
    /// rate, beside the simulation of the same requests.
    fn measured(
        &self,
        index: usize,
        probed: &Probed,
        objectives: &Objectives,
    ) -> Result<Vec<MeasuredInput>, RunError> {
        let repeats = self.resolved.lock.experiment.compare.as_ref().map_or(1, |compare| compare.repeats);
        for repeat in 0..repeats {
            let step = match self.real_step(index, repeat) {
                Ok(Some(step)) => step,
                Ok(None) | Err(_) => break,
            };
            let StageState::Fresh(record) = self.stages.state_of(&step) else { continue };
            let (measured, _) = metrics::read_run(&self.path(&record.output)?)?;
            let deployed = probed.deployed(self.resolved.lock.seeds.router.unwrap_or_default());
            let (simulated, _) =
                simulate_requests(&deployed, probed.predictor.as_ref(), &probed.workload, &Silent);
            // Delays are not compared: the log of steps, which tells them, is not kept here.
            let without_steps = RunRecord { steps: StepLog::default(), ..measured };
            let load = |run: &RunRecord| Load::of(run, objectives);
            return Ok(vec![(probed.rate, load(&without_steps), load(&simulated))]);
        }
        Ok(Vec::new())
    }

    fn write_capacity(&self, capacity: &Capacity) -> Result<(PathBuf, PathBuf), RunError> {
        let lock = &self.resolved.lock;
        let name = &lock.experiment.name;
        let key = Digest::of_json(&(capacity.lock_digest, lock.versions.simulator)).short(8);
        let folder = self.path(&format!("runs/capacity/{name}-{key}"))?;
        let staged = StagedDir::new(&folder).map_err(|source| RunError::io(&folder, source))?;
        capacity::write_capacity(staged.path(), capacity)?;
        staged.commit().map_err(|source| RunError::io(&folder, source))?;
        let report = lock.experiment.report.clone().unwrap_or_else(|| format!("reports/{name}.pdf"));
        let report = self.path(&format!("{}-capacity.pdf", report.trim_end_matches(".pdf")))?;
        let text = self.expected_lock().to_kdl();
        let contents = Contents { lock: Some(&text), capacity: Some(capacity), ..Contents::default() };
        let pdf = report::render(&contents)?;
        store::write(&report, &pdf).map_err(|source| RunError::io(&report, source))?;
        Ok((folder.join("capacity.json"), report))
    }
}

/// Requests/s of arrivals that say no rate: how many came after the first, in the time until the last.
fn rate_of(workload: &Workload) -> Option<f64> {
    let arrivals = workload.requests.iter().map(|request| request.arrival_time_ns);
    let span = arrivals.clone().max()? - arrivals.min()?;
    (span > 0).then(|| (workload.requests.len() - 1) as f64 / (span as f64 / 1e9))
}

/// A configuration, and what is asked of it.
struct Probed {
    scheduler: SchedulerConfig,
    cluster: ClusterConfig,
    /// Arrives at `rate` requests/s: at another one its arrivals are scaled, and nothing else differs.
    workload: Arc<Workload>,
    /// What prompts have in common, in blocks of the scheduler.
    prefixes: Option<Prefixes>,
    rate: f64,
    predictor: Arc<dyn Predictor>,
}

impl Probed {
    fn deployed(&self, router_seed: u64) -> Deployed<'_> {
        Deployed { scheduler: &self.scheduler, cluster: &self.cluster, router_seed }
    }
}

struct Probes {
    cells: Vec<Probed>,
    router_seed: u64,
}

impl Simulate for Probes {
    type Error = Infallible;

    fn at(&self, cell: usize, qps: f64, objectives: &Objectives) -> Result<Answer, Infallible> {
        let probed = &self.cells[cell];
        let scale = probed.rate / qps;
        // Rounded by addition, on every machine alike.
        let scaled = |request: &WorkloadRequest| WorkloadRequest {
            arrival_time_ns: (request.arrival_time_ns as f64 * scale + 0.5) as u64,
            ..*request
        };
        let requests: Vec<WorkloadRequest> = probed.workload.requests.iter().map(scaled).collect();
        let watched = requests.iter().map(|request| (request.arrival_time_ns, request.num_decode_tokens));
        let mut watching = Watching {
            predictor: probed.predictor.as_ref(),
            watch: Watch::new(objectives, watched),
            overload: None,
        };
        let deployed = probed.deployed(self.router_seed);
        let outcomes = deployed.serve(&requests, probed.prefixes.as_ref(), &mut watching);
        if let Some(overload) = watching.overload {
            return Ok(Answer::Stopped(overload));
        }
        Ok(Answer::Served(load(&requests, &outcomes, objectives)))
    }
}

/// A simulation in numbers.
fn load(asked: &[WorkloadRequest], outcomes: &[Outcome], objectives: &Objectives) -> Load {
    let mut delays = Vec::with_capacity(outcomes.len());
    let mut requests = Vec::with_capacity(outcomes.len());
    for ((request_id, request), outcome) in (0..).zip(asked).zip(outcomes) {
        let arrival_time_ns = request.arrival_time_ns;
        let served = outcome.completion.is_some();
        if let (Some(scheduled), true) = (outcome.scheduled, served) {
            delays.push(scheduled.0.saturating_sub(arrival_time_ns) as f64);
        }
        let time = |moment: Option<Moment>| moment.filter(|_| served).map(|moment| moment.0);
        requests.push(RequestRecord {
            request_id,
            arrival_time_ns,
            first_token_time_ns: time(outcome.first_token),
            completion_time_ns: time(outcome.completion),
            num_prefill_tokens: request.num_prefill_tokens,
            num_decode_tokens: request.num_decode_tokens,
            num_decode_tokens_actual: if served { request.num_decode_tokens } else { 0 },
            status: if served { RequestStatus::Ok } else { RequestStatus::Error },
            ..RequestRecord::default()
        });
    }
    let unserved = (outcomes.len() - delays.len()) as u64;
    let record = RunRecord { requests, ..RunRecord::default() };
    Load { delay: Percentiles::of(delays, unserved), ..Load::of(&record, objectives) }
}

/// Tells a watch what happens, and stops once an objective is out of reach.
struct Watching<'a> {
    predictor: &'a dyn Predictor,
    watch: Watch,
    overload: Option<Overload>,
}

impl Pace<Nanoseconds> for Watching<'_> {
    fn span(&mut self, stage: &Stage<'_>) -> u64 {
        self.predictor.stage_ns(stage.batch, &Place::from(stage))
    }

    fn started(&mut self, stage: &Stage<'_>, start: Moment, _end: Moment) {
        if stage.stage == 0 {
            for chunk in &stage.batch.chunks {
                self.watch.scheduled(stage.slots[chunk.request as usize], start.0);
            }
        }
    }

    fn ended(&mut self, stage: &Stage<'_>, end: Moment) {
        for chunk in stage.batch.chunks.iter().filter(|chunk| chunk.emits) {
            self.watch.first_token(stage.slots[chunk.request as usize], end.0);
        }
    }

    fn done(&mut self, request: RequestId, outcome: &Outcome) {
        match outcome.completion {
            Some(completion) => self.watch.completed(request, completion.0),
            None => self.watch.rejected(request),
        }
    }

    fn stops(&mut self, now: Moment) -> bool {
        self.overload = self.watch.passed(now.0);
        self.overload.is_some()
    }
}
