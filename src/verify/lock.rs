use std::path::Path;

use super::{Check, Verified, VerifyError, What, derived, results};
use crate::lock;
use crate::progress::Progress;
use crate::run::Project;
use crate::spec;
use crate::store::Digest;

/// Checks everything that a lock pins and every result that rests on it.
///
/// `data` is the place of the data folder, where it is not the one that the experiment says.
///
/// # Errors
/// The lock cannot be read, or the store refuses to be listed.
pub fn verify_lock(
    path: &Path,
    data: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Verified, VerifyError> {
    let lock = lock::read(path)?;
    let io = |source| VerifyError::Io { path: path.to_owned(), source };
    let project = Project::of(path).map_err(io)?;
    let name = lock.experiment.name.clone();
    let mut checks = vec![Check::of(
        Digest::of_json(&lock.experiment) == lock.spec.sha256,
        What::Experiment,
        &name,
        "it was edited inside the lock",
    )];
    let cells = match spec::expand(&lock.experiment) {
        Ok(cells) if cells.len() == lock.runs.len() => cells,
        Ok(cells) => {
            let detail = format!("its matrix has {} runs, the lock pins {}", cells.len(), lock.runs.len());
            checks.push(Check::differs(What::Experiment, name, detail));
            return Ok(Verified::of(checks));
        }
        Err(error) => {
            checks.push(Check::differs(What::Experiment, name, error.to_string()));
            return Ok(Verified::of(checks));
        }
    };
    progress.start("verifying", derived::count(&lock));
    let (of_pins, of_results) = rayon::join(
        || derived::checks(&project, data, &lock, &cells, progress),
        || results::checks(&project, &lock, &cells),
    );
    progress.finish();
    checks.extend(of_pins);
    checks.extend(of_results?);
    Ok(Verified::of(checks))
}
