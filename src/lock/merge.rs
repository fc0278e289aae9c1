//! Two locks that went on from one, as one: fact by fact, not line by line.
//!
//! A fact that one side changed is that side's. A setting that both sides
//! changed otherwise is a conflict. A fact that xp derives from others cannot be
//! chosen: where both sides changed what it is derived from, the merged lock is
//! out of date until it is locked again, and says nothing that `xp lock --check`
//! would not notice.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::merge_conflict::{BETWEEN, OURS, THEIRS};
use super::merge_derived;
use super::merge_tree::{Node, Part, part, path, tree};
use super::pins::Lock;
use super::read::{LockError, parse};

/// What the two sides are called in a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    pub ours: String,
    pub theirs: String,
}

impl Default for Labels {
    fn default() -> Self {
        Self { ours: "ours".to_owned(), theirs: "theirs".to_owned() }
    }
}

/// A fact that both sides changed, each otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeConflict {
    pub fact: String,
    /// As people read them; None: it is not there.
    pub base: Option<String>,
    pub ours: Option<String>,
    pub theirs: Option<String>,
}

/// What became of three locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The canonical text of a lock; with markers around each conflict.
    pub text: String,
    pub conflicts: Vec<MergeConflict>,
    /// Facts that are out of date, since both sides changed what they are derived from.
    pub outdated: Vec<String>,
    /// Whether both sides changed the experiment, each otherwise.
    pub both_changed_settings: bool,
    /// Path of the experiment, of our side where the two differ.
    pub spec: String,
}

/// Merges two locks. Without a base all that they do not have alike is a change of both.
pub fn merge(base: Option<&Lock>, ours: &Lock, theirs: &Lock, labels: &Labels) -> Merged {
    let clean = |lock: &Lock| Merged {
        text: lock.to_kdl(),
        conflicts: Vec::new(),
        outdated: Vec::new(),
        both_changed_settings: false,
        spec: lock.spec.path.clone(),
    };
    if ours == theirs || base == Some(theirs) {
        return clean(ours);
    }
    if base == Some(ours) {
        return clean(theirs);
    }
    let texts = [base.map(Lock::to_kdl).unwrap_or_default(), ours.to_kdl(), theirs.to_kdl()];
    let [base_tree, our_tree, their_tree] = texts.each_ref().map(|text| tree(text));
    let both_changed_settings = base.map(|base| &base.experiment) != Some(&ours.experiment)
        && base.map(|base| &base.experiment) != Some(&theirs.experiment)
        && ours.experiment != theirs.experiment;
    let mut whole = BTreeSet::new();
    loop {
        let mut merge = Merge { whole: &whole, conflicts: Vec::new(), outdated: Vec::new() };
        let nodes = merge.nodes(&mut Vec::new(), &base_tree, &our_tree, &their_tree);
        let Merge { conflicts, outdated, .. } = merge;
        let mut text = texts[1].lines().next().map(|line| format!("{line}\n")).unwrap_or_default();
        nodes.iter().for_each(|node| node.write(&mut text, 0, labels));
        if !conflicts.is_empty() {
            let spec = ours.spec.path.clone();
            return Merged { text, conflicts, outdated: Vec::new(), both_changed_settings, spec };
        }
        match parse(Path::new("the merged lock"), &text) {
            Ok(merged) => {
                let (lock, outdated) = merge_derived::settle(merged, base, ours, theirs, outdated);
                let (text, spec) = (lock.to_kdl(), lock.spec.path);
                return Merged { text, conflicts, outdated, both_changed_settings, spec };
            }
            // Each side is a lock and what they make together is none: what both changed there is a conflict.
            Err(error) => {
                let keys = place(&text, &error);
                let trees = [&base_tree[..], &our_tree[..], &their_tree[..]];
                if !whole.insert(closest_of_both(&keys, trees, &whole)) {
                    // Nothing is left but the whole of both.
                    return whole_locks(ours, theirs, labels, both_changed_settings);
                }
            }
        }
    }
}

/// Both locks as they are, one conflict.
fn whole_locks(ours: &Lock, theirs: &Lock, labels: &Labels, both_changed_settings: bool) -> Merged {
    let (our_text, their_text) = (ours.to_kdl(), theirs.to_kdl());
    let text = format!("{OURS}{}\n{our_text}{BETWEEN}\n{their_text}{THEIRS}{}\n", labels.ours, labels.theirs);
    let lines = |text: &str| Some(format!("{} lines", text.lines().count()));
    let conflict = MergeConflict {
        fact: "the lock".to_owned(),
        base: None,
        ours: lines(&our_text),
        theirs: lines(&their_text),
    };
    let spec = ours.spec.path.clone();
    Merged { text, conflicts: vec![conflict], outdated: Vec::new(), both_changed_settings, spec }
}

