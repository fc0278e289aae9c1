//! Virtual-clock driver: the scheduler of the engine, predicted steps.
//! SKELETON: signatures agreed with other rooms; split into files as fits.
#![allow(unused_variables)]

use crate::metrics::RunRecord;
use crate::predictor::Predictor;
use crate::progress::Progress;
use crate::scheduler::SchedulerConfig;
use crate::workload::Workload;

/// Simulates a workload on one replica.
pub fn simulate(
    config: &SchedulerConfig,
    predictor: &dyn Predictor,
    workload: &Workload,
    progress: &dyn Progress,
) -> RunRecord {
    todo!()
}
