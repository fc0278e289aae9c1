use minijinja::ErrorKind;

/// A chat template could not be read or rendered.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ChatError {
    /// A file is larger than any honest one.
    #[error("{name} has {bytes} bytes, more than {limit}")]
    #[diagnostic(code(xp::chat::too_large))]
    TooLarge { name: String, bytes: usize, limit: usize },
    /// A file is no text, or not the JSON that is expected.
    #[error("{name}:{line}:{column}: {message}")]
    #[diagnostic(
        code(xp::chat::file),
        help("the `tokenizer_config.json` that was published with the model is expected")
    )]
    File { name: String, line: usize, column: usize, message: String },
    /// There are several templates, and none is the one to take.
    #[error("{name} has chat templates named {names}, and none named `default`")]
    #[diagnostic(
        code(xp::chat::no_default),
        help("write the one that is meant into `chat_template.jinja`, beside the file")
    )]
    NoDefault { name: String, names: String },
    /// The template has a mistake, or fails on a conversation.
    #[error("{name}:{line}: {message}")]
    #[diagnostic(code(xp::chat::template), help("the line is the template's own"))]
    Template { name: String, line: usize, message: String },
    /// The template says that it does not take such a conversation.
    #[error("{name}:{line}: the chat template refuses the conversation: {message}")]
    #[diagnostic(
        code(xp::chat::refused),
        help("the text is the template's own; not every model takes a system message, for example")
    )]
    Refused { name: String, line: usize, message: String },
    /// Rendering takes too long, or makes too much.
    #[error("{name}:{line}: rendering takes more than its budget")]
    #[diagnostic(
        code(xp::chat::budget),
        help("the template loops too often or makes too long a text; no published one comes near the limit")
    )]
    Budget { name: String, line: usize },
}

/// What `raise_exception` was given; the source of an error that it raises.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub String);

impl ChatError {
    /// What an error of the template engine says.
    pub(super) fn of(error: &minijinja::Error, name: &str) -> Self {
        let (name, mut line) = (name.to_owned(), error.line().unwrap_or(1));
        let mut told = error;
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            if let Some(Raised(message)) = source.downcast_ref() {
                return Self::Refused { name, line, message: message.clone() };
            }
            if let Some(inner) = source.downcast_ref::<minijinja::Error>() {
                told = inner;
                line = inner.line().unwrap_or(line);
            }
            cause = source.source();
        }
        if told.kind() == ErrorKind::OutOfFuel {
            return Self::Budget { name, line };
        }
        let message = match told.detail() {
            Some(detail) => format!("{}: {detail}", told.kind()),
            None => told.kind().to_string(),
        };
        Self::Template { name, line, message }
    }
}
