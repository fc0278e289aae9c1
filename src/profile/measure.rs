use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::ProfileError;
use super::bundle::{BUNDLE_FORMAT, Bundle, BundleMeta, ManyRows, StepSample};
use super::engine_id::engine_id;
use super::overhead::schedule_ns;
use super::plan::{Limits, Pass, operator_passes, steps_to, whole_passes};
use super::samples::{Durations, LapTimer, Samples};
use crate::engine::{
    Engine, EngineError, Executor, Lead, LoadedModel, Sequence, representative_layers, until_next_speed,
};
use crate::machine::{Drift, MachineFacts, SpeedPoint, Watch, read_gb_per_s};
use crate::model::{Grouping, NoTimer, Sampler, Tokenizer};
use crate::progress::Progress;
use crate::scheduler::{Batch, BatchEntry};
use crate::store::Digest;

/// Time that the operator grid may take, and how often it is walked at least and at most.
const GRID_BUDGET: Duration = budget(40);
const ROUNDS: std::ops::RangeInclusive<u32> = 3..=30;
/// A step is timed again until half of its mean's 95 % interval is below this share of it.
const WANTED_INTERVAL: f64 = 0.005;
/// How often a timing is taken again.
const RETRIES: u32 = 4;
/// Time that the grid may take where so many walks are longer than its budget.
const LONGEST_GRID: Duration = Duration::from_secs(170);
const LONG_WALKS: u32 = 5;
/// Largest KV cache the measurement makes for itself; more requests than fit share blocks.
const MAX_KV_BYTES: u64 = 512 << 20;
/// A decode comes after decodes like it. The more there were, the more weights of a small model are in the shared cache.
const BEFORE_DECODES: Lead = Lead { steps: 1..=6, time: Duration::from_millis(10) };
/// Before a prefill there were decodes: most of a run's time goes to them.
const BEFORE_PREFILLS: Lead = Lead { steps: 5..=40, time: Duration::from_millis(50) };

/// Reference steps are timed so often, unless they take more than their share of the time.
const SPEED_EVERY: Duration = Duration::from_millis(300);

/// Time that the rounds of what is no grid may take, and how many there are at least and at most.
const EXTRA_BUDGET: Duration = budget(8);
const EXTRA_ROUNDS: std::ops::RangeInclusive<u32> = 5..=15;
/// Most of those rounds.
pub(super) const MOST_EXTRA_ROUNDS: u64 = *EXTRA_ROUNDS.end() as u64;

/// The rounds that there is time for, from now on.
pub(super) fn extra_rounds() -> impl Iterator<Item = u32> {
    let started = Instant::now();
    let in_time = move |round: &u32| *round < *EXTRA_ROUNDS.start() || started.elapsed() <= EXTRA_BUDGET;
    (0..*EXTRA_ROUNDS.end()).take_while(in_time)
}

/// Time for a part of a profile, s. A debug build's durations are nobody's, and it takes a tenth.
pub(super) const fn budget(seconds: u64) -> Duration {
    match cfg!(debug_assertions) {
        true => Duration::from_millis(seconds * 100),
        false => Duration::from_secs(seconds),
    }
}

/// What is measured, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Catalog name of the model.
    pub model: &'a str,
    /// Digest of its shape and number format.
    pub shape: Digest,
    pub tokenizer: &'a Tokenizer,
    /// What it is measured on.
    pub machine: &'a MachineFacts,
    /// The steps that runs can ask for.
    pub limits: Limits,
}

