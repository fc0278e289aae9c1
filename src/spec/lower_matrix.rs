//! The matrix's block: paths with their values.

use std::collections::HashMap;

use kdl::{KdlDocument, KdlNode};
use serde_json::Value;

use super::kdl_value::{head_span, name_span, scalar, span, value_span};
use super::lower::Lowering;
use super::place::Place;

/// Most axes of a matrix.
const MAX_AXES: usize = 32;

impl Lowering {
    pub(super) fn matrix(&mut self, node: &KdlNode, pointer: &str) -> Value {
        let name = span(node.name().span());
        self.places.insert(pointer, Place { source: 0, name, value: head_span(node) });
        let example = "write one line for each: `matrix { workload.arrivals.qps 1 2 4 }`";
        if let Some(entry) = node.entries().first() {
            self.mistake(name_span(entry), "`matrix` takes paths in a block", "not in the block", example);
        }
        let mut axes: Vec<Value> = Vec::new();
        for child in node.children().map_or(&[][..], KdlDocument::nodes) {
            let path = child.name().value();
            let at = format!("{pointer}/{}", axes.len());
            let path_span = span(child.name().span());
            if axes.len() >= MAX_AXES {
                self.mistake(
                    path_span,
                    format!("the matrix has more than {MAX_AXES} axes"),
                    "one too many",
                    "",
                );
                break;
            }
            let same = axes.iter().position(|axis| axis["path"] == path);
            if let Some(first) = same {
                self.twice(path, path_span, &format!("{pointer}/{first}"));
                continue;
            }
            let values = self.axis_values(child, &at);
            if child.children().is_some() {
                self.mistake(path_span, format!("`{path}` takes values, no block"), "has a block", example);
            }
            self.places.insert(&at, Place { source: 0, name: path_span, value: head_span(child) });
            self.places.insert(format!("{at}/path"), Place { source: 0, name: path_span, value: path_span });
            axes.push(serde_json::json!({ "path": path, "values": values }));
        }
        if axes.is_empty() && node.entries().is_empty() {
            self.mistake(head_span(node), "the matrix has no axes", "empty", example);
        }
        Value::Array(axes)
    }

    fn axis_values(&mut self, axis: &KdlNode, pointer: &str) -> Vec<Value> {
        let mut values: Vec<Value> = Vec::new();
        let mut seen = HashMap::new();
        for entry in axis.entries() {
            if let Some(name) = entry.name() {
                let help = "write its values one after another";
                self.mistake(span(name.span()), "an axis takes values, no properties", "a property", help);
                continue;
            }
            let at = value_span(entry);
            match scalar(entry.value()) {
                Ok(value) => {
                    if let Some(first) = seen.insert(value.to_string(), at) {
                        self.given_again(&value.to_string(), at, Some(first));
                        continue;
                    }
                    self.places.insert(
                        format!("{pointer}/values/{}", values.len()),
                        Place { source: 0, name: at, value: at },
                    );
                    values.push(value);
                }
                Err((message, help)) => {
                    self.mistake(at, message, "here", help);
                    self.places.refuse(format!("{pointer}/values"));
                }
            }
        }
        values
    }
}
