//! What stands between the parts of a text: spaces, comments, continued lines.

use super::guard::Scan;
use super::lexeme::{Refusal, forbidden, is_forbidden, is_newline, is_space};

impl Scan<'_> {
    /// Skips spaces, block comments and continued lines; whether there were any.
    pub(super) fn space(&mut self) -> Result<bool, Refusal> {
        let start = self.at;
        loop {
            match self.peek() {
                Some(c) if is_space(c) => self.at += c.len_utf8(),
                Some('\\') => self.continued_line()?,
                _ if self.rest().starts_with("/*") => self.block_comment()?,
                _ => return Ok(self.at > start),
            }
        }
    }

    /// A backslash at the end of a line.
    fn continued_line(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        self.at += 1;
        while let Some(c) = self.peek() {
            if is_newline(c) {
                self.at += c.len_utf8();
                // One line end of two characters.
                if c == '\r' && self.peek() == Some('\n') {
                    self.at += 1;
                }
                return Ok(());
            }
            if self.rest().starts_with("//") {
                self.line_comment()?;
            } else if self.rest().starts_with("/*") {
                self.block_comment()?;
            } else if is_space(c) {
                self.at += c.len_utf8();
            } else {
                let help = "`\\` continues a line; paths use `/`";
                return Err(Refusal::new((start, 1), "a `\\` that does not end its line", "here", help));
            }
        }
        Ok(())
    }

    /// Skips spaces, comments and new lines.
    pub(super) fn lines(&mut self) -> Result<(), Refusal> {
        loop {
            self.space()?;
            match self.peek() {
                Some(c) if is_newline(c) => self.at += c.len_utf8(),
                _ if self.rest().starts_with("//") => self.line_comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// `//` up to the end of its line.
    fn line_comment(&mut self) -> Result<(), Refusal> {
        while let Some(c) = self.peek() {
            if is_newline(c) {
                return Ok(());
            }
            if is_forbidden(c) {
                return Err(forbidden(self.at, c));
            }
            self.at += c.len_utf8();
        }
        Ok(())
    }

    /// `/* … */`, which nests.
    pub(super) fn block_comment(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        loop {
            match bytes.get(self.at..self.at + 2) {
                Some(b"/*") => depth += 1,
                Some(b"*/") => depth -= 1,
                Some(_) => {
                    self.at += 1;
                    continue;
                }
                None => {
                    let help = "close it with `*/`";
                    return Err(
                        Refusal::new((start, 2), "a comment without its end", "starts here", help).fatal()
                    );
                }
            }
            self.at += 2;
            if depth == 0 {
                self.edits.push((start, self.at, b' '));
                return Ok(());
            }
        }
    }
}
