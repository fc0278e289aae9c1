//! Typst template and charts → deterministic PDF and SVG.
//!
//! Rust decides every word, number and position; the template under
//! `template/` draws them. Data reach it as one JSON file, so no name of a user
//! is ever read as Typst code. The same comparison gives the same bytes: no
//! clock, no system fonts, no network.

mod appendix;
mod attachment;
mod axis;
mod callout;
mod chart;
mod cleaned;
mod compile;
mod curve;
mod document;
mod error;
#[cfg(test)]
mod fixture;
mod front;
mod number;
mod overview;
mod requests_page;
mod samples;
mod sentence;
#[cfg(test)]
mod tests;
mod text;
mod world;

pub use attachment::{Attachment, LOCK, attachments};
pub use error::ReportError;

use crate::compare::Comparison;

/// The PDF of one experiment's comparisons, one per run of the matrix (at least one).
///
/// One run fills three or four pages: verdict, requests, appendix. Several are
/// preceded by an overview; of more than a dozen the worst dozen have pages. The
/// file is PDF/UA-1, tagged, without a time stamp. Every comparison is attached, and the text of the lock where
/// there is one: [`attachments`] reads them back.
///
/// # Errors
/// [`ReportError::Empty`] without a comparison; the others are mistakes of xp.
pub fn render_pdf(comparisons: &[Comparison], lock: Option<&str>) -> Result<Vec<u8>, ReportError> {
    let first = comparisons.first().ok_or(ReportError::Empty)?;
    let ident = format!("xp report {} {}", first.run, first.lock_digest);
    let attached = attachment::of(comparisons, lock)?;
    compile::pdf("report.typ", &document::Document::of(comparisons, &attached), &ident, &attached)
}

/// The charts of one comparison as SVG: file name such as `cdf-ttft.svg`, and its text.
///
/// # Errors
/// Only by a mistake of xp.
pub fn render_figures(comparison: &Comparison) -> Result<Vec<(String, String)>, ReportError> {
    let pages = compile::svgs("figures.typ", &document::Figures::of(comparison))?;
    if pages.len() != document::Figures::NAMES.len() {
        let messages = vec![format!("figures.typ made {} pages", pages.len())];
        return Err(ReportError::Template { messages });
    }
    Ok(document::Figures::NAMES.iter().map(|name| (*name).to_owned()).zip(pages).collect())
}

/// What the template is given for the PDF and for the figures of one comparison, as JSON.
///
/// # Errors
/// Only by a mistake of xp.
pub(crate) fn data(comparison: &Comparison) -> serde_json::Result<(String, String)> {
    let pdf = serde_json::to_string(&document::Document::of(std::slice::from_ref(comparison), &[]))?;
    Ok((pdf, serde_json::to_string(&document::Figures::of(comparison))?))
}
