//! Removes what no lock or report reaches, from the store and from the
//! projects that share it.
//!
//! ```text
//! roots   locks of every worktree's working copy, locks of branches' tips, PDFs that are there
//! mark    what they rest on (`run::Reach`), and the contents of it
//! sweep   everything else of the store; folders of `runs/`, records and leftovers of the projects
//! ```
//! A root that cannot be read protects everything: nothing is removed then. Only
//! how long something stays in quarantine depends on a clock.

mod branches;
mod error;
mod plan;
mod roots;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use error::GcError;
pub use plan::{Garbage, Kept, Kind, Plan};

use crate::run::{Project, StorePlace};
use crate::store::ObjectStore;

/// What to sweep.
#[derive(Debug, Clone, Default)]
pub struct GcRequest {
    /// Quarantined files older than this are removed; None keeps all.
    pub quarantine_older_than: Option<Duration>,
    /// Leave out locks of branches that are not checked out.
    pub no_branches: bool,
    /// Take projects that use the store and are gone for deleted.
    pub forget_missing: bool,
}

/// What would be removed, held still until it is or the plan is dropped.
#[derive(Debug)]
pub struct Sweep {
    pub plan: Plan,
    #[allow(dead_code)]
    guards: roots::Guards,
}

/// Finds what no lock or report of the project, of its worktrees, or of other projects in its store
/// reaches. Removes nothing.
///
/// # Errors
/// A root cannot be read, or somebody is at work in a project or in the store.
pub fn plan(project: &Project, request: &GcRequest) -> Result<Sweep, GcError> {
    let place = StorePlace::of(project.root());
    plan_in(project, ObjectStore::new(place.folder), request)
}

fn plan_in(project: &Project, objects: ObjectStore, request: &GcRequest) -> Result<Sweep, GcError> {
    let found = roots::find(project, objects.root(), request)?;
    // From here on nobody writes; what is newer than this is nobody's garbage.
    let (guards, started) = roots::Guards::take(&found.projects, &objects)?;
    let plan = plan::make(&found, &objects, request, started)?;
    Ok(Sweep { plan, guards })
}

impl Sweep {
    /// Removes what was planned; results before the contents that they name.
    ///
    /// # Errors
    /// The system refuses to remove something. What was removed before is gone, all else is untouched.
    pub fn carry_out(&self) -> Result<(), GcError> {
        for garbage in &self.plan.garbage {
            garbage.remove().map_err(|source| GcError::io(&garbage.path, source))?;
        }
        Ok(())
    }
}

/// Where paths of a plan lie from: the project's root, if they lie below it.
pub fn shown(project: &Project, path: &std::path::Path) -> String {
    let below: Option<PathBuf> = path.strip_prefix(project.root()).ok().map(PathBuf::from);
    below.unwrap_or_else(|| path.to_owned()).display().to_string()
}
