//! Files → one instance: what is included first, what a file says itself over
//! that, the presets that it uses over both, and those of the command line last.

use std::io::ErrorKind;

use kdl::{KdlDocument, KdlNode};
use serde_json::{Map, Value};

use super::diagnostic::{Mistake, SourceText, Span};
use super::document::{body_of_experiment, body_of_included};
use super::kdl_value::{head_span, name_span, value_span};
use super::load::{MAX_BYTES, cannot_read};
use super::lower::{Body, DIRECTIVES, Lowering};
use super::parse::{Parsed, parse};
use super::place::Places;
use super::presets::Presets;
use super::suggest::quoted;
use super::violations::violations;
use super::world::{World, join};

/// Files that may include one another in a row.
const MAX_DEPTH: usize = 16;

/// Files that an experiment may include, each as often as it is included.
const MAX_FILES: usize = 64;

/// Bytes of all files together.
const MAX_TOTAL: u64 = 4 << 20;

/// Settings that are copied to look at presets that nobody uses.
const MOST_COPIED: usize = 1_000_000;

/// An instance that may still break the schema, and what was refused on the way.
#[derive(Debug)]
pub(super) struct Assembled {
    pub value: Value,
    pub places: Places,
    pub mistakes: Vec<Mistake>,
    /// A text has errors of syntax: what seems to be missing may be in what could not be read.
    pub broken: bool,
}

/// Puts together what a file says, with what it includes and the presets that are chosen.
pub(super) fn assemble(world: &dyn World, path: &str, text: &str, chosen: &[String]) -> Assembled {
    let mut assembly = Assembly {
        world,
        lowering: Lowering::default(),
        settings: Map::new(),
        presets: Presets::default(),
        chain: Vec::new(),
        files: 0,
        bytes: 0,
        broken: false,
    };
    let mut value = Value::Null;
    if assembly.experiment(path, text) {
        assembly.choose(chosen);
        assembly.check_unused();
        value = Value::Object(std::mem::take(&mut assembly.settings));
    }
    let Lowering { places, mistakes, .. } = assembly.lowering;
    Assembled { value, places, mistakes, broken: assembly.broken }
}

/// A file that is being read, and where the next one is included in it.
struct Link {
    path: String,
    source: usize,
    include: Span,
}

struct Assembly<'w> {
    world: &'w dyn World,
    lowering: Lowering,
    settings: Map<String, Value>,
    presets: Presets,
    /// From the experiment to the file that is being read.
    chain: Vec<Link>,
    files: usize,
    bytes: u64,
    broken: bool,
}

