//! A chart as data: axes, marks in drawing order, alternative text. The
//! template draws it and decides nothing.

use serde::Serialize;

use super::axis::Axis;
use super::callout::Callout;
use super::curve::{Cloud, Point, round};

/// Points of a millimetre.
pub(super) const MM: f64 = 72.0 / 25.4;

/// One axis as drawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct AxisView {
    /// Fraction along the axis, label.
    pub ticks: Vec<(f64, String)>,
    pub label: Option<String>,
    /// Whether lines cross the plot at the ticks.
    pub grid: bool,
    /// Whether tick labels are shown.
    pub labels: bool,
}

impl AxisView {
    pub(super) fn of(axis: &Axis, label: Option<String>, grid: bool) -> AxisView {
        let ticks = axis.ticks.iter().map(|(value, label)| (round(axis.at(*value)), label.clone())).collect();
        AxisView { ticks, label, grid, labels: true }
    }
}

/// Something drawn on a plot. `style` names a look of `plot.typ`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Mark {
    Area {
        points: Vec<Point>,
        style: &'static str,
    },
    Line {
        points: Vec<Point>,
        style: &'static str,
    },
    Dots {
        points: Vec<Point>,
        style: &'static str,
    },
    /// Circles: hollow, filled, or a square at the upper edge where there is no value.
    Circles {
        points: Vec<Point>,
        style: &'static str,
    },
    /// Error bars: x, low, high, middle.
    Bars {
        bars: Vec<[f64; 4]>,
        style: &'static str,
    },
    Callouts {
        callouts: Vec<Callout>,
    },
    /// Text at a point: `anchor` is `left`, `center` or `right`.
    Text {
        at: Point,
        text: String,
        anchor: &'static str,
    },
}

impl Mark {
    /// The three strengths of a cloud.
    pub(super) fn cloud(cloud: Cloud) -> Vec<Mark> {
        [(cloud.few, "few"), (cloud.some, "some"), (cloud.many, "many")]
            .into_iter()
            .filter(|(points, _)| !points.is_empty())
            .map(|(points, style)| Mark::Dots { points, style })
            .collect()
    }
}

/// One chart. Sizes in points.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Chart {
    /// Alternative text, with the chart's main numbers.
    pub alt: String,
    /// Head over the chart, and its unit; none if empty.
    pub title: String,
    pub unit: String,
    pub width: f64,
    pub height: f64,
    /// Space around the plot: left, right, top, bottom.
    pub pad: [f64; 4],
    pub x: AxisView,
    pub y: AxisView,
    pub marks: Vec<Mark>,
    /// A line of text under the chart; none if empty.
    pub note: String,
    /// Drawn under the chart on the same x axis.
    pub strip: Option<Box<Chart>>,
    /// Said instead of a chart when there is nothing to draw.
    pub empty: Option<String>,
}

impl Chart {
    /// A chart that says why it is not there.
    pub(super) fn missing(title: &str, width: f64, height: f64, why: &str) -> Chart {
        let none = AxisView { ticks: Vec::new(), label: None, grid: false, labels: false };
        Chart {
            alt: why.to_owned(),
            title: title.to_owned(),
            unit: String::new(),
            width,
            height,
            pad: [0.0; 4],
            x: none.clone(),
            y: none,
            marks: Vec::new(),
            note: String::new(),
            strip: None,
            empty: Some(why.to_owned()),
        }
    }
}
