use std::path::Path;
use std::process::ExitCode;

use super::super::args::ExportArgs;
use super::super::error::CliError;
use super::super::output;
use crate::catalog;
use crate::lock::{self, Lock, RunPin};
use crate::metrics::series::{Context, Memory, ModelWork, PeakFlops};
use crate::metrics::{RunMeta, read_run, series, trace};
use crate::run::RunError;
use crate::spec::{self, EngineSettings, Hardware};
use crate::store::StagedDir;

/// Writes what a run's files do not hold and what follows from them.
pub fn run(args: &ExportArgs) -> Result<ExitCode, CliError> {
    if let Some(folder) = args.series.as_deref().filter(|folder| folder.exists()) {
        return Err(CliError::failed(
            format!("{} is there", folder.display()),
            "series are written into a new folder: remove this one, or name another",
        ));
    }
    let (record, meta) = read_run(&args.run).map_err(RunError::from)?;
    let context = match &args.lock {
        Some(path) => context(&lock::read(path)?, &meta),
        None => Context::default(),
    };
    if let Some(folder) = &args.series {
        write_series(folder, |staged| Ok(series::write(staged, &record, &meta, &context)?))?;
        output::line(format_args!("series  {}", folder.display()))?;
    }
    if let Some(file) = &args.chrome_trace {
        trace::write(file, &record, &meta).map_err(RunError::from)?;
        output::line(format_args!("trace   {} (open it in https://ui.perfetto.dev)", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Fills a new folder, whole or not at all.
fn write_series(folder: &Path, fill: impl FnOnce(&Path) -> Result<(), RunError>) -> Result<(), RunError> {
    let io = |source| RunError::io(folder, source);
    let staged = StagedDir::new(folder).map_err(io)?;
    fill(staged.path())?;
    staged.commit().map_err(io)
}

/// The hardware of a run, found by its settings and where its profile was measured: runs may differ in it.
fn hardware(lock: &Lock, meta: &RunMeta) -> Hardware {
    let cells = spec::expand(&lock.experiment).unwrap_or_default();
    let is_it = |run: &RunPin| {
        let fingerprint = lock.bundle_of(run).map(|bundle| bundle.fingerprint);
        run.scheduler == meta.scheduler && run.cluster == meta.cluster && fingerprint == meta.fingerprint
    };
    let found = lock.runs.iter().zip(cells).find(|(run, _)| is_it(run));
    found.map_or_else(|| lock.experiment.hardware.clone(), |(_, cell)| cell.experiment.hardware)
}

/// What a lock knows of the model and the device that a run was on.
fn context(lock: &Lock, meta: &RunMeta) -> Context {
    let (model, experiment) = (&lock.resolved_model.config, &lock.experiment);
    let hardware = hardware(lock, meta);
    let weights = model.num_layer_parameters() - model.num_expert_parameters();
    // A token goes through some of the experts.
    let share = |count: u32| f64::from(model.num_experts_per_tok.unwrap_or(count)) / f64::from(count.max(1));
    let experts = model.num_experts.map_or(0.0, |count| model.num_expert_parameters() as f64 * share(count));
    let devices = meta.cluster.tensor_parallel * meta.scheduler.pipeline_stages;
    let peak = catalog::device(&hardware.device)
        .and_then(|device| PeakFlops::new(device.bf16_tflops * 1e12 * f64::from(devices)));
    let dtype = experiment.model.dtype;
    let memory = lock::measured_backend(experiment).ok().map(|backend| {
        let engine = EngineSettings { block_size: meta.scheduler.block_size, ..backend.engine() };
        Memory {
            weight_bytes: model.num_parameters() * dtype.bytes(),
            kv_block_bytes: spec::kv_cache(&engine, model, dtype, &hardware).block_bytes,
        }
    });
    Context {
        model: Some(ModelWork {
            parameters: weights + experts as u64 + model.num_output_parameters(),
            layers: model.num_hidden_layers,
            heads: model.num_attention_heads,
            head_dim: model.head_dim,
        }),
        peak_flops: peak,
        memory,
    }
}
