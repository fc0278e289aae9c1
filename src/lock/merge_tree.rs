//! A lock's canonical text as a tree of lines. A line is a fact; a block holds
//! lines and blocks. What stands once in its block is named by its first word,
//! an element of a list by that and its key.

use super::fact::segment;

/// Nodes that are written once for each element of a list, and the list's field.
const ELEMENTS: [(&str, &str); 6] = [
    ("run", "runs"),
    ("backend", "backends"),
    ("axis", "matrix"),
    ("file", "files"),
    ("fact", "hardware"),
    ("set", "set"),
];

/// A line, or a block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Node<'a> {
    /// A line without its indentation.
    Line(&'a str),
    /// Its first line without the brace, and what it holds.
    Block(&'a str, Vec<Node<'a>>),
}

/// What one line of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Opens(&'a str),
    Closes,
    Fact(&'a str),
    /// A comment, or nothing.
    Blank,
}

/// Reads one line. In canonical text a brace at a line's end opens a block: a value ends with a quote,
/// a digit or a letter.
pub(super) fn part(line: &str) -> Part<'_> {
    let line = line.trim();
    match line {
        "" => Part::Blank,
        line if line.starts_with("//") => Part::Blank,
        "}" => Part::Closes,
        line => match line.strip_suffix('{') {
            Some(head) => Part::Opens(head.trim_end()),
            None => Part::Fact(line),
        },
    }
}

/// The tree of a canonical text.
pub(super) fn tree(text: &str) -> Vec<Node<'_>> {
    let mut open: Vec<(&str, Vec<Node<'_>>)> = vec![("", Vec::new())];
    for line in text.lines() {
        match part(line) {
            Part::Opens(head) => open.push((head, Vec::new())),
            Part::Closes if open.len() > 1 => {
                if let Some((head, nodes)) = open.pop() {
                    push(&mut open, Node::Block(head, nodes));
                }
            }
            Part::Fact(line) => push(&mut open, Node::Line(line)),
            Part::Closes | Part::Blank => {}
        }
    }
    while open.len() > 1 {
        if let Some((head, nodes)) = open.pop() {
            push(&mut open, Node::Block(head, nodes));
        }
    }
    open.pop().map(|(_, nodes)| nodes).unwrap_or_default()
}

fn push<'a>(open: &mut [(&'a str, Vec<Node<'a>>)], node: Node<'a>) {
    if let Some((_, nodes)) = open.last_mut() {
        nodes.push(node);
    }
}

impl<'a> Node<'a> {
    /// What tells it from the others of its block.
    pub fn key(&self) -> &'a str {
        match self {
            Self::Line(line) => key(line),
            Self::Block(head, _) => head,
        }
    }

    /// What a block holds.
    pub fn children(&self) -> &[Node<'a>] {
        match self {
            Self::Line(_) => &[],
            Self::Block(_, nodes) => nodes,
        }
    }

    /// The value of a line, or how a block begins and how many lines it has, for people.
    pub fn value(&self) -> String {
        match self {
            Self::Line(line) => value(line),
            Self::Block(_, nodes) => {
                let first = nodes.iter().find(|node| matches!(node, Self::Line(_)));
                let first = first.map(|line| format!("{} {}, ", line.key(), line.value()));
                match self.lines() {
                    1 => format!("{}1 line", first.unwrap_or_default()),
                    lines => format!("{}{lines} lines", first.unwrap_or_default()),
                }
            }
        }
    }

    fn lines(&self) -> usize {
        match self {
            Self::Line(_) => 1,
            Self::Block(_, nodes) => nodes.iter().map(Node::lines).sum(),
        }
    }

    /// Appends its text.
    pub fn write(&self, out: &mut String, depth: usize) {
        indent(out, depth);
        match self {
            Self::Line(line) => out.push_str(line),
            Self::Block(head, nodes) => {
                out.push_str(head);
                out.push_str(" {\n");
                nodes.iter().for_each(|node| node.write(out, depth + 1));
                indent(out, depth);
                out.push('}');
            }
        }
        out.push('\n');
    }
}

