use std::path::PathBuf;
use std::{fmt, io};

use crate::store::ReadError;

/// Runs may not be compared, or a comparison could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum CompareError {
    /// No measurement was given.
    #[error("nothing was measured to compare with")]
    #[diagnostic(code(xp::compare::no_measurement), help("give at least one measured run"))]
    NoMeasurement,
    /// A simulation was given as a measurement, or the other way round.
    #[error("{run} is {found}, not {wanted}")]
    #[diagnostic(
        code(xp::compare::kind),
        help("a comparison takes measured runs as real and one simulated run as sim")
    )]
    Kind { run: String, found: &'static str, wanted: &'static str },
    /// Something that decides the result is not the same in both runs.
    #[error("{0}")]
    #[diagnostic(code(xp::compare::differ), help("{}", _0.help))]
    Differ(Box<Difference>),
    /// Both runs have metrics that mean something else than this version's.
    #[error("the runs have metric definitions {found}, this xp compares {known}")]
    #[diagnostic(
        code(xp::compare::metrics_version),
        help("run again, or compare with the xp that made the runs")
    )]
    MetricsVersion { found: u32, known: u32 },
    /// The bundle was measured on another machine.
    #[error("the simulation's bundle was measured on machine {bundle}, the run on machine {machine}")]
    #[diagnostic(
        code(xp::compare::foreign_bundle),
        help(
            "measure a bundle on the run's machine (`xp profile`) and simulate again, or allow it with \
             --allow-foreign-bundle: the report then says so on its first page"
        )
    )]
    ForeignBundle { bundle: String, machine: String },
    /// The same run was given as two repeats: its noise would read as zero.
    #[error("{first} and {second} are the same run")]
    #[diagnostic(
        code(xp::compare::same_repeat),
        help("repeats are separate measurements: give each run once")
    )]
    SameRepeat { first: String, second: String },
    /// No request was served in all runs.
    #[error("there is nothing to compare: none of {requests} requests was served in every run")]
    #[diagnostic(
        code(xp::compare::nothing),
        help("error_type and error_msg in request_metrics.csv say why each request failed")
    )]
    Nothing { requests: usize },
    /// An error in per cent of nothing.
    #[error(
        "{what} was measured as 0 ns and simulated as {simulated} ns: no per cent of nothing can be told"
    )]
    #[diagnostic(code(xp::compare::zero), help("a served token takes time: is the measured run a real one?"))]
    ZeroMeasured { what: String, simulated: f64 },
    /// Thresholds make no sense.
    #[error("pass {pass} % and warn {warn} % are no thresholds")]
    #[diagnostic(code(xp::compare::thresholds), help("both are at least 0 %, and warn is at least pass"))]
    Thresholds { pass: f64, warn: f64 },
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// The operating system said no while writing.
    #[error("cannot write {}", path.display())]
    #[diagnostic(code(xp::compare::write), help("is the folder writable, and is there space?"))]
    Write { path: PathBuf, source: io::Error },
    /// A file is no comparison.
    #[error("{file}, line {line}, column {column}: {message}")]
    #[diagnostic(code(xp::compare::json), help("`xp schema comparison` prints what the file may hold"))]
    Json { file: String, line: usize, column: usize, message: String },
    /// A newer xp wrote the comparison.
    #[error("{file} has {what} {found}, this xp knows {known}")]
    #[diagnostic(code(xp::compare::version), help("a newer xp wrote the comparison: read it with that one"))]
    Version { file: String, what: &'static str, found: u64, known: u32 },
    /// A value of a comparison is impossible.
    #[error("{file}: {what}")]
    #[diagnostic(code(xp::compare::content), help("the file was edited or damaged: compare again"))]
    Content { file: String, what: String },
}

/// Something that decides the result, and its value in two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub first_run: String,
    pub first: String,
    pub second_run: String,
    pub second: String,
    /// What to do about it.
    pub help: &'static str,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, first_run, first, second_run, second, .. } = self;
        write!(f, "{first_run} and {second_run} may not be compared: ")?;
        write!(f, "{what} is {first} in one and {second} in the other")
    }
}
