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

/// Nodes of an experiment that are no settings: they say where settings come from.
pub(super) const DIRECTIVES: [&str; 3] = ["include", "preset", "use"];

/// The walk over documents; its parts are in `lower_kind`, `lower_list` and `lower_matrix`. What is lowered
/// later is laid over what is known already.
#[derive(Debug, Default)]
pub(super) struct Lowering {
    pub places: Places,
    pub mistakes: Vec<Mistake>,
    /// The text that is lowered.
    source: usize,
    /// The layer that it makes.
    layer: usize,
    layers: usize,
}

/// What stands in the braces of an experiment.
#[derive(Debug, Clone)]
pub(super) struct Body<'d> {
    /// The node whose braces they are, if there is one.
    pub head: Option<&'d KdlNode>,
    /// Whether the head's first value names the experiment.
    pub names: bool,
    pub nodes: Vec<&'d KdlNode>,
}

impl Lowering {
    /// Goes on with a text that was added to the places.
    pub(super) fn read(&mut self, source: usize) {
        self.source = source;
    }

    /// Starts a layer: what it says wins over all that was said before. Its number.
    pub(super) fn begin(&mut self, source: usize) -> usize {
        self.source = source;
        self.layers += 1;
        self.layer = self.layers;
        self.layer
    }

    pub(super) fn text(&self) -> &SourceText {
        &self.places.sources[self.source]
    }

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
    pub(super) fn push(&mut self, mistake: impl FnOnce(&SourceText) -> Mistake) {
        if self.mistakes.len() < ENOUGH_MISTAKES {
            let mistake = mistake(self.text());
            self.mistakes.push(mistake);
        }
    }

    pub(super) fn place(&self, name: Span, value: Span) -> Place {
        Place { source: self.source, layer: self.layer, name, value }
    }

    /// Whether this layer has said the value already.
    pub(super) fn is_said(&self, pointer: &str) -> bool {
        self.places.get(pointer).is_some_and(|place| place.layer == self.layer)
    }

    /// Lowers settings of an experiment.
    pub(super) fn body(&mut self, body: &Body<'_>, out: &mut Map<String, Value>) {
        if let Some(node) = body.head {
            if body.names {
                let place = self.place(span(node.name().span()), head_span(node));
                self.places.insert("", place);
            }
            self.entries(node, "experiment", &EXPERIMENT, None, "", !body.names, out);
        }
        for child in &body.nodes {
            self.child(child, "experiment", &EXPERIMENT, None, "", out);
        }
    }

    /// Lowers a node with settings.
    pub(super) fn object(
        &mut self,
        node: &KdlNode,
        object: &'static Object,
        pointer: &str,
        out: &mut Map<String, Value>,
    ) {
        let what = node.name().value();
        let kind = self.kind(node, object, pointer, out);
        self.places.insert(pointer, self.place(span(node.name().span()), head_span(node)));
        self.entries(node, what, object, kind, pointer, false, out);
        for child in node.children().map_or(&[][..], KdlDocument::nodes) {
            self.child(child, what, object, kind, pointer, out);
        }
        self.adopt(object, kind, pointer, out);
    }

    /// Lowers what stands on a node's line; `other` says that its first value is none of the object's.
    #[expect(clippy::too_many_arguments, reason = "one step of a walk over node, grammar and instance")]
    fn entries(
        &mut self,
        node: &KdlNode,
        what: &str,
        object: &'static Object,
        kind: Option<&'static Kind>,
        pointer: &str,
        other: bool,
        out: &mut Map<String, Value>,
    ) {
        let args: Vec<&'static str> =
            object.args.iter().chain(kind.map_or(&[][..], |kind| kind.args)).copied().collect();
        let mut next = 0;
        for entry in node.entries() {
            match entry.name() {
                Some(name) => self.property(name.value(), entry, what, object, kind, pointer, out),
                None => {
                    match args.get(next) {
                        Some(_) if other && next == 0 => {}
                        Some(arg) => self.set(arg, name_span(entry), entry, pointer, out),
                        None if self.places.is_refused(pointer) => {}
                        None => self.surplus(node, entry, &args),
                    }
                    next += 1;
                }
            }
        }
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
        what: &str,
        object: &'static Object,
        kind: Option<&'static Kind>,
        pointer: &str,
        out: &mut Map<String, Value>,
    ) {
        match object.field(name, kind).map(|field| (field.field, field.shape)) {
            Some((field, Shape::Scalar)) => self.set(field, name_span(entry), entry, pointer, out),
            Some((field, _)) => {
                let help = format!("write it as a block: `{name} …` inside the braces of `{what}`");
                self.mistake(
                    name_span(entry),
                    format!("`{name}` is not a single value"),
                    "not a property",
                    help,
                );
                self.places.refuse(format!("{pointer}/{field}"));
            }
            None => self.unknown(name, name_span(entry), what, object, kind, pointer),
        }
    }

