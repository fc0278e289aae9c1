//! One file per command.

mod check;
mod compare;
mod diff;
mod git;
mod init;
mod lock;
mod merge;
mod profile;
mod real;
mod report;
mod run;
mod schema;
mod sim;
mod stage;
mod status;

use std::process::ExitCode;

use super::args::{Cli, Command, SetArgs, TargetArgs};
use super::error::CliError;
use crate::run::{LockMode, Request};

/// Runs the command.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Lock(args) => lock::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Git(args) => git::run(&args),
        Command::Workload(args) => stage::workload(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Real(args) => real::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Schema(args) => schema::run(&args),
    }
}

fn request(args: &TargetArgs) -> Request {
    let locking = &args.locking;
    let mode = match (locking.locked, locking.frozen) {
        (true, _) => LockMode::Locked,
        (_, true) => LockMode::Frozen,
        _ => LockMode::Update,
    };
    Request { target: args.target.clone(), set: locking.set.set.clone(), mode, ..Request::default() }
}

fn overrides(args: &SetArgs) -> Result<Vec<crate::spec::Override>, CliError> {
    Ok(args.set.iter().map(|text| crate::spec::Override::parse(text)).collect::<Result<_, _>>()?)
}

/// A path as a person would type it: relative to the current folder where it lies below it.
fn shown(path: &std::path::Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
