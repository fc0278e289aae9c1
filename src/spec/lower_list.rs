//! Nodes that may be repeated: a later layer's node of the same name goes on
//! with the one that is there.

use kdl::KdlNode;
use serde_json::{Map, Value};

use super::grammar::Object;
use super::kdl_value::value_span;
use super::lower::Lowering;

/// Items among which a name is looked for: the schema admits no more.
const MOST_ITEMS: usize = 64;

impl Lowering {
    /// Lowers a node that is named by its first value, such as a backend, into the list of its kind.
    pub(super) fn item(
        &mut self,
        node: &KdlNode,
        object: &'static Object,
        list: &str,
        items: &mut Vec<Value>,
    ) {
        let of_name = |name: &str| items.iter().take(MOST_ITEMS).position(|item| item["name"] == name);
        let known = name_of(node).and_then(of_name);
        // A second node of the name in one layer is another item, and refused as that.
        let known = known.filter(|index| !self.is_said(&format!("{list}/{index}")));
        if let [name, null] = node.entries()
            && (name.name(), null.name()) == (None, None)
            && null.value().is_null()
            && node.children().is_none()
        {
            match known {
                Some(index) => {
                    self.places.remove_item(list, index, items.len());
                    items.remove(index);
                }
                None => {
                    let what = format!("{} {}", node.name().value(), name.value());
                    self.nothing_to_take_back(&what, value_span(null));
                }
            }
            return;
        }
        let index = known.unwrap_or(items.len());
        if known.is_none() {
            items.push(Value::Null);
        }
        let mut settings = match items[index].take() {
            Value::Object(settings) => settings,
            _ => Map::new(),
        };
        self.object(node, object, &format!("{list}/{index}"), &mut settings);
        items[index] = Value::Object(settings);
    }
}

/// The name that a node gives: its first value, or `name`.
fn name_of(node: &KdlNode) -> Option<&str> {
    let argument = || node.entries().iter().find(|entry| entry.name().is_none());
    let in_block = || node.children()?.get("name")?.entries().first();
    node.entry("name").or_else(argument).or_else(in_block)?.value().as_string()
}
