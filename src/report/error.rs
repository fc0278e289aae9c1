//! What can go wrong while a report is drawn.

use miette::Diagnostic;

/// Why no report was made.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ReportError {
    /// A report of nothing.
    #[error("there is no comparison to report")]
    #[diagnostic(
        code(xp::report::empty),
        help("run the experiment, or name a folder with a comparison.json")
    )]
    Empty,
    /// The template does not compile with this data: a mistake of xp, not of the user.
    #[error("the report's template failed: {}", messages.join("; "))]
    #[diagnostic(
        code(xp::report::template),
        help("this is a mistake in xp; please report it with the comparison.json that caused it")
    )]
    Template {
        /// `file:line: message`, each with its hints.
        messages: Vec<String>,
    },
    /// The data of the report cannot be written as JSON: a mistake of xp.
    #[error("the report's data cannot be written: {0}")]
    #[diagnostic(code(xp::report::data), help("this is a mistake in xp; please report it"))]
    Data(#[from] serde_json::Error),
    /// A PDF is no report of xp, or damaged.
    #[error("the PDF's attached data cannot be read: {why}")]
    #[diagnostic(
        code(xp::report::attachments),
        help("`xp run` and `xp report` write PDFs with their data attached")
    )]
    Attachments {
        /// What is wrong.
        why: String,
    },
}