/// Measures the engine on this machine, through the path that serves requests.
///
/// The grid of steps is walked in rounds, each in another order, and means without outliers are kept: a disturbance
/// hits one round of many points and not all rounds of one.
pub fn measure(
    engine: &mut Engine,
    subject: &Subject<'_>,
    progress: &dyn Progress,
) -> Result<Bundle, ProfileError> {
    let limits = subject.limits;
    let passes = operator_passes(&limits, true);
    let whole = whole_passes(&limits);
    let needed =
        passes.iter().chain(&whole).map(|pass| pass.num_blocks(limits.block_size)).max().unwrap_or(1);
    let config = engine.model().config().clone();
    let block_bytes = 8
        * u64::from(limits.block_size * config.num_hidden_layers)
        * u64::from(config.num_key_value_heads * config.head_dim);
    let longest = limits.max_context.max(limits.max_tokens()).div_ceil(limits.block_size) * 2 + 1;
    let affordable = u32::try_from(MAX_KV_BYTES / block_bytes.max(1)).unwrap_or(u32::MAX);
    let blocks = needed.min(affordable).max(longest);
    let ((curves, attention), (pauses, after_chunks, beside_chunks), steps, rounds, speed, quality) = engine
        .with_model((blocks, limits.block_size), |model| -> Result<_, EngineError> {
            let mut bench = Bench::new(model, subject.tokenizer, limits.block_size);
            let mut samples = Samples::default();
            let layers = bench.affordable_layers(&limits, passes.len())?;
            let whole_layers = config.num_hidden_layers as usize;
            let passes = operator_passes(&limits, layers == whole_layers);
            let (rounds, timings) = bench.walk_grid((&passes, layers), &whole, &mut samples, progress)?;
            for _ in 0..rounds {
                for batch_size in steps_to(limits.max_batch_size) {
                    samples.add_schedule(batch_size, schedule_ns(&limits, batch_size));
                }
            }
            let drift = SpeedPoint::mean(&bench.speed).and_then(|mean| Drift::new(&bench.speed, &mean));
            if let Some(drift) = &drift {
                samples.level(drift);
            }
            let steps = whole.iter().zip(&timings);
            let steps = steps.map(|(pass, timings)| step_sample(pass, timings, drift.as_ref())).collect();
            let context = (limits.max_context / 4).max(1);
            let pauses = bench.walk_pauses(context, whole_layers, progress)?;
            let after_chunks = bench.walk_after_chunks((&limits, context), whole_layers, progress)?;
            let beside_chunks = bench.walk_beside_chunks((&limits, context), whole_layers, progress)?;
            let quality = Quality {
                grouping: bench.model.grouping(),
                memory_gb_per_s: read_gb_per_s(),
                disturbed_percent: 100.0 * bench.disturbed as f64 / (bench.taken as f64).max(1.0),
                interference_percent: (100.0 * samples.lost()).min(100.0),
                interval_percent: 100.0 * passes.iter().map(|pass| samples.known(pass).1).fold(0.0, f64::max),
            };
            Ok((
                samples.reduce(layers),
                (pauses, after_chunks, beside_chunks),
                steps,
                rounds,
                bench.speed,
                quality,
            ))
        })??;
    let mut references = Durations::default();
    speed.iter().for_each(|point| references.push(point.step_ns[0] as f64));
    let (reference_ns, spread_ns) = references.mean_and_mad();
    Ok(Bundle {
        meta: BundleMeta {
            format: BUNDLE_FORMAT,
            fingerprint: subject.machine.fingerprint,
            hardware: subject.machine.hardware.clone(),
            model: subject.model.to_owned(),
            model_digest: subject.shape,
            num_layers: config.num_hidden_layers,
            block_size: limits.block_size,
            max_tokens: limits.max_tokens(),
            max_batch_size: limits.max_batch_size,
            max_context: limits.max_context,
            engine: engine_id(),
            repetitions: rounds,
            reference_ns: reference_ns as u64,
            speed: SpeedPoint::mean(&speed),
            noise_percent: 100.0 * spread_ns / reference_ns.max(1.0),
            memory_gb_per_s: Some(thousandths(quality.memory_gb_per_s)),
            disturbed_percent: Some(thousandths(quality.disturbed_percent)),
            interval_percent: Some(thousandths(quality.interval_percent)),
            interference_percent: Some(thousandths(quality.interference_percent)),
            row_group: Some(quality.grouping.rows as u32),
            many_rows: quality
                .grouping
                .many
                .map(|(from, group)| ManyRows { from: from as u32, group: group as u32 }),
            files: Vec::new(),
        },
        curves,
        attention,
        pauses,
        after_chunks,
        beside_chunks,
        steps,
    })
}

/// What a measurement is like.
struct Quality {
    grouping: Grouping,
    memory_gb_per_s: f64,
    disturbed_percent: f64,
    interference_percent: f64,
    interval_percent: f64,
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// When a step was timed, since the profile's start, and how long it took, ns.
type Timing = (u64, f64);

/// The model with made-up requests.
pub(super) struct Bench<'a> {
    model: &'a mut dyn LoadedModel,
    tokenizer: &'a Tokenizer,
    sampler: Sampler,
    block_size: u32,
    watch: Watch,
    /// Timings that were taken, and those that something else on the machine disturbed.
    taken: u64,
    disturbed: u64,
    began: Instant,
    /// How fast the machine was from one moment to the next, and when that is looked at again.
    speed: Vec<SpeedPoint>,
    speed_due: Instant,
}

impl<'a> Bench<'a> {
    fn new(model: &'a mut dyn LoadedModel, tokenizer: &'a Tokenizer, block_size: u32) -> Self {
        let (sampler, watch) = (Sampler::greedy(), Watch::start());
        let (began, speed) = (Instant::now(), Vec::new());
        let (taken, disturbed, speed_due) = (0, 0, began);
        Self { model, tokenizer, sampler, block_size, watch, taken, disturbed, began, speed, speed_due }
    }

