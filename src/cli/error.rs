use std::process::ExitCode;

use miette::{Diagnostic, GraphicalTheme, MietteHandlerOpts, Report};

use super::{json, output};
use crate::explain;

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
    pub fn into_trouble(self) -> Self {
        Self { code: 2, ..self }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// All that is to say, for `--json`.
    pub fn diagnostics(&self) -> Vec<json::Diagnostic> {
        json::diagnostics(&self.report)
    }

    /// Prints the diagnostic; the process's exit code.
    pub fn report(self) -> ExitCode {
        report_all(&[self]).unwrap_or(ExitCode::SUCCESS)
    }
}

/// Prints diagnostics, and once where to read more; the gravest exit code, if there are any.
pub fn report_all(errors: &[CliError]) -> Option<ExitCode> {
    for error in errors {
        output::note(format_args!("{:?}", error.report));
    }
    let mut codes = Vec::new();
    errors.iter().for_each(|error| collect_codes(error.report.as_ref(), &mut codes));
    let more = match codes.as_slice() {
        [] => None,
        codes @ ([_] | [_, _] | [_, _, _]) => Some(codes.join(" ")),
        _ => Some("CODE".to_owned()),
    };
    if let Some(codes) = more {
        const DIM: anstyle::Style = anstyle::Style::new().dimmed();
        output::note(format_args!("{DIM}  `xp explain {codes}` tells more{DIM:#}"));
    }
    worst(errors)
}

/// The gravest exit code: a file that cannot be read weighs more than one with mistakes.
pub fn worst(errors: &[CliError]) -> Option<ExitCode> {
    errors.iter().map(|error| error.code).max().map(ExitCode::from)
}

/// Codes that have an explanation, without `xp::`.
fn collect_codes(diagnostic: &dyn Diagnostic, out: &mut Vec<String>) {
    let code = diagnostic.code().map(|code| code.to_string()).unwrap_or_default();
    if let Some(short) = code.strip_prefix("xp::")
        && !out.iter().any(|known| known == short)
        && !explain::find(&code).is_empty()
    {
        out.push(short.to_owned());
    }
    diagnostic.related().into_iter().flatten().for_each(|related| collect_codes(related, out));
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
