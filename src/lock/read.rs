use std::path::{Path, PathBuf};

use kdl::{KdlDocument, KdlValue};
use miette::{NamedSource, SourceSpan};
use serde_json::Value;

use super::merge_conflict::{self, Version};
use super::migrate::migrate;
use super::pins::{FORMAT, Lock};
use super::{canonical, codec, violation};
use crate::spec::{self, SpecErrors};
use crate::store::{self, ReadError};

/// Largest lock that is read, in bytes: a matrix of 10,000 runs takes some 12 MB.
pub const MAX_LOCK_BYTES: u64 = 64 << 20;

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
    /// A merge left conflicts in it.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Conflict(#[from] merge_conflict::ConflictError),
    /// A newer xp wrote it.
    #[error("{} has lock format {found}; this xp reads up to {FORMAT}", path.display())]
    #[diagnostic(code(xp::lock::newer), help("a newer xp wrote this lock: update xp, or move the lock away"))]
    Newer { path: PathBuf, found: u64 },
    /// The file is no lock, or was edited into something that is none.
    #[error("{message}")]
    #[diagnostic(
        code(xp::lock::invalid),
        help(
            "locks are written by `xp lock` and not edited; restore it, or lock its experiment again: `xp lock experiments/NAME.kdl`"
        )
    )]
    Invalid {
        message: String,
        /// None where the lines around the place are too long to show: the message names it.
        #[source_code]
        source_code: Option<NamedSource<String>>,
        #[label("here")]
        span: Option<SourceSpan>,
    },
}

impl LockError {
    /// Whether the file was read and is no lock of any version. Another can take its place.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Newer { .. } | Self::Read(ReadError::Io { .. } | ReadError::NotAFile { .. }) => false,
            Self::Kdl(errors) => std::error::Error::source(errors).is_none(),
            Self::Read(ReadError::TooLarge { .. } | ReadError::NotUtf8 { .. })
            | Self::Conflict(_)
            | Self::Invalid { .. } => true,
        }
    }
}

/// JSON Schema of a lock (draft 2020-12), over the JSON form of its facts.
pub fn lock_schema() -> Value {
    schemars::schema_for!(Lock).into()
}

/// Reads a lockfile, of this format or an older one.
pub fn read(path: &Path) -> Result<Lock, LockError> {
    Ok(read_any(path, path)?.0)
}

/// Like [`read`], and the format it has on disk. Diagnostics of its text call it `shown`.
pub fn read_any(path: &Path, shown: &Path) -> Result<(Lock, u32), LockError> {
    let text = store::read_text_bounded(path, MAX_LOCK_BYTES)?;
    parse_any(shown, &text)
}

/// One side of a lock that a merge has left with conflicts, for its pins: ours if it reads as a lock, else
/// theirs; None where neither does, or nothing is in conflict. Lines that a merge of text put together
/// may not fit each other: of the model nothing stays pinned then.
pub fn read_side(path: &Path) -> Option<Lock> {
    let text = store::read_text_bounded(path, MAX_LOCK_BYTES).ok()?;
    if merge_conflict::conflicts(&text).is_empty() {
        return None;
    }
    let side = |version| parse(path, &merge_conflict::take(&text, version)).ok();
    let mut lock = side(Version::Ours).or_else(|| side(Version::Theirs))?;
    let model = &mut lock.resolved_model;
    if model.sha256 != model.digest(lock.experiment.model.dtype) {
        model.commit = None;
    }
    Some(lock)
}

/// Reads a lock's text; `path` is for messages.
///
/// # Errors
/// The text is no lock, or its experiment is none that [`spec::load`] would take.
pub fn parse(path: &Path, text: &str) -> Result<Lock, LockError> {
    Ok(parse_any(path, text)?.0)
}

/// Like [`parse`], and the format that the text has.
pub(super) fn parse_any(path: &Path, text: &str) -> Result<(Lock, u32), LockError> {
    match canonical::parse(text) {
        Some(lock) => Ok((lock, FORMAT)),
        None => parse_kdl_text(path, text),
    }
}

