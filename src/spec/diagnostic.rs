//! What a person is told: mistakes with their place in the text, and all of
//! them at once.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// Bytes of text around a mistake that are worth showing; more than that is no file of a person.
const MAX_SNIPPET_BYTES: usize = 1_200;

/// Mistakes that are listed; the rest is counted.
const MAX_MISTAKES: usize = 50;

/// Mistakes after which a text is not looked at any further.
pub(super) const ENOUGH_MISTAKES: usize = 500;

/// Byte range of a text: offset and length.
pub(super) type Span = (usize, usize);

/// A text that can be pointed into: a file, or a `--set`.
#[derive(Debug, Clone)]
pub(super) struct SourceText {
    pub name: String,
    pub text: Arc<str>,
}

impl SourceText {
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.into() }
    }

    /// The span, moved to lie inside the text and on character boundaries.
    fn clamp(&self, (offset, length): Span) -> Span {
        let floor = |at: usize| {
            let mut at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(offset);
        (start, floor(offset.saturating_add(length)).saturating_sub(start))
    }

    /// `line:column`, both from 1; columns count characters.
    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// Whether the lines that a snippet of this span would show are of a readable length.
    fn is_readable(&self, (offset, length): Span) -> bool {
        let start = self.text[..offset].rmatch_indices('\n').nth(3).map_or(0, |(at, _)| at);
        let rest = &self.text[offset + length..];
        let end = rest.match_indices('\n').nth(3).map_or(rest.len(), |(at, _)| at) + offset + length;
        end - start <= MAX_SNIPPET_BYTES
    }
}

/// `file:line:column` of a place of a text whose lines are too long to show.
pub(crate) fn long_place(name: &str, text: &str, span: (usize, usize)) -> Option<String> {
    let source = SourceText::new(name, text);
    let span = source.clamp(span);
    if source.is_readable(span) {
        return None;
    }
    let (line, column) = source.line_and_column(span.0);
    Some(format!("{name}:{line}:{column}"))
}

/// One mistake, or something that is worth a warning.
#[derive(Debug, Clone)]
pub struct Mistake {
    message: String,
    code: Option<&'static str>,
    severity: Severity,
    help: Option<String>,
    labels: Vec<LabeledSpan>,
    source: Option<NamedSource<Arc<str>>>,
    /// Places of other texts that have to do with it.
    elsewhere: Vec<Mistake>,
    /// For ordering: source's name and offset.
    place: (String, usize),
}

impl Mistake {
    /// A mistake of a whole file or call.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: Some(code),
            severity: Severity::Error,
            help: None,
            labels: Vec::new(),
            source: None,
            elsewhere: Vec::new(),
            place: (String::new(), 0),
        }
    }

    /// A mistake at a place.
    pub(super) fn at(
        source: &SourceText,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        let mut mistake = Self::new(code, message);
        let span = source.clamp(span);
        mistake.place = (source.name.clone(), span.0);
        if source.is_readable(span) {
            mistake.source = Some(NamedSource::new(&source.name, source.text.clone()));
            mistake.labels.push(LabeledSpan::new_primary_with_span(Some(label.into()), span));
        } else {
            let (line, column) = source.line_and_column(span.0);
            mistake.message = format!("{}:{line}:{column}: {}", source.name, mistake.message);
        }
        mistake
    }

    /// A second place of the same text, such as where a name was used first.
    pub(super) fn and(mut self, source: &SourceText, span: Span, label: impl Into<String>) -> Self {
        let span = source.clamp(span);
        let same = self.source.as_ref().is_some_and(|shown| shown.name() == source.name);
        if same && source.is_readable(span) {
            self.labels.push(LabeledSpan::new_with_span(Some(label.into()), span));
        }
        self
    }

    /// A place of another text, with a sentence about it.
    pub(super) fn elsewhere(
        mut self,
        source: &SourceText,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        let note = Self::at(source, span, "", message, label);
        self.elsewhere.push(Self { code: None, severity: Severity::Advice, ..note });
        self
    }

    /// What would be right.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        if !help.is_empty() {
            self.help = Some(help);
        }
        self
    }

    /// The same as something that is no mistake by itself.
    pub(super) fn into_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// What is wrong, and where, without the text around it.
    pub fn in_one_line(&self) -> String {
        let Some(source) = &self.source else { return self.message.clone() };
        let text = SourceText { name: source.name().to_owned(), text: source.inner().clone() };
        let (line, column) = text.line_and_column(self.place.1);
        format!("{}:{line}:{column}: {}", text.name, self.message)
    }

    /// Sorts mistakes by their places. A file that is included twice has its mistakes once.
    pub(super) fn sort(mistakes: &mut Vec<Self>) {
        mistakes.sort_by(|a, b| a.place.cmp(&b.place));
        let mut told = HashSet::new();
        mistakes
            .retain(|mistake| told.insert((mistake.place.clone(), mistake.message.clone(), mistake.code)));
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

impl Diagnostic for Mistake {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.code.map(|code| Box::new(code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as Box<_>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let notes = || self.elsewhere.iter().map(|note| note as &dyn Diagnostic);
        (!self.elsewhere.is_empty()).then(|| Box::new(notes()) as Box<_>)
    }
}

/// Every mistake of an experiment, a lock's text or a `--set`; or why a file could not be read.
#[derive(Debug)]
pub struct SpecErrors {
    name: String,
    mistakes: Vec<Mistake>,
    /// Mistakes beyond those listed.
    more: usize,
    cause: Option<io::Error>,
}

impl SpecErrors {
    /// `mistakes` is not empty.
    pub(super) fn new(name: &str, mut mistakes: Vec<Mistake>) -> Self {
        Mistake::sort(&mut mistakes);
        let more = mistakes.len().saturating_sub(MAX_MISTAKES);
        mistakes.truncate(MAX_MISTAKES);
        Self { name: name.to_owned(), mistakes, more, cause: None }
    }

    /// The system refused the file.
    pub(super) fn io(name: &str, cause: io::Error) -> Self {
        let mistake = Mistake::new("xp::spec::read", format!("cannot read {name}"));
        Self { name: name.to_owned(), mistakes: vec![mistake], more: 0, cause: Some(cause) }
    }

    /// How many mistakes there are.
    pub fn count(&self) -> usize {
        self.mistakes.len() + self.more
    }

    fn single(&self) -> Option<&Mistake> {
        if self.count() == 1 { self.mistakes.first() } else { None }
    }
}

impl From<Mistake> for SpecErrors {
    fn from(mistake: Mistake) -> Self {
        let name = mistake.place.0.clone();
        Self::new(&name, vec![mistake])
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(mistake) => mistake.fmt(f),
            None if self.more > 0 => {
                write!(
                    f,
                    "{}: {} mistakes, the first {} of them:",
                    self.name,
                    self.count(),
                    self.mistakes.len()
                )
            }
            None => write!(f, "{}: {} mistakes", self.name, self.count()),
        }
    }
}

impl std::error::Error for SpecErrors {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

/// A single mistake is shown as itself, several as a list below a count.
impl Diagnostic for SpecErrors {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.single().and_then(Diagnostic::code)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.single().and_then(Diagnostic::help)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.single().and_then(Diagnostic::labels)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.single().and_then(Diagnostic::source_code)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        match self.single() {
            Some(mistake) => mistake.related(),
            None => Some(Box::new(self.mistakes.iter().map(|mistake| mistake as &dyn Diagnostic))),
        }
    }
}
