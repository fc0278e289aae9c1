//! Vidur's execution model for a run, trained with the tables that its lock pins.

use std::collections::BTreeSet;
use std::path::Path;

use crate::lock::{Lock, RunPin};
use crate::predictor::regression::{RegressorGrid, TrainedOperators};
use crate::predictor::vidur::{StageShape, VidurOptions, VidurPredictor};
use crate::profile::vidur::{VidurFolder, VidurSelection, VidurShape, VidurTables};
use crate::spec::{self, Cell, Experiment, SimBackend};
use crate::store::{self, Digest};

use super::BackendError;

/// Seed of what forests draw: Vidur's.
const SEED: u64 = 42;
/// Most bytes of kept operators.
const MAX_BYTES: u64 = 1 << 30;

/// The tables that a simulated backend means.
pub(super) fn tables(cell: &Experiment, sim: &SimBackend) -> Option<VidurTables> {
    let said = sim.vidur.as_ref()?;
    Some(VidurTables {
        device: said.device.clone(),
        model: said.model.clone().unwrap_or_else(|| cell.model.name.clone()),
        network: said.network.clone(),
        devices_per_node: said.devices_per_node,
        cpu_overhead: said.cpu_overhead,
    })
}

/// What is chosen among: what the experiment says, Vidur's defaults for the rest. None for what such tables
/// cannot train.
pub(super) fn grid(sim: &SimBackend) -> Option<RegressorGrid> {
    fn fix<T>(choices: &mut Vec<T>, said: Option<T>) {
        if let Some(said) = said {
            *choices = vec![said];
        }
    }
    let said = sim.grid.unwrap_or_default();
    let mut grid = match sim.predictor {
        spec::Predictor::Linear => RegressorGrid::linear(),
        spec::Predictor::Forest => RegressorGrid::forest(),
        spec::Predictor::Interpolate => RegressorGrid::Interpolate,
        spec::Predictor::Kernels => return None,
    };
    match &mut grid {
        RegressorGrid::Linear { degree, include_bias, interaction_only, fit_intercept } => {
            fix(degree, said.degree);
            fix(include_bias, said.include_bias);
            fix(interaction_only, said.interaction_only);
            fix(fit_intercept, said.fit_intercept);
        }
        RegressorGrid::Forest { n_estimators, max_depth, min_samples_split } => {
            fix(n_estimators, said.estimators);
            fix(max_depth, said.max_depth);
            fix(min_samples_split, said.min_samples_split);
        }
        RegressorGrid::Interpolate => {}
    }
    Some(grid)
}

/// What a run's operators are trained for.
fn trained_for(run: &RunPin, lock: &Lock, tables: &VidurTables) -> (VidurShape, VidurSelection) {
    let (model, scheduler) = (&lock.resolved_model.config, &run.scheduler);
    let shape = VidurShape {
        name: tables.model.clone(),
        num_q_heads: model.num_attention_heads.into(),
        num_kv_heads: model.num_key_value_heads.into(),
        embedding_dim: model.hidden_size.into(),
        mlp_hidden_dim: model.intermediate_size.into(),
        vocab_size: None,
        use_gated_mlp: true,
    };
    let selection = VidurSelection {
        tensor_parallel: run.cluster.tensor_parallel,
        pipeline_stages: scheduler.pipeline_stages,
        devices_per_node: tables.devices_per_node,
        block_size: scheduler.block_size,
        cpu_overhead: tables.cpu_overhead,
    };
    (shape, selection)
}

/// The name of the file in which trained operators are kept. `files` is the digest of the tables.
fn file_name(files: Digest, shape: &VidurShape, selection: &VidurSelection, grid: &RegressorGrid) -> String {
    // Debug forms have all that the rows and the fit depend on.
    let inputs = (files, format!("{shape:?} {selection:?} {grid:?}"), SEED);
    format!("{}.bin", Digest::of_json(&inputs))
}

/// Names of the files in which the trained operators of a lock's runs are kept; none of a lock whose experiment has
/// no runs that can be told.
pub fn trained_files(lock: &Lock) -> BTreeSet<String> {
    let may_train = lock.experiment.simulated().is_some_and(|sim| sim.vidur.is_some());
    if !may_train && !lock.experiment.varies_profile() {
        return BTreeSet::new();
    }
    let cells = spec::expand(&lock.experiment).unwrap_or_default();
    let name = |(run, cell): (&RunPin, &Cell)| {
        let sim = cell.experiment.simulated()?;
        let (tables, grid) = (tables(&cell.experiment, sim)?, grid(sim)?);
        let (shape, selection) = trained_for(run, lock, &tables);
        Some(file_name(lock.bundle_of(run)?.sha256, &shape, &selection, &grid))
    };
    lock.runs.iter().zip(&cells).filter_map(name).collect()
}

/// Trains the operators of a run's model on its devices, unless they are kept, and predicts with them.
pub(super) fn predictor(
    run: &RunPin,
    lock: &Lock,
    folder: &VidurFolder,
    grid: &RegressorGrid,
    kept: Option<&Path>,
) -> Result<VidurPredictor, BackendError> {
    let (model, scheduler, cluster) = (&lock.resolved_model.config, &run.scheduler, &run.cluster);
    let (shape, selection) = trained_for(run, lock, &folder.tables);
    let trained = || -> Result<TrainedOperators, BackendError> {
        Ok(TrainedOperators::train(&folder.training(&shape, &selection)?, grid, SEED)?)
    };
    let trained = match kept {
        None => trained()?,
        Some(kept) => {
            let file = kept.join(file_name(Digest::of_json(&folder.files()), &shape, &selection, grid));
            let read = store::read_bounded(&file, MAX_BYTES).ok();
            if let Some(known) = read.and_then(|bytes| TrainedOperators::from_bytes(&bytes).ok()) {
                known
            } else {
                let made = trained()?;
                // What cannot be kept is trained again.
                let _ = store::write(&file, &made.to_bytes());
                made
            }
        }
    };
    let stage = StageShape {
        layers_per_stage: model.num_hidden_layers.div_ceil(scheduler.pipeline_stages.max(1)),
        num_q_heads: model.num_attention_heads,
        num_kv_heads: model.num_key_value_heads,
        post_attn_norm: true,
        tensor_parallel: cluster.tensor_parallel,
        pipeline_stages: scheduler.pipeline_stages,
    };
    let options = VidurOptions { cpu_overhead: folder.tables.cpu_overhead, ..VidurOptions::default() };
    Ok(VidurPredictor::new(&trained, stage, options)?)
}
