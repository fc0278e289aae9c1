//! Arguments of every command, apart from what the commands do.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// One KDL file in, one PDF out: is the simulator right?
#[derive(Debug, Parser)]
#[command(name = "xp", version, styles = STYLES, max_term_width = 100, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done; 1 the answer is no (a mistake in a file, a stale lock, a failed check); \
                        2 xp was called wrongly or the system refused (a missing file, a full disk)."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented experiment to start from
    Init(InitArgs),
    /// Check an experiment and report every mistake in it
    Check(SpecArgs),
    /// Resolve an experiment into its lockfile
    Lock(LockArgs),
    /// Run an experiment or a lock: every stage that is not up to date, then the report
    Run(RunArgs),
    /// Say which stages are up to date, and why the others are not
    Status(TargetArgs),
    /// Say what differs between two locks, and which results that invalidates
    Diff(DiffArgs),
    /// Merge two locks that went on from one, fact by fact
    Merge(MergeArgs),
    /// Let git show and merge locks by their facts
    Git(GitArgs),
    /// Write the workload's files
    Workload(StageArgs),
    /// Measure the machine's operators and steps into a profiling bundle
    Profile(ProfileArgs),
    /// Simulate the workload from a bundle
    Sim(SimArgs),
    /// Time the workload on the engine
    Real(RealArgs),
    /// Compare measured and simulated runs
    Compare(CompareArgs),
    /// Render comparisons as a PDF
    Report(ReportArgs),
    /// Print or write the JSON Schemas of xp's files
    Schema(SchemaArgs),
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// File to write
    #[arg(default_value = "experiments/first.kdl")]
    pub path: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    pub force: bool,
}

/// Changes to the experiment.
#[derive(Debug, Args, Clone, Default)]
pub struct SetArgs {
    /// Override a setting, such as workload.arrivals.qps=2 (may be repeated)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Experiment files
    #[arg(required = true, value_name = "EXPERIMENT")]
    pub specs: Vec<PathBuf>,
    #[command(flatten)]
    pub set: SetArgs,
}

#[derive(Debug, Args)]
pub struct LockArgs {
    /// Experiment file
    #[arg(value_name = "EXPERIMENT")]
    pub spec: PathBuf,
    #[command(flatten)]
    pub set: SetArgs,
    /// Write nothing; exit with 1 and the reasons when the lock is out of date
    #[arg(long)]
    pub check: bool,
    /// Measure a new profiling bundle even where the pinned one still holds
    #[arg(long, conflicts_with = "check")]
    pub upgrade_profile: bool,
}

/// Changes to the experiment, and whether its lock may change.
#[derive(Debug, Args, Clone, Default)]
pub struct LockingArgs {
    #[command(flatten)]
    pub set: SetArgs,
    /// Refuse to run when the lock is out of date
    #[arg(long)]
    pub locked: bool,
    /// Use the lock as it is, without looking at the experiment
    #[arg(long, conflicts_with_all = ["locked", "set"])]
    pub frozen: bool,
}

/// An experiment or its lock.
#[derive(Debug, Args, Clone)]
pub struct TargetArgs {
    /// An experiment (experiments/NAME.kdl) or a lock (locks/NAME.lock.kdl)
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,
    #[command(flatten)]
    pub locking: LockingArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Exit with 1 when the verdict is fail
    Fail,
    /// Exit with 1 when the verdict is warn or fail
    Warn,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Compare even if the bundle was measured on other hardware; the report says so
    #[arg(long)]
    pub allow_foreign_bundle: bool,
    /// Exit with 1 on this verdict or a worse one
    #[arg(long, value_name = "VERDICT")]
    pub fail_on: Option<FailOn>,
}

#[derive(Debug, Args)]
#[command(after_help = "A lock is a file, REV:PATH (such as main:locks/a.lock.kdl), - for standard input, or /dev/null \
                        for no lock. Exit codes: 0 the locks say the same; 1 they differ; 2 trouble.")]
