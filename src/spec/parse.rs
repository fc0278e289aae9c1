//! Text → KDL document: bounded, guarded, on a stack of a known size.

use kdl::{KdlDocument, KdlError};

use super::diagnostic::{Mistake, SourceText, SpecErrors};
use super::guard;

/// Stack of the parsing thread, in bytes; untouched pages of it cost nothing.
const STACK_BYTES: usize = 64 << 20;

/// Parses KDL 2. `name` is what diagnostics show, `limit` the most bytes that are read.
///
/// # Errors
/// The text is longer than `limit`, nests deeper than any file of xp, or is not KDL.
pub fn parse_kdl(name: &str, text: &str, limit: u64) -> Result<KdlDocument, SpecErrors> {
    if text.len() as u64 > limit {
        let message = format!("{name} is larger than {limit} bytes");
        return Err(Mistake::new("xp::spec::too_large", message).help("is this the right file?").into());
    }
    let source = SourceText::new(name, text);
    let guarded = guard::check(text).map_err(|refusal| {
        Mistake::at(&source, refusal.span, "xp::spec::syntax", refusal.message, refusal.label)
            .help(refusal.help)
    })?;
    match on_big_stack(&guarded) {
        Ok(Ok(document)) => Ok(document),
        Ok(Err(error)) => Err(syntax(name, &source, &error)),
        Err(cause) => Err(SpecErrors::io(name, cause)),
    }
}

fn on_big_stack(text: &str) -> std::io::Result<Result<KdlDocument, KdlError>> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("kdl".to_owned()).stack_size(STACK_BYTES);
        let thread = worker.spawn_scoped(scope, || KdlDocument::parse_v2(text))?;
        thread.join().map_err(|_| std::io::Error::other("the KDL parser stopped on an internal error"))
    })
}

fn syntax(name: &str, source: &SourceText, error: &KdlError) -> SpecErrors {
    let mistakes = error.diagnostics.iter().map(|diagnostic| {
        let message = diagnostic.message.clone().unwrap_or_else(|| "this is not KDL".to_owned());
        let label = diagnostic.label.clone().unwrap_or_else(|| "here".to_owned());
        let span = (diagnostic.span.offset(), diagnostic.span.len());
        let mistake = Mistake::at(source, span, "xp::spec::syntax", message, label);
        mistake.help(diagnostic.help.clone().unwrap_or_default())
    });
    let mistakes: Vec<Mistake> = mistakes.take(20).collect();
    if mistakes.is_empty() {
        return Mistake::at(source, (0, 0), "xp::spec::syntax", format!("{name} is not KDL"), "here").into();
    }
    SpecErrors::new(name, mistakes)
}
