//! Arguments of every command, apart from what the commands do.

use std::path::PathBuf;
use std::time::Duration;

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
    /// Write experiments in canonical form
    Fmt(FmtArgs),
    /// Resolve an experiment into its lockfile
    Lock(LockArgs),
    /// Run an experiment or a lock: every stage that is not up to date, then the report
    Run(RunArgs),
    /// Say which stages are up to date, and why the others are not
    Status(StatusArgs),
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
    /// Search the highest request rate of every configuration, by simulation
    Capacity(CapacityArgs),
    /// Write more of a run: derived metrics, a timeline for Perfetto
    Export(ExportArgs),
    /// Check that everything a lock or a report pins is here and the same
    Verify(VerifyArgs),
    /// Remove results that no lock or report needs
    Gc(GcArgs),
    /// Say where results are kept, and copy them to and from another place
    #[command(subcommand)]
    Store(StoreCommand),
    /// Tell the long story of a diagnostic
    Explain(ExplainArgs),
    /// Print or write the JSON Schemas of xp's files
    Schema(SchemaArgs),
    /// Print a shell's completion script
    Completions(CompletionsArgs),
}

impl Command {
    /// The command's name, if its answer is to be JSON.
    pub fn json(&self) -> Option<&'static str> {
        match self {
            Self::Check(args) if args.json.json => Some("check"),
            Self::Lock(args) if args.json.json => Some("lock"),
            Self::Status(args) if args.json.json => Some("status"),
            Self::Diff(args) if args.json => Some("diff"),
            Self::Verify(args) if args.json.json => Some("verify"),
            _ => None,
        }
    }
}

/// How a command answers.
#[derive(Debug, Args, Clone, Copy, Default)]
pub struct JsonArgs {
    /// Answer with one JSON document on standard output, errors too (docs/json.md)
    #[arg(long)]
    pub json: bool,
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
    /// Use a preset of the experiment (may be repeated; a later one wins)
    #[arg(long = "preset", value_name = "NAME")]
    pub preset: Vec<String>,
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
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct FmtArgs {
    /// Files to format, or `-` for standard input; without any, all below experiments/
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write nothing; exit with 1 and what would change when a file is not in canonical form
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct LockArgs {
    /// Experiment file
    #[arg(value_name = "EXPERIMENT", required_unless_present = "upgrade")]
    pub spec: Option<PathBuf>,
    #[command(flatten)]
    pub set: SetArgs,
    /// Write nothing; exit with 1 and the reasons when the lock is out of date
    #[arg(long)]
    pub check: bool,
    /// Move pins that still hold: `model` (what its revision now is), `bundle` (measured anew), or
    /// all of them (may be repeated)
    #[arg(long, value_name = "PIN", num_args = 0..=1, default_missing_value = "all", conflicts_with = "check")]
    pub upgrade: Vec<String>,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Whether the network may be used.
#[derive(Debug, Args, Clone, Default)]
pub struct NetworkArgs {
    /// Never use the network: a model of the hub must be in the local cache (also: HF_HUB_OFFLINE=1)
    #[arg(long)]
    pub offline: bool,
}

/// Changes to the experiment, and whether its lock may change.
#[derive(Debug, Args, Clone, Default)]
pub struct LockingArgs {
    #[command(flatten)]
    pub set: SetArgs,
    /// Refuse to run when the lock is out of date
    #[arg(long)]
    pub locked: bool,
    /// Use the lock as it is, without looking at the experiment; of settings, --set takes data=FOLDER alone
    #[arg(long, conflicts_with_all = ["locked", "preset"])]
    pub frozen: bool,
    #[command(flatten)]
    pub network: NetworkArgs,
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

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Say of every stage what changed, where its files are, and what would be made after it
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub json: JsonArgs,
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
#[command(
    after_help = "A lock is a file, REV:PATH (such as main:locks/a.lock.kdl), - for standard input, or /dev/null \
                        for no lock. Exit codes: 0 the locks say the same; 1 they differ; 2 trouble."
)]
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
#[command(
    after_help = "Exit codes: 0 merged; 1 there are conflicts, marked in the result; 2 trouble, and nothing was \
                        written."
)]
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
    #[arg(long, value_name = "DIR", requires = "sim", conflicts_with_all = ["set", "preset", "locked", "frozen"])]
    pub real: Vec<PathBuf>,
    /// Folder of the simulated run
    #[arg(long, value_name = "DIR", requires = "real", conflicts_with_all = ["set", "preset", "locked", "frozen"])]
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
pub struct CapacityArgs {
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of a run, such as runs/sim_runs/NAME-KEY
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Write series, distributions and histograms of every metric into this folder
    #[arg(long, value_name = "DIR", required_unless_present = "chrome_trace")]
    pub series: Option<PathBuf>,
    /// Write a timeline that opens in Perfetto and chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub chrome_trace: Option<PathBuf>,
    /// A lock of the run, which says what MFU and memory in use take
    #[arg(long, value_name = "LOCK")]
    pub lock: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A lock (locks/NAME.lock.kdl) or a report (reports/NAME.pdf)
    #[arg(value_name = "LOCK or PDF")]
    pub target: PathBuf,
    /// Do not fail for what cannot be checked because it is not here
    #[arg(long)]
    pub allow_missing: bool,
    /// Where the lock's data folder is: data=FOLDER
    #[arg(long = "set", value_name = "data=FOLDER")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Print the store's folder, and how much is in it
    Info(StoreInfoArgs),
    /// Copy results into another store, such as a mounted share
    Push(StoreCopyArgs),
    /// Copy results from another store; those of a lock are brought to their places
    Pull(StoreCopyArgs),
}

#[derive(Debug, Args)]
pub struct StoreInfoArgs {
    /// A folder of the project
    #[arg(default_value = ".", value_name = "PROJECT")]
    pub project: PathBuf,
}

#[derive(Debug, Args)]
pub struct StoreCopyArgs {
    /// The other store's folder
    #[arg(value_name = "DIR")]
    pub other: PathBuf,
    /// Only what these locks rest on; all results without one
    #[arg(value_name = "LOCK")]
    pub locks: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// A folder of the project
    #[arg(default_value = ".", value_name = "PROJECT")]
    pub project: PathBuf,
    /// Remove nothing; say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Remove quarantined files older than this, such as 30d or 12h
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub quarantine_older_than: Option<Duration>,
    /// Do not look for locks on branches that are not checked out
    #[arg(long)]
    pub no_branches: bool,
    /// Take projects that used the store and are gone for deleted
    #[arg(long)]
    pub forget_missing: bool,
}

/// An age: a whole number with the letter of its unit.
fn age(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        number.checked_mul(*seconds)
    });
    parsed
        .map(Duration::from_secs)
        .ok_or_else(|| "an age is a whole number of s, m, h, d or w, such as 30d".to_owned())
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Codes, such as xp::spec::value, or spec::value for short; without any, all are listed
    #[arg(value_name = "CODE")]
    pub codes: Vec<String>,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which one, such as experiment or lock; without it, their names are listed
    pub name: Option<String>,
    /// Write all of them into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    pub write: Option<PathBuf>,
}
