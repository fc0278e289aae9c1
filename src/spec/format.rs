//! The canonical form of an experiment's text.
//!
//! It is made from tokens and not from the parsed document: between two tokens
//! stand only space, line ends and comments, so every comment is seen and is
//! either kept in its place or moved to the next one that can hold it. Tokens
//! are kept as they were written.

use kdl::{KdlDocument, KdlEntry, KdlNode};

use super::diagnostic::{Mistake, SourceText, SpecErrors};
use super::lexeme::{Refusal, is_newline, is_space, lexeme};
use super::load::MAX_BYTES;
use super::parse::parse_kdl;

const INDENT: &str = "    ";

/// The text in canonical form: four spaces of indentation, one node a line, values before properties,
/// at most one empty line in a row. `name` is what diagnostics show.
///
/// # Errors
/// The text is not KDL: its mistakes. What it means as an experiment is not looked at.
pub fn canonical(name: &str, text: &str) -> Result<String, SpecErrors> {
    let document = parse_kdl(name, text, MAX_BYTES)?;
    let (made, mut comments) = layout(name, text)?;
    let (again, mut kept) = layout(name, &made)?;
    comments.sort_unstable();
    kept.sort_unstable();
    // A formatter must lose nothing: it is held to that every time, not in tests alone.
    if again == made && kept == comments && same(&document, &parse_kdl(name, &made, MAX_BYTES)?) {
        return Ok(made);
    }
    let message = format!("{name} cannot be formatted without changing what it says");
    Err(Mistake::new("xp::spec::format", message).help("this is a mistake in xp: please report it").into())
}

/// The text laid out anew, and its comments.
fn layout<'a>(name: &str, text: &'a str) -> Result<(String, Vec<&'a str>), SpecErrors> {
    let layout = Layout {
        text,
        at: 0,
        out: String::with_capacity(text.len()),
        depth: 0,
        fresh: true,
        bare: false,
        comments: Vec::new(),
    };
    layout.document().map_err(|refusal| {
        let source = SourceText::new(name, text);
        let mistake = Mistake::at(&source, refusal.span, "xp::spec::syntax", refusal.message, refusal.label);
        mistake.help(refusal.help).into()
    })
}

