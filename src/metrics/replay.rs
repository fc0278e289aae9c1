use super::record::RunRecord;

/// A measured run whose durations were given to a simulated policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The requests, served by the policy in steps of measured durations. It has no log of steps.
    pub record: RunRecord,
    /// The requests in the simulation, with the machine as fast as it was during the measured run; None where that is not
    /// known. It has no log of steps.
    pub drifted: Option<RunRecord>,
    /// Of each measured step: how long it took, and how long a predictor says it takes with the machine as fast as it
    /// was then, as far as that is known, ns.
    pub durations_ns: Vec<(u64, u64)>,
    /// Batches that are not those that were measured, by number.
    pub apart: u64,
}
