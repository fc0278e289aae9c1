//! One file per command.

mod capacity;
mod check;
mod compare;
mod completions;
mod diff;
mod explain;
mod export;
mod fmt;
mod gc;
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
mod store;
mod verify;

use std::process::ExitCode;

use super::args::{Cli, Command, SetArgs, TargetArgs};
use super::error::CliError;
use crate::run::{LockMode, Request};
use crate::spec::{self, Changes, Override};

/// Runs the command.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Fmt(args) => fmt::run(&args),
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
        Command::Capacity(args) => capacity::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// What a command asks for.
///
/// # Errors
/// A lock that is used as it is takes no other settings.
fn request(args: &TargetArgs) -> Result<Request, CliError> {
    let locking = &args.locking;
    if let (true, Some(other)) = (locking.frozen, spec::take_data(&locking.set.set).1.first()) {
        return Err(CliError::system(
            format!("`--frozen` cannot be used with `--set {other}`"),
            "it uses the lock as it is; only `--set data=FOLDER` says something of this machine",
        ));
    }
    let mode = match (locking.locked, locking.frozen) {
        (true, _) => LockMode::Locked,
        (_, true) => LockMode::Frozen,
        _ => LockMode::Update,
    };
    Ok(Request {
        target: args.target.clone(),
        presets: locking.set.preset.clone(),
        set: locking.set.set.clone(),
        mode,
        offline: locking.network.offline,
        ..Request::default()
    })
}

fn changes(args: &SetArgs) -> Result<Changes, CliError> {
    let overrides = args.set.iter().map(|text| Override::parse(text)).collect::<Result<_, _>>()?;
    Ok(Changes { presets: args.preset.clone(), overrides })
}

/// A path as a person would type it: relative to the current folder where it lies below it.
fn shown(path: &std::path::Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
