//! What the JSON Schema says against an instance, in words.

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::grammar::{EXPERIMENT, Kind, Object, Shape};
use super::place::{Finding, Places};
use super::schema::{allowed, expected, leaf, validator};
use super::suggest::{did_you_mean, one_of, quoted};

/// The code of a setting that is required and not there.
pub(super) const MISSING: &str = "xp::spec::missing";

/// Most violations that are looked at.
const MAX_VIOLATIONS: usize = 200;

/// Every violation; values that were refused already are left out.
pub(super) fn violations(instance: &Value, places: Option<&Places>) -> Vec<Finding> {
    let refused = |pointer: &str| places.is_some_and(|places| places.is_refused(pointer));
    let mut out: Vec<Finding> = Vec::new();
    for error in validator().iter_errors(instance).take(MAX_VIOLATIONS) {
        let pointer = error.instance_path().as_str().to_owned();
        let findings = match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                if refused(&format!("{pointer}/{name}")) {
                    continue;
                }
                vec![missing(instance, &pointer, name)]
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let names = unexpected.iter().take(MAX_VIOLATIONS - out.len());
                names.map(|name| surplus(instance, &pointer, name)).collect()
            }
            _ => vec![wrong_value(instance, &pointer)],
        };
        for finding in findings {
            let known =
                out.iter().any(|other| other.pointer == finding.pointer && other.message == finding.message);
            if !refused(&finding.pointer) && !known {
                out.push(finding);
            }
        }
        if out.len() >= MAX_VIOLATIONS {
            break;
        }
    }
    out
}

/// The grammar's object at a pointer, the node's name, and its kind.
fn object_at(
    instance: &Value,
    pointer: &str,
) -> Option<(&'static str, &'static Object, Option<&'static Kind>)> {
    let (mut name, mut object, mut value) = ("experiment", &EXPERIMENT, Some(instance));
    for key in pointer.split('/').skip(1) {
        if let Some(Value::Array(items)) = value {
            value = key.parse::<usize>().ok().and_then(|index| items.get(index));
            continue;
        }
        let fields = object.fields.iter().chain(object.kinds.iter().flat_map(|kind| kind.fields));
        let field = fields.into_iter().find(|field| field.field == key)?;
        match field.shape {
            Shape::Object(inner) | Shape::Named(inner) => (name, object) = (field.node, inner),
            Shape::Scalar | Shape::Matrix => return None,
        }
        value = value.and_then(|value| value.get(key));
    }
    let kind = value.and_then(|value| value.get("kind")).and_then(Value::as_str);
    Some((name, object, kind.and_then(|kind| object.kind(kind))))
}

/// `backend` for `backends`, the field's name for all else.
fn node_name(field: &str) -> &str {
    EXPERIMENT.fields.iter().find(|known| known.field == field).map_or(field, |known| known.node)
}

fn missing(instance: &Value, pointer: &str, property: &str) -> Finding {
    let (node, object, kind) = object_at(instance, pointer).unwrap_or(("experiment", &EXPERIMENT, None));
    let fields = object.fields.iter().chain(kind.map_or(&[][..], |kind| kind.fields));
    let name = fields.into_iter().find(|field| field.field == property).map_or(property, |field| field.node);
    let of = object.called(node, kind);
    let position =
        object.args.iter().chain(kind.map_or(&[][..], |kind| kind.args)).position(|arg| *arg == property);
    let takes = leaf(instance, &format!("{pointer}/{property}"));
    let help = match (name, position) {
        ("model", _) => "for example `model \"qwen3-0.6b\" { source \"synthetic\"; }`".to_owned(),
        ("workload", _) => {
            "for example `workload \"chat\" { requests 64; lengths \"zipf\" min=16 max=512; arrivals \"poisson\" qps=2; }`".to_owned()
        }
        ("backend", _) => "for example `backend \"sarathi\" chunk-size=256`".to_owned(),
        ("real" | "sim", _) => "it names a backend: `compare real=\"sarathi\" sim=\"vidur\"`".to_owned(),
        ("kind", _) => format!("it is one of {}", one_of(object.kind_names())),
        (_, Some(0)) => format!("write it first: `{node} \"…\"`"),
        (_, Some(_)) => format!("write it after the kind: `{node} \"{}\" \"…\"`", kind.map_or("…", |kind| kind.name)),
        _ => takes.map(|schema| format!("write `{name}=…`; it takes {}", expected(schema))).unwrap_or_default(),
    };
    Finding::new(pointer, MISSING, format!("{of} needs `{name}`"))
        .label(format!("`{name}` is missing"))
        .help(help)
}

