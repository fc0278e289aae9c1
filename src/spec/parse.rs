//! Text → KDL document: bounded, guarded, on a stack of a known size.

use std::borrow::Cow;

use kdl::{KdlDocument, KdlError};

use super::diagnostic::{Mistake, SourceText, SpecErrors};
use super::guard::{self, Refused};
use super::lexeme::Refusal;

/// Stack of the parsing thread, in bytes; untouched pages of it cost nothing.
const STACK_BYTES: usize = 64 << 20;

/// Parses KDL 2. `name` is what diagnostics show, `limit` the most bytes that are read.
///
/// # Errors
/// The text is longer than `limit`, nests deeper than any file of xp, or is not KDL: all that is wrong with it.
pub fn parse_kdl(name: &str, text: &str, limit: u64) -> Result<KdlDocument, SpecErrors> {
    let source = SourceText::new(name, text);
    match parse(&source, limit) {
        Parsed { document: Some(document), mistakes } if mistakes.is_empty() => Ok(document),
        Parsed { mistakes, .. } => Err(SpecErrors::new(name, mistakes)),
    }
}

/// What of a text could be read.
pub(super) struct Parsed {
    /// Without the nodes that are no KDL; none when too little is left to be trusted.
    pub document: Option<KdlDocument>,
    /// All that is no KDL. Not empty when there is no document.
    pub mistakes: Vec<Mistake>,
}

/// Parses as much of a text as is KDL.
pub(super) fn parse(source: &SourceText, limit: u64) -> Parsed {
    let text = &*source.text;
    let refused = |mistake| Parsed { document: None, mistakes: vec![mistake] };
    if text.len() as u64 > limit {
        let message = format!("{} is larger than {limit} bytes", source.name);
        return refused(Mistake::new("xp::spec::too_large", message).help("is this the right file?"));
    }
    let (mistakes, rest) = match guard::check(text) {
        Ok(guarded) => (Vec::new(), Some(guarded)),
        Err(Refused { refusals, rest }) => {
            (refusals.into_iter().map(|refusal| of_refusal(source, refusal)).collect(), rest.map(Cow::Owned))
        }
    };
    // What was blanked may leave errors behind; then they are consequences.
    let rest = rest.filter(|rest| mistakes.is_empty() || guard::check(rest).is_ok());
    match rest.map(|rest| on_big_stack(&rest)) {
        None => Parsed { document: None, mistakes },
        Some(Ok(Ok(document))) => Parsed { document: Some(document), mistakes },
        Some(_) if !mistakes.is_empty() => Parsed { document: None, mistakes },
        Some(Ok(Err(error))) => Parsed { document: None, mistakes: of_parser(source, &error) },
        Some(Err(cause)) => {
            refused(Mistake::new("xp::spec::read", format!("cannot parse {}: {cause}", source.name)))
        }
    }
}

fn of_refusal(source: &SourceText, refusal: Refusal) -> Mistake {
    let Refusal { span, message, label, help, also, .. } = refusal;
    let mistake = Mistake::at(source, span, "xp::spec::syntax", message, label);
    let mistake = match also {
        Some((span, label)) => mistake.and(source, span, label),
        None => mistake,
    };
    mistake.help(help)
}

fn on_big_stack(text: &str) -> std::io::Result<Result<KdlDocument, KdlError>> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("kdl".to_owned()).stack_size(STACK_BYTES);
        let thread = worker.spawn_scoped(scope, || KdlDocument::parse_v2(text))?;
        thread.join().map_err(|_| std::io::Error::other("the KDL parser stopped on an internal error"))
    })
}

/// The guard refuses all that the parser does, so these say that the two disagree.
fn of_parser(source: &SourceText, error: &KdlError) -> Vec<Mistake> {
    let mistakes = error.diagnostics.iter().take(20).map(|diagnostic| {
        let message = diagnostic.message.clone().unwrap_or_else(|| "this is not KDL".to_owned());
        let label = diagnostic.label.clone().unwrap_or_else(|| "here".to_owned());
        let span = (diagnostic.span.offset(), diagnostic.span.len());
        let mistake = Mistake::at(source, span, "xp::spec::syntax", message, label);
        mistake.help(diagnostic.help.clone().unwrap_or_default())
    });
    let mistakes: Vec<Mistake> = mistakes.collect();
    if mistakes.is_empty() {
        let message = format!("{} is not KDL", source.name);
        return vec![Mistake::at(source, (0, 0), "xp::spec::syntax", message, "here")];
    }
    mistakes
}