/// The long way, with spans and diagnostics.
pub(crate) fn parse_kdl_text(path: &Path, text: &str) -> Result<(Lock, u32), LockError> {
    let name = path.display().to_string();
    merge_conflict::refuse(&name, text)?;
    let document = spec::parse_kdl(&name, text, MAX_LOCK_BYTES)?;
    let invalid = |message: String, span: codec::Span| match spec::long_place(&name, text, span) {
        None => LockError::Invalid {
            message,
            source_code: Some(NamedSource::new(&name, text.to_owned())),
            span: Some(SourceSpan::new(span.0.into(), span.1)),
        },
        Some(place) => {
            LockError::Invalid { message: format!("{place}: {message}"), source_code: None, span: None }
        }
    };
    // First of all: a newer lock may have facts of another shape.
    let format = format(&document);
    if let Some(found) = format.filter(|found| *found > u64::from(FORMAT)) {
        return Err(LockError::Newer { path: path.to_owned(), found });
    }
    let (mut facts, mut spans) =
        codec::read(&document).map_err(|error| invalid(error.message, error.span))?;
    migrate(&mut facts, &mut spans);
    let value = Value::Object(facts);
    let at = |pointer: &str| nearest(&spans, pointer);
    match value.get("lock").and_then(Value::as_u64) {
        Some(0) => {
            return Err(invalid("there is no lock format 0: formats count from 1".to_owned(), at("/lock")));
        }
        Some(_) => {}
        None => {
            let message = "this is not a lock: it has no `lock` format version";
            return Err(invalid(message.to_owned(), at("/lock")));
        }
    }
    if let Some(violation) = violation::violation(&value) {
        return Err(invalid(violation.message, at(&violation.pointer)));
    }
    let lock = serde_json::from_value(value).map_err(|error| invalid(error.to_string(), (0, 0)))?;
    Ok((lock, format.and_then(|format| u32::try_from(format).ok()).unwrap_or(FORMAT)))
}

