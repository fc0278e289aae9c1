use std::path::{Path, PathBuf};

use miette::{NamedSource, SourceSpan};
use serde_json::Value;

use super::codec;
use super::pins::{FORMAT, Lock};
use crate::spec::{self, SpecErrors};
use crate::store::{self, ReadError};

/// Largest lock that is read, in bytes: a matrix of 10,000 runs takes some 12 MB.
const MAX_LOCK_BYTES: u64 = 64 << 20;

/// A lock could not be read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LockError {
    /// The file could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// The text is not KDL, or nests too deep.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Kdl(#[from] SpecErrors),
    /// A newer xp wrote it.
    #[error("{} has lock format {found}; this xp reads up to {FORMAT}", path.display())]
    #[diagnostic(
        code(xp::lock::newer),
        help("a newer xp wrote this lock: update xp, or lock again with this one")
    )]
    Newer { path: PathBuf, found: u64 },
    /// The file is no lock, or was edited into something that is none.
    #[error("{message}")]
    #[diagnostic(
        code(xp::lock::invalid),
        help("locks are written by `xp lock` and not edited; restore it, or lock again")
    )]
    Invalid {
        message: String,
        #[source_code]
        source_code: NamedSource<String>,
        #[label("here")]
        span: SourceSpan,
    },
}

/// JSON Schema of a lock (draft 2020-12), over the JSON form of its facts.
pub fn lock_schema() -> Value {
    schemars::schema_for!(Lock).into()
}

/// Reads a lockfile.
pub fn read(path: &Path) -> Result<Lock, LockError> {
    let text = store::read_text_bounded(path, MAX_LOCK_BYTES)?;
    parse(path, &text)
}

/// Reads a lock's text; `path` is for messages.
pub fn parse(path: &Path, text: &str) -> Result<Lock, LockError> {
    let name = path.display().to_string();
    let document = spec::parse_kdl(&name, text, MAX_LOCK_BYTES)?;
    let invalid = |message: String, (offset, length): codec::Span| LockError::Invalid {
        message,
        source_code: NamedSource::new(&name, text.to_owned()),
        span: SourceSpan::new(offset.into(), length),
    };
    let (value, spans) = codec::read(&document).map_err(|error| invalid(error.message, error.span))?;
    match value.get("lock").and_then(Value::as_u64) {
        Some(found) if found > u64::from(FORMAT) => {
            return Err(LockError::Newer { path: path.to_owned(), found });
        }
        Some(_) => {}
        None => {
            return Err(invalid("this is not a lock: it has no `lock` format version".to_owned(), (0, 0)));
        }
    }
    let validator = jsonschema::validator_for(&lock_schema()).expect("the lock's own schema is valid");
    if let Some(error) = validator.iter_errors(&value).next() {
        let pointer = error.instance_path().to_string();
        return Err(invalid(
            format!("{}: {error}", pointer.trim_start_matches('/')),
            nearest(&spans, &pointer),
        ));
    }
    serde_json::from_value(value).map_err(|error| invalid(error.to_string(), (0, 0)))
}

/// The span of the value at `pointer`, or of the closest one around it.
fn nearest(spans: &codec::Spans, pointer: &str) -> codec::Span {
    let mut pointer = pointer;
    loop {
        if let Some(span) = spans.get(pointer) {
            return *span;
        }
        match pointer.rfind('/') {
            Some(cut) => pointer = &pointer[..cut],
            None => return (0, 0),
        }
    }
}
