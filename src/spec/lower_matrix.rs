//! The matrix's block: paths with their values, and zips of them. A later layer
//! replaces the axes, and the zips, that vary a path of its own.

use std::collections::HashMap;

use kdl::{KdlDocument, KdlNode};
use serde_json::{Value, json};

use super::diagnostic::Span;
use super::kdl_value::{head_span, name_span, scalar, span, value_span};
use super::lower::{Lowering, is_null};
use super::place::Place;

/// Most axes of a matrix.
const MAX_AXES: usize = 32;

const EXAMPLE: &str = "write one line for each: `matrix { workload.arrivals.qps 1 2 4 }`";

/// An axis on its way into the instance.
struct Draft {
    path: String,
    values: Vec<Value>,
    /// By what follows the axis's pointer.
    places: Vec<(String, Place)>,
    /// A value of it was refused.
    refused: bool,
}

/// One factor of the product: an axis, or a zip of several.
struct Dimension {
    axes: Vec<Draft>,
    zipped: bool,
}

impl Dimension {
    fn varies(&self, path: &str) -> bool {
        self.axes.iter().any(|axis| axis.path == path)
    }
}

impl Lowering {
    /// Lowers the block onto the axes that are known.
    pub(super) fn matrix(&mut self, node: &KdlNode, pointer: &str, known: Value) -> Value {
        let mut dimensions = self.known_dimensions(known, pointer);
        let place = self.place(span(node.name().span()), head_span(node));
        self.places.insert(pointer, place);
        if let Some(entry) = node.entries().first() {
            self.mistake(name_span(entry), "`matrix` takes paths in a block", "not in the block", EXAMPLE);
        }
        let mut seen: HashMap<String, Span> = HashMap::new();
        let lines = node.children().map_or(&[][..], KdlDocument::nodes);
        for child in lines {
            if dimensions.iter().map(|dimension| dimension.axes.len()).sum::<usize>() >= MAX_AXES {
                let message = format!("the matrix has more than {MAX_AXES} axes");
                self.mistake(span(child.name().span()), message, "one too many", "");
                break;
            }
            let path = child.name().value();
            if path != "zip" && is_null(child) {
                match dimensions.iter().position(|dimension| dimension.varies(path)) {
                    Some(index) => drop(dimensions.remove(index)),
                    None => {
                        let at = child.entries().first().map_or((0, 0), value_span);
                        self.nothing_to_take_back(path, at);
                    }
                }
                continue;
            }
            let new = match path {
                "zip" => self.zip(child, &mut seen),
                _ => self.axis(child, &mut seen).map(|axis| Dimension { axes: vec![axis], zipped: false }),
            };
            let Some(new) = new else { continue };
            self.once(&new);
            let replaced = |old: &Dimension| new.axes.iter().any(|axis| old.varies(&axis.path));
            let at = dimensions.iter().position(replaced).unwrap_or(dimensions.len());
            dimensions.retain(|old| !replaced(old));
            dimensions.insert(at, new);
        }
        if lines.is_empty() && node.entries().is_empty() {
            self.mistake(head_span(node), "the matrix has no axes", "empty", EXAMPLE);
        }
        self.instance(dimensions, pointer)
    }

    /// Axes that are bound together.
    fn zip(&mut self, node: &KdlNode, seen: &mut HashMap<String, Span>) -> Option<Dimension> {
        let at = span(node.name().span());
        let help = "write its axes in its block: `zip { backend.sarathi.chunk-size 64 128; backend.sarathi.max-batch-size 8 16 }`";
        if let Some(entry) = node.entries().first() {
            self.mistake(name_span(entry), "`zip` takes axes in a block", "not in the block", help);
            return None;
        }
        let lines = node.children().map_or(&[][..], KdlDocument::nodes);
        let axes: Vec<Draft> = lines.iter().take(MAX_AXES).filter_map(|line| self.axis(line, seen)).collect();
        if lines.len() < 2 {
            let message = format!("a zip of {}", if lines.is_empty() { "no axis" } else { "one axis" });
            self.mistake(at, message, "binds nothing together", help);
        }
        (!axes.is_empty()).then_some(Dimension { axes, zipped: true })
    }