/// The version that a document says it has.
fn format(document: &KdlDocument) -> Option<u64> {
    let version = document.get_arg("lock").and_then(KdlValue::as_integer)?;
    // No version of a lock is that large, but it is not an old one either.
    (version >= 0).then(|| u64::try_from(version).unwrap_or(u64::MAX))
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

#[cfg(test)]
mod tests {
    use super::super::resolve::tests::tiny_lock;
    use super::*;

    /// Reads the lock with a part of it replaced: the message and the text that is labelled.
    fn with(from: &str, to: &str) -> String {
        let text = tiny_lock();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        match parse(Path::new("x.lock.kdl"), &text.replacen(from, to, 1)) {
            Err(LockError::Invalid { message, source_code: None, .. }) => message,
            Err(LockError::Invalid { message, source_code: Some(source_code), span: Some(span) }) => {
                let labelled = &source_code.inner()[span.offset()..span.offset() + span.len()];
                assert!(message.chars().count() <= 210, "{message}");
                format!("{message} <{}>", labelled.chars().take(80).collect::<String>())
            }
            other => panic!("{from} → {to}: {other:?}"),
        }
    }

    #[test]
    fn a_written_lock_is_read_and_written_as_it_was() {
        let text = tiny_lock();
        assert_eq!(parse(Path::new("x.lock.kdl"), &text).unwrap().to_kdl(), text);
    }

    #[test]
    fn each_mistake_is_shown_where_it_stands() {
        let long = "x".repeat(5_000);
        let found = [
            with("lock 2", "lock 0"),
            with("lock 2\n", ""),
            with("xp \"0.1.0\"", "xp \"0.1.0\"\nsurprise 2"),
            with("    root 7", "    root 7\n    rot 8"),
            with("        kv-blocks", "        kv-bloks 3\n        kv-blocks"),
            with("file \"tokenizer.json\"", "file \"tokenizer.json\" size=1"),
            with("    root 7\n", ""),
            with("root 7", "root \"seven\""),
            with("root 7", "root 7.0"),
            with("engine 1", "engine 8589934592"),
            with("max-context 2048", "max-context 8589934592"),
            with("prefill-tokens", "prefill-tokens -1 //"),
            with("sha256 \"", "sha256 \"x"),
            with("sha256 \"", &format!("sha256 \"{long}")),
            with("root 7", &format!("root {{ a \"{long}\"; }}")),
            with("xp \"", "xp 1 //"),
            with("chunk-size 16", "chunk-size 0"),
            with("chunk-size 16", "chunk-size 16\n        chunk 3"),
            with("kind \"candle\"", "kind \"cndle\""),
            with("kv-memory \"4MiB\"", "kv-memory \"99999999999999TiB\""),
            with(
                "kind \"poisson\"\n            qps 50.0",
                "kind \"trace\"\n            path \"/etc/passwd\"",
            ),
            with("device \"cpu\"", "device \"tpu\""),
            with("run \"tiny\" {", "run \"tiny\" {\n}\nrun \"tiny\" {"),
            with("backend \"sarathi\" {", "backend \"sarathi\" {\n}\nbackend \"sarathi\" {"),
            with("file \"tokenizer.json\"", "file \"tokenizer.json\"\nfile \"tokenizer.json\""),
        ];
        insta::assert_snapshot!(found.join("\n"), @r#"
        there is no lock format 0: formats count from 1 <0>
        this is not a lock: it has no `lock` format version <>
        surprise: a lock has no such fact <2>
        seeds.rot: a lock has no such fact <8>
        runs.0.scheduler.kv-bloks: a lock has no such fact <3>
        resolved-model.files.0.size: a lock has no such fact <size=1>
        seeds: `root` is missing <seeds>
        seeds.root: "seven" is not of type "integer" <"seven">
        seeds.root: invalid type: floating point `7.0`, expected u64 <7.0>
        versions.engine: invalid value: integer `8589934592`, expected u32 <8589934592>
        runs.0.scheduler.max-context: invalid value: integer `8589934592`, expected u32 <8589934592>
        runs.0.workload.prefill-tokens: -1 is less than the minimum of 0 <-1>
        spec.sha256: "x6a74ffab6e6eb2e1050f2e6d433f194fa5d9259959ab57cab108631724eac9d3" does not match "^[0-9a-f]{64}$" <"x6a74ffab6e6eb2e1050f2e6d433f194fa5d9259959ab57cab108631724eac9d3">
        x.lock.kdl:12:12: spec.sha256: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
        x.lock.kdl:58:5: seeds.root: value is not of type "integer"
        xp: 1 is not of type "string" <1>
        experiment.backends.0.chunk-size: `chunk-size` takes a whole number from 1 to 1048576, not 0 <0>
        experiment.backends.0.chunk: `chunk` is no setting of a `candle` backend <3>
        experiment.backends.0.kind: `kind` takes `candle`, `transformers`, `sim`, `recorded` or `engine`, not "cndle" <"cndle">
        experiment.backends.0.kv-memory: the size "99999999999999TiB" is too large <"99999999999999TiB">
        experiment.workload.arrivals.path: "/etc/passwd" is no path inside the project <"/etc/passwd">
        experiment.hardware.device: no device "tpu" <"tpu">
        `run "tiny"` is given twice <"tiny">
        `backend "sarathi"` is given twice <"sarathi">
        `file "tokenizer.json"` is given twice <"tokenizer.json">
        "#);
    }

    #[test]
    fn what_is_said_of_a_hostile_lock_is_short() {
        let (name, text) = ("n".repeat(100_000), tiny_lock());
        let many = |from: &str| {
            let settings: String = (0..5_000).map(|index| format!("u{index} 1\n")).collect();
            text.replacen(from, &format!("{settings}{from}"), 1)
        };
        for (hostile, wanted) in [
            (name.clone(), "`nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn…` is no fact of a lock"),
            (format!("{name} {{\n{}}}\n", "a 1\n".repeat(1_000)), "is no fact of a lock"),
            (format!("file \"x\" {name}=1\n"), "is no fact of a lock"),
            (format!("run \"{name}\"\nrun \"{name}\"\n"), "…\"` is given twice"),
            (format!("a \"{name}\""), "this is not a lock"),
            (many("seed 7"), "experiment.u0: `u0` is no setting of `experiment`"),
            (many("chunk-size 16"), "`u0` is no setting of a `candle` backend"),
        ] {
            let error = parse(Path::new("x.lock.kdl"), &hostile).unwrap_err();
            let mut shown = String::new();
            let theme = miette::GraphicalTheme::unicode_nocolor();
            miette::GraphicalReportHandler::new_themed(theme).render_report(&mut shown, &error).unwrap();
            assert!(error.to_string().contains(wanted), "{:.300}, not {wanted}", error.to_string());
            assert!(shown.len() < 3_000, "{} bytes: {:.300}", shown.len(), shown);
        }
    }

    #[test]
    fn damage_is_told_from_a_newer_lock() {
        let of = |text: &str| parse(Path::new("x.lock.kdl"), text).unwrap_err().is_damage();
        assert!(of("") && of("lock 0") && of("{") && of("lock \"one\"") && of("lock 1") && of("lock 2"));
        assert!(!of("lock 3") && !of("lock 99\nsurprise"));
        assert!(!read(Path::new("none/x.lock.kdl")).unwrap_err().is_damage());
    }
}