/// What happens to a fact that both sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// A person has to choose.
    Conflict,
    /// xp derives it and notices when it is wrong: what it was before stays until then.
    Derived,
    /// xp derives it and does not notice: it is left out.
    LeftOut,
    /// The newer version.
    Newest,
}

fn policy(keys: &[&str]) -> Policy {
    match keys {
        ["lock" | "xp" | "versions", ..] => Policy::Newest,
        ["spec", "sha256"] | ["seeds", ..] => Policy::Derived,
        ["resolved-model", "commit"] => Policy::Conflict,
        ["resolved-model", ..] => Policy::Derived,
        [run, "sim", ..] if run.starts_with("run ") => Policy::LeftOut,
        [run, ..] if run.starts_with("run ") => Policy::Derived,
        _ => Policy::Conflict,
    }
}

/// A node of the merged text.
enum Out<'a> {
    Same(&'a Node<'a>),
    Block(&'a str, Vec<Out<'a>>),
    Conflict(Option<&'a Node<'a>>, Option<&'a Node<'a>>),
}

impl Out<'_> {
    fn write(&self, text: &mut String, depth: usize, labels: &Labels) {
        match self {
            Self::Same(node) => node.write(text, depth),
            Self::Block(head, nodes) => {
                super::merge_tree::indent(text, depth);
                text.push_str(head);
                text.push_str(" {\n");
                nodes.iter().for_each(|node| node.write(text, depth + 1, labels));
                super::merge_tree::indent(text, depth);
                text.push_str("}\n");
            }
            Self::Conflict(ours, theirs) => {
                let mut side = |marker: &str, label: &str, node: Option<&Node<'_>>| {
                    text.push_str(marker);
                    text.push_str(label);
                    text.push('\n');
                    node.into_iter().for_each(|node| node.write(text, depth));
                };
                side(OURS, &labels.ours, *ours);
                side(BETWEEN, "", *theirs);
                side(THEIRS, &labels.theirs, None);
            }
        }
    }
}

/// One attempt.
struct Merge<'w> {
    /// Paths of blocks that are taken as a whole.
    whole: &'w BTreeSet<String>,
    conflicts: Vec<MergeConflict>,
    outdated: Vec<String>,
}

type Found<'a> = [Option<&'a Node<'a>>; 3];

impl Merge<'_> {
    fn nodes<'a>(
        &mut self,
        keys: &mut Vec<&'a str>,
        base: &'a [Node<'a>],
        ours: &'a [Node<'a>],
        theirs: &'a [Node<'a>],
    ) -> Vec<Out<'a>> {
        let index = |nodes: &'a [Node<'a>]| -> HashMap<&'a str, &'a Node<'a>> {
            nodes.iter().map(|node| (node.key(), node)).collect()
        };
        let (was, own, other) = (index(base), index(ours), index(theirs));
        let mut out = Vec::new();
        for key in order(base, ours, theirs) {
            let found = [was.get(key).copied(), own.get(key).copied(), other.get(key).copied()];
            keys.push(key);
            out.extend(self.node(keys, found));
            keys.pop();
        }
        out
    }

    fn node<'a>(&mut self, keys: &mut Vec<&'a str>, found: Found<'a>) -> Option<Out<'a>> {
        let [base, ours, theirs] = found;
        if ours == theirs || base == theirs {
            return ours.map(Out::Same);
        }
        if base == ours {
            return theirs.map(Out::Same);
        }
        if let (None | Some(Node::Block(..)), Some(Node::Block(head, own)), Some(Node::Block(_, other))) =
            (base, ours, theirs)
            && !self.is_whole(keys, found)
        {
            return Some(Out::Block(head, self.nodes(keys, base.map_or(&[], Node::children), own, other)));
        }
        let fact = || path(keys.iter().copied());
        match policy(keys) {
            Policy::Newest => newest(ours, theirs).map(Out::Same),
            Policy::LeftOut => {
                self.outdated.push(fact());
                None
            }
            Policy::Derived => {
                // The spec's digest is made anew, and which runs there are is the matrix's to say.
                if keys.len() > 1 && *keys != ["spec", "sha256"] {
                    self.outdated.push(fact());
                }
                let either = ours.into_iter().chain(theirs).min();
                let kept = if keys.len() == 1 { either } else { base.or(either) };
                kept.map(Out::Same)
            }
            Policy::Conflict => {
                let value = |node: Option<&Node<'_>>| node.map(Node::value);
                self.conflicts.push(MergeConflict {
                    fact: fact(),
                    base: value(base),
                    ours: value(ours),
                    theirs: value(theirs),
                });
                Some(Out::Conflict(ours, theirs))
            }
        }
    }

    /// Whether a block makes sense only as one side wrote it.
    fn is_whole(&self, keys: &[&str], found: Found<'_>) -> bool {
        match keys {
            ["bundle"] | [_, "workload" | "bundle" | "sim"] if keys[0] != "experiment" => return true,
            _ => {}
        }
        // Blocks of two kinds have other settings.
        let kinds = found
            .into_iter()
            .flatten()
            .filter_map(|node| node.children().iter().find(|child| child.key() == "kind"));
        let kinds: HashSet<&Node<'_>> = kinds.collect();
        kinds.len() > 1 || self.whole.contains(&path(keys.iter().copied()))
    }
}

