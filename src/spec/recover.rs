//! Going on after an error of syntax: what is wrong is skipped up to the end of
//! its node, and blanked, so that all else is still read.

use super::diagnostic::Span;
use super::guard::{Block, Scan};
use super::lexeme::{After, Refusal, is_newline, is_space, lexeme};

/// Errors after which a text is not looked at any further.
const ENOUGH: usize = 20;

impl Scan<'_> {
    /// Notes an error and goes on behind its node; whether there is more to read.
    pub(super) fn recover(&mut self, refusal: Refusal) -> bool {
        let (span, after, read) = (refusal.span, refusal.after, self.at);
        self.refusals.push(refusal);
        if after == After::Nothing || self.refusals.len() >= ENOUGH {
            self.is_balanced = false;
            return false;
        }
        let stray = self.peek().filter(|_| span == (read, 1) && self.statement == read);
        if let Some('}' | ';') = stray {
            self.is_balanced &= stray != Some('}');
            self.edits.push((read, read + 1, b' '));
            self.at += 1;
            return true;
        }
        if stray != Some('{') {
            self.skip_error(span, after, read);
        }
        match self.skip_node() {
            Ok(()) => true,
            Err(refusal) => {
                self.refusals.push(refusal);
                self.is_balanced = false;
                false
            }
        }
    }

    /// Goes behind what is wrong; `read` is where its token starts.
    fn skip_error(&mut self, span: Span, after: After, read: usize) {
        self.at = self.at.max(span.0 + span.1);
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
        if after == After::Line {
            self.skip_line();
            self.brace_at_end();
        } else if self.text[read..].starts_with(['"', '#']) && self.at > read {
            // An error inside of a text: it ends with the next quote, if one follows on its line.
            self.skip_to_quote();
        }
    }

    /// Goes behind the closing quote of a text that is wrong; to the end of the line if there is none.
    fn skip_to_quote(&mut self) {
        while let Some(c) = self.peek().filter(|c| !is_newline(*c)) {
            self.at += c.len_utf8();
            if c == '\\' {
                self.at += self.peek().filter(|c| !is_newline(*c)).map_or(0, char::len_utf8);
            } else if c == '"' {
                return;
            }
        }
        self.brace_at_end();
    }

    /// Reads what is left of a node that is wrong, notes what else is wrong with it, and opens its block, if it
    /// has one, as one to be blanked.
    fn skip_node(&mut self) -> Result<(), Refusal> {
        let start = self.statement;
        loop {
            match self.peek() {
                None | Some('{' | '}') => break,
                Some(c) if is_newline(c) => break,
                Some(';') => {
                    self.at += 1;
                    break;
                }
                Some(c) if is_space(c) => {
                    self.space()?;
                    if matches!(self.peek(), None | Some('{' | '}' | ';')) || self.rest().starts_with('/') {
                        continue;
                    }
                    if let Err(refusal) = self.entry() {
                        let (span, after, read) = (refusal.span, refusal.after, self.at);
                        if after == After::Nothing || self.refusals.len() + 1 >= ENOUGH {
                            return Err(refusal);
                        }
                        self.refusals.push(refusal);
                        self.skip_error(span, after, read);
                    }
                }
                Some('"' | '#') => match lexeme(self.text, self.at) {
                    Ok((end, _)) => self.at = end,
                    Err(_) => {
                        self.skip_line();
                        self.brace_at_end();
                    }
                },
                _ if self.rest().starts_with("//") => self.skip_line(),
                _ if self.rest().starts_with("/*") => self.block_comment()?,
                Some(c) => self.at += c.len_utf8(),
            }
        }
        self.edits.push((start, self.at, b' '));
        match self.peek() {
            Some('{') => self.open(Block::Broken(start)),
            _ => Ok(()),
        }
    }

    fn skip_line(&mut self) {
        let rest = self.rest();
        self.at += rest.find(is_newline).unwrap_or(rest.len());
    }

    /// A text that lacks its quote swallows braces at the end of its line: goes back to them.
    fn brace_at_end(&mut self) {
        let line = line_start(self.text, self.at);
        let text = self.text[line..self.at].trim_end_matches(is_space);
        let end = line + text.len();
        if text.ends_with('{') {
            self.at = end - 1;
            return;
        }
        // Braces that close blocks of this line; others are part of what is wrong.
        let opened = self.open.iter().filter(|open| open.at >= line).count();
        let behind = text.len() - text.trim_end_matches(['}', ';', ' ']).len();
        let braces = self.text[end - behind..end].rmatch_indices('}');
        if let Some((first, _)) = braces.take(opened).last() {
            self.at = end - behind + first;
        }
    }

    /// Remembers a block whose closing brace starts its line and is indented less than its node.
    pub(super) fn note_indentation(&mut self, opened: usize) {
        let indent = |at: usize| {
            let before = &self.text[line_start(self.text, at)..at];
            (before.len() - before.trim_start_matches(is_space).len(), before.chars().all(is_space))
        };
        let ((node, _), (brace, starts_line)) = (indent(opened), indent(self.at));
        if self.dedented.is_none() && starts_line && brace < node {
            self.dedented = Some((opened, self.at));
        }
    }

    /// The end of the text: blocks that are still open were not closed.
    pub(super) fn end(&mut self) {
        let Some(innermost) = self.open.last().copied() else { return };
        self.is_balanced = false;
        let refuse = |at: usize, help: &str| {
            Refusal::new((at, 1), "a block without its closing `}`", "opened here", help)
        };
        let refusal = match self.dedented {
            Some((opened, brace)) => {
                refuse(opened, "close it with `}` before the next node that is not part of it")
                    .also((brace, 1), "closes it, and by its indentation is meant for another")
            }
            None => refuse(innermost.at, "close it with `}`"),
        };
        self.refusals.push(refusal);
    }
}

