//! Which node of a file holds the settings.

use kdl::{KdlDocument, KdlNode};

use super::diagnostic::Span;
use super::grammar::holders;
use super::kdl_value::span;
use super::lower::{Body, DIRECTIVES, Lowering};
use super::suggest::{did_you_mean, quoted};

/// The body of a file that holds one experiment. A file that is `broken` may hold it where it cannot be read.
pub(super) fn body_of_experiment<'d>(
    document: &'d KdlDocument,
    lowering: &mut Lowering,
    broken: bool,
) -> Option<Body<'d>> {
    let node = experiment(document, lowering, broken)?;
    let nodes = node.children().map_or(&[][..], KdlDocument::nodes);
    Some(Body { head: Some(node), names: true, nodes: nodes.iter().collect() })
}

fn experiment<'d>(document: &'d KdlDocument, lowering: &mut Lowering, broken: bool) -> Option<&'d KdlNode> {
    let mut found: Option<&KdlNode> = None;
    for node in document.nodes() {
        let name = node.name().value();
        let at = span(node.name().span());
        match (name, found) {
            ("experiment", None) => found = Some(node),
            ("experiment", Some(_)) => second(at, lowering),
            ("lock", _) if is_lock(document) => {
                lock(at, lowering);
                return None;
            }
            _ => {
                let help = match holders(name).first() {
                    Some(_) => "settings stand inside the braces of `experiment \"name\" { … }`".to_owned(),
                    None if DIRECTIVES.contains(&name) => {
                        format!("`{name}` stands inside the braces of `experiment \"name\" {{ … }}`")
                    }
                    None => did_you_mean(name, &["experiment"], "a file starts with"),
                };
                lowering.mistake(at, format!("unknown node {}", quoted(name)), "not known here", help);
            }
        }
    }
    if found.is_none() && lowering.mistakes.is_empty() && !broken {
        let help = "write `experiment \"name\" { … }`; `xp init FILE` writes one to start from";
        lowering.mistake((0, 0), "this file holds no experiment", "nothing here", help);
    }
    found
}

/// The body of a file that is included: what stands in an experiment's braces, with or without them.
pub(super) fn body_of_included<'d>(document: &'d KdlDocument, lowering: &mut Lowering) -> Option<Body<'d>> {
    if let Some(node) = document.nodes().iter().find(|_| is_lock(document)) {
        lock(span(node.name().span()), lowering);
        return None;
    }
    let mut body = Body { head: None, names: false, nodes: Vec::new() };
    for node in document.nodes() {
        match (node.name().value(), body.head) {
            ("experiment", None) => {
                body.head = Some(node);
                body.nodes.extend(node.children().map_or(&[][..], KdlDocument::nodes));
            }
            ("experiment", Some(_)) => second(span(node.name().span()), lowering),
            _ => body.nodes.push(node),
        }
    }
    Some(body)
}

/// Whether the nodes are a lock's: it has a format, and an experiment without a name on its line.
fn is_lock(document: &KdlDocument) -> bool {
    document.get("lock").is_some() && document.get("experiment").is_none_or(|node| node.get(0).is_none())
}

fn lock(at: Span, lowering: &mut Lowering) {
    let help = "`xp run` takes both; `xp check` takes the experiment it was made from";
    lowering.mistake(at, "this is a lock, not an experiment", "written by `xp lock`", help);
}

fn second(at: Span, lowering: &mut Lowering) {
    lowering.mistake(at, "a file holds one experiment", "a second one", "put it into a file of its own");
}
