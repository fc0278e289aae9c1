//! `--json`: one document on standard output and nothing else there, whatever
//! happens. `docs/json.md` describes each.

use std::process::ExitCode;

use miette::{LabeledSpan, Report, SourceCode, SourceSpan};
use schemars::JsonSchema;
use serde::Serialize;

use super::error::CliError;
use super::output;
use crate::lock::Stale;
use crate::run::RunError;
use crate::spec::SpecErrors;

/// Raised when a field changes its meaning or goes away; new fields do not raise it.
const VERSION: u32 = 1;

/// What a command answers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document<T> {
    /// Version of all documents: 1.
    pub version: u32,
    /// The command that was called; empty when it is none of xp's.
    pub command: String,
    /// Whether the answer is yes: the exit code is 0.
    pub ok: bool,
    /// Everything that is wrong; empty when all is well.
    pub diagnostics: Vec<Diagnostic>,
    /// What the command found. Its fields are missing when it did not get that far.
    #[serde(flatten)]
    pub body: Option<T>,
}

impl<T> Document<T> {
    pub fn new(command: &str, diagnostics: Vec<Diagnostic>, body: T) -> Self {
        let ok = !diagnostics.iter().any(|diagnostic| matches!(diagnostic.severity, Severity::Error));
        Self { version: VERSION, command: command.to_owned(), ok, diagnostics, body: Some(body) }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Nothing {}

/// A mistake, and where it is.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Diagnostic {
    /// Such as `xp::spec::value`, which `xp explain` tells more about. Null: it has none.
    pub code: Option<String>,
    pub severity: Severity,
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// What it is about; null, like the place, when it is about no text.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// From 0, in bytes.
    pub offset: Option<usize>,
    /// In bytes.
    pub length: Option<usize>,
    /// What is said of the place.
    pub label: Option<String>,
    /// Further places in the same file, such as where a name was used first.
    pub places: Vec<Place>,
    /// What caused it, the closest cause first: often what the operating system said.
    pub causes: Vec<String>,
    /// Diagnostics that belong to it.
    pub related: Vec<Diagnostic>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    #[default]
    Error,
    Warning,
    Advice,
}

/// A place in a text.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// From 0, in bytes.
    pub offset: usize,
    /// In bytes.
    pub length: usize,
    pub label: Option<String>,
}

/// Why a lock is out of date, or was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reason {
    /// Such as `experiment`, `workload` or `no-lock`.
    pub reason: String,
    /// The fact, such as `experiment.workload.requests`; null when it is not about one.
    pub path: Option<String>,
    /// What the lock says; null when it does not have the fact.
    pub locked: Option<String>,
    /// What it should say; null when it should not have the fact.
    pub wanted: Option<String>,
    /// What the difference does to results that exist, such as `measurement`.
    pub impact: Option<String>,
    /// All of it as a sentence.
    pub message: String,
}

/// Reasons with every value whole, however long it is.
pub fn reasons(stale: &[Stale]) -> Vec<Reason> {
    let text = |fields: &serde_json::Value, name: &str| fields[name].as_str().map(str::to_owned);
    let reason = |stale: &Stale| {
        let fields = serde_json::to_value(stale).unwrap_or_default();
        // `NoLock` has a path too, of a file and not of a fact.
        let is_fact = fields.get("impact").is_some();
        Reason {
            reason: text(&fields, "reason").unwrap_or_default(),
            path: text(&fields, "path").filter(|_| is_fact),
            locked: text(&fields, "old"),
            wanted: text(&fields, "new"),
            impact: text(&fields, "impact"),
            message: stale.to_string(),
        }
    };
    stale.iter().map(reason).collect()
}

/// Prints a document on standard output.
pub fn print(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::system(format!("no JSON: {error}"), "please report it"))?;
    output::line(text)
}

/// Answers with an error; the process's exit code.
pub fn fail(command: &str, error: &CliError) -> ExitCode {
    let document = Document {
        version: VERSION,
        command: command.to_owned(),
        ok: false,
        diagnostics: error.diagnostics(),
        body: None::<Nothing>,
    };
    match print(&document) {
        Ok(()) => error.exit_code(),
        Err(unprinted) => unprinted.report(),
    }
}

