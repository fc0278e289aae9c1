//! Of which kind a node is, which decides its settings.

use kdl::KdlNode;
use serde_json::{Map, Value};

use super::grammar::{Kind, KnownName, Object};
use super::kdl_value::{head_span, value_span};
use super::lower::Lowering;
use super::suggest::{closest, did_you_mean, one_of, quoted};

/// The well-known name that a misspelt one means.
fn known_name_like(object: &'static Object, name: &str) -> Option<&'static KnownName> {
    let likely = closest(name, object.known_names.iter().map(|known| known.name))?;
    object.known_names.iter().find(|known| known.name == likely)
}

impl Lowering {
    /// Finds out a node's kind, which decides its settings.
    pub(super) fn kind(
        &mut self,
        node: &KdlNode,
        object: &'static Object,
        pointer: &str,
        out: &mut Map<String, Value>,
    ) -> Option<&'static Kind> {
        if object.kinds.is_empty() {
            return None;
        }
        let by_argument = object.args.first() == Some(&"kind");
        let in_block = || node.children()?.get("kind")?.entries().first();
        let argument = || node.entries().iter().find(|entry| entry.name().is_none());
        let written = node.entry("kind").or_else(in_block).or_else(|| argument().filter(|_| by_argument));
        let kinds = object.kind_names();
        let what = node.name().value();
        // What was said before this layer, which said nothing of the node yet.
        let before = out.get("kind").and_then(Value::as_str).and_then(|kind| object.kind(kind));
        if let Some(entry) = written {
            self.places.take(&format!("{pointer}/kind"));
            let Some(text) = entry.value().as_string() else {
                let help = format!("it is one of {}", one_of(kinds));
                self.mistake(
                    value_span(entry),
                    format!("the kind of `{what}` is a name"),
                    "not a name",
                    help,
                );
                self.places.refuse(pointer);
                return None;
            };
            if let Some(kind) = object.kind(text) {
                if before.is_some_and(|before| before.name != kind.name) {
                    self.start_anew(object, pointer, out);
                }
                return Some(kind);
            }
            let help = did_you_mean(text, &kinds, "it is one of");
            self.mistake(
                value_span(entry),
                format!("`{what}` has no kind {}", quoted(text)),
                "unknown kind",
                help,
            );
            let likely = closest(text, kinds).and_then(|name| object.kind(name));
            // Go on with what was most likely meant, so that its settings are checked too.
            match likely {
                Some(_) => self.places.refuse(format!("{pointer}/kind")),
                None => self.places.refuse(pointer),
            }
            return likely;
        }
        if before.is_some() {
            return before;
        }
        let name = argument().and_then(|entry| entry.value().as_string().map(|text| (entry, text)));
        if let Some(known) =
            name.and_then(|(_, name)| object.known_names.iter().find(|known| known.name == name))
        {
            out.insert("kind".to_owned(), Value::from(known.kind));
            for (field, value) in known.settings {
                if node.entry(*field).is_none()
                    && node.children().is_none_or(|block| block.get(field).is_none())
                {
                    out.insert((*field).to_owned(), Value::from(*value));
                }
            }
            return object.kind(known.kind);
        }
        match name {
            Some((entry, name)) => {
                let names: Vec<&str> = object.known_names.iter().map(|known| known.name).collect();
                let say = format!("any other name says its kind: `{what} {} kind=\"candle\"`", quoted(name));
                let help = format!("{}; {say}", did_you_mean(name, &names, "known are"));
                self.mistake(
                    value_span(entry),
                    format!("unknown {what} {}", quoted(name)),
                    "of no known kind",
                    help,
                );
                if let Some(known) = known_name_like(object, name) {
                    self.places.refuse(format!("{pointer}/name"));
                    self.places.refuse(format!("{pointer}/kind"));
                    return object.kind(known.kind);
                }
            }
            None if by_argument => {
                let help = format!(
                    "write it first: `{what} \"{}\" …`; it is one of {}",
                    kinds[0],
                    one_of(kinds.clone())
                );
                self.mistake(
                    head_span(node),
                    format!("`{what}` does not say its kind"),
                    "of which kind?",
                    help,
                );
            }
            None => {
                let help = format!("write it first: `{what} \"{}\" …`", object.known_names[0].name);
                self.mistake(head_span(node), format!("`{what}` needs a name"), "without a name", help);
            }
        }
        self.places.refuse(pointer);
        None
    }

    /// Another kind has other settings: what was said of the node before does not hold for it. Its name stays.
    fn start_anew(&mut self, object: &'static Object, pointer: &str, out: &mut Map<String, Value>) {
        let name = out.get("name").filter(|_| object.args.contains(&"name")).cloned();
        self.places.take(pointer);
        out.clear();
        out.extend(name.map(|name| ("name".to_owned(), name)));
    }

    /// Goes on with what a misspelt kind or name most likely means, so that only the spelling is a mistake.
    pub(super) fn adopt(
        &self,
        object: &'static Object,
        kind: Option<&'static Kind>,
        pointer: &str,
        out: &mut Map<String, Value>,
    ) {
        let Some(kind) = kind else { return };
        if self.places.is_refused(&format!("{pointer}/kind")) {
            out.insert("kind".to_owned(), Value::from(kind.name));
        }
        if self.places.is_refused(&format!("{pointer}/name"))
            && let Some(name) = out.get("name").and_then(Value::as_str)
            && let Some(known) = known_name_like(object, name)
        {
            out.insert("name".to_owned(), Value::from(known.name));
        }
    }
}