    fn axis(&mut self, node: &KdlNode, seen: &mut HashMap<String, Span>) -> Option<Draft> {
        let path = node.name().value();
        let at = span(node.name().span());
        if let Some(first) = seen.insert(path.to_owned(), at) {
            self.given_again(path, at, Some(first));
            return None;
        }
        let mut axis =
            Draft { path: path.to_owned(), values: Vec::new(), places: Vec::new(), refused: false };
        axis.places.push((String::new(), self.place(at, head_span(node))));
        axis.places.push(("/path".to_owned(), self.place(at, at)));
        for entry in node.entries() {
            if let Some(name) = entry.name() {
                let help = "write its values one after another";
                self.mistake(span(name.span()), "an axis takes values, no properties", "a property", help);
                continue;
            }
            let at = value_span(entry);
            match scalar(entry.value()) {
                Ok(value) => {
                    axis.places.push((format!("/values/{}", axis.values.len()), self.place(at, at)));
                    axis.values.push(value);
                }
                Err((message, help)) => {
                    self.mistake(at, message, "here", help);
                    axis.refused = true;
                }
            }
        }
        if node.children().is_some() {
            self.mistake(at, format!("`{path}` takes values, no block"), "has a block", EXAMPLE);
        }
        Some(axis)
    }

    /// Refuses settings that an axis or a zip gives a second time.
    fn once(&mut self, dimension: &Dimension) {
        let rows = dimension.axes[0].values.len();
        if dimension.axes.iter().any(|axis| axis.values.len() != rows) {
            return;
        }
        let mut seen: HashMap<String, Span> = HashMap::new();
        // The places of an axis and its path come first.
        for (row, (_, place)) in dimension.axes[0].places.iter().skip(2).enumerate() {
            let values: Vec<String> =
                dimension.axes.iter().map(|axis| axis.values[row].to_string()).collect();
            let settings = values.join(" ");
            if let Some(first) = seen.insert(settings.clone(), place.value) {
                self.given_again(&settings, place.value, Some(first));
            }
        }
    }

    /// What earlier layers say of the matrix; its places are taken out.
    fn known_dimensions(&mut self, known: Value, pointer: &str) -> Vec<Dimension> {
        let Value::Array(axes) = known else { return Vec::new() };
        let mut out: Vec<(Option<u64>, Dimension)> = Vec::new();
        for (index, mut axis) in axes.into_iter().enumerate() {
            let at = format!("{pointer}/{index}");
            let refused = self.places.is_refused(&format!("{at}/values"));
            let places = self.places.take(&at);
            let path = axis["path"].as_str().unwrap_or_default().to_owned();
            let values = match axis["values"].take() {
                Value::Array(values) => values,
                _ => Vec::new(),
            };
            let zip = axis.get("zip").and_then(Value::as_u64);
            let draft = Draft { path, values, places, refused };
            match out.iter_mut().find(|(other, _)| zip.is_some() && *other == zip) {
                Some((_, dimension)) => dimension.axes.push(draft),
                None => out.push((zip, Dimension { axes: vec![draft], zipped: zip.is_some() })),
            }
        }
        out.into_iter().map(|(_, dimension)| dimension).collect()
    }

    /// The axes as they stand in the instance. Zips are numbered in their order.
    fn instance(&mut self, dimensions: Vec<Dimension>, pointer: &str) -> Value {
        let mut axes = Vec::new();
        let mut zips = 0;
        for Dimension { axes: drafts, zipped } in dimensions {
            zips += u64::from(zipped);
            for draft in drafts {
                let at = format!("{pointer}/{}", axes.len());
                for (rest, place) in draft.places {
                    self.places.insert(format!("{at}{rest}"), place);
                }
                if draft.refused {
                    self.places.refuse(format!("{at}/values"));
                }
                let mut axis = json!({ "path": draft.path, "values": draft.values });
                if zipped {
                    axis["zip"] = zips.into();
                }
                axes.push(axis);
            }
        }
        Value::Array(axes)
    }
}
