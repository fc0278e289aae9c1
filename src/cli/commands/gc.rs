use std::process::ExitCode;

use super::super::args::GcArgs;
use super::super::error::CliError;
use super::super::output;
use super::super::table::size;
use crate::gc::{self, GcError, GcRequest, shown};
use crate::run::Project;

/// Removes what no lock or report reaches, or says what that would be.
pub fn run(args: &GcArgs) -> Result<ExitCode, CliError> {
    let project = Project::around(&args.project)
        .map_err(|source| GcError::Io { path: args.project.clone(), source })?;
    if !args.project.is_dir() {
        return Err(CliError::system(
            format!("{} is not a folder", args.project.display()),
            "name the folder of a project",
        ));
    }
    let request = GcRequest {
        quarantine_older_than: args.quarantine_older_than,
        no_branches: args.no_branches,
        forget_missing: args.forget_missing,
    };
    let sweep = gc::plan(&project, &request)?;
    let plan = &sweep.plan;
    for garbage in &plan.garbage {
        let (kind, bytes, path) = (garbage.kind.name(), size(garbage.bytes), shown(&project, &garbage.path));
        output::line(format_args!("{kind:<10} {bytes:>8}  {path}"))?;
    }
    for kept in &plan.kept {
        let (bytes, path) = (size(kept.bytes), shown(&project, &kept.path));
        output::line(format_args!("{:<10} {bytes:>8}  {path} ({})", "kept", kept.why))?;
    }
    if !args.dry_run {
        sweep.carry_out()?;
    }
    let verb = if args.dry_run { "would be removed" } else { "removed" };
    let roots = plan.roots;
    output::line(format_args!(
        "{} {verb}, {}; {roots} {} looked at",
        counted(plan.garbage.len(), "thing"),
        size(plan.bytes()),
        if roots == 1 { "lock or report was" } else { "locks and reports were" }
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
