//! KDL → JSON instance, by the grammar table, with the place of every value.
//! What the table does not know is refused here; types and ranges are the
//! schema's business.

use kdl::{KdlDocument, KdlEntry, KdlNode};
use serde_json::{Map, Value};

use super::diagnostic::{ENOUGH_MISTAKES, Mistake, SourceText, Span};
use super::grammar::{EXPERIMENT, Kind, Object, Shape, holders};
use super::kdl_value::{head_span, name_span, scalar, span, value_span};
use super::place::{Place, Places};
use super::suggest::{closest, did_you_mean, one_of, quoted};

/// An instance that may still break the schema, and what was refused on the way.
#[derive(Debug)]
pub(super) struct Lowered {
    pub value: Value,
    pub places: Places,
    pub mistakes: Vec<Mistake>,
}

/// Lowers a document that holds one experiment.
pub(super) fn lower(document: &KdlDocument, source: SourceText) -> Lowered {
    let mut lowering = Lowering { source: source.clone(), places: Places::new(source), mistakes: Vec::new() };
    let value = lowering.document(document);
    Lowered { value, places: lowering.places, mistakes: lowering.mistakes }
}

/// The walk over a document; its parts are in `lower_kind` and `lower_matrix`.
pub(super) struct Lowering {
    pub source: SourceText,
    pub places: Places,
    pub mistakes: Vec<Mistake>,
}

impl Lowering {
    pub(super) fn mistake(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: &str,
        help: impl Into<String>,
    ) {
        self.push(|source| Mistake::at(source, span, "xp::spec::grammar", message, label).help(help));
    }

    /// Adds a mistake while there are few enough for a person to read.
    fn push(&mut self, mistake: impl FnOnce(&SourceText) -> Mistake) {
        if self.mistakes.len() < ENOUGH_MISTAKES {
            self.mistakes.push(mistake(&self.source));
        }
    }

    fn document(&mut self, document: &KdlDocument) -> Value {
        let mut found: Option<&KdlNode> = None;
        for node in document.nodes() {
            let name = node.name().value();
            let at = span(node.name().span());
            match (name, found) {
                ("experiment", None) => found = Some(node),
                ("experiment", Some(_)) => {
                    self.mistake(
                        at,
                        "a file holds one experiment",
                        "a second one",
                        "put it into a file of its own",
                    );
                }
                ("lock", _) if document.get("experiment").is_none_or(|node| node.get(0).is_none()) => {
                    self.mistake(
                        at,
                        "this is a lock, not an experiment",
                        "written by `xp lock`",
                        "`xp run` takes both; `xp check` takes the experiment it was made from",
                    );
                    self.places.refuse("");
                    return Value::Null;
                }
                _ => {
                    let help = match holders(name).first() {
                        Some(_) => {
                            "settings stand inside the braces of `experiment \"name\" { … }`".to_owned()
                        }
                        None => did_you_mean(name, &["experiment"], "a file starts with"),
                    };
                    self.mistake(at, format!("unknown node {}", quoted(name)), "not known here", help);
                }
            }
        }
        let Some(node) = found else {
            if self.mistakes.is_empty() {
                let help = "write `experiment \"name\" { … }`; `xp init FILE` writes one to start from";
                self.mistake((0, 0), "this file holds no experiment", "nothing here", help);
            }
            self.places.refuse("");
            return Value::Null;
        };
        self.object(node, &EXPERIMENT, "")
    }

    /// Lowers a node with settings.
    fn object(&mut self, node: &KdlNode, object: &'static Object, pointer: &str) -> Value {
        self.places
            .insert(pointer, Place { source: 0, name: span(node.name().span()), value: head_span(node) });
        let mut out = Map::new();
        let kind = self.kind(node, object, pointer, &mut out);
        let args: Vec<&'static str> =
            object.args.iter().chain(kind.map_or(&[][..], |kind| kind.args)).copied().collect();
        let mut next = 0;
        for entry in node.entries() {
            match entry.name() {
                Some(name) => self.property(name.value(), entry, node, object, kind, pointer, &mut out),
                None => {
                    match args.get(next) {
                        Some(arg) => self.set(arg, name_span(entry), entry, pointer, &mut out),
                        None if self.places.is_refused(pointer) => {}
                        None => self.surplus(node, entry, &args),
                    }
                    next += 1;
                }
            }
        }
        for child in node.children().map_or(&[][..], KdlDocument::nodes) {
            self.child(child, node, object, kind, pointer, &mut out);
        }
        self.adopt(object, kind, pointer, &mut out);
        Value::Object(out)
    }