/// Where the line of a place starts.
fn line_start(text: &str, at: usize) -> usize {
    let newline = text[..at].char_indices().rev().find(|(_, c)| is_newline(*c));
    newline.map_or(0, |(at, c)| at + c.len_utf8())
}

/// Why a token that runs into the next one is wrong, where that can be told: a quote of it is missing.
pub(super) fn half_quoted(text: &str, start: usize, end: usize) -> Option<Refusal> {
    let (token, rest) = (&text[start..end], &text[end..]);
    if token == "r" && rest.starts_with(['"', '#']) {
        let help = "in KDL 2 a raw text is written `#\"…\"#`";
        return Some(Refusal::new((start, 2), "a raw text of KDL 1", "an `r` before its quotes", help));
    }
    let line = &rest[..rest.find(is_newline).unwrap_or(rest.len())];
    if line.matches('"').count() % 2 == 0 {
        return None;
    }
    if let Some(word) = token.strip_prefix('"').and_then(|inner| inner.split(is_space).next()) {
        // The text goes up to where the next one should start.
        if word.len() + 2 >= token.len() || token.starts_with("\"\"\"") {
            return None;
        }
        let help = format!("write `\"{word}\"`");
        let span = (start, word.len() + 1);
        let refusal = Refusal::new(span, "a text without its closing quote", "starts here", help);
        return Some(refusal.up_to_line_end());
    }
    let is_bare = !token.is_empty() && !token.contains(['"', '#']);
    if is_bare && rest.starts_with('"') {
        let help = format!("write `\"{token}\"`");
        let span = (start, end + 1 - start);
        return Some(Refusal::new(span, "a text without its opening quote", "ends here", help));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::guard::check;

    /// What is said, and what is left.
    fn refused(text: &str) -> (Vec<String>, String) {
        let refused = check(text).unwrap_err();
        let said = refused.refusals.into_iter().map(|refusal| refusal.message).collect();
        if let Some(rest) = &refused.rest {
            assert_eq!(rest.len(), text.len());
            assert!(check(rest).is_ok(), "{rest:?}");
        }
        (said, refused.rest.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_error_is_told_and_the_rest_is_left() {
        let (said, rest) = refused("a 1\nb=2\nc \"x\ny\nd true; e 5; f (u8)3\ng { h=1; i 2 }\n");
        assert_eq!(said.len(), 5, "{said:?}");
        assert_eq!(rest, "a 1 y e 5; g { i 2 }");
        let (said, rest) = refused("a \"x {\n  b 1\n}\nc 2\n");
        assert_eq!((said.len(), rest.as_str()), (1, "c 2"), "{said:?}");
        let (said, rest) = refused("a { b \"x }\nc 2\n");
        assert_eq!((said.len(), rest.as_str()), (1, "a { } c 2"), "{said:?}");
        let (said, rest) = refused("a 5% { b=1; }; c 3\nd 4");
        assert_eq!((said.len(), rest.as_str()), (2, "c 3 d 4"), "{said:?}");
        let (said, rest) = refused("a \"\\x\" { b 1; }\nc 2");
        assert_eq!((said.len(), rest.as_str()), (1, "c 2"), "{said:?}");
        let (said, rest) = refused("a=1 // {\nb 2");
        assert_eq!((said.len(), rest.as_str()), (1, "b 2"), "{said:?}");
        let (said, rest) = refused("a 1\n{\n  b 2\n}\nc 3\n");
        assert_eq!((said.len(), rest.as_str()), (1, "a 1 c 3"), "{said:?}");
        let (said, rest) = refused("; a 1\n");
        assert_eq!((said.len(), rest.as_str()), (1, "a 1"), "{said:?}");
    }

    #[test]
    fn braces_without_a_partner_leave_nothing_to_trust() {
        for text in ["a {\n", "}\na 1\n", "a {\n  b {\n  c 1\n}\n", "/* a\n", "a \"\"\"\nb\n"] {
            assert_eq!(refused(text).1, "", "{text:?}");
        }
    }
}
