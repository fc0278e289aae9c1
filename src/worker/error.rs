use std::io;
use std::path::PathBuf;

/// The worker of a `transformers` backend could not be made, started or used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum WorkerError {
    /// There is no Python to make an environment with.
    #[error("no Python runs here: {}", program.display())]
    #[diagnostic(
        code(xp::worker::no_python),
        help(
            "a `transformers` backend is a Python program: install Python 3.10 or newer, or name one that has the packages with `XP_PYTHON`"
        )
    )]
    NoPython { program: PathBuf, source: io::Error },
    /// It is not known where an environment may be kept.
    #[error("there is no folder for xp's Python environments")]
    #[diagnostic(code(xp::worker::no_cache), help("name one with `XP_CACHE_DIR`"))]
    NoCache { source: io::Error },
    /// The environment would have to be downloaded.
    #[error("no environment of {packages} is here, and xp is offline")]
    #[diagnostic(
        code(xp::worker::offline),
        help(
            "run once without `--offline`, which installs it; or name an interpreter that has these packages with `XP_PYTHON`"
        )
    )]
    Offline { packages: String, source: io::Error },
    /// uv or pip did not install the packages.
    #[error("cannot install {packages}: {program} {how}{words}")]
    #[diagnostic(
        code(xp::worker::install),
        help(
            "nothing is kept of a part: the next try begins anew. Is there space, does the registry have these versions for this Python, is it reachable? `XP_PYTHON` names an interpreter that has them"
        )
    )]
    Install { packages: String, program: String, how: String, words: String, source: io::Error },
    /// The system refused a file of the environment.
    #[error("cannot use {}", path.display())]
    #[diagnostic(
        code(xp::worker::io),
        help("is there space, and may the folder be written? `XP_CACHE_DIR` names another")
    )]
    Io { path: PathBuf, source: io::Error },
    /// The interpreter has other packages than the lock pins.
    #[error("{} has {found}, the lock pins {wanted}", program.display())]
    #[diagnostic(
        code(xp::worker::packages),
        help(
            "without `XP_PYTHON` xp installs what is pinned; or pin what is there: name a file of these versions in the backend's `requirements`"
        )
    )]
    Packages { program: PathBuf, found: String, wanted: String },
    /// The system does not start the process.
    #[error("cannot start the worker with {}", program.display())]
    #[diagnostic(code(xp::worker::start), help("is it a Python, and may it be run?"))]
    Start { program: PathBuf, source: io::Error },
    /// torch or transformers cannot be imported.
    #[error("the worker cannot import its packages: {message}")]
    #[diagnostic(
        code(xp::worker::import),
        help(
            "delete the environment to have it made again, or repair the interpreter that `XP_PYTHON` names"
        )
    )]
    Import { message: String, source: io::Error },
    /// It speaks another version of the protocol.
    #[error("the worker speaks version {found} of the protocol, xp version {wanted}")]
    #[diagnostic(code(xp::worker::protocol), help("a worker and its xp come together: install xp again"))]
    Protocol { found: u32, wanted: u32 },
    /// The process ended.
    #[error("the worker {how} while {doing}{words}")]
    #[diagnostic(
        code(xp::worker::died),
        help(
            "nothing of the run is kept. A worker that was killed (signal 9) has often used up the memory: lower `max-batch-size` or take a smaller model"
        )
    )]
    Died { how: String, doing: String, words: String, source: io::Error },
    /// No answer came in time.
    #[error("the worker did not answer within {seconds} s while {doing}{words}")]
    #[diagnostic(
        code(xp::worker::timeout),
        help("it was ended. If a step may take that long, raise the backend's `step-timeout`")
    )]
    Timeout { seconds: f64, doing: String, words: String, source: io::Error },
    /// What came over the pipe is no answer.
    #[error("the worker sent what is no answer while {doing}: {why}: {line}{words}")]
    #[diagnostic(
        code(xp::worker::garbage),
        help("it was ended. Does a package of the environment write to the worker's pipe?")
    )]
    Garbage { doing: String, why: String, line: String, words: String, source: io::Error },
    /// A step needs more memory than there is.
    #[error("there is not enough memory for {doing}: {message}")]
    #[diagnostic(
        code(xp::worker::out_of_memory),
        help(
            "nothing of the run is kept: lower `max-batch-size` or `kv-memory`, shorten the requests, or take a smaller model or number format"
        )
    )]
    OutOfMemory { doing: String, message: String, source: io::Error },
    /// torch has no such device.
    #[error("the worker cannot use the device: {message}")]
    #[diagnostic(
        code(xp::worker::no_device),
        help("write `hardware \"cpu\"`, or run where torch sees a GPU")
    )]
    NoDevice { message: String, source: io::Error },
    /// Nothing can be said of what such weights compute.
    #[error("{message}")]
    #[diagnostic(
        code(xp::worker::not_finite),
        help("its weights hold NaN or infinite numbers, or do not fit the number format")
    )]
    NotFinite { message: String },
    /// torch or transformers raised an error.
    #[error("the worker failed while {doing}: {message}")]
    #[diagnostic(
        code(xp::worker::failed),
        help("the packages of the environment refuse the model or the step")
    )]
    Failed { doing: String, message: String, source: io::Error },
}