/// Whether two documents differ in nothing but form. Values and properties are two lists: a node's
/// properties may be written between its values.
fn same(a: &KdlDocument, b: &KdlDocument) -> bool {
    let entries = |node: &KdlNode, named: bool| -> Vec<String> {
        let of_kind = node.entries().iter().filter(|entry| entry.name().is_some() == named);
        of_kind
            .map(|entry| format!("{:?} {:?}", entry.name().map(|name| name.value()), entry.value()))
            .collect()
    };
    let blocks = |a: &KdlNode, b: &KdlNode| match (a.children(), b.children()) {
        (Some(a), Some(b)) => same(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    a.nodes().len() == b.nodes().len()
        && a.nodes().iter().zip(b.nodes()).all(|(a, b)| {
            a.name().value() == b.name().value()
                && entries(a, false) == entries(b, false)
                && entries(a, true) == entries(b, true)
                && blocks(a, b)
        })
}

/// What stands between two nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trivium<'a> {
    Newline,
    /// `// …`, which ends with its line.
    Line(&'a str),
    /// `/* … */`.
    Block(&'a str),
}

/// What stands between two parts of a node.
#[derive(Debug, Clone, Copy)]
enum Gap<'a> {
    Block(&'a str),
    /// A `\` that goes on in the next line, and the comment behind it.
    Break(Option<&'a str>),
}

/// A value or property, and what stands before it.
struct Entry<'a> {
    before: Vec<Gap<'a>>,
    slashed: bool,
    name: Option<&'a str>,
    value: &'a str,
}

/// What comes after trivia.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Node,
    /// The end of a block or of the text.
    End,
}

/// Reads a text that the parser accepts and writes it anew.
struct Layout<'a> {
    text: &'a str,
    at: usize,
    /// Complete lines, and the one that is being written.
    out: String,
    depth: usize,
    /// No line was started since the innermost block was opened.
    fresh: bool,
    /// Nothing at all was written since then.
    bare: bool,
    comments: Vec<&'a str>,
}

impl<'a> Layout<'a> {
    fn document(mut self) -> Result<(String, Vec<&'a str>), Refusal> {
        let mut trivia: Vec<Trivium<'a>> = Vec::new();
        loop {
            self.lines(&mut trivia);
            let slashed = self.rest().starts_with("/-");
            if slashed {
                self.at += 2;
                self.behind_slashdash(&mut trivia);
            }
            match self.peek() {
                None => {
                    self.write_trivia(&trivia, Next::End);
                    if !self.out.is_empty() {
                        self.out.push('\n');
                    }
                    return Ok((self.out, self.comments));
                }
                Some('}') => {
                    self.write_trivia(&trivia, Next::End);
                    trivia = self.close();
                }
                Some(_) => {
                    self.write_trivia(&trivia, Next::Node);
                    trivia = self.node(slashed)?;
                }
            }
        }
    }

    /// A node up to its end or its block's start; comments that go behind either.
    fn node(&mut self, slashed: bool) -> Result<Vec<Trivium<'a>>, Refusal> {
        if slashed {
            self.out.push_str("/-");
        }
        let name = self.token()?;
        self.write_token(name);
        let mut entries = Vec::new();
        let mut before = self.gap();
        loop {
            let slashed = self.rest().starts_with("/-");
            if slashed {
                self.at += 2;
                let mut inside = Vec::new();
                self.lines(&mut inside);
                before.extend(inside.iter().filter_map(|trivium| match trivium {
                    Trivium::Newline => None,
                    Trivium::Line(text) => Some(Gap::Break(Some(text))),
                    Trivium::Block(text) => Some(Gap::Block(text)),
                }));
            }
            match self.peek() {
                Some('{') => {
                    self.write_entries(entries);
                    return Ok(self.open(before, slashed));
                }
                None | Some(';' | '}') => {}
                Some(c) if is_newline(c) => {}
                Some(_) if self.rest().starts_with("//") => {}
                Some(_) => {
                    let (entry, after) = self.entry(before, slashed)?;
                    entries.push(entry);
                    before = after;
                    continue;
                }
            }
            self.write_entries(entries);
            return Ok(self.end(before));
        }
    }

    /// An entry, and what stands behind it.
    fn entry(
        &mut self,
        mut before: Vec<Gap<'a>>,
        slashed: bool,
    ) -> Result<(Entry<'a>, Vec<Gap<'a>>), Refusal> {
        let first = self.token()?;
        let after = self.gap();
        if self.peek() != Some('=') {
            return Ok((Entry { before, slashed, name: None, value: first }, after));
        }
        self.at += 1;
        // What stands around the `=` goes before the property.
        before.extend(after);
        before.extend(self.gap());
        let value = self.token()?;
        let after = self.gap();
        Ok((Entry { before, slashed, name: Some(first), value }, after))
    }

    /// `{`. Comments before it stay, those that end their line go behind it.
    fn open(&mut self, before: Vec<Gap<'a>>, slashed: bool) -> Vec<Trivium<'a>> {
        let mut carried = Vec::new();
        for gap in before {
            match gap {
                Gap::Block(text) => self.write_behind(text),
                Gap::Break(Some(text)) => carried.extend([Trivium::Line(text), Trivium::Newline]),
                Gap::Break(None) => {}
            }
        }
        self.out.push_str(if slashed { " /-{" } else { " {" });
        self.at += 1;
        self.depth += 1;
        (self.fresh, self.bare) = (true, true);
        carried
    }

    /// `}`; comments that go behind it.
    fn close(&mut self) -> Vec<Trivium<'a>> {
        self.depth -= 1;
        if !self.bare {
            self.start_line(false);
        }
        (self.fresh, self.bare) = (false, false);
        self.out.push('}');
        self.at += 1;
        let after = self.gap();
        self.end(after)
    }

    /// The end of a node; comments that go behind it.
    fn end(&mut self, before: Vec<Gap<'a>>) -> Vec<Trivium<'a>> {
        let mut carried = Vec::new();
        for gap in before {
            match gap {
                Gap::Block(text) if carried.is_empty() => self.write_behind(text),
                Gap::Block(text) => carried.push(Trivium::Block(text)),
                Gap::Break(Some(text)) => carried.extend([Trivium::Line(text), Trivium::Newline]),
                Gap::Break(None) => {}
            }
        }
        if self.peek() == Some(';') {
            self.at += 1;
        }
        carried
    }
}

/// Writing.
impl<'a> Layout<'a> {
    fn start_line(&mut self, after_empty: bool) {
        if !self.out.is_empty() {
            self.out.push('\n');
            if after_empty && !self.fresh {
                self.out.push('\n');
            }
        }
        self.out.push_str(&INDENT.repeat(self.depth));
        (self.fresh, self.bare) = (false, false);
    }

    /// Puts a comment behind what stands on the line.
    fn write_behind(&mut self, text: &str) {
        self.out.push(' ');
        self.out.push_str(text);
        self.bare = false;
    }

    /// Writes comments, each on its line or behind what it was behind, and starts the next node's line.
    fn write_trivia(&mut self, trivia: &[Trivium<'a>], next: Next) {
        let text = |trivium: &Trivium<'a>| match trivium {
            Trivium::Newline => None,
            Trivium::Line(text) | Trivium::Block(text) => Some(*text),
        };
        let newline = trivia.iter().position(|trivium| *trivium == Trivium::Newline);
        let behind = match newline {
            _ if self.out.is_empty() => 0,
            Some(newline) => newline,
            // With a node right behind them they are that node's.
            None if next == Next::Node => 0,
            None => trivia.len(),
        };
        for text in trivia[..behind].iter().filter_map(text) {
            self.write_behind(text);
        }
        let mut newlines = 0;
        let mut on_line = false;
        for trivium in &trivia[behind..] {
            match text(trivium) {
                None => {
                    newlines += 1;
                    on_line = false;
                }
                Some(text) if on_line => self.write_behind(text),
                Some(text) => {
                    self.start_line(newlines > 1);
                    self.out.push_str(text);
                    newlines = 0;
                    on_line = true;
                }
            }
        }
        match next {
            Next::Node if on_line => self.out.push(' '),
            Next::Node => self.start_line(newlines > 1),
            Next::End => {}
        }
    }

    /// Writes a node's values, then its properties.
    fn write_entries(&mut self, entries: Vec<Entry<'a>>) {
        let (named, values): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.name.is_some());
        let mut on_new_line = false;
        for entry in values.into_iter().chain(named) {
            for gap in entry.before {
                if on_new_line && matches!(gap, Gap::Break(None)) {
                    continue;
                }
                if !std::mem::take(&mut on_new_line) {
                    self.out.push(' ');
                }
                match gap {
                    Gap::Block(text) => self.out.push_str(text),
                    Gap::Break(comment) => {
                        self.out.push('\\');
                        if let Some(text) = comment {
                            self.write_behind(text);
                        }
                        self.out.push('\n');
                        self.out.push_str(&INDENT.repeat(self.depth + 1));
                        on_new_line = true;
                    }
                }
            }
            if !std::mem::take(&mut on_new_line) {
                self.out.push(' ');
            }
            if entry.slashed {
                self.out.push_str("/-");
            }
            if let Some(name) = entry.name {
                self.write_token(name);
                self.out.push('=');
            }
            self.write_token(entry.value);
        }
    }

    fn write_token(&mut self, token: &str) {
        match indented(token, &INDENT.repeat(self.depth + 1)) {
            Some(token) => self.out.push_str(&token),
            None => self.out.push_str(token),
        }
    }
}

