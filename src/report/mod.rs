//! Typst template and charts → deterministic PDF and SVG.
//! SKELETON: signatures agreed with other rooms; split into files as fits.
#![allow(unused_variables)]

use crate::compare::Comparison;

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct ReportError {}

/// The PDF of one experiment's comparisons, one per run of the matrix (at least one).
pub fn render_pdf(comparisons: &[Comparison]) -> Result<Vec<u8>, ReportError> {
    todo!()
}

/// The charts of one comparison as SVG: file name such as `cdf-ttft.svg`, and its text.
pub fn render_figures(comparison: &Comparison) -> Result<Vec<(String, String)>, ReportError> {
    todo!()
}
