//! Dotted paths of `--set` and of the matrix: `workload.arrivals.qps`,
//! `backend.sarathi.chunk-size`.

use serde_json::{Map, Value};

use super::diagnostic::Span;
use super::grammar::{EXPERIMENT, Object, Shape, holders};
use super::suggest::{did_you_mean, one_of, quoted};

/// Where a path leads in an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Keys from the root; a backend by its index.
    pub keys: Vec<String>,
}

/// Why a path leads nowhere; the span is within the path.
#[derive(Debug)]
pub(super) struct WrongPath {
    pub span: Span,
    pub message: String,
    pub label: &'static str,
    pub help: String,
}

impl Target {
    pub fn pointer(&self) -> String {
        self.keys.iter().map(|key| format!("/{key}")).collect()
    }
}

/// Finds what a path means in an instance.
pub(super) fn resolve(path: &str, instance: &Value) -> Result<Target, WrongPath> {
    let mut object = &EXPERIMENT;
    let mut keys: Vec<String> = Vec::new();
    let mut at = 0;
    let mut segments = path.split('.').peekable();
    while let Some(segment) = segments.next() {
        let span = (at, segment.len());
        let last = segments.peek().is_none();
        let wrong = |message: String, label, help: String| Err(WrongPath { span, message, label, help });
        let Some((field, shape)) = setting(object, segment, keys.is_empty()) else {
            return wrong(
                format!("no setting {}", quoted(segment)),
                "not known here",
                unknown(object, segment, keys.is_empty()),
            );
        };
        at += segment.len() + 1;
        keys.push(field.to_owned());
        match shape {
            Shape::Scalar if last => return Ok(Target { keys }),
            Shape::Scalar => {
                return wrong(
                    format!("`{segment}` has no settings of its own"),
                    "a single value",
                    format!("end the path here: `{}`", &path[..at - 1]),
                );
            }
            Shape::Object(inner) if !last => object = inner,
            Shape::Object(inner) => match inner.args.first() {
                Some(arg) => {
                    keys.push((*arg).to_owned());
                    return Ok(Target { keys });
                }
                None => {
                    let help = format!("name one of its settings: {}", one_of(inner.names(None)));
                    return wrong(format!("`{segment}` is not a single value"), "a group of settings", help);
                }
            },
            Shape::Named(inner) => {
                let items = instance.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let names: Vec<&str> = items.iter().filter_map(|item| item.get("name")?.as_str()).collect();
                let Some(name) = segments.next() else {
                    let help = format!(
                        "name a {segment} and a setting of it: `{segment}.{}.…`",
                        names.first().unwrap_or(&"…")
                    );
                    return wrong(format!("`{segment}` is not a single value"), "which one?", help);
                };
                let span = (at, name.len());
                at += name.len() + 1;
                let Some(index) =
                    items.iter().position(|item| item.get("name").and_then(Value::as_str) == Some(name))
                else {
                    let help = did_you_mean(name, &names, "the experiment has");
                    return Err(WrongPath {
                        span,
                        message: format!("no {segment} {}", quoted(name)),
                        label: "not in the experiment",
                        help,
                    });
                };
                if segments.peek().is_none() {
                    let help = format!("name one of its settings: `{path}.chunk-size`");
                    return Err(WrongPath {
                        span,
                        message: format!("`{segment}.{name}` is not a single value"),
                        label: "a group of settings",
                        help,
                    });
                }
                keys.push(index.to_string());
                object = inner;
            }
            Shape::Matrix => {
                let help = "set the path that an axis varies: its axis is then cut to that value";
                return wrong("the matrix has no settings".to_owned(), "not here", help.to_owned());
            }
        }
    }
    let (message, help) = ("the path is empty".to_owned(), "for example `workload.arrivals.qps`".to_owned());
    Err(WrongPath { span: (0, path.len()), message, label: "here", help })
}

/// A setting by its name in the file; the experiment's and the backends' own names are fixed.
fn setting(object: &'static Object, name: &str, root: bool) -> Option<(&'static str, Shape)> {
    if name == "name" && (root || !object.known_names.is_empty()) {
        return None;
    }
    object.field(name, None).map(|field| (field.field, field.shape))
}

fn unknown(object: &'static Object, segment: &str, root: bool) -> String {
    let names = object.names(None);
    let elsewhere: Vec<&str> = holders(segment).into_iter().filter(|node| *node != "experiment").collect();
    match elsewhere.first() {
        Some(node) if root => format!("it belongs to {}: `{node}.….{segment}`", one_of(elsewhere.clone()))
            .replace("`backend.….", "`backend.NAME."),
        _ => did_you_mean(segment, &names, "there are"),
    }
}

/// Sets a value. A new kind drops those settings of the old one that it does not have and `keep` does not name.
pub(super) fn set(instance: &mut Value, target: &Target, value: Value, keep: impl Fn(&str) -> bool) {
    let Some((last, parents)) = target.keys.split_last() else { return };
    let mut at = instance;
    for key in parents {
        at = match at {
            Value::Array(items) => match key.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                Some(item) => item,
                None => return,
            },
            Value::Object(map) => map.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new())),
            _ => return,
        };
    }
    let Value::Object(map) = at else { return };
    if last == "kind"
        && let Some(object) = object_of(parents)
        && let Some(kind) = value.as_str().and_then(|name| object.kind(name))
    {
        let parent: String = parents.iter().map(|key| format!("/{key}")).collect();
        let mine = object.names(Some(kind));
        map.retain(|name, _| {
            let own = object.args.contains(&name.as_str()) || mine.contains(&name.as_str());
            own || keep(&format!("{parent}/{name}"))
        });
    }
    map.insert(last.clone(), value);
}

/// The grammar's object that the keys lead to.
fn object_of(keys: &[String]) -> Option<&'static Object> {
    let mut object = &EXPERIMENT;
    for key in keys {
        let mut fields = object.fields.iter().chain(object.kinds.iter().flat_map(|kind| kind.fields));
        match fields.find(|field| field.field == key).map(|field| field.shape) {
            Some(Shape::Object(inner) | Shape::Named(inner)) => object = inner,
            Some(Shape::Scalar | Shape::Matrix) => return None,
            // A backend's index.
            None if key.bytes().all(|byte| byte.is_ascii_digit()) => {}
            None => return None,
        }
    }
    Some(object)
}