/// A multi-line string with its lines indented anew, if it is one and means the same then.
fn indented(token: &str, indent: &str) -> Option<String> {
    let quotes = token.trim_start_matches('#');
    let body = quotes.strip_prefix("\"\"\"").filter(|body| body.starts_with(is_newline))?;
    let body = &body[..body.rfind("\"\"\"")?];
    let old = body.rsplit(is_newline).next()?;
    let mut out = token[..token.len() - quotes.len()].to_owned() + "\"\"\"";
    let mut rest = body;
    while let Some(start) = rest.find(is_newline) {
        let ends =
            if rest[start..].starts_with("\r\n") { 2 } else { rest[start..].chars().next()?.len_utf8() };
        out.push_str(&rest[..start]);
        out.push_str(&rest[start..start + ends]);
        rest = &rest[start + ends..];
        let line = &rest[..rest.find(is_newline).unwrap_or(rest.len())];
        let last = line.len() == rest.len();
        if last || !line.chars().all(is_space) {
            out.push_str(indent);
            rest = rest.strip_prefix(old)?;
        } else {
            rest = &rest[line.len()..];
        }
    }
    out.push_str(rest);
    out.push_str("\"\"\"");
    out.push_str(&token[..token.len() - quotes.len()]);
    let value = |text: &str| KdlEntry::parse(text).ok().map(|entry| entry.value().clone());
    (value(&out)? == value(token)?).then_some(out)
}

