//! Typst template and charts → deterministic PDF and SVG.
//!
//! Rust decides every word, number and position; the template under
//! `template/` draws them. Data reach it as one JSON file, so no name of a user
//! is ever read as Typst code. The same comparison gives the same bytes: no
//! clock, no system fonts, no network.

mod appendix;
mod attachment;
mod axis;
mod budget;
mod callout;
mod capacity;
mod chart;
mod cleaned;
mod compile;
mod curve;
mod decision;
mod document;
mod error;
#[cfg(test)]
mod fixture;
mod front;
mod number;
mod overview;
mod prices;
mod requests_page;
mod samples;
mod sentence;
#[cfg(test)]
mod tests;
mod text;
mod world;

pub use attachment::{Attachment, CAPACITY, LOCK, PRICES, attachments};
pub use error::ReportError;
pub use prices::Prices;

use crate::capacity::Capacity;
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
    render(&Contents { comparisons, lock, ..Contents::default() })
}

/// What a report is made of. At least comparisons or a search.
#[derive(Debug, Clone, Copy, Default)]
pub struct Contents<'a> {
    /// One per run of the matrix.
    pub comparisons: &'a [Comparison],
    pub lock: Option<&'a str>,
    /// A search for the highest rates: a section of its own after the runs, or the whole report.
    pub capacity: Option<&'a Capacity>,
    /// What the compared runs cost: several get a chart of cost against latency and the fidelity of decisions.
    pub prices: Option<&'a Prices>,
}

/// The PDF of these contents, which are attached to it; see [`render_pdf`].
///
/// # Errors
/// [`ReportError::Empty`] with neither a comparison nor a search; the others are mistakes of xp.
pub fn render(contents: &Contents<'_>) -> Result<Vec<u8>, ReportError> {
    let ident = match (contents.comparisons.first(), contents.capacity) {
        (Some(first), _) => format!("xp report {} {}", first.run, first.lock_digest),
        (None, Some(capacity)) => format!("xp capacity {} {}", capacity.name, capacity.lock_digest),
        (None, None) => return Err(ReportError::Empty),
    };
    let attached = attachment::of(contents)?;
    compile::pdf("report.typ", &document::Document::of(contents, &attached), &ident, &attached)
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
    let contents = Contents { comparisons: std::slice::from_ref(comparison), ..Contents::default() };
    let pdf = serde_json::to_string(&document::Document::of(&contents, &[]))?;
    Ok((pdf, serde_json::to_string(&document::Figures::of(comparison))?))
}