    fn child(
        &mut self,
        child: &KdlNode,
        what: &str,
        object: &'static Object,
        kind: Option<&'static Kind>,
        pointer: &str,
        out: &mut Map<String, Value>,
    ) {
        let name = child.name().value();
        let at = span(child.name().span());
        let Some(field) = object.field(name, kind) else {
            self.unknown(name, at, what, object, kind, pointer);
            return;
        };
        let inner_pointer = format!("{pointer}/{}", field.field);
        match field.shape {
            Shape::Scalar => self.scalar_child(child, field.field, pointer, out),
            Shape::Named(inner) => {
                let mut items = match out.get_mut(field.field).map(Value::take) {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                };
                self.item(child, inner, &inner_pointer, &mut items);
                out.insert(field.field.to_owned(), Value::Array(items));
            }
            Shape::Object(_) | Shape::Matrix if self.is_said(&inner_pointer) => {
                self.twice(name, at, &inner_pointer);
            }
            Shape::Object(_) | Shape::Matrix if is_null(child) => {
                let value = child.entries().first().map_or(at, value_span);
                self.take_back(field.field, at, value, pointer, out);
            }
            Shape::Object(inner) => {
                let mut settings = match out.get_mut(field.field).map(Value::take) {
                    Some(Value::Object(settings)) => settings,
                    _ => Map::new(),
                };
                self.object(child, inner, &inner_pointer, &mut settings);
                out.insert(field.field.to_owned(), Value::Object(settings));
            }
            Shape::Matrix => {
                let known = out.get_mut(field.field).map_or(Value::Null, Value::take);
                let axes = self.matrix(child, &inner_pointer, known);
                out.insert(field.field.to_owned(), axes);
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
        if self.is_said(&at) {
            self.twice(field, name, &at);
            return;
        }
        let value = value_span(entry);
        if entry.value().is_null() {
            self.take_back(field, name, value, pointer, out);
            return;
        }
        if self.places.get(&at).is_some() {
            self.places.accept(&at);
        }
        self.places.insert(&at, self.place(name, value));
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

    /// `#null` takes back what an earlier layer says.
    fn take_back(
        &mut self,
        field: &str,
        name: Span,
        value: Span,
        pointer: &str,
        out: &mut Map<String, Value>,
    ) {
        let at = format!("{pointer}/{field}");
        self.places.take(&at);
        self.places.insert(&at, self.place(name, value));
        if out.shift_remove(field).is_none() {
            self.nothing_to_take_back(field, value);
            self.places.refuse(at);
        }
    }

    pub(super) fn nothing_to_take_back(&mut self, what: &str, at: Span) {
        let help = "leave the setting away to get its default; `#null` takes back what an included file says";
        self.mistake(
            at,
            format!("there is no `{what}` that `#null` could take back"),
            "nothing to take back",
            help,
        );
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
        what: &str,
        object: &'static Object,
        kind: Option<&'static Kind>,
        pointer: &str,
    ) {
        let mut names = object.names(kind);
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
        let elsewhere = if DIRECTIVES.contains(&name) { vec!["experiment"] } else { holders(name) };
        if what == "experiment" {
            names.extend(DIRECTIVES);
        }
        let help = match elsewhere.is_empty() {
            true => did_you_mean(name, &names, &format!("`{what}` has")),
            false => format!("it belongs to {}", one_of(elsewhere)),
        };
        self.mistake(at, format!("unknown setting {} of `{what}`", quoted(name)), "not known here", help);
    }
}

/// `slo #null`.
pub(super) fn is_null(node: &KdlNode) -> bool {
    let [only] = node.entries() else { return false };
    node.children().is_none() && only.name().is_none() && only.value().is_null()
}