/// The one whose numbers are larger.
fn newest<'a>(one: Option<&'a Node<'a>>, other: Option<&'a Node<'a>>) -> Option<&'a Node<'a>> {
    let version = |node: &&Node<'_>| -> (Vec<u64>, String) {
        let value = node.value();
        let numbers = value.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
        (numbers.collect(), value.clone())
    };
    one.into_iter().chain(other).max_by_key(version)
}

/// The keys of what the merged block has: all of both sides, in an order that does not depend on
/// which side is whose.
fn order<'a>(base: &'a [Node<'a>], ours: &'a [Node<'a>], theirs: &'a [Node<'a>]) -> Vec<&'a str> {
    let keys = |nodes: &'a [Node<'a>]| nodes.iter().map(Node::key).collect::<Vec<_>>();
    let (base, ours, theirs) = (keys(base), keys(ours), keys(theirs));
    let set = |keys: &[&'a str]| keys.iter().copied().collect::<HashSet<_>>();
    let (in_base, in_ours, in_theirs) = (set(&base), set(&ours), set(&theirs));
    let common = |keys: &[&'a str]| -> Vec<&'a str> {
        let is = |key: &&&str| {
            in_ours.contains(**key)
                && in_theirs.contains(**key)
                && (base.is_empty() || in_base.contains(**key))
        };
        keys.iter().filter(is).copied().collect()
    };
    let (was, own, other) = (common(&base), common(&ours), common(&theirs));
    // Who moved something says where it is; where both did, it stays.
    let spine = match () {
        () if own == other || was == other => own,
        () if was == own => other,
        () if base.is_empty() => own.min(other),
        () => was,
    };
    let places: HashMap<&str, usize> = spine.iter().enumerate().map(|(at, key)| (*key, at + 1)).collect();
    // What only some have follows what it follows there.
    let slots = |keys: &[&'a str]| {
        let mut slots: HashMap<usize, Vec<&'a str>> = HashMap::new();
        let mut slot = 0;
        for key in keys {
            match places.get(key) {
                Some(place) => slot = *place,
                None => slots.entry(slot).or_default().push(key),
            }
        }
        slots
    };
    let (own, other) = (slots(&ours), slots(&theirs));
    let mut out = Vec::with_capacity(ours.len().max(theirs.len()));
    let mut seen: HashSet<&str> = HashSet::new();
    for slot in 0..=spine.len() {
        if let Some(key) = slot.checked_sub(1).map(|at| spine[at]) {
            out.push(key);
        }
        let mut added: Vec<&Vec<&str>> = own.get(&slot).into_iter().chain(other.get(&slot)).collect();
        added.sort();
        out.extend(added.into_iter().flatten().filter(|key| seen.insert(**key)));
    }
    out
}

/// The keys of the blocks and the line where an error stands, from the outermost inwards.
fn place<'a>(text: &'a str, error: &LockError) -> Vec<&'a str> {
    let LockError::Invalid { span: Some(span), .. } = error else { return Vec::new() };
    let mut keys = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let here = at + line.len() > span.offset();
        at += line.len();
        match part(line) {
            Part::Opens(head) => keys.push(head),
            Part::Closes if !here => {
                keys.pop();
            }
            Part::Fact(line) if here => keys.push(Node::Line(line).key()),
            Part::Closes | Part::Fact(_) | Part::Blank => {}
        }
        if here {
            break;
        }
    }
    keys
}

/// The path of the innermost of nested blocks that both sides changed otherwise, and that is not
/// taken as a whole yet.
fn closest_of_both(keys: &[&str], trees: [&[Node<'_>]; 3], whole: &BTreeSet<String>) -> String {
    for depth in (1..=keys.len()).rev() {
        let found = trees.map(|nodes| find(nodes, &keys[..depth]));
        let [base, ours, theirs] = found;
        let name = path(keys[..depth].iter().copied());
        if ours != theirs && base != ours && base != theirs && !whole.contains(&name) {
            return name;
        }
    }
    keys.first().map(|key| path([*key])).unwrap_or_default()
}

fn find<'n, 'a>(nodes: &'n [Node<'a>], keys: &[&str]) -> Option<&'n Node<'a>> {
    let (first, rest) = keys.split_first()?;
    let node = nodes.iter().find(|node| node.key() == *first)?;
    if rest.is_empty() { Some(node) } else { find(node.children(), rest) }
}
