//! Named groups of settings, which an experiment or the command line chooses.

use kdl::{KdlDocument, KdlNode};

use super::diagnostic::{Mistake, Span};
use super::kdl_value::{head_span, span, value_span};
use super::lower::{DIRECTIVES, Lowering};
use super::suggest::{did_you_mean, quoted};

/// Longest name, in characters.
const MAX_NAME: usize = 100;

/// Most presets of an experiment and its files.
const MAX_PRESETS: usize = 256;

/// A preset by its name.
#[derive(Debug)]
struct Preset {
    name: String,
    /// Where it is defined: text and node. A file that includes another goes on with its presets.
    parts: Vec<(usize, KdlNode)>,
    used: bool,
}

/// All presets that are defined so far.
#[derive(Debug, Default)]
pub(super) struct Presets {
    all: Vec<Preset>,
}

impl Presets {
    pub fn find(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|preset| preset.name == name)
    }

    /// Where the preset's settings stand, in the order of their files. It is used.
    pub fn take(&mut self, index: usize) -> Vec<(usize, KdlNode)> {
        self.all[index].used = true;
        self.all[index].parts.clone()
    }

    /// Parts of all presets that are not used.
    pub fn unused(&self) -> Vec<(usize, KdlNode)> {
        self.all.iter().filter(|preset| !preset.used).flat_map(|preset| preset.parts.clone()).collect()
    }

    /// Help for a name that no preset has.
    pub fn known(&self, name: &str) -> String {
        let names: Vec<&str> = self.all.iter().map(|preset| preset.name.as_str()).take(20).collect();
        match names.is_empty() {
            true => "the experiment has no presets; one is written `preset \"smoke\" { workload { requests 4; }; }`".to_owned(),
            false => did_you_mean(name, &names, "the experiment has"),
        }
    }

    /// Adds the presets of a file.
    pub fn define(&mut self, nodes: &[&KdlNode], source: usize, lowering: &mut Lowering) {
        let mut seen: Vec<(&str, Span)> = Vec::new();
        for node in nodes {
            let Some((name, at)) = name_of(node, lowering) else { continue };
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                lowering.given_again(name, at, Some(*first));
                continue;
            }
            seen.push((name, at));
            for inner in node.children().map_or(&[][..], KdlDocument::nodes) {
                let directive = inner.name().value();
                if DIRECTIVES.contains(&directive) {
                    let help =
                        format!("write `{directive}` beside the preset, in the braces of the experiment");
                    let message = format!("a preset has no `{directive}`");
                    lowering.mistake(span(inner.name().span()), message, "not in a preset", help);
                }
            }
            let part = (source, (*node).clone());
            match self.find(name) {
                Some(known) => {
                    self.all[known].parts.push(part);
                    self.all[known].used = false;
                }
                None if self.all.len() >= MAX_PRESETS => {
                    lowering.mistake(at, format!("more than {MAX_PRESETS} presets"), "one too many", "");
                    return;
                }
                None => self.all.push(Preset { name: name.to_owned(), parts: vec![part], used: false }),
            }
        }
    }
}

/// The preset's name and where it stands.
fn name_of<'n>(node: &'n KdlNode, lowering: &mut Lowering) -> Option<(&'n str, Span)> {
    let help = "write `preset \"smoke\" { workload { requests 4; }; }`";
    let Some(entry) = node.entries().iter().find(|entry| entry.name().is_none()) else {
        lowering.mistake(head_span(node), "`preset` needs a name", "without a name", help);
        return None;
    };
    let at = value_span(entry);
    let Some(name) = entry.value().as_string() else {
        lowering.mistake(at, "a preset is named by a text", "not a name", help);
        return None;
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_plain);
    if !fits || name.len() > MAX_NAME {
        let help = "it starts with a letter or digit and goes on with letters, digits, `-`, `_` and `.`, 100 at most";
        lowering.push(|text| {
            let message = format!("{} is no name of a preset", quoted(name));
            Mistake::at(text, at, "xp::spec::preset", message, "here").help(help)
        });
        return None;
    }
    Some((name, at))
}