    /// Layers that a pass over the grid runs: all of them where the grid can be walked often enough in
    /// time, else fewer. Fewer are a little slower each, because what begins a pass is shared by fewer.
    fn affordable_layers(&mut self, limits: &Limits, passes: usize) -> Result<usize, EngineError> {
        let all = self.model.config().num_hidden_layers as usize;
        let ends = [Pass::decode(1, 1), Pass::prompts(limits.max_tokens(), limits.max_context)];
        let mut seconds = 0.0;
        for pass in &ends {
            // The lead takes its time, too.
            let started = Instant::now();
            self.time(pass, all, Duration::ZERO)?;
            seconds += started.elapsed().as_secs_f64();
        }
        let walk = seconds / ends.len() as f64 * passes as f64;
        let walks = f64::from(LONG_WALKS + 1);
        let share = LONGEST_GRID.as_secs_f64() / (walks * walk);
        let affordable = (share * all as f64) as usize;
        Ok(affordable.clamp(representative_layers(self.model.config()).min(all), all))
    }

    /// Runs one pass and times it, right after another step, as when requests are served: a step that
    /// follows a pause finds others' data in the caches. Before decodes comes the same step some times, before a prefill
    /// some decodes; a `pause`, if one is asked for, lies between the two.
    fn time(&mut self, pass: &Pass, num_layers: usize, pause: Duration) -> Result<LapTimer, EngineError> {
        let num_blocks = self.model.num_blocks();
        let (lead, before) = match pass.prefills.is_empty() {
            true => (pass.clone(), &BEFORE_DECODES),
            false => (Pass::decode(1, 1), &BEFORE_PREFILLS),
        };
        let lead = MadeUp::new(&lead, self.block_size, num_blocks);
        let made = MadeUp::new(pass, self.block_size, num_blocks);
        let mut executor = Executor::new(&mut *self.model, lead.sequences, &self.sampler, self.tokenizer)
            .with_layers(num_layers);
        let (started, mut leads) = (Instant::now(), 0);
        while !before.is_enough(leads, started.elapsed()) {
            executor.step(&lead.batch, |request| &lead.blocks[request as usize], &mut NoTimer)?;
            leads += 1;
        }
        executor.replace_sequences(made.sequences);
        let until = Instant::now() + pause;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        // Whoever ran during the pause disturbed nothing.
        if !pause.is_zero() {
            self.watch.lap();
        }
        let mut timer = LapTimer::start();
        executor.step(&made.batch, |request| &made.blocks[request as usize], &mut timer)?;
        Ok(timer)
    }

    /// Runs a pass, and then another some times; how long each of these took, ns.
    pub(super) fn time_after(
        &mut self,
        first: &Pass,
        then: &Pass,
        times: usize,
        num_layers: usize,
    ) -> Result<Vec<f64>, EngineError> {
        let num_blocks = self.model.num_blocks();
        let first = MadeUp::new(first, self.block_size, num_blocks);
        let made = MadeUp::new(then, self.block_size, num_blocks);
        let mut executor = Executor::new(&mut *self.model, first.sequences, &self.sampler, self.tokenizer)
            .with_layers(num_layers);
        executor.step(&first.batch, |request| &first.blocks[request as usize], &mut NoTimer)?;
        executor.replace_sequences(made.sequences);
        let one = |_| {
            let mut timer = LapTimer::start();
            executor.step(&made.batch, |request| &made.blocks[request as usize], &mut timer)?;
            Ok(timer.total_ns() as f64)
        };
        (0..times).map(one).collect()
    }

    /// As [`time`](Self::time), again where a host took the processors, or their heat slowed them down.
    pub(super) fn time_watched(
        &mut self,
        pass: &Pass,
        num_layers: usize,
        pause: Duration,
    ) -> Result<LapTimer, EngineError> {
        for attempt in 0.. {
            self.watch.lap();
            let timer = self.time(pass, num_layers, pause)?;
            let found = self.watch.lap();
            self.taken += 1;
            self.disturbed += u64::from(found.any());
            if (found.steal_ns, found.throttles) == (0, 0) || attempt == RETRIES {
                return Ok(timer);
            }
        }
        unreachable!("the last attempt is taken")
    }

    /// Since the profile's start, ns.
    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Times the reference steps if the last ones are long ago.
    fn look_at_speed(&mut self) -> Result<(), EngineError> {
        let started = Instant::now();
        if started >= self.speed_due {
            let at_ns = self.now_ns();
            let mut executor = Executor::new(&mut *self.model, Vec::new(), &self.sampler, self.tokenizer);
            self.speed.push(executor.speed(at_ns)?);
            let took = started.elapsed();
            self.speed_due = started + took + until_next_speed(SPEED_EVERY, took);
        }
        Ok(())
    }

