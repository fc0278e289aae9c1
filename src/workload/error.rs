use std::io;
use std::path::PathBuf;

use crate::model::{ChatError, TokenizerError};
use crate::store::ReadError;

/// A workload could not be made, written or read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum WorkloadError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Chat(#[from] ChatError),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    #[diagnostic(code(xp::workload::write))]
    Write { path: PathBuf, source: io::Error },
    /// A path of the spec leads out of the project.
    #[error("{path:?} is no path inside the project")]
    #[diagnostic(
        code(xp::workload::outside),
        help("write it relative to the project, without `..`; a link in the project may point elsewhere")
    )]
    Outside { path: String },
    /// A cell of a CSV file is not what its column holds.
    #[error("{file}:{line}, column `{column}`: {message}")]
    #[diagnostic(code(xp::workload::cell))]
    Cell { file: String, line: u64, column: String, message: String },
    /// A line of a CSV file is not a row.
    #[error("{file}:{line}: {message}")]
    #[diagnostic(code(xp::workload::row))]
    Row { file: String, line: u64, message: String },
    /// A CSV file lacks a column.
    #[error("{file}:1: there is no column {column}")]
    #[diagnostic(code(xp::workload::column), help("its header is {header:?}"))]
    Column { file: String, column: String, header: String },
    /// JSON that does not parse, or holds something else.
    #[error("{file}:{line}:{column}: {message}")]
    #[diagnostic(code(xp::workload::json))]
    Json { file: String, line: usize, column: usize, message: String },
    /// The files of a workload contradict each other.
    #[error("{file}: {field} is {said}, the files hold {found}")]
    #[diagnostic(
        code(xp::workload::totals),
        help("the files do not belong together, or one of them was edited or cut")
    )]
    Totals { file: String, field: &'static str, said: u64, found: u64 },
    /// A trace or a file of prompts ends too early.
    #[error("{file} has {rows} {what}, the workload asks for {requests} requests")]
    #[diagnostic(code(xp::workload::too_few), help("lower `requests`, or give a longer file"))]
    TooFew { file: String, what: &'static str, rows: usize, requests: u32 },
    /// Nothing says how long prompts are.
    #[error("the workload says neither `prompts` nor `lengths`")]
    #[diagnostic(code(xp::workload::no_lengths), help("add `lengths \"fixed\" prefill=128 decode=32`"))]
    NoLengths,
    /// The workload says it twice.
    #[error("the workload says both `prompts` and `lengths`")]
    #[diagnostic(
        code(xp::workload::two_lengths),
        help("prompts have the length of their text: remove `lengths`")
    )]
    TwoLengths,
    /// Nothing says when requests arrive.
    #[error("the workload has no trace that says when its requests arrive")]
    #[diagnostic(code(xp::workload::no_arrivals), help("say it: `arrivals \"poisson\" qps=2`"))]
    NoArrivals,
    /// Nothing says how long outputs are.
    #[error("the workload does not say how many tokens to generate")]
    #[diagnostic(code(xp::workload::no_decode), help("add `decode-tokens 64`"))]
    NoDecode,
    /// A parameter makes no distribution.
    #[error("{name} {value}: {message}")]
    #[diagnostic(code(xp::workload::parameter))]
    Parameter { name: &'static str, value: String, message: String },
    /// More requests than are held in memory.
    #[error("{requests} requests are more than {limit}")]
    #[diagnostic(code(xp::workload::too_many), help("split the experiment, or lower `requests`"))]
    TooMany { requests: u64, limit: u64 },
    /// A request arrives later than a signed 64-bit number of nanoseconds (292 years).
    #[error("request {request} arrives later than any clock reaches")]
    #[diagnostic(code(xp::workload::late), help("raise qps, or check the trace's unit: nanoseconds"))]
    Late { request: u64 },
    /// Text was asked for without a tokenizer.
    #[error("{file} holds text, and there is no tokenizer to count its tokens")]
    #[diagnostic(code(xp::workload::no_tokenizer))]
    NoTokenizer { file: String },
    /// Messages were asked for without a template.
    #[error("prompts are to be messages, and there is no chat template")]
    #[diagnostic(
        code(xp::workload::no_template),
        help("take a model that has one, or leave out `chat-template #true`")
    )]
    NoTemplate,
    /// The template leaves no room for a text.
    #[error(
        "the prompt of request {request} has {tokens} tokens, and the chat template alone takes {template}"
    )]
    #[diagnostic(
        code(xp::workload::shorter_than_template),
        help("a prompt's length counts the template's tokens: make the shortest {} or more", u64::from(*template) + 1)
    )]
    ShorterThanTemplate { request: u64, tokens: u32, template: u32 },
    /// Texts were to begin alike where ids say so, and each within the template.
    #[error("prompts that share the blocks that ids name have lengths alone, and no chat template")]
    #[diagnostic(
        code(xp::workload::prefixes_in_template),
        help(
            "leave out `chat-template #true`, or take conversations: `trace \"….json\" format=\"sharegpt\"`"
        )
    )]
    PrefixesInTemplate,
    /// The tokenizer makes no text of some length.
    #[error("no text of exactly {tokens} tokens was found for this tokenizer")]
    #[diagnostic(
        code(xp::workload::inexact),
        help(
            "give the texts with `prompts \"prompts.jsonl\"`; this tokenizer does not split English text at words"
        )
    )]
    Inexact { tokens: u32 },
}

/// Parses a JSON object. A derived reader would take an array of the fields' values too.
pub(super) fn object<'a, T: serde::Deserialize<'a>>(
    file: &str,
    first_line: usize,
    text: &'a str,
) -> Result<T, WorkloadError> {
    if text.trim_start().starts_with('[') {
        let message = "an object is expected, not an array".to_owned();
        return Err(WorkloadError::Json { file: file.to_owned(), line: first_line, column: 1, message });
    }
    serde_json::from_str(text).map_err(|error| WorkloadError::json(file, first_line, &error))
}

impl WorkloadError {
    pub(super) fn json(file: &str, first_line: usize, error: &serde_json::Error) -> Self {
        // serde_json appends the place to its message; ours is in front.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        Self::Json {
            file: file.to_owned(),
            line: first_line + error.line().saturating_sub(1),
            column: error.column().max(1),
            message,
        }
    }

    pub(super) fn parameter(name: &'static str, value: impl ToString, message: &str) -> Self {
        Self::Parameter { name, value: value.to_string(), message: message.to_owned() }
    }
}