pub(super) fn indent(out: &mut String, depth: usize) {
    (0..depth).for_each(|_| out.push_str("    "));
}

/// The first word of a line, with the key of an element of a list.
fn key(line: &str) -> &str {
    let word = line.split(' ').next().unwrap_or_default();
    match ELEMENTS.iter().any(|(node, _)| *node == word) {
        true => &line[..quoted_end(line).unwrap_or(word.len())],
        false => word,
    }
}

/// Where the first quoted text of a line ends.
fn quoted_end(line: &str) -> Option<usize> {
    let start = line.find('"')?;
    let mut escaped = false;
    let end = line[start + 1..].char_indices().find(|(_, c)| match c {
        _ if escaped => {
            escaped = false;
            false
        }
        '\\' => {
            escaped = true;
            false
        }
        c => *c == '"',
    });
    end.map(|(at, _)| start + 1 + at + 1)
}

/// What stands behind a line's key, a single text without its quotes.
fn value(line: &str) -> String {
    let rest = line[key(line).len()..].trim_start();
    let bare = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    bare.filter(|text| !text.contains(['"', '\\'])).unwrap_or(rest).to_owned()
}

/// The path of what has these keys, from the outermost block inwards.
pub(super) fn path<'a>(keys: impl IntoIterator<Item = &'a str>) -> String {
    let mut out: Vec<String> = Vec::new();
    for key in keys {
        let word = key.split(' ').next().unwrap_or_default();
        let element = ELEMENTS.iter().find(|(node, _)| *node == word);
        match (element, key.find('"')) {
            (Some((_, field)), Some(start)) => {
                let name = key[start..].trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\");
                out.push((*field).to_owned());
                out.push(segment(&name));
            }
            _ => out.push(word.to_owned()),
        }
    }
    out.join(".")
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_tree_is_written_as_it_was_read() {
        let text = samples::lock(3).to_kdl();
        let mut again = text.lines().next().unwrap().to_owned() + "\n";
        tree(&text).iter().for_each(|node| node.write(&mut again, 0));
        assert_eq!(again, text);
    }

    #[test]
    fn no_two_lines_of_a_block_share_a_name() {
        fn check(nodes: &[Node<'_>], names: &mut Vec<String>, keys: &mut Vec<String>) {
            let mut own: Vec<&str> = nodes.iter().map(Node::key).collect();
            own.sort_unstable();
            assert!(own.windows(2).all(|two| two[0] != two[1]), "{own:?}");
            for node in nodes {
                keys.push(node.key().to_owned());
                names.push(path(keys.iter().map(String::as_str)));
                check(node.children(), names, keys);
                keys.pop();
            }
        }
        let text = samples::lock(2).to_kdl();
        let mut names = Vec::new();
        check(&tree(&text), &mut names, &mut Vec::new());
        for name in [
            "spec.sha256",
            "experiment.backends.sarathi.chunk-size",
            "experiment.matrix.\"workload.arrivals.qps\".values",
            "bundle.files.\"mlp.csv\"",
            "runs.tiny-2.set.\"workload.arrivals.qps\"",
            "runs.tiny-2.workload.sha256",
        ] {
            assert!(names.iter().any(|known| known == name), "{name} is not in {names:#?}");
        }
    }

    #[test]
    fn values_read_as_they_mean() {
        let shown = |line| Node::Line(line).value();
        assert_eq!(shown("chunk-size 16"), "16");
        assert_eq!(shown("kv-memory \"4MiB\""), "4MiB");
        assert_eq!(shown("overrides \"a=1\" \"b=2\""), "\"a=1\" \"b=2\"");
        assert_eq!(shown("file \"a b\\\"c.csv\" bytes=1"), "bytes=1");
        assert_eq!(Node::Line("file \"a b\\\"c.csv\" bytes=1").key(), "file \"a b\\\"c.csv\"");
        assert_eq!(path(["run \"a.b\"", "workload"]), "runs.\"a.b\".workload");
    }
}