impl Assembly<'_> {
    /// Reads the experiment; whether there is one.
    fn experiment(&mut self, path: &str, text: &str) -> bool {
        let Some((source, document)) = self.document(path, text) else { return false };
        let Some(body) = body_of_experiment(&document, &mut self.lowering, self.broken) else { return false };
        self.chain.push(Link { path: path.to_owned(), source, include: (0, 0) });
        self.body(&body);
        true
    }

    /// Parses a text and adds it to the places.
    fn document(&mut self, path: &str, text: &str) -> Option<(usize, KdlDocument)> {
        let source = SourceText::new(&self.world.shown(path), text);
        let Parsed { document, mistakes } = parse(&source, MAX_BYTES);
        let index = self.lowering.places.add_source(source);
        self.lowering.read(index);
        self.broken |= !mistakes.is_empty();
        self.lowering.mistakes.extend(mistakes);
        Some((index, document?))
    }

    /// Lays what stands in the braces of an experiment, or in a file that is included, over what is known.
    fn body(&mut self, body: &Body<'_>) {
        let Some(source) = self.chain.last().map(|link| link.source) else { return };
        let of = |name: &'static str| body.nodes.iter().filter(move |node| node.name().value() == name);
        for node in of("include") {
            self.include(node, source);
        }
        self.lowering.begin(source);
        let is_setting = |node: &&&KdlNode| !DIRECTIVES.contains(&node.name().value());
        let own = Body { nodes: body.nodes.iter().filter(is_setting).copied().collect(), ..body.clone() };
        self.lowering.body(&own, &mut self.settings);
        let presets: Vec<&KdlNode> = of("preset").copied().collect();
        self.presets.define(&presets, source, &mut self.lowering);
        let mut used = Vec::new();
        for node in of("use") {
            self.uses(node, source, &mut used);
        }
    }

    /// `include "base.kdl"`.
    fn include(&mut self, node: &KdlNode, source: usize) {
        self.lowering.read(source);
        let help = "write `include \"base.kdl\"`: the path of a file, relative to this one";
        if node.entries().is_empty() || node.children().is_some() {
            self.lowering.mistake(
                head_span(node),
                "`include` takes the path of a file",
                "of which file?",
                help,
            );
            return;
        }
        for entry in node.entries() {
            self.lowering.read(source);
            match entry.value().as_string().filter(|_| entry.name().is_none()) {
                Some(written) => self.include_file(written, value_span(entry)),
                None => {
                    let at = name_span(entry);
                    self.lowering.mistake(at, "`include` takes the path of a file", "not a path", help);
                }
            }
        }
    }

    fn include_file(&mut self, written: &str, at: Span) {
        let Some(from) = self.chain.last_mut() else { return };
        from.include = at;
        let source = from.source;
        // What seems to be missing may be in a file that is not read.
        let was_broken = std::mem::replace(&mut self.broken, true);
        let refuse = |lowering: &mut Lowering, message: String, label: &str, help: &str| {
            lowering.push(|text| Mistake::at(text, at, "xp::spec::include", message, label).help(help));
        };
        let path = match join(&from.path, written) {
            Ok(path) => path,
            Err(why) => {
                let help = "an experiment includes only files of its project, so that it means the same on every machine";
                let message = format!("{} is no path inside the project", quoted(written));
                return refuse(&mut self.lowering, message, why, help);
            }
        };
        if let Some(first) = self.chain.iter().position(|link| link.path == path) {
            return self.cycle(first, &path);
        }
        if self.chain.len() > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} files include one another");
            return refuse(&mut self.lowering, message, "one too many", "include the file further up");
        }
        self.files += 1;
        if self.files > MAX_FILES {
            if self.files == MAX_FILES + 1 {
                let message = format!("more than {MAX_FILES} files are included");
                let help = "a file counts as often as it is included: include it once, in the experiment";
                refuse(&mut self.lowering, message, "one too many", help);
            }
            return;
        }
        let text = match self.world.read(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) => {
                let (message, cause) = cannot_read(&self.world.shown(&path), &error);
                let cause = match cause {
                    Some(cause) if cause.kind() == ErrorKind::NotFound => "there is no such file".to_owned(),
                    Some(cause) => cause.to_string(),
                    None => "this file".to_owned(),
                };
                let help = "the path is relative to the file that includes";
                return refuse(&mut self.lowering, message, &cause, help);
            }
        };
        self.bytes += text.len() as u64;
        if self.bytes > MAX_TOTAL {
            let message = format!("the files that are included have more than {MAX_TOTAL} bytes together");
            return refuse(&mut self.lowering, message, "too much with this one", "include less");
        }
        self.broken = was_broken;
        let Some((included, document)) = self.document(&path, &text) else { return };
        let Some(body) = body_of_included(&document, &mut self.lowering) else {
            self.broken = true;
            return;
        };
        self.chain.push(Link { path, source: included, include: (0, 0) });
        self.body(&body);
        self.chain.pop();
        self.lowering.read(source);
    }

    /// The last file of the chain includes the one at `first`.
    fn cycle(&mut self, first: usize, path: &str) {
        let links = &self.chain[first..];
        let names: Vec<String> = links
            .iter()
            .map(|link| link.path.as_str())
            .chain([path])
            .map(|path| self.world.shown(path))
            .collect();
        let Some((last, before)) = links.split_last() else { return };
        let sources = &self.lowering.places.sources;
        let message = format!("{} includes itself", names[0]);
        let mut mistake = Mistake::at(
            &sources[last.source],
            last.include,
            "xp::spec::include",
            message,
            "includes it again",
        );
        for (link, included) in before.iter().zip(&names[1..]) {
            let text = &sources[link.source];
            mistake = mistake.elsewhere(text, link.include, format!("by way of {included}"), "included here");
        }
        let help = format!("{}: take one of these out", names.join(" → "));
        self.lowering.push(|_| mistake.help(help));
    }

    /// `use "smoke"`; `used` are the names that the file used before.
    fn uses(&mut self, node: &KdlNode, source: usize, used: &mut Vec<(String, Span)>) {
        self.lowering.read(source);
        let help = "write `use \"smoke\"`: the name of a preset";
        if node.entries().is_empty() || node.children().is_some() {
            self.lowering.mistake(head_span(node), "`use` takes the names of presets", "of which?", help);
            return;
        }
        for entry in node.entries() {
            self.lowering.read(source);
            let at = value_span(entry);
            match entry.value().as_string().filter(|_| entry.name().is_none()) {
                Some(name) => match self.presets.find(name) {
                    Some(index) => match used.iter().find(|(other, _)| other == name) {
                        Some((_, first)) => self.lowering.given_again(name, at, Some(*first)),
                        None => {
                            used.push((name.to_owned(), at));
                            self.apply(index);
                        }
                    },
                    None => {
                        let help = self.presets.known(name);
                        let message = format!("no preset {}", quoted(name));
                        self.lowering.push(|text| {
                            Mistake::at(text, at, "xp::spec::preset", message, "not defined").help(help)
                        });
                    }
                },
                None => {
                    self.lowering.mistake(name_span(entry), "a preset is named by a text", "not a name", help)
                }
            }
        }
    }

    /// Lays a preset over what is known.
    fn apply(&mut self, index: usize) {
        for (source, node) in self.presets.take(index) {
            self.lowering.begin(source);
            self.lowering.body(&body_of_preset(&node), &mut self.settings);
        }
    }

    /// Applies the presets of the command line.
    fn choose(&mut self, chosen: &[String]) {
        for name in chosen {
            match self.presets.find(name) {
                Some(index) => self.apply(index),
                None => {
                    let text = SourceText::new("--preset", name);
                    let message = format!("no preset {}", quoted(name));
                    let mistake =
                        Mistake::at(&text, (0, name.len()), "xp::spec::preset", message, "not defined");
                    let help = self.presets.known(name);
                    self.lowering.push(|_| mistake.help(help));
                }
            }
        }
    }

    /// Mistakes of presets that are not used: of each as if it were the only one.
    fn check_unused(&mut self) {
        let mut unused = self.presets.unused();
        // Each is laid over a copy, which takes its time where there is no end of settings.
        if unused.len().saturating_mul(self.lowering.places.len()) > MOST_COPIED {
            unused.clear();
        }
        for (source, node) in unused {
            let (settings, places) = (self.settings.clone(), self.lowering.places.clone());
            let layer = self.lowering.begin(source);
            self.lowering.body(&body_of_preset(&node), &mut self.settings);
            let tried = Value::Object(std::mem::replace(&mut self.settings, settings));
            let tried_places = std::mem::replace(&mut self.lowering.places, places);
            for finding in violations(&tried, Some(&tried_places)) {
                let place = tried_places.nearest(&finding.pointer);
                if place.is_some_and(|(place, _)| place.layer == layer) {
                    let mistake = tried_places.mistake_at(&finding, place);
                    self.lowering.push(|_| mistake);
                }
            }
        }
    }
}

/// What stands in a preset's braces.
fn body_of_preset(node: &KdlNode) -> Body<'_> {
    let nodes = node.children().map_or(&[][..], KdlDocument::nodes);
    let is_setting = |node: &&KdlNode| !DIRECTIVES.contains(&node.name().value());
    Body { head: Some(node), names: false, nodes: nodes.iter().filter(is_setting).collect() }
}
