use std::io;
use std::path::PathBuf;

/// A repository of the hub could not be resolved. No message holds a token, a query of a URL, or text
/// that a server wrote.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum HubError {
    /// The environment says nothing of a home.
    #[error("the Hugging Face cache cannot be located")]
    #[diagnostic(code(xp::source::no_cache), help("set HF_HOME to its folder"))]
    NoCache,
    /// Not a repository's name or revision.
    #[error("{what} {text:?} is not well-formed")]
    #[diagnostic(
        code(xp::source::repository),
        help("write for example repo=\"Qwen/Qwen3-0.6B\" revision=\"main\"")
    )]
    Name { what: &'static str, text: String },
    /// A variable of the environment does not say what it should.
    #[error("{name} cannot be used")]
    #[diagnostic(code(xp::source::hub_setting))]
    Setting { name: String, source: io::Error },
    /// The cache lacks files, and the network may not be asked.
    #[error("{what} is not in the Hugging Face cache ({})", cache.display())]
    #[diagnostic(
        code(xp::source::not_cached),
        help(
            "`xp lock` and `xp run` download what is missing, without --offline and HF_HUB_OFFLINE; `xp lock --check`, `xp status` and `xp verify` never do"
        )
    )]
    NotCached { what: String, cache: PathBuf, source: io::Error },
    /// 401 or 403.
    #[error("the hub does not hand out {what}")]
    #[diagnostic(code(xp::source::hub_denied), help("{help}"))]
    Denied { what: String, help: String, source: io::Error },
    /// 404.
    #[error("the hub has no {what}")]
    #[diagnostic(code(xp::source::hub_missing), help("{help}"))]
    NotFound { what: String, help: String },
    /// The server refused, or went on failing.
    #[error("{host} did not give {what}{tries}")]
    #[diagnostic(
        code(xp::source::hub_unreachable),
        help(
            "what has arrived is kept, and the next call goes on from there; --offline uses the cache alone"
        )
    )]
    Unreachable { host: String, what: String, tries: String, source: io::Error },
    /// A redirect that is not followed.
    #[error("{host} redirects {what} where xp does not follow: {why}")]
    #[diagnostic(code(xp::source::hub_redirect), help("is HF_ENDPOINT the address of a hub?"))]
    Redirect { host: String, what: String, why: &'static str },
    /// The answer is not what the hub's API gives.
    #[error("the answer of {host} about {what} is not understood")]
    #[diagnostic(code(xp::source::hub_answer), help("is HF_ENDPOINT the address of a hub?"))]
    Answer { host: String, what: String, source: io::Error },
    /// A file is longer or shorter than the hub says.
    #[error("{file}: the hub says {expected} bytes, and its server sends {found}")]
    #[diagnostic(code(xp::source::hub_size), help("nothing of it was put into the cache; try again later"))]
    Size { file: String, expected: u64, found: u64 },
    /// A file has other bytes than the hub says, or than the lock pins.
    #[error("{file} has the {algorithm} {found}; {says} {expected}")]
    #[diagnostic(
        code(xp::source::hub_digest),
        help(
            "nothing of it was put into the cache: a commit never changes its files, so the server or the lock is wrong"
        )
    )]
    Wrong { file: String, algorithm: &'static str, says: &'static str, expected: String, found: String },
    /// A file of the cache has other bytes than its commit.
    #[error("{} has the {algorithm} {found}; {says} {expected}", path.display())]
    #[diagnostic(
        code(xp::source::cache_damaged),
        help("a commit never changes its files: delete this one, and xp downloads it again")
    )]
    Damaged { path: PathBuf, algorithm: &'static str, says: &'static str, expected: String, found: String },
    /// The cache could not be read or written.
    #[error("cannot use {}", path.display())]
    #[diagnostic(code(xp::source::cache_io))]
    Io { path: PathBuf, source: io::Error },
}

impl HubError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    /// `why` says what is wrong with the variable, without its value.
    pub(super) fn setting(name: &str, why: &str) -> Self {
        let source = io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
        Self::Setting { name: name.to_owned(), source }
    }
}