/// Reading.
impl<'a> Layout<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn token(&mut self) -> Result<&'a str, Refusal> {
        let start = self.at;
        (self.at, _) = lexeme(self.text, start)?;
        Ok(&self.text[start..self.at])
    }

    /// Takes a line end; whether there was one.
    fn newline(&mut self) -> bool {
        let length = match self.peek() {
            _ if self.rest().starts_with("\r\n") => 2,
            Some(c) if is_newline(c) => c.len_utf8(),
            _ => 0,
        };
        self.at += length;
        length > 0
    }

    /// Skips spaces; a byte order mark is one of them.
    fn spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(|c| is_space(c) || c == '\u{feff}').len();
    }

    fn line_comment(&mut self) -> Option<&'a str> {
        if !self.rest().starts_with("//") {
            return None;
        }
        let rest = self.rest();
        let comment = &rest[..rest.find(is_newline).unwrap_or(rest.len())];
        self.at += comment.len();
        let comment = comment.trim_end_matches(is_space);
        self.comments.push(comment);
        Some(comment)
    }

    fn block_comment(&mut self) -> Option<&'a str> {
        if !self.rest().starts_with("/*") {
            return None;
        }
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.text.as_bytes().get(self.at..self.at + 2) {
                Some(b"/*") => depth += 1,
                Some(b"*/") => depth -= 1,
                Some(_) => {
                    self.at += 1;
                    continue;
                }
                None => self.at = self.text.len() - 2,
            }
            self.at += 2;
            if depth == 0 || self.at == self.text.len() {
                let comment = &self.text[start..self.at];
                self.comments.push(comment);
                return Some(comment);
            }
        }
    }

    /// Line ends and comments up to the next node. A `\` at the end of an empty line continues nothing.
    fn lines(&mut self, out: &mut Vec<Trivium<'a>>) {
        loop {
            self.spaces();
            if self.newline() {
                out.push(Trivium::Newline);
            } else if let Some(text) = self.line_comment() {
                out.push(Trivium::Line(text));
            } else if let Some(text) = self.block_comment() {
                out.push(Trivium::Block(text));
            } else if self.peek() == Some('\\') {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    /// Comments between a `/-` and its node go before it.
    fn behind_slashdash(&mut self, out: &mut Vec<Trivium<'a>>) {
        let mut inside = Vec::new();
        self.lines(&mut inside);
        let has_line = inside.iter().any(|trivium| matches!(trivium, Trivium::Line(_)));
        if has_line && out.last() != Some(&Trivium::Newline) {
            out.push(Trivium::Newline);
        }
        for trivium in inside {
            match trivium {
                Trivium::Newline => {}
                Trivium::Line(_) => out.extend([trivium, Trivium::Newline]),
                Trivium::Block(_) => out.push(trivium),
            }
        }
    }

    /// Comments and continued lines up to the next part of a node.
    fn gap(&mut self) -> Vec<Gap<'a>> {
        let mut out = Vec::new();
        // Behind a `\` and not yet at the line's end.
        let mut continued = false;
        loop {
            self.spaces();
            if let Some(text) = self.block_comment() {
                out.push(Gap::Block(text));
            } else if continued {
                out.push(Gap::Break(self.line_comment()));
                self.newline();
                continued = false;
            } else if self.peek() == Some('\\') {
                self.at += 1;
                continued = true;
            } else {
                return out;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_meaning_is_noticed() {
        let parse = |text: &str| KdlDocument::parse_v2(text).unwrap();
        let text = "a 1 b=2 3 {\n c \"d\"\n}\n";
        assert!(same(&parse(text), &parse("a 1 3 b=0x2 /-4 { c #\"d\"#; }")));
        for other in [
            "a 3 b=2 1 { c d }",
            "a 1 3 b=2.0 { c d }",
            "a 1 3 c=2 { c d }",
            "a 1 3 b=2 b=2 { c d }",
            "a 1 3 b=2",
            "a 1 3 b=2 {}",
            "a 1 3 b=2 { c d; c d }",
            "b 1 3 b=2 { c d }",
            "a 1 3 b=2 { c \"d \" }",
            "a 1 3 b=2 { c d }; a",
        ] {
            assert!(!same(&parse(text), &parse(other)), "{other}");
        }
    }
}