fn surplus(instance: &Value, pointer: &str, property: &str) -> Finding {
    let (node, object, kind) = object_at(instance, pointer).unwrap_or(("experiment", &EXPERIMENT, None));
    let names = object.names(kind);
    let owners = object.owners(property);
    let of = object.called(node, kind);
    let help = match kind {
        Some(kind) if !owners.is_empty() => {
            let own = if names.is_empty() { "no settings".to_owned() } else { one_of(names) };
            format!("only {} has it; `{}` has {own}", one_of(owners), kind.name)
        }
        _ => did_you_mean(property, &names, &format!("`{node}` has")),
    };
    Finding::new(
        format!("{pointer}/{property}"),
        "xp::spec::unknown",
        format!("`{property}` is no setting of {of}"),
    )
    .label("not here")
    .help(help)
    .on_name()
}

/// A value as it would be written.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Bool(flag) => format!("#{flag}"),
        Value::Object(_) => "a block".to_owned(),
        Value::Array(items) => format!("{} values", items.len()),
        scalar => scalar.to_string(),
    }
}

fn wrong_value(instance: &Value, pointer: &str) -> Finding {
    const CODE: &str = "xp::spec::value";
    let name = node_name(pointer.rsplit('/').next().unwrap_or_default());
    let value = instance.pointer(pointer).unwrap_or(&Value::Null);
    if pointer == "/backends" && value.as_array().is_some_and(Vec::is_empty) {
        let help = "write for example `backend \"sarathi\" chunk-size=256`";
        return Finding::new("", CODE, "the experiment has no backend").label("without a backend").help(help);
    }
    if pointer.ends_with("/values") && value.as_array().is_some_and(Vec::is_empty) {
        let message = "an axis of the matrix has no values";
        return Finding::new(pointer.trim_end_matches("/values"), CODE, message)
            .help("write them behind the path");
    }
    let Some(schema) = leaf(instance, pointer) else {
        return Finding::new(pointer, CODE, format!("`{name}` cannot be {}", shown(value)));
    };
    if let (Value::Array(items), Some(most)) = (value, schema.get("maxItems")) {
        let message = format!("there are {} of `{name}`, at most {most} are taken", items.len());
        return Finding::new(pointer, CODE, message);
    }
    let names = allowed(schema);
    let help = match value.as_str() {
        Some(text) if !names.is_empty() => did_you_mean(text, &names, "it is one of"),
        Some(_) if is_form(schema) => form_help(name, schema),
        _ => about(schema),
    };
    if value.is_string() && is_form(schema) {
        return Finding::new(pointer, CODE, format!("{} is no {name}", shown(value))).help(help);
    }
    let takes = expected(schema);
    Finding::new(pointer, CODE, format!("`{name}` takes {takes}, not {}", shown(value))).help(help)
}

/// Whether a schema is about how a text is formed, other than a unit's.
fn is_form(schema: &Value) -> bool {
    schema.get("pattern").is_some() && schema.get("x-unit").is_none()
}

fn form_help(name: &str, schema: &Value) -> String {
    let dotted = schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("._"));
    match name {
        "repo" => "a repository is written `owner/name`, such as \"Qwen/Qwen3-0.6B\"",
        "revision" => "a revision is a branch, a tag or a commit, such as \"main\"",
        _ if dotted => {
            "it starts with a letter or digit and goes on with letters, digits, `-`, `_` and `.`, 100 at most"
        }
        _ => "it starts with a letter or digit and goes on with letters, digits, `-` and `_`, 100 at most",
    }
    .to_owned()
}

/// The first sentence of a setting's description.
fn about(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    if schema.get("x-unit").is_some() {
        return String::new();
    }
    text.lines().next().unwrap_or_default().to_owned()
}
