//! Template and data → pages → PDF or SVG bytes.

use std::collections::BTreeMap;

use serde::Serialize;
use typst::diag::SourceDiagnostic;
use typst::foundations::{Bytes, Smart};
use typst::{World, WorldExt};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards};
use typst_svg::SvgOptions;

use super::ReportError;
use super::attachment::Attachment;
use super::world::ReportWorld;

/// Compiles `main` with `data` and exports it as a tagged PDF/UA-1 without a
/// time stamp. `ident` names the document; the same input gives the same bytes. `attached` are files
/// beside the template's.
pub(super) fn pdf(
    main: &str,
    data: &impl Serialize,
    ident: &str,
    attached: &[Attachment],
) -> Result<Vec<u8>, ReportError> {
    let attached = attached.iter().map(|file| (file.name.clone(), Bytes::new(file.bytes.clone()))).collect();
    let world = ReportWorld::new(main, serde_json::to_vec(data)?, attached);
    let document = compile(&world)?;
    let standards = PdfStandards::new(&[PdfStandard::Ua_1])
        .map_err(|error| ReportError::Template { messages: vec![error.message().to_string()] })?;
    let options = PdfOptions {
        ident: Smart::Custom(ident.to_owned()),
        creator: Smart::Custom(Some(format!("xp {}", env!("CARGO_PKG_VERSION")))),
        timestamp: None,
        standards,
        ..PdfOptions::default()
    };
    let bytes = typst_pdf::pdf(&document, &options).map_err(|errors| failure(&world, &errors));
    // What was memoized serves no other report.
    typst::comemo::evict(0);
    bytes
}

/// Compiles `main` with `data`: one SVG per page, in order.
pub(super) fn svgs(main: &str, data: &impl Serialize) -> Result<Vec<String>, ReportError> {
    let world = ReportWorld::new(main, serde_json::to_vec(data)?, BTreeMap::new());
    let document = compile(&world)?;
    let out = document.pages().iter().map(|page| typst_svg::svg(page, &SvgOptions::default())).collect();
    typst::comemo::evict(0);
    Ok(out)
}

/// A warning counts as an error: it means a missing glyph or a layout that does not settle.
fn compile(world: &ReportWorld) -> Result<PagedDocument, ReportError> {
    let result = typst::compile::<PagedDocument>(world);
    let document = result.output.map_err(|errors| failure(world, &errors))?;
    if !result.warnings.is_empty() {
        return Err(failure(world, &result.warnings));
    }
    Ok(document)
}

fn failure(world: &ReportWorld, diagnostics: &[SourceDiagnostic]) -> ReportError {
    ReportError::Template {
        messages: diagnostics.iter().map(|diagnostic| message(world, diagnostic)).collect(),
    }
}

fn message(world: &ReportWorld, diagnostic: &SourceDiagnostic) -> String {
    let place = || {
        let id = diagnostic.span.id()?;
        let line = match (world.source(id), world.range(diagnostic.span)) {
            (Ok(source), Some(range)) => source.lines().byte_to_line(range.start)? + 1,
            _ => return Some(format!("{}: ", id.get().vpath().get_without_slash())),
        };
        Some(format!("{}:{line}: ", id.get().vpath().get_without_slash()))
    };
    let mut out = place().unwrap_or_default();
    out.push_str(&diagnostic.message);
    for hint in &diagnostic.hints {
        out.push_str(&format!(" (hint: {})", hint.v));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_template_names_its_file_and_line() {
        let error =
            pdf("report.typ", &serde_json::json!({ "title": "x" }), "x", &[]).expect_err("data is missing");
        let ReportError::Template { messages } = error else { panic!("{error:?}") };
        assert!(messages[0].starts_with("report.typ:"), "{messages:?}");
    }
}
