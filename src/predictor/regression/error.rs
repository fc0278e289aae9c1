/// A regression cannot be trained, or a trained one not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum RegressionError {
    /// Settings that no regressor has.
    #[error("{name} {found} is not possible")]
    #[diagnostic(code(xp::predictor::grid), help("{wanted} would be right"))]
    Grid { name: &'static str, found: String, wanted: String },
    /// An operator has too few rows.
    #[error("{rows} row(s) are too few to train {op} with")]
    #[diagnostic(code(xp::predictor::too_few), help("measure {op} at {least} sizes or more"))]
    TooFew { op: &'static str, rows: usize, least: usize },
    /// Rows that no finite function goes through.
    #[error("the rows of {op} give no finite fit")]
    #[diagnostic(
        code(xp::predictor::fit),
        help("look for values that are far too large, or use a lower polynomial degree")
    )]
    Fit { op: &'static str },
    /// The bytes are not what xp wrote.
    #[error("trained operators cannot be read: {problem}")]
    #[diagnostic(code(xp::predictor::trained), help("train the operators again from their profiling folder"))]
    Bytes { problem: String },
}
