//! Refuses what must not reach the parser. It calls itself for every brace,
//! every piece of a block comment and every error it recovers from, and a
//! stack overflow ends the process. This scan is linear, keeps a counter where
//! the parser keeps a stack, and accepts a subset of KDL 2 (no type
//! annotations, no double slashdash), so that the parser has no errors left to
//! recover from.

use std::borrow::Cow;

use super::lexeme::{Lexeme, Refusal, forbidden, is_forbidden, is_newline, is_space, lexeme};

/// Deepest nesting of blocks; experiments need four levels, locks six.
const MAX_DEPTH: usize = 32;

/// Blocks that may be commented out inside one another: the parser reads each of them several times.
const MAX_SLASHED: usize = 2;

/// Names and values of a text at most. Each takes the parser some 600 bytes, and the lock of a matrix
/// of 10,000 runs has half a million.
const MAX_TOKENS: usize = 2_000_000;

/// What a brace opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Live,
    /// The block of a node that is commented out.
    OfSlashedNode,
    /// A block that is commented out, of a node that is not.
    Slashed,
}

/// Checks a text's structure; returns it as the parser may see it, byte for byte in place: block
/// comments are blanked, and the `;` that ends what is commented out is a new line.
pub(super) fn check(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let mut scan = Scan { text, at: 0, tokens: 0, open: Vec::new(), edits: Vec::new() };
    scan.document()?;
    if scan.edits.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = text.as_bytes().to_vec();
    for (start, end, with) in scan.edits {
        bytes[start..end].fill(with);
    }
    Ok(String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned))
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// Names and values so far.
    tokens: usize,
    /// Open blocks and where each starts.
    open: Vec<(usize, Block)>,
    /// Bytes to overwrite: start, end, with what.
    edits: Vec<(usize, usize, u8)>,
}

