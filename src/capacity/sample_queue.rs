//! For tests: a queue of one server, one request at a time, a step a token; and
//! whole searches of a formula.

use super::assemble::{Plan, PlannedCell, assemble};
use super::canonical::six_digits;
use super::document::{Capacity, Setting};
use super::explore::{Simulate, explore};
use super::load::Load;
use super::objectives::Objectives;
use super::overload::{Overload, Watch};
use super::search::{Answer, Range};
use crate::metrics::RunRecord;
use crate::metrics::sample_runs::serve;
use crate::progress::Silent;

/// Serves requests of (gap to the one before, output tokens) with steps of `step` ns.
pub(crate) fn serve_all(requests: &[(u64, u32)], step: u64) -> RunRecord {
    let mut now = 0;
    let requests: Vec<(u64, u32, u32)> = requests
        .iter()
        .map(|(gap, tokens)| {
            now += gap;
            (now, 1, *tokens)
        })
        .collect();
    serve(&requests, 64, 1, |_, _| step)
}

/// What a watch says that is told all that happens in a run, step by step.
pub(crate) fn told(run: &RunRecord, objectives: &Objectives) -> Option<Overload> {
    let asked = run.requests.iter().map(|request| (request.arrival_time_ns, request.num_decode_tokens));
    let mut watch = Watch::new(objectives, asked);
    for step in run.steps.iter() {
        if let Some(overload) = watch.passed(step.start_ns) {
            return Some(overload);
        }
        for member in step.members {
            watch.scheduled(member.request, step.start_ns);
        }
        for member in step.members.iter().filter(|member| member.emits) {
            watch.first_token(member.request, step.end_ns);
            if run.requests[member.request as usize].completion_time_ns == Some(step.end_ns) {
                watch.completed(member.request, step.end_ns);
            }
        }
    }
    watch.passed(run.duration_ns())
}

/// A formula in place of a simulation, smooth enough to look at: cell k has a chunk size, a batch size and a degree
/// of tensor parallelism, and from them the rate at which its queue grows without end.
pub(crate) struct Formula {
    pub cells: Vec<[u32; 3]>,
    /// Factor on every rate that can be served, in per mille.
    pub speed: u64,
}

impl Formula {
    pub(crate) fn of(cells: usize) -> Self {
        let of = |cell: usize| [256 << (cell % 4), 32 << (cell / 4 % 5), 1 << (cell / 20 % 3)];
        Self { cells: (0..cells).map(of).collect(), speed: 1_000 }
    }

    /// Rate at which the queue grows, and TTFT and TPOT of a lone request in ns.
    fn limits(&self, cell: usize) -> (f64, f64, f64) {
        let [chunk, batch, tensor] = self.cells[cell].map(f64::from);
        let scale = libm::pow(tensor, 0.82) * self.speed as f64 / 1_000.0;
        let served = 2.1 * scale * libm::pow(batch / 32.0, 0.45) * libm::pow(chunk / 256.0, 0.16);
        let tpot = (8e6 + 3e4 * chunk + 4e4 * batch) / scale;
        (served, 120e6 / scale + 3e9 / chunk, tpot)
    }

    /// What a run of 1,000 requests at a rate comes to.
    pub(crate) fn load(&self, cell: usize, qps: f64) -> Load {
        let (served, ttft, tpot) = self.limits(cell);
        let busy = (qps / served).min(0.999);
        let wait = 0.09e9 * busy / (1.0 - busy);
        let spread = |mean: f64| super::load::Percentiles {
            n: 1_000,
            p50_ns: Some(mean as u64),
            p90_ns: Some((mean * 1.6) as u64),
            p99_ns: Some((mean * 2.4) as u64),
        };
        let duration_ns = (1_000.0 / qps * 1e9 + wait) as u64;
        let output_tokens = 1_000 * 220;
        let tpot = tpot * (0.5 + 0.5 * busy);
        Load {
            requests: 1_000,
            served: 1_000,
            output_tokens,
            duration_ns,
            drain_ns: wait as u64,
            output_tokens_per_s: super::load::per_second(output_tokens, duration_ns),
            goodput_per_s: super::load::per_second(985, duration_ns),
            ttft: spread(ttft / 2.4 + wait),
            tpot: spread(tpot / 2.0),
            e2e: spread(ttft + wait + 220.0 * tpot / 2.0),
            delay: spread(wait),
        }
    }
}

impl Simulate for Formula {
    type Error = std::convert::Infallible;

    fn at(&self, cell: usize, qps: f64, objectives: &Objectives) -> Result<Answer, Self::Error> {
        let (served, ..) = self.limits(cell);
        let Some((objective, _)) = objectives.set().next().filter(|_| qps > 1.3 * served) else {
            return Ok(Answer::Served(self.load(cell, qps)));
        };
        Ok(Answer::Stopped(Overload { objective, missed: 11, admitted: 10, at_ns: 3_000_000_000 }))
    }
}

/// The plan of a search over the first cells of [`Formula`].
pub(crate) fn plan(cells: usize) -> Plan {
    let axes = ["backend.sarathi.chunk-size", "backend.sarathi.max-batch-size", "parallel.tensor"];
    let planned = |[chunk, batch, tensor]: &[u32; 3]| PlannedCell {
        settings: axes
            .iter()
            .zip([chunk, batch, tensor])
            .map(|(path, value)| Setting { path: (*path).to_owned(), value: serde_json::json!(value) })
            .collect(),
        hardware: "a100-80gb".to_owned(),
        devices: *tensor,
        price_per_device_hour: Some(2.21),
        measured: Vec::new(),
    };
    Plan {
        name: "chat-capacity".to_owned(),
        description: None,
        simulator: "vidur".to_owned(),
        model: "llama-3.1-8b, bf16".to_owned(),
        workload: "chat: 1,000 requests, Poisson arrivals".to_owned(),
        requests: 1_000,
        objectives: Objectives {
            ttft_p99_ns: Some(1_000_000_000),
            tpot_p99_ns: Some(60_000_000),
            ..Objectives::default()
        },
        range: Range::new(0.25, 64.0, 0.02).unwrap(),
        currency: "US$".to_owned(),
        axes: axes.map(str::to_owned).to_vec(),
        cells: Formula::of(cells).cells.iter().map(planned).collect(),
        lock_digest: crate::store::Digest::of("lock"),
        xp_version: "0.1.0".to_owned(),
    }
}

/// A search of the plan; with `measured`, cells were measured at two rates, somewhat slower than simulated.
pub(crate) fn document(cells: usize, measured: bool) -> Capacity {
    searched(plan(cells), measured)
}

/// A search of any plan over cells of [`Formula`].
pub(crate) fn searched(mut plan: Plan, measured: bool) -> Capacity {
    let formula = Formula::of(plan.cells.len());
    let slower = Formula { speed: 955, ..Formula::of(plan.cells.len()) };
    let Ok(found) = explore(plan.cells.len(), &plan.range, &plan.objectives, &formula, &Silent);
    if measured {
        for (index, cell) in plan.cells.iter_mut().enumerate() {
            let rates = [0.5, 0.9].map(|share| six_digits(share * formula.limits(index).0));
            let at = |qps: f64| {
                (qps, slower.load(index, qps * (1.0 + 0.01 * (index % 3) as f64)), formula.load(index, qps))
            };
            cell.measured = rates.map(at).to_vec();
        }
    }
    assemble(plan, found).unwrap()
}
