use std::process::ExitCode;

use miette::{Diagnostic, GraphicalTheme, MietteHandlerOpts, Report};

use super::output;

/// What a command could not do.
#[derive(Debug)]
pub struct CliError {
    report: Report,
    code: u8,
}

impl CliError {
    /// Wrong call, or the system refused. Exit code 2.
    pub fn system(message: String, help: &str) -> Self {
        Self { report: miette::miette!(help = help.to_owned(), "{message}"), code: 2 }
    }

    /// A check whose answer is no, in words.
    pub fn failed(message: String, help: &str) -> Self {
        Self { report: miette::miette!(help = help.to_owned(), "{message}"), code: 1 }
    }

    /// The same, of a command whose exit code 1 is an answer: 2.
    pub fn as_trouble(self) -> Self {
        Self { code: 2, ..self }
    }

    /// Prints the diagnostic; the process's exit code.
    pub fn report(self) -> ExitCode {
        output::note(format_args!("{:?}", self.report));
        ExitCode::from(self.code)
    }
}

impl<E: Diagnostic + Send + Sync + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        // A file that is not there, or a system that says no, is no mistake inside a file.
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut code = 1;
        while let Some(cause) = source {
            if cause.is::<std::io::Error>() {
                code = 2;
            }
            source = cause.source();
        }
        Self { report: Report::new(error), code }
    }
}

/// How diagnostics look: boxes on a terminal, plain text in a pipe.
pub fn install_hook() {
    let _ = miette::set_hook(Box::new(|_| {
        let unicode = std::env::var_os("NO_UNICODE").is_none();
        let theme = if unicode { GraphicalTheme::unicode() } else { GraphicalTheme::ascii() };
        Box::new(MietteHandlerOpts::new().graphical_theme(theme).context_lines(2).build())
    }));
}