impl Scan<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn document(&mut self) -> Result<(), Refusal> {
        if self.rest().starts_with('\u{feff}') {
            self.at += '\u{feff}'.len_utf8();
        }
        loop {
            self.lines()?;
            match self.peek() {
                None => return self.end(),
                Some('}') => self.close()?,
                Some('{') => {
                    let help = "a block follows a name on the same line: `workload \"chat\" { … }`";
                    return Err(Refusal::new(
                        (self.at, 1),
                        "a block without a name",
                        "nothing stands before it",
                        help,
                    ));
                }
                Some(';') => {
                    let help = "remove it; `;` ends a setting where a new line would";
                    return Err(Refusal::new((self.at, 1), "a `;` that ends nothing", "here", help));
                }
                _ if self.rest().starts_with("/-") => {
                    self.slashdash()?;
                    self.node(true)?;
                }
                _ => self.node(false)?,
            }
        }
    }

    fn end(&self) -> Result<(), Refusal> {
        match self.open.last() {
            None => Ok(()),
            Some((at, _)) => Err(Refusal::new(
                (*at, 1),
                "a block without its closing `}`",
                "opened here",
                "close it with `}`",
            )),
        }
    }

    /// A node up to its end or its block's start.
    fn node(&mut self, slashed: bool) -> Result<(), Refusal> {
        let start = self.at;
        if self.token()? == Lexeme::Value {
            let help = "a line starts with the name of a setting";
            return Err(Refusal::new((start, self.at - start), "a value without a name", "not a name", help));
        }
        let mut spaced = self.space()?;
        loop {
            match self.peek() {
                Some(';') => {
                    self.semicolon(slashed);
                    return Ok(());
                }
                None | Some('}') => return Ok(()),
                Some(c) if is_newline(c) => return Ok(()),
                Some('{') if slashed => return self.open(Block::OfSlashedNode),
                Some('{') => return self.open(Block::Live),
                Some('=') => {
                    let name = self.text[start..self.at].trim();
                    let value = self.rest()[1..].trim_start_matches(is_space);
                    let end = value.find(|c: char| is_space(c) || is_newline(c) || c == ';');
                    let help = match &value[..end.unwrap_or(value.len())] {
                        value if value.is_empty() || value.len() > 40 || name.len() > 40 => String::new(),
                        value => format!("write `{name} {value}`"),
                    };
                    let message = "a setting on a line of its own takes no `=`";
                    return Err(Refusal::new((self.at, 1), message, "here", help));
                }
                _ if self.rest().starts_with("//") => return Ok(()),
                _ if !spaced => {
                    let help = "put a space before it";
                    return Err(Refusal::new((self.at, 1), "two values run into each other", "here", help));
                }
                _ if self.rest().starts_with("/-") => {
                    self.slashdash()?;
                    if self.peek() == Some('{') {
                        return self.open(Block::Slashed);
                    }
                    spaced = self.entry()?;
                }
                _ => spaced = self.entry()?,
            }
        }
    }

    /// A value or `key=value`, and the space behind it.
    fn entry(&mut self) -> Result<bool, Refusal> {
        let start = self.at;
        let lexeme = self.token()?;
        let token = (start, self.at - start);
        let spaced = self.space()?;
        if self.peek() != Some('=') {
            return Ok(spaced);
        }
        if lexeme == Lexeme::Value {
            let help = "a property is written `name=value`";
            return Err(Refusal::new(token, "a number or keyword before `=`", "not a name", help));
        }
        let equals = self.at;
        self.at += 1;
        self.space()?;
        match self.peek() {
            Some(c) if !is_newline(c) && !matches!(c, ';' | '{' | '}' | '=') => {
                self.token()?;
                self.space()
            }
            _ => {
                Err(Refusal::new((equals, 1), "no value after `=`", "here", "write the value right after it"))
            }
        }
    }

    /// A token, and a check that something ends it.
    fn token(&mut self) -> Result<Lexeme, Refusal> {
        self.tokens += 1;
        if self.tokens > MAX_TOKENS {
            let message = format!("the text has more than {MAX_TOKENS} names and values");
            return Err(Refusal::new((self.at, 1), message, "one too many", "no file of xp needs that"));
        }
        let (end, lexeme) = lexeme(self.text, self.at)?;
        let start = std::mem::replace(&mut self.at, end);
        let ended = match self.peek() {
            None => true,
            Some(c) if is_space(c) || is_newline(c) => true,
            Some(c) => {
                matches!(c, ';' | '{' | '}' | '=' | '\\')
                    || ["//", "/*"].iter().any(|&s| self.rest().starts_with(s))
            }
        };
        if ended {
            return Ok(lexeme);
        }
        if let Some(c) = self.peek().filter(|c| is_forbidden(*c)) {
            return Err(forbidden(end, c));
        }
        let length = end - start + self.peek().map_or(0, char::len_utf8);
        let help = "separate values by spaces, and put texts with special characters into quotes";
        Err(Refusal::new((start, length), "something runs into the end of this", "here", help))
    }

    /// `;`, which the parser does not take after what is commented out.
    fn semicolon(&mut self, slashed: bool) {
        if slashed {
            self.edits.push((self.at, self.at + 1, b'\n'));
        }
        self.at += 1;
    }

    fn open(&mut self, block: Block) -> Result<(), Refusal> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("blocks nest deeper than {MAX_DEPTH}");
            return Err(Refusal::new((self.at, 1), message, "one too many", "no file of xp needs that"));
        }
        let nested = self.open.iter().filter(|(_, block)| *block != Block::Live).count();
        if block != Block::Live && nested >= MAX_SLASHED {
            let help = "comment lines out with `//`";
            return Err(Refusal::new((self.at, 1), "too many `/-` inside one another", "here", help));
        }
        self.open.push((self.at, block));
        self.at += 1;
        Ok(())
    }

    /// `}`, and what may follow it.
    fn close(&mut self) -> Result<(), Refusal> {
        let Some((_, block)) = self.open.pop() else {
            let help = "remove it, or look for the block that should have been opened";
            return Err(Refusal::new((self.at, 1), "a `}` that closes nothing", "here", help));
        };
        self.at += 1;
        self.space()?;
        match self.peek() {
            None | Some('}') => Ok(()),
            Some(';') => {
                self.semicolon(block == Block::OfSlashedNode);
                Ok(())
            }
            Some(c) if is_newline(c) => Ok(()),
            _ if self.rest().starts_with("//") => Ok(()),
            Some(c) => {
                let help = "start a new line, or write `;` between them";
                Err(Refusal::new(
                    (self.at, c.len_utf8()),
                    "something follows a `}` on its line",
                    "here",
                    help,
                ))
            }
        }
    }

    /// `/-`, up to what it comments out.
    fn slashdash(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        self.at += 2;
        self.lines()?;
        let nothing = match self.peek() {
            None => true,
            Some(c) => matches!(c, '}' | ';' | '=') || self.rest().starts_with("/-"),
        };
        if nothing {
            let help = "`/-` comments out the one node, value or block behind it";
            return Err(Refusal::new((start, 2), "`/-` before nothing", "here", help));
        }
        Ok(())
    }

    /// Skips spaces, block comments and continued lines; whether there were any.
    fn space(&mut self) -> Result<bool, Refusal> {
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
    fn lines(&mut self) -> Result<(), Refusal> {
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
    fn block_comment(&mut self) -> Result<(), Refusal> {
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
                    return Err(Refusal::new((start, 2), "a comment without its end", "starts here", help));
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