    fn surplus(&mut self, node: &KdlNode, entry: &KdlEntry, args: &[&str]) {
        let name = node.name().value();
        let (takes, help) = match args {
            [] => (
                format!("`{name}` takes no value of its own"),
                format!("name its settings: `{name} setting=value` or `{name} {{ setting value }}`"),
            ),
            [one] => (
                format!("`{name}` takes one value, its {one}"),
                "other settings are written `setting=value`".to_owned(),
            ),
            _ => (
                format!("`{name}` takes {} values: {}", args.len(), args.join(", ")),
                "other settings are written `setting=value`".to_owned(),
            ),
        };
        self.mistake(value_span(entry), takes, "one too many", help);
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a walk over node, grammar and instance")]
    fn property(
        &mut self,
        name: &str,
        entry: &KdlEntry,
        node: &KdlNode,
        object: &'static Object,
        kind: Option<&'static Kind>,
        pointer: &str,
        out: &mut Map<String, Value>,
    ) {
        match object.field(name, kind).map(|field| (field.field, field.shape)) {
            Some((field, Shape::Scalar)) => self.set(field, name_span(entry), entry, pointer, out),
            Some((field, _)) => {
                let help =
                    format!("write it as a block: `{name} …` inside the braces of `{}`", node.name().value());
                self.mistake(
                    name_span(entry),
                    format!("`{name}` is not a single value"),
                    "not a property",
                    help,
                );
                self.places.refuse(format!("{pointer}/{field}"));
            }
            None => self.unknown(name, name_span(entry), node, object, kind, pointer),
        }
    }

    fn child(
        &mut self,
        child: &KdlNode,
        node: &KdlNode,
        object: &'static Object,
        kind: Option<&'static Kind>,
        pointer: &str,
        out: &mut Map<String, Value>,
    ) {
        let name = child.name().value();
        let at = span(child.name().span());
        let Some(field) = object.field(name, kind) else {
            self.unknown(name, at, node, object, kind, pointer);
            return;
        };
        let inner_pointer = format!("{pointer}/{}", field.field);
        match field.shape {
            Shape::Scalar => self.scalar_child(child, field.field, pointer, out),
            Shape::Named(inner) => {
                let list = out.entry(field.field).or_insert_with(|| Value::Array(Vec::new()));
                let index = list.as_array().map_or(0, Vec::len);
                let value = self.object(child, inner, &format!("{inner_pointer}/{index}"));
                if let Some(items) = out.get_mut(field.field).and_then(Value::as_array_mut) {
                    items.push(value);
                }
            }
            Shape::Object(_) | Shape::Matrix if self.places.get(&inner_pointer).is_some() => {
                self.twice(name, at, &inner_pointer);
            }
            Shape::Object(inner) => {
                let value = self.object(child, inner, &inner_pointer);
                out.insert(field.field.to_owned(), value);
            }
            Shape::Matrix => {
                let value = self.matrix(child, &inner_pointer);
                out.insert(field.field.to_owned(), value);
            }
        }
    }

    /// `requests 64` inside a block.
    fn scalar_child(&mut self, child: &KdlNode, field: &str, pointer: &str, out: &mut Map<String, Value>) {
        let name = child.name().value();
        let at = span(child.name().span());
        let refused = match child.entries() {
            [] => Some((head_span(child), format!("`{name}` has no value"), "nothing follows")),
            [_, second, ..] => Some((name_span(second), format!("`{name}` takes one value"), "one too many")),
            [one] if one.name().is_some() => {
                Some((name_span(one), format!("`{name}` takes a value, no properties"), "a property"))
            }
            [_] => None,
        };
        if let Some((at, message, label)) = refused {
            self.mistake(at, message, label, format!("write `{name} value`"));
            self.places.refuse(format!("{pointer}/{field}"));
            return;
        }
        if child.children().is_some() {
            self.mistake(
                at,
                format!("`{name}` takes a value, no block"),
                "has a block",
                format!("write `{name} value`"),
            );
            self.places.refuse(format!("{pointer}/{field}"));
            return;
        }
        self.set(field, at, &child.entries()[0], pointer, out);
    }

    /// Sets a scalar.
    fn set(
        &mut self,
        field: &str,
        name: Span,
        entry: &KdlEntry,
        pointer: &str,
        out: &mut Map<String, Value>,
    ) {
        let at = format!("{pointer}/{field}");
        if self.places.get(&at).is_some() {
            self.twice(field, name, &at);
            return;
        }
        let value = value_span(entry);
        self.places.insert(&at, Place { source: 0, name, value });
        match scalar(entry.value()) {
            Ok(scalar) => {
                out.insert(field.to_owned(), scalar);
            }
            Err((message, help)) => {
                self.mistake(value, format!("`{field}`: {message}"), "here", help);
                self.places.refuse(at);
            }
        }
    }

    pub(super) fn twice(&mut self, name: &str, at: Span, pointer: &str) {
        let first = self.places.get(pointer).map(|first| first.name);
        self.given_again(name, at, first);
    }

    pub(super) fn given_again(&mut self, what: &str, at: Span, first: Option<Span>) {
        let message = format!("`{what}` is given twice");
        self.push(|source| {
            let mistake = Mistake::at(source, at, "xp::spec::grammar", message, "given again");
            let mistake = match first {
                Some(first) => mistake.and(source, first, "given first"),
                None => mistake,
            };
            mistake.help("keep one of them")
        });
    }

    fn unknown(
        &mut self,
        name: &str,
        at: Span,
        node: &KdlNode,
        object: &'static Object,
        kind: Option<&'static Kind>,
        pointer: &str,
    ) {
        let what = node.name().value();
        let names = object.names(kind);
        let owners = object.owners(name);
        if let (Some(kind), false) = (kind, owners.is_empty()) {
            let help = format!(
                "only {} has it; `{}` has {}",
                one_of(owners),
                kind.name,
                if names.is_empty() { "no settings".to_owned() } else { one_of(names) }
            );
            self.mistake(
                at,
                format!("`{name}` is no setting of {}", object.called(what, Some(kind))),
                "not here",
                help,
            );
            return;
        }
        if let Some(likely) = closest(name, names.iter().copied())
            && let Some(field) = object.field(likely, kind)
        {
            // The likely setting is not missing, it is misspelt.
            self.places.refuse(format!("{pointer}/{}", field.field));
        }
        let elsewhere = holders(name);
        let help = match elsewhere.is_empty() {
            true => did_you_mean(name, &names, &format!("`{what}` has")),
            false => format!("it belongs to {}", one_of(elsewhere)),
        };
        self.mistake(at, format!("unknown setting {} of `{what}`", quoted(name)), "not known here", help);
    }
}