    /// Rounds over the operator grid, each with the `whole` steps too, over all layers, so that both see the same
    /// machine. Tells how many rounds there were, and the timings of each whole step.
    fn walk_grid(
        &mut self,
        (passes, layers): (&[Pass], usize),
        whole: &[Pass],
        samples: &mut Samples,
        progress: &dyn Progress,
    ) -> Result<(u32, Vec<Vec<Timing>>), EngineError> {
        let all_layers = self.model.config().num_hidden_layers as usize;
        let mut timings = vec![Vec::new(); whole.len()];
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut order: Vec<usize> = (0..passes.len()).collect();
        progress.start("operators, warming up", passes.len() as u64);
        // The first walk warms everything up and tells how long a walk takes.
        let started = Instant::now();
        for pass in passes {
            self.time(pass, layers, Duration::ZERO)?;
            progress.advance(1);
        }
        for pass in whole {
            self.time(pass, all_layers, Duration::ZERO)?;
        }
        let walk = started.elapsed().max(Duration::from_micros(1));
        progress.finish();
        let rounds = (GRID_BUDGET.as_secs_f64() / walk.as_secs_f64()) as u32;
        let rounds = rounds.clamp(*ROUNDS.start(), *ROUNDS.end());
        let deadline =
            Instant::now() + (walk * rounds).max(GRID_BUDGET).max((walk * LONG_WALKS).min(LONGEST_GRID));
        progress.start("operators and steps", u64::from(rounds) * (passes.len() + whole.len()) as u64);
        for round in 0..*ROUNDS.end() {
            shuffle(&mut order, &mut rng);
            // Decodes among themselves: a processor gives memory more of its power where little else is asked of it.
            order.sort_by_key(|index| !passes[*index].prefills.is_empty());
            for &index in &order {
                let (pass, sure) = (&passes[index], round >= *ROUNDS.start());
                if sure && (samples.known(pass).1 <= WANTED_INTERVAL || Instant::now() > deadline) {
                    continue;
                }
                self.look_at_speed()?;
                let at_ns = self.now_ns();
                let timer = self.time_watched(pass, layers, Duration::ZERO)?;
                samples.add(pass, &timer, at_ns);
                progress.advance(1);
            }
            if round >= *ROUNDS.start() && Instant::now() > deadline {
                continue;
            }
            for (pass, timings) in whole.iter().zip(&mut timings) {
                self.look_at_speed()?;
                let at_ns = self.now_ns();
                let timer = self.time_watched(pass, all_layers, Duration::ZERO)?;
                timings.push((at_ns, timer.total_ns() as f64));
                progress.advance(1);
            }
        }
        progress.finish();
        let rounds = passes.iter().map(|pass| samples.known(pass).0).max().unwrap_or(0) as u32;
        Ok((rounds, timings))
    }
}

/// What is kept of a whole step's timings: of one speed of the machine, as all else.
fn step_sample(pass: &Pass, timings: &[Timing], drift: Option<&Drift>) -> StepSample {
    let mut durations = Durations::default();
    for (at_ns, ns) in timings {
        durations.push(ns / drift.map_or(1.0, |drift| drift.ratio(*at_ns, pass.num_tokens())));
    }
    let (mean_ns, mad_ns) = durations.mean_and_mad();
    let Pass { prefills, decodes, completing } = pass.clone();
    StepSample { prefills, decodes, completing, mean_ns, mad_ns }
}

/// Fisher and Yates.
pub(super) fn shuffle(order: &mut [usize], rng: &mut ChaCha8Rng) {
    for last in (1..order.len()).rev() {
        order.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
}

/// Requests that a pass is about, as if they had come that far.
struct MadeUp {
    batch: Batch,
    sequences: Vec<Sequence>,
    blocks: Vec<Vec<u32>>,
}

impl MadeUp {
    fn new(pass: &Pass, block_size: u32, num_blocks: u32) -> Self {
        let prefills = pass.prefills.iter().enumerate().map(|(index, &(tokens, context))| {
            (
                BatchEntry {
                    request: 0,
                    tokens,
                    context,
                    is_prefill: true,
                    emits: (index as u32) < pass.completing,
                },
                context + tokens,
            )
        });
        let decodes = pass.decodes.iter().map(|&context| {
            (BatchEntry { request: 0, tokens: 1, context, is_prefill: false, emits: true }, context + 1)
        });
        let (mut entries, mut sequences, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        let mut next_block = 0;
        // Decodes first, as the scheduler orders them.
        for (request, (entry, length)) in (0..).zip(decodes.chain(prefills)) {
            entries.push(BatchEntry { request, ..entry });
            sequences.push(Sequence::new((0..length).map(|i| i % 256).collect(), 1));
            let count = length.div_ceil(block_size);
            tables.push((0..count).map(|i| (next_block + i) % num_blocks).collect());
            next_block = (next_block + count) % num_blocks;
        }
        Self { batch: Batch::of(entries), sequences, blocks: tables }
    }
}
