//! The room as a user meets it: files in, diagnostics out.

mod admission;
mod diagnostics;
mod engines;
mod files;
mod format;
mod hostile;
mod layers;
mod matrix;
mod merge;
mod syntax;
mod transformers;

use super::*;
use layers::Files;
use miette::{GraphicalReportHandler, GraphicalTheme};

const GOOD: &str = r#"experiment "chat" {
    seed 7
    model "qwen3-0.6b" dtype="f32" {
        source "synthetic"
    }
    hardware "cpu" threads=2
    workload "chat" {
        requests 64
        lengths "zipf" theta=0.6 min=16 max=1024 prefill-to-decode=4
        arrivals "poisson" qps=2.0
    }
    backend "sarathi" chunk-size=256 max-batch-size=32
    backend "vidur" { profile "auto"; predictor "interpolate"; }
    slo ttft-p99="500ms" tpot-p99="80ms"
    compare real="sarathi" sim="vidur" pass="5%" warn="9%" repeats=3
    matrix { workload.arrivals.qps 1 2 4; backend.sarathi.chunk-size 128 512; }
    report "reports/chat.pdf"
}
"#;

/// A text with parts of it replaced.
fn with(text: &str, changes: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (good, bad) in changes {
        assert!(text.contains(good), "{good}");
        text = text.replacen(good, bad, 1);
    }
    text
}

/// Such an experiment in a project whose models have shapes.
fn changed_in(text: &str, changes: &[(&str, &str)]) -> Result<Loaded, SpecErrors> {
    load(&Files::new(&[("x.kdl", &with(text, changes))]), "x.kdl", &Changes::default())
}

/// What is said of its mistakes.
fn said_in(text: &str, changes: &[(&str, &str)]) -> String {
    match changed_in(text, changes) {
        Ok(_) => panic!("no mistake with {changes:?}"),
        Err(error) => render(&error),
    }
}

fn render(error: &SpecErrors) -> String {
    render_any(error)
}

fn render_any(error: &dyn miette::Diagnostic) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut out = String::new();
    handler.render_report(&mut out, error).unwrap();
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// What is said about `GOOD` with parts of it replaced.
fn said(changes: &[(&str, &str)]) -> String {
    let text = with(GOOD, changes);
    match load_text("x.kdl", &text, &[]) {
        Ok(_) => panic!("no mistake in\n{text}"),
        Err(error) => render(&error),
    }
}

/// What is said about `GOOD` with `--set`.
fn said_set(sets: &[&str]) -> String {
    match set(sets) {
        Ok(_) => panic!("no mistake in {sets:?}"),
        Err(error) => render(&error),
    }
}

fn set(sets: &[&str]) -> Result<Loaded, SpecErrors> {
    let overrides = sets.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
    load_text("x.kdl", GOOD, &overrides)
}

fn good() -> Experiment {
    load_text("x.kdl", GOOD, &[]).unwrap_or_else(|error| panic!("{}", render(&error))).experiment
}
