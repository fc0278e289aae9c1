//! Refuses what must not reach the parser. It calls itself for every brace,
//! every piece of a block comment and every error it recovers from, and a
//! stack overflow ends the process. This scan is linear, keeps a counter where
//! the parser keeps a stack, and accepts a subset of KDL 2 (no type
//! annotations, no double slashdash), so that the parser has no errors left to
//! recover from. It recovers by itself (see [`super::recover`]): all errors of a
//! text are told at once.

use std::borrow::Cow;

use super::lexeme::{Lexeme, Refusal, forbidden, is_forbidden, is_newline, is_space, lexeme};
use super::recover::half_quoted;

/// Deepest nesting of blocks; experiments need four levels, locks six.
const MAX_DEPTH: usize = 32;

/// Blocks that may be commented out inside one another: the parser reads each of them several times.
const MAX_SLASHED: usize = 2;

/// What a brace opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Live,
    /// The block of a node that is commented out.
    OfSlashedNode,
    /// A block that is commented out, of a node that is not.
    Slashed,
    /// The block of a node that is wrong and starts here: it is scanned, and then blanked with its node.
    Broken(usize),
}

/// A block that is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// Its brace.
    pub at: usize,
    pub block: Block,
}

/// Why a text must not reach the parser.
#[derive(Debug)]
pub(super) struct Refused {
    /// All that is wrong; at least one.
    pub refusals: Vec<Refusal>,
    /// The text with what is wrong blanked, byte for byte in place, if the rest still means the same.
    pub rest: Option<String>,
}

/// Checks a text's structure; returns it as the parser may see it, byte for byte in place: block
/// comments are blanked, and the `;` that ends what is commented out is a new line.
pub(super) fn check(text: &str) -> Result<Cow<'_, str>, Refused> {
    let mut scan = Scan {
        text,
        at: 0,
        statement: 0,
        open: Vec::new(),
        edits: Vec::new(),
        refusals: Vec::new(),
        dedented: None,
        is_balanced: true,
    };
    scan.document();
    let mut edited = Cow::Borrowed(text);
    if !scan.edits.is_empty() {
        let mut bytes = text.as_bytes().to_vec();
        for (start, end, with) in scan.edits {
            bytes[start..end].fill(with);
        }
        edited = String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned);
    }
    if scan.refusals.is_empty() {
        return Ok(edited);
    }
    let rest = scan.is_balanced.then(|| edited.into_owned());
    Err(Refused { refusals: scan.refusals, rest })
}

pub(super) struct Scan<'a> {
    pub text: &'a str,
    pub at: usize,
    /// Where the node, or whatever stands in one's place, starts.
    pub statement: usize,
    pub open: Vec<Open>,
    /// Bytes to overwrite: start, end, with what.
    pub edits: Vec<(usize, usize, u8)>,
    pub refusals: Vec<Refusal>,
    /// The first block whose closing brace is indented less than its node: that brace may be another's.
    pub dedented: Option<(usize, usize)>,
    /// Each brace has its partner, as far as the text was read.
    pub is_balanced: bool,
}

impl Scan<'_> {
    pub(super) fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn document(&mut self) {
        if self.rest().starts_with('\u{feff}') {
            self.at += '\u{feff}'.len_utf8();
        }
        loop {
            match self.statement() {
                Ok(true) => {}
                Ok(false) => return,
                Err(refusal) => {
                    if !self.recover(refusal) {
                        return;
                    }
                }
            }
        }
    }

    /// Reads one node, or the end of a block; whether more may follow.
    fn statement(&mut self) -> Result<bool, Refusal> {
        self.statement = self.at;
        self.lines()?;
        self.statement = self.at;
        match self.peek() {
            None => {
                self.end();
                return Ok(false);
            }
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
        Ok(true)
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
    pub(super) fn entry(&mut self) -> Result<bool, Refusal> {
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
        if let Some(refusal) = half_quoted(self.text, start, end) {
            return Err(refusal);
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

    pub(super) fn open(&mut self, block: Block) -> Result<(), Refusal> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("blocks nest deeper than {MAX_DEPTH}");
            let help = "no file of xp needs that";
            return Err(Refusal::new((self.at, 1), message, "one too many", help).fatal());
        }
        let is_slashed = |block: Block| matches!(block, Block::OfSlashedNode | Block::Slashed);
        let nested = self.open.iter().filter(|open| is_slashed(open.block)).count();
        if is_slashed(block) && nested >= MAX_SLASHED {
            let help = "comment lines out with `//`";
            return Err(Refusal::new((self.at, 1), "too many `/-` inside one another", "here", help).fatal());
        }
        self.open.push(Open { at: self.at, block });
        self.at += 1;
        Ok(())
    }

    /// `}`, and what may follow it.
    fn close(&mut self) -> Result<(), Refusal> {
        let Some(Open { at, block }) = self.open.pop() else {
            let help = "remove it, or look for the block that should have been opened";
            return Err(Refusal::new((self.at, 1), "a `}` that closes nothing", "here", help));
        };
        self.note_indentation(at);
        self.at += 1;
        self.statement = self.at;
        if let Block::Broken(start) = block {
            self.edits.push((start, self.at, b' '));
        }
        self.space()?;
        match self.peek() {
            None | Some('}') => Ok(()),
            Some(';') if matches!(block, Block::Broken(_)) => {
                self.edits.push((self.at, self.at + 1, b' '));
                self.at += 1;
                Ok(())
            }
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
}