/// Every diagnostic of a report. A list of mistakes is told as its mistakes.
pub fn diagnostics(report: &Report) -> Vec<Diagnostic> {
    let whole = convert(report.as_ref());
    if whole.code.is_some() || whole.related.is_empty() {
        return vec![whole];
    }
    let listed = whole.related.len();
    let mut out = whole.related;
    let errors = report.downcast_ref::<SpecErrors>().or_else(|| match report.downcast_ref() {
        Some(RunError::Spec(errors)) => Some(errors),
        _ => None,
    });
    if let Some(more) = errors.map(|errors| errors.count().saturating_sub(listed)).filter(|more| *more > 0) {
        out.push(Diagnostic {
            message: format!("{more} more mistakes are not listed"),
            ..Diagnostic::default()
        });
    }
    out
}

fn convert(diagnostic: &dyn miette::Diagnostic) -> Diagnostic {
    let text = |text: Option<Box<dyn std::fmt::Display + '_>>| text.map(|text| text.to_string());
    let mut out = Diagnostic {
        code: text(diagnostic.code()),
        severity: match diagnostic.severity() {
            None | Some(miette::Severity::Error) => Severity::Error,
            Some(miette::Severity::Warning) => Severity::Warning,
            Some(miette::Severity::Advice) => Severity::Advice,
        },
        message: diagnostic.to_string(),
        help: text(diagnostic.help()),
        related: diagnostic.related().into_iter().flatten().map(convert).collect(),
        ..Diagnostic::default()
    };
    let mut cause = diagnostic.source();
    while let Some(error) = cause {
        out.causes.push(error.to_string());
        cause = error.source();
    }
    let labels: Vec<LabeledSpan> = diagnostic.labels().into_iter().flatten().collect();
    let Some(source) = diagnostic.source_code() else { return out };
    let primary = labels.iter().position(LabeledSpan::primary).unwrap_or(0);
    for (index, label) in labels.iter().enumerate() {
        let Some((file, place)) = place(source, label) else { continue };
        if index != primary {
            out.places.push(place);
            continue;
        }
        out.file = file;
        (out.line, out.column) = (Some(place.line), Some(place.column));
        (out.offset, out.length) = (Some(place.offset), Some(place.length));
        out.label = place.label;
    }
    out
}

/// Where a label stands, and in which file.
fn place(source: &dyn SourceCode, label: &LabeledSpan) -> Option<(Option<String>, Place)> {
    let (offset, length) = (label.offset(), label.len());
    let found = source.read_span(&SourceSpan::new(offset.into(), length), 0, 0).ok()?;
    // miette counts bytes.
    let before = found.column();
    let start = source.read_span(&SourceSpan::new((offset - before).into(), before), 0, 0).ok()?;
    let column = match before {
        0 => 0,
        _ => String::from_utf8_lossy(&start.data()[..before.min(start.data().len())]).chars().count(),
    };
    let place = Place {
        line: found.line() + 1,
        column: column + 1,
        offset,
        length,
        label: label.label().map(str::to_owned),
    };
    Some((found.name().map(str::to_owned), place))
}

/// Whether the process was asked for JSON by arguments that make no command.
fn is_wanted() -> bool {
    std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// Answers with what is wrong about the arguments, if JSON was asked for.
pub fn misused(error: &clap::Error) -> Option<ExitCode> {
    if !error.use_stderr() || !is_wanted() {
        return None;
    }
    let text = error.render().to_string();
    let (message, help) = text.split_once("\n\n").unwrap_or((&text, ""));
    let message = message.strip_prefix("error: ").unwrap_or(message).trim();
    let command = std::env::args().nth(1).filter(|arg| !arg.starts_with('-')).unwrap_or_default();
    let known = super::help::command().get_subcommands().any(|known| known.get_name() == command);
    let error = CliError::system(message.to_owned(), help.trim());
    Some(fail(if known { &command } else { "" }, &error))
}