pub struct DiffArgs {
    /// The older lock; alone, it is compared with what the last commit has of it
    #[arg(value_name = "OLD")]
    pub old: String,
    /// The newer lock
    #[arg(value_name = "NEW")]
    pub new: Option<String>,
    /// Show the results of both locks side by side, where the project has them
    #[arg(long)]
    pub results: bool,
    /// Write Markdown, for a comment on a pull request
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 merged; 1 there are conflicts, marked in the result; 2 trouble, and nothing was \
                        written.")]
pub struct MergeArgs {
    /// The lock that both went on from; an empty file or /dev/null if there was none
    pub base: PathBuf,
    /// Our lock, which the result replaces
    pub ours: PathBuf,
    /// Their lock
    pub theirs: PathBuf,
    /// What messages call the lock
    #[arg(long, value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// Write the result here instead
    #[arg(short, long, value_name = "LOCK")]
    pub out: Option<PathBuf>,
    /// What a conflict calls our side
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub our_label: Option<String>,
    /// What a conflict calls their side
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub their_label: Option<String>,
}

#[derive(Debug, Args)]
pub struct GitArgs {
    #[command(subcommand)]
    pub command: GitCommand,
}

#[derive(Debug, Subcommand)]
pub enum GitCommand {
    /// Set up the attributes and drivers in this repository
    Install(GitInstallArgs),
    /// What `git diff` runs: PATH OLD OLD-HEX OLD-MODE NEW NEW-HEX NEW-MODE
    #[command(hide = true)]
    ShowDiff {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Args)]
pub struct GitInstallArgs {
    /// Set up for all repositories of this user
    #[arg(long)]
    pub global: bool,
    /// Write nothing; exit with 1 when something is missing
    #[arg(long)]
    pub check: bool,
    /// Take back what was set up
    #[arg(long, conflicts_with = "check")]
    pub uninstall: bool,
}

#[derive(Debug, Args)]
pub struct StageArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Write into this folder instead of the project's runs/ (one run only)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RealArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Take the workload from this folder instead of the lock (needs --out)
    #[arg(long, value_name = "DIR", requires = "out")]
    pub workload: Option<PathBuf>,
    /// Write into this folder instead of the project's runs/ (one run only)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ProfileArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Write the bundle into this folder and leave the lock alone
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Measure even if the pinned bundle still holds
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct SimArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Take the workload from this folder instead of the lock
    #[arg(long, value_name = "DIR")]
    pub workload: Option<PathBuf>,
    /// Take the bundle from this folder instead of the lock
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Write into this folder instead of the project's runs/ (one run only)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// An experiment or a lock; or give folders
    #[arg(value_name = "TARGET", conflicts_with_all = ["real", "sim"], required_unless_present_all = ["real", "sim"])]
    pub target: Option<PathBuf>,
    #[command(flatten)]
    pub locking: LockingArgs,
    /// Folder of a measured run (may be repeated: repeats of one run)
    #[arg(long, value_name = "DIR", requires = "sim", conflicts_with_all = ["set", "locked", "frozen"])]
    pub real: Vec<PathBuf>,
    /// Folder of the simulated run
    #[arg(long, value_name = "DIR", requires = "real", conflicts_with_all = ["set", "locked", "frozen"])]
    pub sim: Option<PathBuf>,
    /// Folder to write the comparison into (with folders)
    #[arg(long, value_name = "DIR", required_unless_present = "target", conflicts_with = "target")]
    pub out: Option<PathBuf>,
    /// Largest error that passes, per cent (with folders)
    #[arg(long, default_value_t = 5.0, conflicts_with = "target")]
    pub pass: f64,
    /// Largest error that warns, per cent (with folders)
    #[arg(long, default_value_t = 9.0, conflicts_with = "target")]
    pub warn: f64,
    /// Compare even if the bundle was measured on other hardware
    #[arg(long)]
    pub allow_foreign_bundle: bool,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// An experiment, a lock, or folders of comparisons
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<PathBuf>,
    #[command(flatten)]
    pub locking: LockingArgs,
    /// PDF to write
    #[arg(short, long, value_name = "PDF")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which one: experiment, lock, run_meta, workload_meta, bundle or comparison
    pub name: Option<String>,
    /// Write all of them into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    pub write: Option<PathBuf>,
}
