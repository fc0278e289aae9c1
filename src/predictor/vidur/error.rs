/// Vidur's execution model cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum VidurError {
    /// An operator that stages of this shape have was not trained.
    #[error("{op} was not trained")]
    #[diagnostic(
        code(xp::predictor::untrained),
        help("train it too: {op} is measured in {table}, and this shape or these options need it")
    )]
    Untrained { op: &'static str, table: &'static str },
    /// A number that no deployment has.
    #[error("{name} is {found}")]
    #[diagnostic(code(xp::predictor::option), help("{wanted} would be right"))]
    Option { name: &'static str, found: String, wanted: String },
}
