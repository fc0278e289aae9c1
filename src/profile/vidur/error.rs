use std::path::PathBuf;

use crate::store::ReadError;

/// A profiling folder of Vidur's cannot be used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum VidurProfileError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// The file is no CSV table that can be read: garbled, or larger than any honest one.
    #[error("{}:{line}: {message}", path.display())]
    #[diagnostic(
        code(xp::profile::vidur_table),
        help("the file is a CSV table with a line of column names, as Vidur publishes it; fetch it again")
    )]
    Table { path: PathBuf, line: u64, message: String },
    /// A table is not where the experiment says.
    #[error("there is no {}", path.display())]
    #[diagnostic(
        code(xp::profile::vidur_absent),
        help(
            "`vidur \"DEVICE\" model=\"MODEL\"` means the tables in `compute/DEVICE/MODEL/`: look at both names there"
        )
    )]
    Absent { path: PathBuf },
    /// A column that the operators need is not there, or there twice.
    #[error("{}:1: {problem} column `{column}`", path.display())]
    #[diagnostic(code(xp::profile::vidur_column), help("{hint}"))]
    Column { path: PathBuf, problem: &'static str, column: String, hint: String },
    /// A cell holds what no measurement gives.
    #[error("{}:{line}: column `{column}` is {found:?}", path.display())]
    #[diagnostic(code(xp::profile::vidur_value), help("{wanted} would be right"))]
    Value { path: PathBuf, line: u64, column: String, found: String, wanted: &'static str },
    /// No row was measured for this model and parallelism.
    #[error("{} has no rows with {wanted}", path.display())]
    #[diagnostic(code(xp::profile::vidur_rows), help("{hint}"))]
    NoRows { path: PathBuf, wanted: String, hint: String },
    /// An operator has too few rows for a regression.
    #[error("{} has {rows} row(s) to train {op} with", path.display())]
    #[diagnostic(
        code(xp::profile::vidur_too_few),
        help("a regression needs {least} rows at least; measure {op} at more sizes")
    )]
    TooFew { path: PathBuf, op: &'static str, rows: usize, least: usize },
    /// A name is no plain path below the profiling folder.
    #[error("{what} {name:?} does not name a folder of profiles")]
    #[diagnostic(
        code(xp::profile::vidur_name),
        help("names are as Vidur's folders have them, such as `a100` or `meta-llama/Llama-2-7b-hf`")
    )]
    Name { what: &'static str, name: String },
    /// Devices that Vidur's network profiles do not describe.
    #[error(
        "{tensor_parallel} tensor-parallel times {pipeline_stages} pipeline stages on nodes of \
         {devices_per_node} device(s)"
    )]
    #[diagnostic(
        code(xp::profile::vidur_devices),
        help("their product is below the devices of a node, or a multiple of them; all are 1 at least")
    )]
    Devices { tensor_parallel: u32, pipeline_stages: u32, devices_per_node: u32 },
    /// The files to read are not all named.
    #[error("{op} needs a table, and no file of it is named")]
    #[diagnostic(
        code(xp::profile::vidur_missing),
        help(
            "`all_reduce` is needed by tensor parallelism, `send_recv` by pipeline stages, `cpu_overhead` when CPU work is modelled"
        )
    )]
    Missing { op: &'static str },
}
